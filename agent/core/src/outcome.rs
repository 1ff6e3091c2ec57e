//! How steps and workflows end: a closed set of classes, each with a sentence that a person understands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a step's container ended.
///
/// Only [`Outcome::Exited`] with code 0 is a success, and it is only ever made from a terminated container status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The process ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal that nobody of us sent ended the process.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// The kernel ended it for want of memory, or killed one of its processes. Never a success, whatever the code.
    OomKilled {
        /// The container's memory limit in bytes, if it had one.
        limit: Option<u64>,
        /// The exit code, if one was seen.
        code: Option<i32>,
    },
    /// The kubelet or the API evicted the pod.
    Evicted {
        /// The cluster's words.
        reason: String,
    },
    /// A pod of a higher priority took its place.
    Preempted {
        /// The cluster's words.
        reason: String,
    },
    /// The node went away with it.
    NodeLost {
        /// The node's name, if known.
        node: Option<String>,
    },
    /// Somebody deleted the pod.
    PodDeleted {
        /// Who, only where that is known.
        by: Option<String>,
    },
    /// The container never ran.
    NeverStarted {
        /// Why.
        reason: NeverStarted,
        /// The cluster's words.
        message: String,
    },
    /// It took too long.
    DeadlineExceeded {
        /// Which limit it was.
        which: Deadline,
    },
    /// It was stopped on request.
    Cancelled {
        /// Who or what asked for it.
        by: String,
    },
    /// The container is over and nobody can tell how.
    Unknown {
        /// What was seen instead.
        message: String,
    },
}

/// Why a container never ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeverStarted {
    /// The image can't be pulled, or its name is wrong.
    ImagePull,
    /// No node takes the pod.
    Unschedulable,
    /// A Secret, ConfigMap, service account or another part of the configuration is missing or wrong.
    Config,
    /// An admission policy or webhook refused the pod.
    Admission,
    /// The namespace's quota is used up.
    Quota,
    /// A volume can't be bound or attached.
    Volume,
    /// Something else in the cluster; the message says what.
    Cluster,
}

/// A time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deadline {
    /// The step's own.
    Step,
    /// The whole workflow's.
    Workflow,
}

/// The state of a step, in Woodpecker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Not started yet.
    Pending,
    /// Runs.
    Running,
    /// Exit code 0.
    Success,
    /// Ended in any other way.
    Failure,
    /// Stopped while it ran.
    Killed,
    /// Its conditions didn't hold.
    Skipped,
    /// Never started, because the workflow was stopped.
    Canceled,
}

/// The state of a workflow, in Woodpecker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkflowState {
    /// Not started yet.
    Pending,
    /// Runs.
    Running,
    /// No step failed that counts.
    Success,
    /// A step failed that counts, or the workflow could not be run.
    Failure,
    /// Stopped on request, or by its time limit.
    Killed,
}

impl StepState {
    /// Whether nothing follows it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// Woodpecker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Killed => "killed",
            Self::Skipped => "skipped",
            Self::Canceled => "canceled",
        }
    }
}

impl WorkflowState {
    /// Whether nothing follows it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// Woodpecker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Killed => "killed",
        }
    }
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for WorkflowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Outcome {
    /// The class's name, for metrics and programs. Stable over releases.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Exited { .. } => "exited",
            Self::Signaled { .. } => "signaled",
            Self::OomKilled { .. } => "oom_killed",
            Self::Evicted { .. } => "evicted",
            Self::Preempted { .. } => "preempted",
            Self::NodeLost { .. } => "node_lost",
            Self::PodDeleted { .. } => "pod_deleted",
            Self::NeverStarted { .. } => "never_started",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::Cancelled { .. } => "cancelled",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Whether it is a success: exit code 0 of the process itself.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited { code: 0 })
    }

    /// The exit code, where one was observed.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exited { code } => Some(*code),
            Self::Signaled { signal } => Some(128 + signal),
            Self::OomKilled { code, .. } => *code,
            _ => None,
        }
    }

    /// The process ended badly, which may have a reason that this doesn't tell: somebody ended it, by a signal or by its
    /// own answer to one.
    pub fn may_have_a_reason(&self) -> bool {
        matches!(self, Self::Exited { code: 1.. } | Self::Signaled { .. })
    }

    /// The state that a step with this outcome has.
    pub fn state(&self) -> StepState {
        match self {
            Self::Exited { code: 0 } => StepState::Success,
            Self::Cancelled { .. } | Self::DeadlineExceeded { which: Deadline::Workflow } => StepState::Killed,
            _ => StepState::Failure,
        }
    }

    /// Whether the cluster ended the step, not the step itself: starting it again could end otherwise.
    pub fn is_clusters_fault(&self) -> bool {
        matches!(self, Self::Evicted { .. } | Self::Preempted { .. } | Self::NodeLost { .. } | Self::PodDeleted { .. })
    }

    /// Whether creating the pod of a step that never started again may help: the cluster, not the pod's own
    /// description, was in the way.
    pub fn may_recreate(&self) -> bool {
        let busy = matches!(self, Self::NeverStarted { reason: NeverStarted::Cluster | NeverStarted::Quota, .. });
        busy || self.is_clusters_fault()
    }
}

