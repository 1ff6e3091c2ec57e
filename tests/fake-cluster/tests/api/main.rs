//! The fake cluster through the real client, as the agent uses it.

mod pods;
mod store;
