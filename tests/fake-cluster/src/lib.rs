//! A Kubernetes API server in memory, at the wire, with kubelets that run a script or processes of this machine.

pub mod runtime;
