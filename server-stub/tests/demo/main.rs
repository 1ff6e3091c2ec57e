//! The demo as a person meets it: files in, steps really run, a table and an exit code out.
//!
//! Steps are processes in namespaces of their own. Where the kernel forbids that, the tests that need it say so, loudly,
//! and check that the demo refuses with a sentence.

#![expect(clippy::unwrap_used, reason = "a test may panic where it is set up")]

mod corpus;
mod flows;
mod host;
mod inputs;
mod ran;
