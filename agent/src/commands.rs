//! What `piculet` does: run the agent, check a configuration, show what a file would create.

mod check;
mod ping;
mod plan;

mod run;

pub use check::check;
pub use ping::ping;
pub use plan::plan;

pub use run::run;
