//! The only crate that calls CI servers.
