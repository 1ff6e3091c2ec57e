//! The way of a step's log through the agent: mask, cut into numbered lines, keep until the server takes them.
//!
//! ```text
//! records of the container's log ──▶ LineReader (mask, then cut) ──▶ Spool (bounded) ──▶ Chunk ──▶ outbox
//! ```
//!
//! Masking and cutting are pure functions of the bytes, so that a second reader of the same log makes the same lines
//! with the same numbers, however its reads were split.

mod block;
pub mod denied;
pub mod lines;
pub mod mask;
pub mod spool;
