//! The program as a person or a kubelet meets it: help, exit codes, signals, health.

mod commands;
mod process;
