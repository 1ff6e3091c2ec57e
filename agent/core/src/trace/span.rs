//! A span, as a value.

use std::borrow::Cow;

use jiff::Timestamp;

use super::context::{SpanId, TraceId};

/// A stretch of time that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Which part of a workflow it is.
    pub part: Part,
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// What it lies under; `None`: it is the trace's first.
    pub parent: Option<SpanId>,
    /// The parent is somebody else's.
    pub is_parent_remote: bool,
    /// The trace's `tracestate`; may be empty.
    pub state: String,
    /// For people. The same for all runs of the same pipeline.
    pub name: String,
    /// Its place between processes.
    pub kind: Kind,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; never before it began.
    pub end: Timestamp,
    /// What it was about. No secret, no command, no variable's value.
    pub attributes: Vec<Attribute>,
    /// Moments in it.
    pub events: Vec<SpanEvent>,
    /// How it ended.
    pub status: Status,
}

/// The parts of a workflow that time goes into. Metrics have them as a label, ids are derived from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The workflow in the server's hands: from its submission to its end.
    Workflow,
    /// Until it was offered to an agent.
    Queue,
    /// Until that agent had accepted or refused it.
    Offer,
    /// The workflow in an agent's hands: from its acceptance until it was reported as finished.
    Agent,
    /// Until the server acknowledged the acceptance.
    Accept,
    /// The anchor, and the workflow's own objects.
    Prepare,
    /// A step, all attempts together.
    Step,
    /// An attempt at a step.
    Attempt,
    /// The requests that make the attempt's objects.
    Create,
    /// Until the pod had a node.
    Schedule,
    /// Volumes, network and sandbox of the pod.
    Sandbox,
    /// Init containers.
    Init,
    /// Image and start of the container.
    Pull,
    /// From the node to the container's start, where the cluster doesn't tell sandbox and image apart.
    Start,
    /// The container.
    Run,
    /// From the container's end to that of its log.
    Drain,
    /// The removal of the workflow's objects.
    Teardown,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 17] = [
        Self::Workflow,
        Self::Queue,
        Self::Offer,
        Self::Agent,
        Self::Accept,
        Self::Prepare,
        Self::Step,
        Self::Attempt,
        Self::Create,
        Self::Schedule,
        Self::Sandbox,
        Self::Init,
        Self::Pull,
        Self::Start,
        Self::Run,
        Self::Drain,
        Self::Teardown,
    ];

    /// The part's name. Ids are made from it: it never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Queue => "queue",
            Self::Offer => "offer",
            Self::Agent => "agent",
            Self::Accept => "accept",
            Self::Prepare => "prepare",
            Self::Step => "step",
            Self::Attempt => "attempt",
            Self::Create => "create",
            Self::Schedule => "schedule",
            Self::Sandbox => "sandbox",
            Self::Init => "init",
            Self::Pull => "pull",
            Self::Start => "start",
            Self::Run => "run",
            Self::Drain => "drain",
            Self::Teardown => "teardown",
        }
    }
}

/// A span's place between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work for somebody else, who may have a span of their own.
    Server,
    /// Everything else.
    Internal,
}

/// Something known of a span.
pub type Attribute = (&'static str, Value);

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Texts.
    Texts(Vec<String>),
}

/// A moment in a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanEvent {
    /// What happened.
    pub name: &'static str,
    /// When.
    pub time: Timestamp,
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing to say.
    Unset,
    /// Badly: one word of a closed set. Sentences hold words of the cluster's, and these may hold anything.
    Error(Cow<'static, str>),
}

/// Names of attributes and their values, as OpenTelemetry publishes them, and our own (`piculet.*`).
pub mod convention {
    /// The class of a failure: one of [`Outcome::class`](crate::outcome::Outcome::class), or [`OTHER`].
    pub const ERROR_TYPE: &str = "error.type";
    /// A failure without a class.
    pub const OTHER: &str = "_OTHER";
    /// The workflow's name.
    pub const PIPELINE_NAME: &str = "cicd.pipeline.name";
    /// The workflow's id.
    pub const PIPELINE_RUN_ID: &str = "cicd.pipeline.run.id";
    /// What is done with it; always `RUN`.
    pub const PIPELINE_ACTION: &str = "cicd.pipeline.action.name";
    /// How the workflow ended.
    pub const PIPELINE_RESULT: &str = "cicd.pipeline.result";
    /// The step's name.
    pub const TASK_NAME: &str = "cicd.pipeline.task.name";
    /// The step's id.
    pub const TASK_RUN_ID: &str = "cicd.pipeline.task.run.id";
    /// How the step ended.
    pub const TASK_RESULT: &str = "cicd.pipeline.task.run.result";
    /// The image, without its tag.
    pub const IMAGE_NAME: &str = "container.image.name";
    /// The image's tag, as a list of one.
    pub const IMAGE_TAGS: &str = "container.image.tags";
    /// The namespace of the pod.
    pub const NAMESPACE: &str = "k8s.namespace.name";
    /// The pod.
    pub const POD_NAME: &str = "k8s.pod.name";
    /// Its UID.
    pub const POD_UID: &str = "k8s.pod.uid";
    /// The container of the step in it.
    pub const CONTAINER_NAME: &str = "k8s.container.name";
    /// The node that it was on.
    pub const NODE_NAME: &str = "k8s.node.name";
    /// The exit code of the step's process.
    pub const EXIT_CODE: &str = "process.exit.code";
    /// The workflow's epoch.
    pub const EPOCH: &str = "piculet.epoch";
    /// Which attempt at the step; the first is 1.
    pub const ATTEMPT: &str = "piculet.attempt";
    /// Who runs the workflow: the agent's instance.
    pub const WORKER_ID: &str = "cicd.worker.id";
    /// The agent's name.
    pub const WORKER_NAME: &str = "cicd.worker.name";
    /// The UID of the cluster's `kube-system` namespace.
    pub const CLUSTER_UID: &str = "k8s.cluster.uid";
    /// The operator's name for the cluster.
    pub const CLUSTER_NAME: &str = "k8s.cluster.name";
}
