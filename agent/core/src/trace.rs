//! Traces: where the time of a workflow went, as values.
//!
//! Every id is derived from the server's, the workflow's and the step's ids, so that another replica, or a server that was
//! started anew, continues the same trace without talking to anybody. Times come from whoever knows them best: the API
//! server, the scheduler and the kubelet for what they did, the agent's clock for the rest.

mod context;
mod derive;
mod recorder;
mod server;
mod span;
mod words;

pub use context::{Context, ContextError, SpanId, TraceId};
pub use derive::{Key, WorkflowTrace};
pub use recorder::{PodTimes, Recorder};
pub use server::ServerTrace;
pub use span::{Attribute, Kind, Part, Span, SpanEvent, Status, Value, convention};
