//! What a container waits for.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, PodCondition};
use piculet_core::observation::{WaitPhase, Waiting};
use piculet_core::outcome::NeverStarted;

use super::{Look, one_line};
use crate::remedy;

impl Look<'_> {
    pub(super) fn waiting(&self) -> Waiting {
        let own = self.own.and_then(|own| own.state.as_ref()).and_then(|state| state.waiting.as_ref());
        let Some(own) = own else { return self.without_kubelet() };
        match own.reason.as_deref().unwrap_or_default() {
            // Ours can't start before these.
            "PodInitializing" => self.init_waiting().map_or_else(|| self.creating(own), |init| self.by_reason(init)),
            _ => self.by_reason(own),
        }
    }

    /// Before the kubelet took the pod: the scheduler's part.
    fn without_kubelet(&self) -> Waiting {
        let scheduled = self.condition("PodScheduled");
        if self.node().is_some() || scheduled.is_some_and(|condition| condition.status == "True") {
            return waiting(WaitPhase::Create, NeverStarted::Cluster, String::new());
        }
        let message = scheduled.and_then(|condition| condition.message.as_deref()).map(one_line).unwrap_or_default();
        let is_volume = ["unbound immediate PersistentVolumeClaims", "persistentvolumeclaim \""]
            .iter()
            .any(|part| message.contains(part));
        let reason = if is_volume { NeverStarted::Volume } else { NeverStarted::Unschedulable };
        waiting(WaitPhase::Schedule, reason, message)
    }

    fn by_reason(&self, state: &ContainerStateWaiting) -> Waiting {
        let reason = state.reason.as_deref().unwrap_or_default();
        let message = state.message.as_deref().map(one_line).unwrap_or_default();
        let message = match message.as_str() {
            "" if is_error(reason) => reason.to_owned(),
            _ if is_error(reason) => format!("{reason}: {message}"),
            _ => message,
        };
        let pull =
            |hopeless| Waiting { hopeless, ..waiting(WaitPhase::PullAgain, NeverStarted::ImagePull, message.clone()) };
        match reason {
            "" | "ContainerCreating" => self.creating(state),
            "ErrImagePull"
            | "ImagePullBackOff"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => pull(false),
            "InvalidImageName" | "ErrImageNeverPull" => pull(true),
            "CreateContainerConfigError" | "RunContainerError" | "PreStartHookError" | "PostStartHookError" => {
                let hopeless = remedy::is_root_refused(&message);
                let message = remedy::cannot_start(self.pod.spec.as_ref(), message);
                Waiting { hopeless, ..waiting(WaitPhase::Create, NeverStarted::Config, message) }
            }
            _ => waiting(WaitPhase::Create, NeverStarted::Cluster, message),
        }
    }

    /// The kubelet says `ContainerCreating` from the first moment on; a condition tells what of it is done.
    fn creating(&self, state: &ContainerStateWaiting) -> Waiting {
        let message = state.message.as_deref().map(one_line).unwrap_or_default();
        if self.condition("PodReadyToStartContainers").is_some_and(|condition| condition.status == "True") {
            waiting(WaitPhase::Pull, NeverStarted::ImagePull, message)
        } else {
            waiting(WaitPhase::Create, NeverStarted::Cluster, message)
        }
    }

    /// The first init container that waits for something worth telling.
    fn init_waiting(&self) -> Option<&ContainerStateWaiting> {
        let statuses = self.status?.init_container_statuses.as_ref()?;
        let mut states = statuses.iter().filter_map(|status| status.state.as_ref()?.waiting.as_ref());
        states.find(|waiting| waiting.reason.as_deref().is_some_and(is_error))
    }

    pub(super) fn condition(&self, kind: &str) -> Option<&PodCondition> {
        self.status?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
    }
}

/// Whether a waiting reason is more than a stage of every start.
fn is_error(reason: &str) -> bool {
    !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
}

fn waiting(phase: WaitPhase, reason: NeverStarted, message: String) -> Waiting {
    Waiting { phase, reason, hopeless: false, message }
}
