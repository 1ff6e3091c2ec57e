//! What it means that the API server refuses an object.

use piculet_core::outcome::NeverStarted;

use crate::attempts::CallError;

/// The class of a refused creation. The API server has codes for its plugins' verdicts, but not for their reasons, so
/// the message decides; its wording is that of the plugins in `k8s.io/apiserver` and `k8s.io/kubernetes`.
pub(crate) fn class(error: &CallError) -> NeverStarted {
    let CallError::Refused { code, reason, message, .. } = error else { return NeverStarted::Cluster };
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["exceeded quota", "failed quota", "insufficient quota"]) {
        return NeverStarted::Quota;
    }
    if says(&[
        "admission webhook",
        "ValidatingAdmissionPolicy",
        "violates PodSecurity",
        "denied the request",
        "denied request",
    ]) {
        return NeverStarted::Admission;
    }
    match code {
        // Role-based access control: the agent, not the pod, lacks something.
        403 if says(&["cannot create resource", "cannot get resource"]) => NeverStarted::Cluster,
        403 if says(&["because it is being terminated"]) => NeverStarted::Cluster,
        // What a pod names: a service account, a priority class, a runtime class.
        403 if says(&["not found", "no PriorityClass"]) => NeverStarted::Config,
        403 => NeverStarted::Admission,
        400 | 413 | 422 => NeverStarted::Config,
        _ if reason == "Invalid" => NeverStarted::Config,
        _ => NeverStarted::Cluster,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use piculet_core::outcome::NeverStarted::{self, Admission, Cluster, Config, Quota};

    use super::class;
    use crate::attempts::CallError;

    fn refused(code: u16, message: &str) -> NeverStarted {
        class(&CallError::Refused {
            what: "create Pod 'p'".to_owned(),
            code,
            reason: String::new(),
            message: message.to_owned(),
        })
    }

    #[test]
    fn a_refusal_has_the_class_of_its_reason() {
        for (expected, code, message) in [
            (
                Quota,
                403,
                r#"pods "p" is forbidden: exceeded quota: compute, requested: cpu=2, used: cpu=9, limited: cpu=10"#,
            ),
            (Quota, 403, r#"pods "p" is forbidden: failed quota: compute: must specify limits.cpu for: step"#),
            (
                Admission,
                403,
                r#"pods "p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true"#,
            ),
            (Admission, 400, r#"admission webhook "validate.kyverno.svc-fail" denied the request: no latest tags"#),
            (
                Admission,
                422,
                "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'images' with binding 'ci' denied request: no",
            ),
            (Admission, 403, r#"pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 2"#),
            (
                Config,
                403,
                r#"pods "p" is forbidden: error looking up service account ci/deploy: serviceaccount "deploy" not found"#,
            ),
            (Config, 403, r#"pods "p" is forbidden: no PriorityClass with name high was found"#),
            (Config, 403, r#"pods "p" is forbidden: pod rejected: RuntimeClass "gvisor" not found"#),
            (Config, 422, r#"Pod "p" is invalid: spec.containers[0].image: Required value"#),
            (Config, 413, "Request entity too large: limit is 3145728"),
            (
                Cluster,
                403,
                r#"pods is forbidden: User "system:serviceaccount:ci:agent" cannot create resource "pods" in API group "" in the namespace "ci""#,
            ),
            (
                Cluster,
                403,
                r#"pods "p" is forbidden: unable to create new content in namespace ci because it is being terminated"#,
            ),
            (Cluster, 404, r#"namespaces "ci" not found"#),
        ] {
            assert_eq!(refused(code, message), expected, "{message}");
        }
    }

    #[test]
    fn no_answer_is_nobodys_fault() {
        let error = CallError::Unreachable { what: String::new(), tried: Duration::ZERO, message: String::new() };
        assert_eq!(class(&error), Cluster);
    }
}
