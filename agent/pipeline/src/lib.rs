//! Pipeline files to workloads.
