//! The objects as users and the API server see them.

mod fits;
mod golden;
mod hardened;
mod isolation;
mod legal;
mod peer;
mod placement;
mod world;