impl fmt::Display for Outcome {
    /// A sentence naming object, cause and remedy; empty where the exit code says it all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => match signal_of(*code) {
                Some((signal, "SIGKILL")) => write!(
                    f,
                    "Exit code {code} says that signal {signal} (SIGKILL) ended a process of the step. Look for a kill in its commands; if there is none, its node may have been short of memory."
                ),
                Some((signal, name)) => write!(
                    f,
                    "Exit code {code} says that signal {signal} ({name}) ended a process of the step. Look at the last command in its log."
                ),
                None => Ok(()),
            },
            Self::Signaled { signal } => write!(
                f,
                "The step's process was ended by signal {signal}, which piculet did not send. Look for a kill in the step's own commands or on its node."
            ),
            Self::OomKilled { limit: Some(limit), .. } => write!(
                f,
                "The step ran out of memory: its limit is {limit} bytes. Raise resources.limits.memory, or let the step use less."
            ),
            Self::OomKilled { limit: None, .. } => f.write_str(
                "The step ran out of memory, though it has no limit of its own: its node had none left. Set resources.requests.memory so that it is placed where there is enough.",
            ),
            Self::Evicted { reason } => write!(f, "The step's pod was evicted from its node: {}", sentence(reason)),
            Self::Preempted { reason } => {
                write!(f, "The step's pod had to make room for one of a higher priority: {}", sentence(reason))
            }
            Self::NodeLost { node: Some(node) } => {
                write!(f, "The node '{node}' was lost while the step ran on it; how the step ended is not known.")
            }
            Self::NodeLost { node: None } => {
                f.write_str("The step's node was lost while it ran; how the step ended is not known.")
            }
            Self::PodDeleted { by: Some(by) } => write!(f, "The step's pod was deleted by {by} before the step was over."),
            Self::PodDeleted { by: None } => {
                f.write_str("The step's pod was deleted before the step was over, and not by piculet.")
            }
            Self::NeverStarted { reason, message } => {
                let (what, remedy) = match reason {
                    NeverStarted::ImagePull => ("its image could not be pulled", "Check the image's name and the registry credentials."),
                    NeverStarted::Unschedulable => ("no node takes its pod", "Check its resource requests, node selector and tolerations."),
                    NeverStarted::Config => ("its pod's configuration is wrong", "Check the Secrets, ConfigMaps, service account and security context that it names."),
                    NeverStarted::Admission => ("the cluster refused its pod", "Ask the cluster's operator which policy that is."),
                    NeverStarted::Quota => ("the namespace's quota is used up", "Wait, or ask the cluster's operator for more."),
                    NeverStarted::Volume => ("a volume is not available", "Check the storage class and the claims that it names."),
                    NeverStarted::Cluster => ("the cluster could not start it", "Try again; if it stays so, ask the cluster's operator."),
                };
                let message = sentence(message);
                let space = if message.is_empty() { "" } else { " " };
                write!(f, "The step never started: {what}. {message}{space}{remedy}")
            }
            Self::DeadlineExceeded { which: Deadline::Step } => {
                f.write_str("The step took longer than its time limit and was stopped.")
            }
            Self::DeadlineExceeded { which: Deadline::Workflow } => {
                f.write_str("The workflow took longer than its time limit and was stopped.")
            }
            Self::Cancelled { by } => write!(f, "Stopped: {}", sentence(by)),
            Self::Unknown { message } => write!(f, "It is not known how the step ended: {}", sentence(message)),
        }
    }
}

/// The signal that a shell tells of by this exit code: 128 more than its number. Linux' numbers on most machines; only those
/// that end a process and that a program has no use for as a code of its own.
fn signal_of(code: i32) -> Option<(i32, &'static str)> {
    let name = match code - 128 {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    };
    Some((code - 128, name))
}

/// The text with exactly one full stop at its end.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}
