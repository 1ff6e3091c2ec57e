//! The only crate that calls Kubernetes.
