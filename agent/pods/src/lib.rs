//! Kubernetes objects as values, and pod status as observation.
