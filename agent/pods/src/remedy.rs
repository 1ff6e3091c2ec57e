//! What can be done about a step that can't work as the user that it runs as.

use k8s_openapi::api::core::v1::PodSpec;

/// What a step's log has to say if something was denied to the step, and if it runs as another user than its image's.
pub(crate) fn if_denied(pod: &PodSpec) -> Option<String> {
    let user = user(pod)?;
    Some(format!(
        "This step ran as user {user}, without the right to become another. If it needs its image's own user, the agent's \
         operator can name the image in pods.root_images; files that it only writes can go below $HOME or the workspace."
    ))
}

/// The kubelet's or the container runtime's words for why a container can't start, with what can be done, if the user is why.
pub(crate) fn cannot_start(pod: Option<&PodSpec>, message: String) -> String {
    let user = pod.and_then(user);
    match user {
        _ if is_root_refused(&message) => format!(
            "{message}; give the step a number other than 0 as its user (the operator in pods.security.run_as_user, its author as \
             securityContext.runAsUser), or let the operator name the image in pods.root_images"
        ),
        Some(user) if message.contains("permission denied") => format!(
            "{message}; it was to run as user {user}: make the program executable for everybody, or let the agent's operator \
             name the image in pods.root_images"
        ),
        _ => message,
    }
}

/// Whether the kubelet refuses to start a container because it would, or could, be root. It says so again for ever.
pub(crate) fn is_root_refused(message: &str) -> bool {
    message.contains("runAsNonRoot") || message.contains("breaks non-root policy")
}

/// The user that the pod was given, if it isn't root.
fn user(pod: &PodSpec) -> Option<i64> {
    pod.security_context.as_ref()?.run_as_user.filter(|user| *user != 0)
}
