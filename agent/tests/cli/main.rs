//! The program as a person or a kubelet meets it: help, exit codes, signals, health.

#![expect(clippy::unwrap_used, reason = "a test may panic where it is set up, too")]

mod commands;
mod pages;
mod process;
mod woodpecker;
