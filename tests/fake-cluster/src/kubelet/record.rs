//! What a kubelet knows of a pod, and the status that it reports of it. No clock, no store: values only.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::clock::json_seconds;
use crate::disruption::set_condition;

/// A pod on its node.
#[derive(Debug, Clone)]
pub(super) struct PodRecord {
    pub(super) containers: Vec<ContainerRecord>,
    pub(super) started: Timestamp,
    pub(super) host_ip: String,
    /// Given when the pod's sandbox is there, that is with its first container.
    pub(super) pod_ip: String,
    pub(super) sandbox: bool,
    /// How the pod ended, once it may be said.
    pub(super) end: Option<PodEnd>,
    /// Why the kubelet makes the pod end.
    pub(super) verdict: Option<Verdict>,
}

/// The last phase of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodEnd {
    Succeeded,
    Failed,
}

/// Why the kubelet itself ends a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// Whether the pod was in the way, not at fault.
    pub(crate) disrupted: bool,
}

/// A container of a pod.
#[derive(Debug, Clone)]
pub(super) struct ContainerRecord {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) init: bool,
    pub(super) state: State,
    /// How the run before ended.
    pub(super) last: Option<Ended>,
    pub(super) restarts: u32,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Waiting { reason: String, message: String },
    Running { since: Timestamp, id: String },
    Ended(Ended),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) started: Option<Timestamp>,
    pub(super) finished: Option<Timestamp>,
    pub(super) id: String,
}

impl State {
    pub(super) fn waiting(reason: &str) -> Self {
        Self::Waiting { reason: reason.to_owned(), message: String::new() }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    pub(super) fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Ended(ended) => Some(ended.code),
            _ => None,
        }
    }

    fn render(&self) -> Value {
        match self {
            Self::Waiting { reason, message } => {
                let mut waiting = json!({"reason": reason});
                if !message.is_empty() {
                    waiting["message"] = message.as_str().into();
                }
                json!({"waiting": waiting})
            }
            Self::Running { since, .. } => json!({"running": {"startedAt": json_seconds(*since)}}),
            Self::Ended(ended) => ended.render(),
        }
    }
}

impl Ended {
    /// How a container ends that nobody has seen.
    pub(super) fn unknown() -> Self {
        Self {
            code: 137,
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the pod was terminated".into(),
            started: None,
            finished: None,
            id: String::new(),
        }
    }

    fn render(&self) -> Value {
        let time = |time: Option<Timestamp>| time.map_or(Value::Null, json_seconds);
        let mut ended = json!({
            "exitCode": self.code, "reason": self.reason,
            "startedAt": time(self.started), "finishedAt": time(self.finished),
        });
        if !self.id.is_empty() {
            ended["containerID"] = self.id.as_str().into();
        }
        if !self.message.is_empty() {
            ended["message"] = self.message.as_str().into();
        }
        json!({"terminated": ended})
    }
}

impl ContainerRecord {
    pub(super) fn succeeded(&self) -> bool {
        self.state.exit_code() == Some(0)
    }

    fn render(&self) -> Value {
        let id = match &self.state {
            State::Running { id, .. } => id.as_str(),
            State::Ended(ended) => &ended.id,
            State::Waiting { .. } => self.last.as_ref().map_or("", |last| &last.id),
        };
        let mut status = json!({
            "name": self.name, "image": self.image, "imageID": "", "restartCount": self.restarts,
            "state": self.state.render(), "lastState": {},
            "ready": if self.init { self.succeeded() } else { self.state.is_running() },
            "started": self.state.is_running(),
        });
        if let Some(last) = &self.last {
            status["lastState"] = last.render();
        }
        if !id.is_empty() {
            status["containerID"] = id.into();
            status["imageID"] = image_id(&self.image).into();
        }
        status
    }
}

impl PodRecord {
    pub(super) fn initialized(&self) -> bool {
        self.containers.iter().filter(|container| container.init).all(ContainerRecord::succeeded)
    }

    /// What was not seen to end when the pod ended counts as failed: containers that could have been started, and all
    /// init containers up to the last that was.
    pub(super) fn end_unseen(&mut self) {
        let begun = |one: &ContainerRecord| one.last.is_some() || !matches!(one.state, State::Waiting { .. });
        let initialized = self.initialized() || self.containers.iter().any(|one| !one.init && begun(one));
        let inits = self.containers.iter().filter(|one| one.init);
        let begun_inits = inits.enumerate().filter(|(_, one)| begun(one)).last().map_or(1, |(index, _)| index + 1);
        let mut init = 0;
        for container in &mut self.containers {
            init += usize::from(container.init);
            let counts = if container.init { init <= begun_inits } else { initialized };
            if counts && container.state.exit_code().is_none() {
                container.state = State::Ended(Ended::unknown());
            }
        }
    }

