//! What components of the cluster say of a pod that waits: its events.
//!
//! Only those count that tell more than the pod itself: the scheduler's words stand in a condition, and those about images
//! in the container's state. See the kubelet's `pkg/kubelet/events` and the autoscalers' documentation for the reasons.

use k8s_openapi::api::core::v1::Event;
use piculet_core::id::PodUid;
use piculet_core::observation::Said;
use piculet_core::outcome::NeverStarted;

use crate::status::one_line;

/// Events that every start of a pod brings. They are not even asked for.
pub const COMMONPLACE: [&str; 4] = ["Scheduled", "Created", "Started", "Killing"];

/// An identifier is at least so long, of hexadecimal digits alone.
const IDENTIFIER: usize = 32;

/// What an event says of a pod, and of which; `None` if it tells nothing about its waiting.
pub fn said(event: &Event) -> Option<(PodUid, Said)> {
    let about = &event.involved_object;
    let uid = about.uid.as_deref().filter(|_| about.kind.as_deref() == Some("Pod"))?;
    let name = event.reason.as_deref()?;
    let reason = match name {
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" | "FailedResizeVolume" => NeverStarted::Volume,
        "FailedCreatePodSandBox" | "FailedPodSandBoxStatus" | "NetworkNotReady" | "FailedCreatePodContainer" => {
            NeverStarted::Cluster
        }
        "TriggeredScaleUp" | "NotTriggerScaleUp" | "ScaleUpFailed" => NeverStarted::Unschedulable,
        "Pulling" => NeverStarted::ImagePull,
        _ => return None,
    };
    let words = without_identifiers(&one_line(event.message.as_deref().unwrap_or_default()));
    // A pull that goes on is no trouble: its event is a sentence of its own.
    let message = if name == "Pulling" { words } else { format!("{name}: {words}") };
    Some((PodUid::new(uid), Said { reason, message }))
}

/// The same words for the same trouble: each try at a sandbox has an identifier of its own.
fn without_identifiers(text: &str) -> String {
    let is_identifier = |word: &str| word.len() >= IDENTIFIER && word.chars().all(|c| c.is_ascii_hexdigit());
    let mut words = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        words.push_str(before);
        words.push_str(if is_identifier(word) { "…" } else { word });
        rest = after;
    }
    words + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, reason: &str, message: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "reason": reason, "message": message, "involvedObject": {"kind": kind, "uid": "u"},
        }))
        .unwrap()
    }

    #[test]
    fn what_tells_more_than_the_pod_itself_counts() {
        let words = "MountVolume.SetUp failed for volume \"keys\" : secret \"keys\" not found";
        for (reason, expected) in [
            ("FailedMount", Some((NeverStarted::Volume, format!("FailedMount: {words}")))),
            ("FailedCreatePodSandBox", Some((NeverStarted::Cluster, format!("FailedCreatePodSandBox: {words}")))),
            ("TriggeredScaleUp", Some((NeverStarted::Unschedulable, format!("TriggeredScaleUp: {words}")))),
            ("Pulling", Some((NeverStarted::ImagePull, words.to_owned()))),
            ("FailedScheduling", None),
            ("BackOff", None),
        ] {
            let found = said(&event("Pod", reason, words)).map(|(_, said)| (said.reason, said.message));
            assert_eq!(found, expected, "{reason}");
        }
        assert_eq!(said(&event("Node", "FailedMount", words)), None);
    }

    #[test]
    fn the_same_trouble_has_the_same_words() {
        let words = |id: &str| {
            let message = format!("failed to setup network for sandbox \"{id}\": plugin (add): no address");
            said(&event("Pod", "FailedCreatePodSandBox", &message)).unwrap().1.message
        };
        assert_eq!(words(&"ab0".repeat(20)), words(&"c1d".repeat(20)));
        assert!(words(&"ab0".repeat(20)).ends_with("sandbox \"…\": plugin (add): no address"));
    }
}
