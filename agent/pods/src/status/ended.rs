//! How a container ended, or why a failed pod never says.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStateTerminated;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use piculet_core::observation::Ended;
use piculet_core::outcome::{NeverStarted, Outcome};

use super::{Look, one_line};
use crate::remedy;

impl Look<'_> {
    /// The end of our container, from its terminated state.
    pub(super) fn ended(&self, terminated: &ContainerStateTerminated) -> Ended {
        let message = terminated.message.as_deref().map(one_line).unwrap_or_default();
        let code = terminated.exit_code;
        let unknown = |what: &str| {
            let colon = if message.is_empty() { "" } else { ": " };
            Outcome::Unknown { message: format!("{what}{colon}{message}") }
        };
        let outcome = match terminated.reason.as_deref().unwrap_or_default() {
            "OOMKilled" => Outcome::OomKilled { limit: self.memory_limit(), code: Some(code) },
            // The kubelet lost sight of the container, and makes exit code 137 up.
            "ContainerStatusUnknown" => unknown("the kubelet lost sight of the container"),
            // So does the container runtime after a crash or a reboot, with 255.
            "Unknown" => unknown("the container runtime lost sight of the container"),
            // The process was never executed; code 128 is made up.
            "StartError" | "ContainerCannotRun" => {
                let message = remedy::cannot_start(self.pod.spec.as_ref(), message);
                return Ended {
                    outcome: Outcome::NeverStarted { reason: NeverStarted::Config, message },
                    started: None,
                    finished: real(terminated.finished_at.as_ref()),
                };
            }
            _ => match terminated.signal {
                Some(signal) if signal > 0 && code > 128 => Outcome::Signaled { signal },
                _ => Outcome::Exited { code },
            },
        };
        Ended {
            outcome,
            started: real(terminated.started_at.as_ref()),
            finished: real(terminated.finished_at.as_ref()),
        }
    }

    /// What became of our container in a failed pod that has no terminated state for it; `None` if the kubelet may
    /// still bring one: it can set the phase first.
    pub(super) fn failed_without_an_end(&self) -> Option<Outcome> {
        if let Some(reason) = self.rejected() {
            return Some(Outcome::NeverStarted { reason, message: self.message() });
        }
        if let Some(request) = self.request() {
            return Some(request.outcome);
        }
        if self.own.is_some_and(|own| own.state.as_ref().is_some_and(|state| state.running.is_some())) {
            return None;
        }
        let message = self.message();
        let message = if message.is_empty() { "its pod failed without giving a reason".to_owned() } else { message };
        Some(Outcome::Unknown { message })
    }

    /// Why the kubelet didn't take the pod, if it is that: it sets reason and message then, and starts nothing.
    pub(super) fn rejected(&self) -> Option<NeverStarted> {
        if self.has_started() {
            return None;
        }
        let message = self.status.and_then(|status| status.message.as_deref()).unwrap_or_default();
        let reason = self.reason();
        match reason {
            "SysctlForbidden"
            | "AppArmor"
            | "NoNewPrivs"
            | "ProcMount"
            | "PodOSNotSupported"
            | "PodOSSelectorNodeLabelDoesNotMatch" => Some(NeverStarted::Config),
            "NodeAffinity"
            | "NodeName"
            | "NodePorts"
            | "NodeUnschedulable"
            | "TaintToleration"
            | "UnexpectedAdmissionError"
            | "TopologyAffinityError"
            | "InvalidNodeInfo"
            | "PodFeatureUnsupported"
            | "UnsupportedPodFeature" => Some(NeverStarted::Cluster),
            _ if reason.starts_with("OutOf") => Some(NeverStarted::Cluster),
            _ if message.starts_with("Pod was rejected") => Some(NeverStarted::Cluster),
            // At admission the kubelet evicts without any word about containers.
            "Evicted" | "NodeShutdown" if self.own.is_none() => Some(NeverStarted::Cluster),
            _ => None,
        }
    }
}

/// The time, unless it is the zero that runtimes write for 'never'.
fn real(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0).filter(|time| *time > Timestamp::UNIX_EPOCH)
}
