//! What a pod shows of its step.
//!
//! Read in this order: the terminated state of *our* container, by its name, since others may be injected beside it;
//! its last state; init containers that failed; the pod's own reason and conditions. Never the phase for an exit code:
//! the API shows it before the container's end, and a pod with another container in it fails without ours.

mod ended;
mod request;
#[cfg(test)]
mod tests;
mod times;
mod waiting;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};
use piculet_core::id::PodUid;
use piculet_core::observation::{Ended, Observation, Seen};
use piculet_core::outcome::{NeverStarted, Outcome};
use piculet_core::trace::PodTimes;

use crate::quantity;

/// Looks at a pod, for the container that the step is.
pub fn observe(pod: &Pod, container: &str) -> Observation {
    let look = Look::new(pod, container);
    let seen = look.seen();
    let finished = match &seen {
        Seen::Ended(ended) => ended.finished,
        Seen::Waiting(_) | Seen::Running { .. } => None,
    };
    let asked = pod.metadata.deletion_timestamp.is_some();
    let may_have_a_reason = matches!(&seen, Seen::Ended(ended) if ended.outcome.may_have_a_reason());
    Observation {
        uid: PodUid::new(pod.metadata.uid.as_deref().unwrap_or_default()),
        going: look.request().filter(|request| request.came_before(finished)).map(|request| request.outcome),
        settled: !may_have_a_reason || asked || matches!(look.phase(), "Succeeded" | "Failed"),
        seen,
        asked,
        node: look.node().map(str::to_owned),
    }
}

/// When the pod came how far on its way to the start of this container, for the workflow's trace.
pub fn times(pod: &Pod, container: &str) -> PodTimes {
    Look::new(pod, container).times()
}

/// One pod, with its parts at hand.
#[derive(Debug, Clone, Copy)]
struct Look<'a> {
    pod: &'a Pod,
    status: Option<&'a PodStatus>,
    container: &'a str,
    /// What the kubelet says about our container; `None` before it took the pod.
    own: Option<&'a ContainerStatus>,
}

impl<'a> Look<'a> {
    fn new(pod: &'a Pod, container: &'a str) -> Self {
        let status = pod.status.as_ref();
        let mut statuses = status.into_iter().flat_map(|status| status.container_statuses.iter().flatten());
        Self { pod, status, container, own: statuses.find(|status| status.name == container) }
    }

    fn seen(&self) -> Seen {
        let state = self.own.and_then(|own| own.state.as_ref());
        let last = self.own.and_then(|own| own.last_state.as_ref());
        let running = state.and_then(|state| state.running.as_ref());
        if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
            return Seen::Ended(self.ended(terminated));
        }
        // Our pods never restart a container: what ended once has ended, even if the kubelet now calls it waiting.
        if running.is_none()
            && let Some(terminated) = last.and_then(|state| state.terminated.as_ref())
        {
            return Seen::Ended(self.ended(terminated));
        }
        if let Some(message) = self.failed_init_container() {
            let outcome = Outcome::NeverStarted { reason: NeverStarted::Cluster, message };
            return Seen::Ended(Ended { outcome, started: None, finished: None });
        }
        let started = running.and_then(|running| running.started_at.as_ref()).map(|time| time.0);
        if self.phase() == "Failed"
            && let Some(outcome) = self.failed_without_an_end()
        {
            return Seen::Ended(Ended { outcome, started, finished: None });
        }
        match running {
            Some(_) => Seen::Running { started },
            // The phase can be there before the container's end is: then it did run.
            None if self.phase() == "Succeeded" => Seen::Running { started: None },
            None => Seen::Waiting(self.waiting()),
        }
    }

    fn phase(&self) -> &'a str {
        self.status.and_then(|status| status.phase.as_deref()).unwrap_or_default()
    }

    fn reason(&self) -> &'a str {
        self.status.and_then(|status| status.reason.as_deref()).unwrap_or_default()
    }

    /// The pod's own words, on one line; its reason if it has none.
    fn message(&self) -> String {
        let message = self.status.and_then(|status| status.message.as_deref()).unwrap_or_default();
        one_line(if message.trim().is_empty() { self.reason() } else { message })
    }

    fn node(&self) -> Option<&'a str> {
        self.pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
    }

    /// The memory that our container may use at most, in bytes.
    fn memory_limit(&self) -> Option<u64> {
        let spec = self.pod.spec.as_ref()?;
        let container = spec.containers.iter().find(|container| container.name == self.container)?;
        quantity::whole(&container.resources.as_ref()?.limits.as_ref()?.get("memory")?.0)
    }

    /// What is to be said if a container that has to end before ours starts ended badly.
    fn failed_init_container(&self) -> Option<String> {
        let statuses = self.status?.init_container_statuses.as_ref()?;
        statuses.iter().filter(|status| !self.is_sidecar(&status.name)).find_map(|status| {
            let terminated = |state: &Option<ContainerState>| state.as_ref().and_then(|state| state.terminated.clone());
            let terminated = terminated(&status.state).or_else(|| terminated(&status.last_state))?;
            (terminated.exit_code != 0).then(|| {
                let reason = terminated.reason.unwrap_or_default();
                let message = one_line(&terminated.message.unwrap_or_default());
                let details = [reason, message].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
                let colon = if details.is_empty() { "" } else { ": " };
                let (name, code) = (&status.name, terminated.exit_code);
                format!("the init container '{name}' ended with exit code {code}{colon}{}", details.join(", "))
            })
        })
    }

    /// Whether an init container runs beside the others, for as long as they do.
    fn is_sidecar(&self, name: &str) -> bool {
        let containers = self.pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        containers.filter(|container| container.name == name).any(|container| container.restart_policy.is_some())
    }

    /// Whether the kubelet ever said that our container ran.
    fn has_started(&self) -> bool {
        let ran = |state: &Option<ContainerState>| {
            state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        };
        self.own.is_some_and(|own| own.started == Some(true) || ran(&own.state) || ran(&own.last_state))
    }
}

/// The cluster's words, fit for a line of a log: no line breaks, and not without end.
pub(crate) fn one_line(text: &str) -> String {
    const LONGEST: usize = 1000;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line.split_at(end).0),
        None => line,
    }
}
