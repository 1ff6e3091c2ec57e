//! The controllers: what a cluster does by itself after an object was written.

pub(crate) mod claims;
pub(crate) mod garbage;
pub(crate) mod namespaces;
pub(crate) mod nodes;
