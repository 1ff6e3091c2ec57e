//! The only crate that calls CI servers.
//!
//! A [`Link`](link::Link) is one way to talk to a server; [`stream`] is piculet's own, [`woodpecker`] that of unmodified
//! Woodpecker servers. The [`supervisor`] runs one link
//! after the other: it owns what has to be reported until the server acknowledged it, dials again after an outage, and
//! turns what the server says into [`Directive`](supervisor::Directive)s for the agent; log lines that memory is too small
//! for it keeps in a [`log_folder`]. The messages of the wire stop here: [`wire`] turns them into values of the agent and
//! back.
//!
//! [`otlp`] is the other way out: traces, to an OpenTelemetry collector.

pub mod link;
pub mod log_folder;
pub mod message;
pub mod otlp;
pub mod stream;
pub mod supervisor;
pub mod wire;
pub mod woodpecker;
