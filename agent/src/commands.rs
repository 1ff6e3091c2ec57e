//! What `piculet` does: run the agent, check a configuration, show what a file would create, remove what is left.

mod check;
mod ping;
mod plan;
mod reap;
mod run;

pub use check::check;
pub use ping::ping;
pub use plan::plan;
pub use reap::{Wish, reap};
pub use run::run;
