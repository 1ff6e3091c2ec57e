//! What `piculet` does: run the agent, check a configuration, show what a file would create.

mod check;
mod plan;

mod run;

pub use check::check;
pub use plan::plan;

pub use run::run;
