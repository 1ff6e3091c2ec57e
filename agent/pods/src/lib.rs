//! Kubernetes objects as values, and pod status as observation.
//!
//! [`plan()`] turns a workload into the objects that exist for all of its steps, and says what Kubernetes would refuse
//! before anything is created; [`step()`] gives the Secrets and the pod of one attempt at a step. Nothing here reads a
//! clock, a socket or the environment: the same values in, the same objects out.
//!
//! The objects are those that users of the Woodpecker agent know: same names, same labels, same variables. Everything is
//! owned by the workflow's [`anchor`], and carries the labels and annotations of [`label`].

pub mod anchor;
pub mod environment;
mod expansion;
mod image;
mod isolation;
pub mod label;
pub mod limits;
pub mod names;
mod object;
pub mod options;
mod plan;
mod pod;
mod quantity;
mod remedy;
pub mod said;
pub mod script;
pub mod settings;
mod status;
mod step;
mod strict;

pub use environment::{PipelineStatus, StepStart};
pub use object::Object;
pub use piculet_core::workload::Problem;
pub use plan::{Context, Plan, PlanError, plan, step};
pub use settings::Settings;
pub use status::{observe, times};
pub use step::StepObjects;
