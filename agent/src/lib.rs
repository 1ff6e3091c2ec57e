//! A Kubernetes agent for CI servers.
