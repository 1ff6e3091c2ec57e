//! The one table of the Woodpecker agent's variables, in the order of the page.

use serde_json::{Value, json};

use super::{Meaning, Variable, go};

/// All variables of the Woodpecker agent, those of its Kubernetes backend included.
pub const VARIABLES: &[Variable] = &[
    Variable::sets("WOODPECKER_SERVER", "localhost:9000", "server.address", go::text)
        .note("`unix://path` is a path, as there; a socket that is not there yet is waited for."),
    Variable::sets("WOODPECKER_AGENT_SECRET", "", "server.token", go::trimmed)
        .yields_to("WOODPECKER_AGENT_SECRET_FILE"),
    Variable::sets("WOODPECKER_AGENT_SECRET_FILE", "", "server.token_file", go::text)
        .note("It goes before `WOODPECKER_AGENT_SECRET`. The file is read anew for each connection."),
    Variable::switch("WOODPECKER_GRPC_SECURE", "false", "server.tls", go::boolean)
        .note("The server's certificate is verified then."),
    Variable::switch("WOODPECKER_GRPC_SKIP_VERIFY", "true", "server.skip_verify", go::boolean).note(
        "Here the default is `false`: only an explicit `true` switches verification off, with a warning at each start.",
    ),
    Variable::nothing(
        "WOODPECKER_GRPC_VERIFY",
        "true",
        "the Woodpecker agent takes `true` for 'do not verify', and here no such word switches verification off; only \
         WOODPECKER_GRPC_SKIP_VERIFY=true does",
    ),
    Variable::sets("WOODPECKER_RETRY_TIMEOUT", "2m", "server.retry_timeout", go::pause)
        .note("Time without a connection does not count, and a workflow is never cancelled for it."),
    Variable::nothing(
        "WOODPECKER_LOG_ENTRY_STREAM_BUFFER_SIZE",
        "100",
        "log lines that the server does not have yet are bounded in bytes, by logs.memory and logs.disk",
    ),
    Variable::sets("WOODPECKER_HOSTNAME", "the host name", "agent.hostname", go::text),
    Variable::sets("WOODPECKER_AGENT_CONFIG_FILE", "/etc/woodpecker/agent.conf", "server.id_file", go::text)
        .empty_counts()
        .note("Empty: the id is kept nowhere, as there."),
    Variable::sets("WOODPECKER_AGENT_LABELS", "", "agent.labels", go::labels).was(&["WOODPECKER_FILTER_LABELS"]),
    Variable::sets("WOODPECKER_MAX_WORKFLOWS", "1", "agent.max_workflows", go::number).was(&["WOODPECKER_MAX_PROCS"]),
    Variable::switch("WOODPECKER_AGENT_SINGLE_WORKFLOW", "false", "agent.single_workflow", go::boolean),
    Variable::sets("WOODPECKER_HEALTHCHECK_ADDR", ":3000", "admin.address", go::text),
    // After the address, which it goes before.
    Variable::switch("WOODPECKER_HEALTHCHECK", "true", "admin.address", switched_off)
        .note("`false` is `off`, whatever `WOODPECKER_HEALTHCHECK_ADDR` says."),
    Variable::sets("WOODPECKER_KEEPALIVE_TIME", "", "server.keepalive_time", go::duration)
        .note("Without effect there; here it works. `0` is as good as none."),
    Variable::sets("WOODPECKER_KEEPALIVE_TIMEOUT", "20s", "server.keepalive_timeout", go::duration)
        .note("Without effect there; here it works. `0` is as good as none."),
    Variable::new("WOODPECKER_BACKEND", "auto-detect", Meaning::Checked(backend))
        .note("`kubernetes` and `auto-detect` are the same here; others are an error."),
    Variable::nothing(
        "WOODPECKER_CONNECT_RETRY_COUNT",
        "5",
        "a server that can't be reached is tried again for ever, and the log and /readyz say why it can't",
    ),
    Variable::nothing(
        "WOODPECKER_CONNECT_RETRY_DELAY",
        "2s",
        "the pauses between tries grow by themselves, from 0.2 s to 20 s",
    ),
    Variable::sets("WOODPECKER_LOG_LEVEL", "info", "log.level", go::level)
        .note("`fatal` and `panic` are `error` here, `disabled` is `off`."),
    Variable::sets("WOODPECKER_LOG_FILE", "stderr", "log.file", go::text),
    Variable::switch("WOODPECKER_DEBUG_PRETTY", "true on a terminal", "log.format", format)
        .note("`true` is `human`, `false` is `json`."),
    Variable::switch("WOODPECKER_DEBUG_NOCOLOR", "false on a terminal", "log.colour", colour)
        .note("`true` is `off`, `false` is `on`."),
    Variable::nothing(
        "WOODPECKER_USERNAME",
        "",
        "the Woodpecker agent does not read it either; the token says who the agent is",
    ),
    Variable::nothing("WOODPECKER_IN_CONTAINER", "", "it is for other backends than Kubernetes"),
    Variable::sets("WOODPECKER_BACKEND_K8S_NAMESPACE", "woodpecker", "pods.namespace", go::text),
    Variable::switch(
        "WOODPECKER_BACKEND_K8S_NAMESPACE_PER_ORGANIZATION",
        "false",
        "pods.namespace_per_organization",
        go::boolean,
    ),
    Variable::sets("WOODPECKER_BACKEND_K8S_CLUSTER_DOMAIN", "cluster.local", "pods.cluster_domain", go::text),
    Variable::sets("WOODPECKER_BACKEND_K8S_VOLUME_SIZE", "10G", "pods.volume_size", go::text)
        .note("What is no quantity is an error at the start, not at the first workflow."),
    Variable::sets("WOODPECKER_BACKEND_K8S_STORAGE_CLASS", "", "pods.storage_class", go::text),
    Variable::switch("WOODPECKER_BACKEND_K8S_STORAGE_RWX", "true", "pods.access_mode", access_mode)
        .note("`true` is `rwx`, `false` is `rwo`."),
    Variable::sets("WOODPECKER_BACKEND_K8S_POD_LABELS", "", "pods.pod_labels", go::map),
    Variable::switch(
        "WOODPECKER_BACKEND_K8S_POD_LABELS_ALLOW_FROM_STEP",
        "false",
        "pods.allow_from_step.labels",
        go::boolean,
    ),
    Variable::sets("WOODPECKER_BACKEND_K8S_POD_ANNOTATIONS", "", "pods.pod_annotations", go::map),
    Variable::switch(
        "WOODPECKER_BACKEND_K8S_POD_ANNOTATIONS_ALLOW_FROM_STEP",
        "false",
        "pods.allow_from_step.annotations",
        go::boolean,
    ),
    Variable::sets("WOODPECKER_BACKEND_K8S_POD_NODE_SELECTOR", "", "pods.node_selector", go::map),
    Variable::switch(
        "WOODPECKER_BACKEND_K8S_POD_NODE_SELECTOR_ALLOW_FROM_STEP",
        "false",
        "pods.allow_from_step.node_selector",
        go::boolean,
    ),
    Variable::sets("WOODPECKER_BACKEND_K8S_POD_TOLERATIONS", "", "pods.tolerations", go::list),
    Variable::switch(
        "WOODPECKER_BACKEND_K8S_POD_TOLERATIONS_ALLOW_FROM_STEP",
        "true",
        "pods.allow_from_step.tolerations",
        go::boolean,
    ),
    Variable::sets("WOODPECKER_BACKEND_K8S_POD_AFFINITY", "", "pods.affinity", go::object),
    Variable::switch(
        "WOODPECKER_BACKEND_K8S_POD_AFFINITY_ALLOW_FROM_STEP",
        "false",
        "pods.allow_from_step.affinity",
        go::boolean,
    ),
    Variable::switch(
        "WOODPECKER_BACKEND_K8S_RUNTIME_CLASS_ALLOW_FROM_STEP",
        "false",
        "pods.allow_from_step.runtime_class",
        go::boolean,
    ),
    Variable::switch(
        "WOODPECKER_BACKEND_K8S_SERVICE_ACCOUNT_NAME_ALLOW_FROM_STEP",
        "false",
        "pods.allow_from_step.service_account",
        go::boolean,
    ),
    Variable::switch(
        "WOODPECKER_BACKEND_K8S_ALLOW_NATIVE_SECRETS",
        "false",
        "pods.allow_from_step.native_secrets",
        go::boolean,
    ),
    Variable::switch("WOODPECKER_BACKEND_K8S_SECCTX_NONROOT", "false", "pods.security.run_as_non_root", go::boolean),
    Variable::sets("WOODPECKER_BACKEND_K8S_PULL_SECRET_NAMES", "", "pods.image_pull_secrets", go::names),
    Variable::sets("WOODPECKER_BACKEND_K8S_PRIORITY_CLASS", "", "pods.priority_class", go::text),
    Variable::sets("WOODPECKER_BACKEND_K8S_STOP_TIMEOUT", "20", "pods.stop_timeout_seconds", go::number),
    Variable::sets(
        "WOODPECKER_BACKEND_K8S_PERMISSION_INIT_IMAGE",
        "busybox:stable-musl",
        "pods.permission_init_image",
        go::text,
    ),
];

fn switched_off(text: &str) -> Result<Option<Value>, String> {
    go::parse_bool(text).map(|is_on| (!is_on).then(|| json!("off")))
}

fn format(text: &str) -> Result<Option<Value>, String> {
    go::parse_bool(text).map(|is_pretty| Some(json!(if is_pretty { "human" } else { "json" })))
}

fn colour(text: &str) -> Result<Option<Value>, String> {
    go::parse_bool(text).map(|has_none| Some(json!(if has_none { "off" } else { "on" })))
}

fn access_mode(text: &str) -> Result<Option<Value>, String> {
    go::parse_bool(text).map(|is_rwx| Some(json!(if is_rwx { "rwx" } else { "rwo" })))
}

fn backend(text: &str) -> Result<(), String> {
    match text.trim() {
        "auto-detect" | "kubernetes" => Ok(()),
        other => Err(format!(
            "piculet runs steps on Kubernetes only, not on '{other}'; write kubernetes, or keep the Woodpecker agent for \
             this machine"
        )),
    }
}
