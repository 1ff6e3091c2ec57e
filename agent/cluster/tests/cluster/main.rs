//! The cluster crate against an API server in memory: what it does when everything goes well, and when it doesn't.

#![expect(clippy::unwrap_used, reason = "a test that can go no further fails")]

mod apply;
mod binding;
mod cut;
mod identity;
mod preflight;
mod reap;
mod scripted;
mod setup;
mod tail;
mod teardown;
mod watch;