    /// Writes this pod's status over the one that is stored. What others wrote there stays.
    pub(super) fn write(&self, status: &mut Value, now: Timestamp) {
        if !status.is_object() {
            *status = Value::Object(Map::new());
        }
        let rendered = |init: bool| -> Value {
            let of_kind = self.containers.iter().filter(|container| container.init == init);
            of_kind.map(ContainerRecord::render).collect()
        };
        status["containerStatuses"] = rendered(false);
        if self.containers.iter().any(|container| container.init) {
            status["initContainerStatuses"] = rendered(true);
        }
        status["phase"] = self.phase().into();
        status["startTime"] = json_seconds(self.started);
        status["hostIP"] = self.host_ip.as_str().into();
        status["hostIPs"] = json!([{"ip": self.host_ip}]);
        if self.sandbox {
            status["podIP"] = self.pod_ip.as_str().into();
            status["podIPs"] = json!([{"ip": self.pod_ip}]);
        }
        if let Some(verdict) = self.verdict.as_ref().filter(|_| self.end.is_some()) {
            status["reason"] = verdict.reason.into();
            status["message"] = verdict.message.as_str().into();
        }
        for condition in self.conditions(now) {
            set_condition(status, condition);
        }
    }

    fn phase(&self) -> &'static str {
        match self.end {
            Some(PodEnd::Succeeded) => "Succeeded",
            Some(PodEnd::Failed) => "Failed",
            // A pod is running from its first main container on, even if that one has ended already.
            None if self
                .containers
                .iter()
                .any(|one| !one.init && (one.last.is_some() || !matches!(one.state, State::Waiting { .. }))) =>
            {
                "Running"
            }
            None => "Pending",
        }
    }

    fn conditions(&self, now: Timestamp) -> Vec<Value> {
        let condition = |kind: &str, holds: bool, reason: &str, message: String| {
            let mut condition = json!({
                "type": kind, "status": if holds { "True" } else { "False" },
                "lastProbeTime": Value::Null, "lastTransitionTime": json_seconds(now),
            });
            if !reason.is_empty() {
                condition["reason"] = reason.into();
            }
            if !message.is_empty() {
                condition["message"] = message.into();
            }
            condition
        };
        let ended = match self.end {
            Some(PodEnd::Succeeded) => "PodCompleted",
            Some(PodEnd::Failed) => "PodFailed",
            None => "",
        };
        let alive = self.containers.iter().any(|container| container.state.is_running());
        let mut conditions = vec![condition(
            "PodReadyToStartContainers",
            self.sandbox && (self.end.is_none() || alive),
            "",
            String::new(),
        )];
        let pending_inits = self.names(|one| one.init && !one.succeeded());
        conditions.push(if self.end == Some(PodEnd::Succeeded) {
            condition("Initialized", true, ended, String::new())
        } else if pending_inits.is_empty() {
            condition("Initialized", true, "", String::new())
        } else {
            let message = format!("containers with incomplete status: [{}]", pending_inits.join(" "));
            condition("Initialized", false, "ContainersNotInitialized", message)
        });
        let unready = self.names(|one| !one.init && !one.state.is_running());
        for kind in ["Ready", "ContainersReady"] {
            conditions.push(if !ended.is_empty() {
                condition(kind, false, ended, String::new())
            } else if unready.is_empty() {
                condition(kind, true, "", String::new())
            } else {
                let message = format!("containers with unready status: [{}]", unready.join(" "));
                condition(kind, false, "ContainersNotReady", message)
            });
        }
        conditions.push(condition("PodScheduled", true, "", String::new()));
        if let Some(verdict) = self.verdict.as_ref().filter(|verdict| verdict.disrupted) {
            conditions.push(condition("DisruptionTarget", true, "TerminationByKubelet", verdict.message.clone()));
        }
        conditions
    }

    fn names(&self, wanted: impl Fn(&ContainerRecord) -> bool) -> Vec<&str> {
        self.containers.iter().filter(|one| wanted(one)).map(|one| one.name.as_str()).collect()
    }
}

/// The id of an image, as a node that has pulled it would report it.
fn image_id(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let slash = name.rfind('/').map_or(0, |slash| slash + 1);
    let end = name.rfind(':').filter(|colon| *colon >= slash).unwrap_or(name.len());
    let repository = name.get(..end).unwrap_or(name);
    let repository = match repository.split_once('/') {
        None => format!("docker.io/library/{repository}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => repository.to_owned(),
        Some(_) => format!("docker.io/{repository}"),
    };
    let digest = image.split_once("@sha256:").map_or_else(|| digest(image), |(_, digest)| digest.to_owned());
    format!("{repository}@sha256:{digest}")
}

/// 64 hexadecimal digits that depend on `text` alone. Nobody checks that they are a hash of it.
pub(super) fn digest(text: &str) -> String {
    let mut state = 0xCBF2_9CE4_8422_2325_u64;
    let rounds = (0..4_u8).map(|round| {
        for byte in text.bytes().chain([round]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        format!("{state:016x}")
    });
    rounds.collect()
}
