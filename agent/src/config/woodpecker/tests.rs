use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use piculet_link::woodpecker::Proxies;
use piculet_pods::settings::{AccessMode, Profile, Security};

use crate::config::{
    Colour, Config, Host, Layers, LogFile, LogFormat, Protocol, SETTINGS, Target, pod_settings, resolve,
};

use super::{Meaning, VARIABLES};

/// Every variable that the Woodpecker agent and its Kubernetes backend read, or that its documentation names.
const NAMES: &str = "
    WOODPECKER_SERVER WOODPECKER_AGENT_SECRET WOODPECKER_AGENT_SECRET_FILE WOODPECKER_GRPC_SECURE
    WOODPECKER_GRPC_SKIP_VERIFY WOODPECKER_GRPC_VERIFY WOODPECKER_RETRY_TIMEOUT
    WOODPECKER_LOG_ENTRY_STREAM_BUFFER_SIZE WOODPECKER_HOSTNAME WOODPECKER_AGENT_CONFIG_FILE WOODPECKER_AGENT_LABELS
    WOODPECKER_FILTER_LABELS WOODPECKER_MAX_WORKFLOWS WOODPECKER_MAX_PROCS WOODPECKER_AGENT_SINGLE_WORKFLOW
    WOODPECKER_HEALTHCHECK WOODPECKER_HEALTHCHECK_ADDR WOODPECKER_KEEPALIVE_TIME WOODPECKER_KEEPALIVE_TIMEOUT
    WOODPECKER_BACKEND WOODPECKER_CONNECT_RETRY_COUNT WOODPECKER_CONNECT_RETRY_DELAY WOODPECKER_LOG_LEVEL
    WOODPECKER_LOG_FILE WOODPECKER_DEBUG_PRETTY WOODPECKER_DEBUG_NOCOLOR WOODPECKER_USERNAME WOODPECKER_IN_CONTAINER
    WOODPECKER_BACKEND_K8S_NAMESPACE WOODPECKER_BACKEND_K8S_NAMESPACE_PER_ORGANIZATION
    WOODPECKER_BACKEND_K8S_CLUSTER_DOMAIN WOODPECKER_BACKEND_K8S_VOLUME_SIZE WOODPECKER_BACKEND_K8S_STORAGE_CLASS
    WOODPECKER_BACKEND_K8S_STORAGE_RWX WOODPECKER_BACKEND_K8S_POD_LABELS
    WOODPECKER_BACKEND_K8S_POD_LABELS_ALLOW_FROM_STEP WOODPECKER_BACKEND_K8S_POD_ANNOTATIONS
    WOODPECKER_BACKEND_K8S_POD_ANNOTATIONS_ALLOW_FROM_STEP WOODPECKER_BACKEND_K8S_POD_NODE_SELECTOR
    WOODPECKER_BACKEND_K8S_POD_NODE_SELECTOR_ALLOW_FROM_STEP WOODPECKER_BACKEND_K8S_POD_TOLERATIONS
    WOODPECKER_BACKEND_K8S_POD_TOLERATIONS_ALLOW_FROM_STEP WOODPECKER_BACKEND_K8S_POD_AFFINITY
    WOODPECKER_BACKEND_K8S_POD_AFFINITY_ALLOW_FROM_STEP WOODPECKER_BACKEND_K8S_RUNTIME_CLASS_ALLOW_FROM_STEP
    WOODPECKER_BACKEND_K8S_SERVICE_ACCOUNT_NAME_ALLOW_FROM_STEP WOODPECKER_BACKEND_K8S_ALLOW_NATIVE_SECRETS
    WOODPECKER_BACKEND_K8S_SECCTX_NONROOT WOODPECKER_BACKEND_K8S_PULL_SECRET_NAMES
    WOODPECKER_BACKEND_K8S_PRIORITY_CLASS WOODPECKER_BACKEND_K8S_STOP_TIMEOUT
    WOODPECKER_BACKEND_K8S_PERMISSION_INIT_IMAGE
";

/// What any agent of Woodpecker's is given.
const SECRET: (&str, &str) = ("WOODPECKER_AGENT_SECRET", "hunter2");

fn host() -> Host {
    Host { name: "node-1".to_owned(), in_cluster: true, ..Host::default() }
}

fn layers(file: &str, variables: &[(&str, &str)]) -> Layers {
    let mut layers = Layers::default();
    layers.file("agent.yaml", file);
    layers.environment(variables.iter().copied());
    layers
}

fn good(variables: &[(&str, &str)]) -> Config {
    with_file("", variables)
}

fn with_file(file: &str, variables: &[(&str, &str)]) -> Config {
    resolve(layers(file, variables), &host()).unwrap()
}

fn errors(file: &str, variables: &[(&str, &str)]) -> String {
    let errors = resolve(layers(file, variables), &host()).unwrap_err();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn warnings(variables: &[(&str, &str)]) -> String {
    let config = good(&[&[SECRET], variables].concat());
    config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_variable_of_the_woodpecker_agent_is_known_and_no_other() {
    let written: Vec<_> = NAMES.split_whitespace().collect();
    let known: Vec<_> = super::names().collect();
    assert_eq!(BTreeSet::from_iter(written.iter()), BTreeSet::from_iter(known.iter()));
    assert_eq!(written.len(), known.len(), "each once");
}

#[test]
fn its_users_get_hardened_pods_if_they_ask_for_them() {
    let config =
        good(&[SECRET, ("PICULET_PODS_PROFILE", "hardened"), ("WOODPECKER_BACKEND_K8S_SECCTX_NONROOT", "false")]);
    assert_eq!((config.pods.profile, config.pods.namespace.as_str()), (Profile::Hardened, "woodpecker"));
    assert_eq!(config.pods.security, Security { run_as_non_root: false, ..Security::of(Profile::Hardened) });
}

#[test]
fn every_key_is_one() {
    let fields = serde_json::to_value(piculet_pods::Settings::default()).unwrap();
    for variable in VARIABLES {
        let Meaning::Sets { key, .. } = variable.meaning else { continue };
        let is_field = key
            .strip_prefix("pods.")
            .is_some_and(|field| fields.pointer(&format!("/{}", field.replace('.', "/"))).is_some());
        assert!(is_field || SETTINGS.iter().any(|setting| setting.key == key), "{}: {key}", variable.name);
    }
}

#[test]
fn without_more_than_a_secret_it_is_what_the_woodpecker_agent_does() {
    let config = good(&[SECRET]);
    assert_eq!(config.server.address, Target::Woodpecker("localhost:9000".parse().unwrap()));
    assert!(!config.server.address.is_encrypted());
    assert_eq!(config.server.retry_timeout, Some(Duration::from_secs(120)));
    assert_eq!(config.server.id_file, Some(PathBuf::from("/etc/woodpecker/agent.conf")));
    assert_eq!((config.agent.hostname.as_str(), config.agent.name.as_str()), ("node-1", "node-1"));
    assert_eq!((config.agent.max_workflows, config.agent.single_workflow), (1, false));
    assert_eq!(config.pods, piculet_pods::Settings { namespace: "woodpecker".to_owned(), ..Default::default() });
    assert_eq!(config.admin.address.as_ref().unwrap().to_string(), ":3000");
    assert_eq!(
        (config.log.format, &config.log.file, config.log.colour),
        (LogFormat::Json, &LogFile::Stderr, Colour::Auto)
    );
    assert_eq!(config.shutdown.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.warnings, []);
    let seen = resolve(layers("", &[SECRET]), &Host { is_terminal: true, ..host() }).unwrap();
    assert_eq!(seen.log.format, LogFormat::Human);
    // What the registry says of the Woodpecker agent's defaults is what holds, but for the one that it says otherwise.
    let defaults = VARIABLES.iter().filter(|variable| !variable.default.is_empty() && !variable.default.contains(' '));
    let defaults = defaults.filter(|variable| matches!(variable.meaning, Meaning::Sets { .. }));
    let said: Vec<_> = defaults.map(|variable| (variable.name, variable.default)).collect();
    let said: Vec<_> = said.into_iter().filter(|(name, _)| *name != "WOODPECKER_GRPC_SKIP_VERIFY").collect();
    assert_eq!(good(&[&[SECRET][..], &said].concat()), config);
}

/// One row: a variable, a value, and what of the configuration it is then.
fn said(name: &str, value: &str) -> String {
    let Config { server, agent, pods, admin, log, .. } = good(&[(name, value), SECRET]);
    let seconds = |time: Duration| format!("{} s", time.as_secs_f64());
    let json = |field: &str| serde_json::to_value(&pods).unwrap().pointer(field).unwrap().to_string();
    match name.strip_prefix("WOODPECKER_").unwrap() {
        "SERVER" => server.address.to_string(),
        "AGENT_SECRET" => server.token.unwrap().expose().to_owned(),
        "AGENT_SECRET_FILE" => format!("{:?} {:?}", server.token, server.token_file),
        "GRPC_SECURE" => server.address.is_encrypted().to_string(),
        "GRPC_SKIP_VERIFY" | "GRPC_VERIFY" => server.skip_verify.to_string(),
        "RETRY_TIMEOUT" => server.retry_timeout.map_or_else(|| "for ever".to_owned(), seconds),
        "HOSTNAME" => format!("{} {}", agent.hostname, agent.name),
        "AGENT_CONFIG_FILE" => format!("{:?}", server.id_file),
        "AGENT_LABELS" | "FILTER_LABELS" => format!("{:?}", agent.labels),
        "MAX_WORKFLOWS" | "MAX_PROCS" => agent.max_workflows.to_string(),
        "AGENT_SINGLE_WORKFLOW" => format!("{} {}", agent.single_workflow, agent.max_workflows),
        "HEALTHCHECK" | "HEALTHCHECK_ADDR" => {
            admin.address.map_or_else(|| "off".to_owned(), |address| address.to_string())
        }
        "KEEPALIVE_TIME" => seconds(server.keep_alive.time),
        "KEEPALIVE_TIMEOUT" => seconds(server.keep_alive.timeout),
        "LOG_LEVEL" => log.level,
        "LOG_FILE" => format!("{:?}", log.file),
        "DEBUG_PRETTY" => format!("{:?}", log.format),
        "DEBUG_NOCOLOR" => format!("{:?}", log.colour),
        "BACKEND_K8S_NAMESPACE" => pods.namespace,
        "BACKEND_K8S_NAMESPACE_PER_ORGANIZATION" => pods.namespace_per_organization.to_string(),
        "BACKEND_K8S_CLUSTER_DOMAIN" => pods.cluster_domain,
        "BACKEND_K8S_VOLUME_SIZE" => pods.volume_size,
        "BACKEND_K8S_STORAGE_CLASS" => format!("{:?}", pods.storage_class),
        "BACKEND_K8S_STORAGE_RWX" => pods.access_mode.as_str().to_owned(),
        "BACKEND_K8S_POD_LABELS" => json("/pod_labels"),
        "BACKEND_K8S_POD_LABELS_ALLOW_FROM_STEP" => json("/allow_from_step/labels"),
        "BACKEND_K8S_POD_ANNOTATIONS" => json("/pod_annotations"),
        "BACKEND_K8S_POD_ANNOTATIONS_ALLOW_FROM_STEP" => json("/allow_from_step/annotations"),
        "BACKEND_K8S_POD_NODE_SELECTOR" => json("/node_selector"),
        "BACKEND_K8S_POD_NODE_SELECTOR_ALLOW_FROM_STEP" => json("/allow_from_step/node_selector"),
        "BACKEND_K8S_POD_TOLERATIONS" => json("/tolerations"),
        "BACKEND_K8S_POD_TOLERATIONS_ALLOW_FROM_STEP" => json("/allow_from_step/tolerations"),
        "BACKEND_K8S_POD_AFFINITY" => json("/affinity"),
        "BACKEND_K8S_POD_AFFINITY_ALLOW_FROM_STEP" => json("/allow_from_step/affinity"),
        "BACKEND_K8S_RUNTIME_CLASS_ALLOW_FROM_STEP" => json("/allow_from_step/runtime_class"),
        "BACKEND_K8S_SERVICE_ACCOUNT_NAME_ALLOW_FROM_STEP" => json("/allow_from_step/service_account"),
        "BACKEND_K8S_ALLOW_NATIVE_SECRETS" => json("/allow_from_step/native_secrets"),
        "BACKEND_K8S_SECCTX_NONROOT" => json("/security/run_as_non_root"),
        "BACKEND_K8S_PULL_SECRET_NAMES" => json("/image_pull_secrets"),
        "BACKEND_K8S_PRIORITY_CLASS" => json("/priority_class"),
        "BACKEND_K8S_STOP_TIMEOUT" => json("/stop_timeout_seconds"),
        "BACKEND_K8S_PERMISSION_INIT_IMAGE" => pods.permission_init_image,
        other => panic!("nobody says what {other} is"),
    }
}

#[test]
fn every_variable_sets_what_it_says() {
    let rows = [
        ("SERVER", "woodpecker-server:9000", "woodpecker-server:9000"),
        ("SERVER", "unix:///run/ci.sock", "unix:/run/ci.sock"),
        ("SERVER", "", "localhost:9000"),
        ("AGENT_SECRET", " a-token\n", "a-token"),
        ("AGENT_SECRET_FILE", "/run/token", "None Some(\"/run/token\")"),
        ("GRPC_SECURE", "T", "true"),
        ("GRPC_SECURE", "0", "false"),
        ("GRPC_SKIP_VERIFY", "true", "true"),
        ("GRPC_SKIP_VERIFY", "false", "false"),
        ("GRPC_VERIFY", "true", "false"),
        ("GRPC_VERIFY", "false", "false"),
        ("RETRY_TIMEOUT", "1m30s", "90 s"),
        ("RETRY_TIMEOUT", "0", "for ever"),
        ("HOSTNAME", "builder", "builder builder"),
        ("AGENT_CONFIG_FILE", "/data/agent.conf", "Some(\"/data/agent.conf\")"),
        ("AGENT_CONFIG_FILE", "", "None"),
        ("AGENT_LABELS", "a=b=c, ,!gpu=yes", r#"{"!gpu": "yes", "a": "b=c"}"#),
        ("FILTER_LABELS", "a=b", r#"{"a": "b"}"#),
        ("MAX_WORKFLOWS", "7", "7"),
        ("MAX_PROCS", "8", "8"),
        ("AGENT_SINGLE_WORKFLOW", "true", "true 1"),
        ("HEALTHCHECK", "false", "off"),
        ("HEALTHCHECK", "true", ":3000"),
        ("HEALTHCHECK_ADDR", "localhost:3001", "localhost:3001"),
        ("HEALTHCHECK_ADDR", ":3001", ":3001"),
        ("KEEPALIVE_TIME", "1m", "60 s"),
        ("KEEPALIVE_TIME", "0s", "30 s"),
        ("KEEPALIVE_TIMEOUT", "2.5s", "2.5 s"),
        ("LOG_LEVEL", "debug", "debug"),
        ("LOG_LEVEL", "fatal", "error"),
        ("LOG_LEVEL", "disabled", "off"),
        ("LOG_LEVEL", "", "info"),
        ("LOG_FILE", "stdout", "Stdout"),
        ("LOG_FILE", "/var/log/agent", "Path(\"/var/log/agent\")"),
        ("DEBUG_PRETTY", "true", "Human"),
        ("DEBUG_PRETTY", "false", "Json"),
        ("DEBUG_NOCOLOR", "true", "Off"),
        ("DEBUG_NOCOLOR", "false", "On"),
        ("BACKEND_K8S_NAMESPACE", "builds", "builds"),
        ("BACKEND_K8S_NAMESPACE_PER_ORGANIZATION", "true", "true"),
        ("BACKEND_K8S_CLUSTER_DOMAIN", "corp.local", "corp.local"),
        ("BACKEND_K8S_VOLUME_SIZE", "5Gi", "5Gi"),
        ("BACKEND_K8S_STORAGE_CLASS", "fast", "Some(\"fast\")"),
        ("BACKEND_K8S_STORAGE_RWX", "false", "ReadWriteOnce"),
        ("BACKEND_K8S_STORAGE_RWX", "true", "ReadWriteMany"),
        ("BACKEND_K8S_POD_LABELS", r#"{"team":"ci"}"#, r#"{"team":"ci"}"#),
        ("BACKEND_K8S_POD_LABELS", "{team: ci, number: 7}", r#"{"number":"7","team":"ci"}"#),
        ("BACKEND_K8S_POD_LABELS_ALLOW_FROM_STEP", "true", "true"),
        ("BACKEND_K8S_POD_ANNOTATIONS", r#"{"example.org/a": "b"}"#, r#"{"example.org/a":"b"}"#),
        ("BACKEND_K8S_POD_ANNOTATIONS_ALLOW_FROM_STEP", "true", "true"),
        ("BACKEND_K8S_POD_NODE_SELECTOR", "pool: ci", r#"{"pool":"ci"}"#),
        ("BACKEND_K8S_POD_NODE_SELECTOR_ALLOW_FROM_STEP", "true", "true"),
        ("BACKEND_K8S_POD_TOLERATIONS", "[{key: ci, operator: Exists}]", r#"[{"key":"ci","operator":"Exists"}]"#),
        ("BACKEND_K8S_POD_TOLERATIONS_ALLOW_FROM_STEP", "false", "false"),
        ("BACKEND_K8S_POD_AFFINITY", "{podAntiAffinity: {}}", r#"{"podAntiAffinity":{}}"#),
        ("BACKEND_K8S_POD_AFFINITY_ALLOW_FROM_STEP", "true", "true"),
        ("BACKEND_K8S_RUNTIME_CLASS_ALLOW_FROM_STEP", "true", "true"),
        ("BACKEND_K8S_SERVICE_ACCOUNT_NAME_ALLOW_FROM_STEP", "true", "true"),
        ("BACKEND_K8S_ALLOW_NATIVE_SECRETS", "true", "true"),
        ("BACKEND_K8S_SECCTX_NONROOT", "true", "true"),
        ("BACKEND_K8S_PULL_SECRET_NAMES", "one, two", r#"["one","two"]"#),
        ("BACKEND_K8S_PRIORITY_CLASS", "low", "\"low\""),
        ("BACKEND_K8S_STOP_TIMEOUT", "7", "7"),
        ("BACKEND_K8S_PERMISSION_INIT_IMAGE", "mirror/busybox", "mirror/busybox"),
    ];
    for (name, value, expected) in rows {
        assert_eq!(said(&format!("WOODPECKER_{name}"), value), expected, "{name}={value}");
    }
    let tested: BTreeSet<_> = rows.iter().map(|(name, ..)| format!("WOODPECKER_{name}")).collect();
    for variable in VARIABLES.iter().filter(|variable| matches!(variable.meaning, Meaning::Sets { .. })) {
        assert!(tested.contains(variable.name), "{} has no row", variable.name);
    }
}

#[test]
fn later_layers_win_over_the_woodpecker_agents_variables_and_these_over_the_file() {
    let variables = [SECRET, ("WOODPECKER_SERVER", "ci:9000"), ("WOODPECKER_MAX_WORKFLOWS", "3")];
    let file = "agent: {max_workflows: 2}\npods: {namespace: file, storage_class: slow}\n";
    let config = with_file(file, &[&variables[..], &[("WOODPECKER_BACKEND_K8S_STORAGE_CLASS", "fast")]].concat());
    assert_eq!((config.agent.max_workflows, config.pods.namespace.as_str()), (3, "file"));
    assert_eq!(config.pods.storage_class.as_deref(), Some("fast"));
    let piculets = [("PICULET_AGENT_MAX_WORKFLOWS", "4"), ("PICULET_SERVER_TOKEN_FILE", "/token")];
    let mut layers = layers("", &[&variables[..], &piculets].concat());
    layers.flag("--set", "pods.namespace", "flag");
    let config = resolve(layers, &host()).unwrap();
    assert_eq!((config.agent.max_workflows, config.pods.namespace.as_str()), (4, "flag"));
    assert_eq!((config.server.token, config.server.token_file), (None, Some("/token".into())), "one token, the later");
    let config = with_file("server: {token_file: /token}", &variables);
    assert_eq!((config.server.token.unwrap().expose(), config.server.token_file), ("hunter2", None));
}

#[test]
fn the_protocol_is_that_of_the_server_that_is_named() {
    let protocol = |file: &str, variables: &[(&str, &str)]| {
        let all = [variables, &[("PICULET_SERVER_TOKEN", "token")]].concat();
        with_file(file, &all).server.address.protocol()
    };
    let https = ("PICULET_SERVER_ADDRESS", "https://ci:9000");
    assert_eq!(protocol("", &[https]), Protocol::Stream);
    assert_eq!(protocol("", &[https, SECRET]), Protocol::Woodpecker);
    assert_eq!(protocol("", &[("WOODPECKER_SERVER", "ci:9000")]), Protocol::Woodpecker);
    assert_eq!(protocol("", &[https, ("WOODPECKER_SERVER", "https://ci:9000")]), Protocol::Woodpecker);
    assert_eq!(protocol("server: {protocol: woodpecker}", &[https]), Protocol::Woodpecker);
    assert_eq!(protocol("", &[https, ("WOODPECKER_BACKEND_K8S_NAMESPACE", "ci")]), Protocol::Stream);
    assert_eq!(protocol("server: {protocol: stream}", &[https, SECRET]), Protocol::Stream);
    let plan = |variables: &[(&str, &str)]| pod_settings(layers("", variables)).unwrap().namespace;
    assert_eq!((plan(&[SECRET]).as_str(), plan(&[]).as_str()), ("woodpecker", "piculet"));
}

#[test]
fn two_servers_need_a_word_which_is_meant() {
    let theirs = ("WOODPECKER_SERVER", "me:hunter2@ci:9000");
    let file = "server: {address: 'https://ci:9443'}";
    insta::assert_snapshot!(
        [
            errors("", &[SECRET, theirs, ("PICULET_SERVER_ADDRESS", "https://ci:9443")]),
            errors(file, &[SECRET, theirs]),
        ]
        .join("\n\n")
    );
    let said = [SECRET, ("WOODPECKER_SERVER", "ci:9000"), ("PICULET_SERVER_PROTOCOL", "stream")];
    let config = with_file(file, &[&said[..], &[("PICULET_SERVER_TOKEN", "token")]].concat());
    assert_eq!(config.server.address.to_string(), "https://ci:9443");
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"));
}

#[test]
fn only_a_word_for_it_switches_verification_off() {
    let skips = |variables: &[(&str, &str)]| good(&[&[SECRET], variables].concat()).server.skip_verify;
    let secure = ("WOODPECKER_GRPC_SECURE", "true");
    for verify in ["true", "false"] {
        assert!(!skips(&[secure, ("WOODPECKER_GRPC_VERIFY", verify)]));
    }
    assert!(!skips(&[secure]));
    assert!(skips(&[secure, ("WOODPECKER_GRPC_SKIP_VERIFY", "true")]));
    let cases: [&[(&str, &str)]; 4] = [
        &[secure, ("WOODPECKER_GRPC_SKIP_VERIFY", "true")],
        &[("WOODPECKER_GRPC_SKIP_VERIFY", "true")],
        &[secure, ("WOODPECKER_GRPC_VERIFY", "true")],
        &[secure, ("WOODPECKER_GRPC_SKIP_VERIFY", "false")],
    ];
    insta::assert_snapshot!(cases.map(warnings).join("\n\n"));
}

#[test]
fn what_changes_nothing_and_what_has_another_name_is_said() {
    let variables = VARIABLES.iter().filter(|variable| matches!(variable.meaning, Meaning::Nothing { .. }));
    let set: Vec<_> = variables.map(|variable| (variable.name, "1")).collect();
    let more = [
        ("WOODPECKER_MAX_PROCS", "2"),
        ("WOODPECKER_FILTER_LABELS", "a=b"),
        ("WOODPECKER_AGENT_LABELS", "c=d"),
        ("WOODPECKER_BACKEND", "kubernetes"),
        ("WOODPECKER_MAX_WORKFLOW", "2"),
        ("WOODPECKER_BACKEND_DOCKER_NETWORK", "x"),
        ("HTTPS_PROXY", "socks5://me:hunter2@proxy"),
    ];
    insta::assert_snapshot!(warnings(&[&set[..], &more].concat()));
    let empty: Vec<_> = set.iter().map(|(name, _)| (*name, "")).collect();
    assert_eq!(warnings(&empty), "", "what is empty is not set");
}

#[test]
fn a_switch_that_is_set_to_nothing_is_off() {
    let config = good(&[
        SECRET,
        ("WOODPECKER_HEALTHCHECK", ""),
        ("WOODPECKER_DEBUG_PRETTY", ""),
        ("WOODPECKER_DEBUG_NOCOLOR", ""),
        ("WOODPECKER_BACKEND_K8S_STORAGE_RWX", ""),
        ("WOODPECKER_BACKEND_K8S_POD_TOLERATIONS_ALLOW_FROM_STEP", ""),
        ("WOODPECKER_GRPC_SKIP_VERIFY", ""),
    ]);
    assert_eq!((config.admin.address, config.server.skip_verify), (None, false));
    assert_eq!((config.log.format, config.log.colour), (LogFormat::Json, Colour::On));
    assert_eq!((config.pods.access_mode, config.pods.allow_from_step.tolerations), (AccessMode::Rwo, false));
}

#[test]
fn an_old_name_counts_if_the_new_one_has_no_value() {
    let workflows = |variables: &[(&str, &str)]| good(&[&[SECRET], variables].concat()).agent.max_workflows;
    assert_eq!(workflows(&[("WOODPECKER_MAX_PROCS", "2"), ("WOODPECKER_MAX_WORKFLOWS", "3")]), 3);
    assert_eq!(workflows(&[("WOODPECKER_MAX_PROCS", "2"), ("WOODPECKER_MAX_WORKFLOWS", "")]), 2);
    assert_eq!(workflows(&[("WOODPECKER_MAX_WORKFLOWS", "3"), ("WOODPECKER_AGENT_SINGLE_WORKFLOW", "true")]), 1);
    assert_eq!(errors("", &[SECRET, ("WOODPECKER_MAX_PROCS", "x")]).lines().count(), 1);
}

#[test]
fn a_file_with_the_secret_goes_before_the_variable_and_health_may_be_off_wherever_it_is() {
    let config = good(&[("WOODPECKER_AGENT_SECRET_FILE", "/secret"), SECRET]);
    assert_eq!((config.server.token, config.server.token_file), (None, Some("/secret".into())));
    let config = good(&[SECRET, ("WOODPECKER_HEALTHCHECK", "0"), ("WOODPECKER_HEALTHCHECK_ADDR", ":80")]);
    assert_eq!(config.admin.address, None);
}

#[test]
fn what_kubernetes_sets_for_a_service_named_woodpecker_is_left_alone() {
    let links = [
        ("WOODPECKER_SERVICE_HOST", "10.0.0.1"),
        ("WOODPECKER_SERVER_SERVICE_HOST", "10.0.0.1"),
        ("WOODPECKER_SERVER_SERVICE_PORT_GRPC", "9000"),
        ("WOODPECKER_SERVER_PORT", "tcp://10.0.0.1:9000"),
        ("WOODPECKER_SERVER_PORT_9000_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(warnings(&links), "");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let variables = [
        ("WOODPECKER_SERVER", "ci:port"),
        ("WOODPECKER_AGENT_SECRET", "hunter2 hunter2"),
        ("WOODPECKER_GRPC_SECURE", "yes"),
        ("WOODPECKER_RETRY_TIMEOUT", "2"),
        ("WOODPECKER_AGENT_LABELS", "gpu"),
        ("WOODPECKER_MAX_WORKFLOWS", "0"),
        ("WOODPECKER_HEALTHCHECK_ADDR", "3000"),
        ("WOODPECKER_BACKEND", "docker"),
        ("WOODPECKER_LOG_LEVEL", "loud"),
        ("WOODPECKER_BACKEND_K8S_VOLUME_SIZE", "big"),
        ("WOODPECKER_BACKEND_K8S_POD_LABELS", "[a]"),
        ("WOODPECKER_BACKEND_K8S_POD_TOLERATIONS", "[{kee: ci}]"),
        ("WOODPECKER_BACKEND_K8S_STOP_TIMEOUT", "20s"),
        ("PICULET_NONSENSE", "1"),
    ];
    let told = errors("nonsense: 1\n", &variables);
    assert!(!told.contains("hunter2"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn what_does_not_fit_together_is_told() {
    let wrong = [
        errors("", &[("WOODPECKER_SERVER", "ci:9000")]),
        errors("server: {protocol: drone}", &[SECRET]),
        errors(
            "server: {address: 'http://ci:9000', protocol: woodpecker}",
            &[SECRET, ("WOODPECKER_GRPC_SECURE", "true")],
        ),
        errors("server: {ca_file: /ca}", &[SECRET]),
        errors("server: {address: 'https://ci', token_file: /t, skip_verify: true, tls: false}", &[]),
    ];
    insta::assert_snapshot!(wrong.join("\n\n"));
}

#[test]
fn what_is_new_with_them_can_be_said_in_our_own_way() {
    let config = good(&[
        ("PICULET_SERVER_PROTOCOL", "woodpecker"),
        ("PICULET_SERVER_ADDRESS", "ci:9000"),
        ("PICULET_SERVER_TOKEN", "token"),
        ("PICULET_SERVER_TLS", "true"),
        ("PICULET_SERVER_SKIP_VERIFY", "true"),
        ("PICULET_SERVER_RETRY_TIMEOUT", "0"),
        ("PICULET_SERVER_KEEPALIVE_TIME", "1m"),
        ("PICULET_SERVER_KEEPALIVE_TIMEOUT", "5s"),
        ("PICULET_SERVER_ID_FILE", ""),
        ("PICULET_AGENT_HOSTNAME", "builder"),
        ("PICULET_AGENT_SINGLE_WORKFLOW", "true"),
        ("PICULET_LOG_FILE", "stdout"),
        ("PICULET_LOG_COLOUR", "off"),
        ("PICULET_PODS_NAMESPACE_PER_ORGANIZATION", "true"),
        ("https_proxy", "http://proxy:3128"),
        ("NO_PROXY", "example.org"),
    ]);
    let server = &config.server;
    assert_eq!((server.address.protocol(), server.address.is_encrypted()), (Protocol::Woodpecker, true));
    assert!(server.skip_verify && server.retry_timeout.is_none() && server.id_file.is_none());
    assert_eq!(server.keep_alive.time, Duration::from_secs(60));
    assert_eq!(server.keep_alive.timeout, Duration::from_secs(5));
    assert_eq!(server.proxies, Proxies::new("http://proxy:3128", "example.org").unwrap());
    assert_eq!((config.agent.hostname.as_str(), config.agent.single_workflow), ("builder", true));
    assert_eq!((&config.log.file, config.log.colour), (&LogFile::Stdout, Colour::Off));
    assert!(config.pods.namespace_per_organization);
    let file = "log: {colour: off, file: /log}\nserver: {retry_timeout: 0, keepalive_time: 90}\n";
    let config = with_file(file, &[SECRET]);
    assert_eq!((config.log.colour, config.server.retry_timeout), (Colour::Off, None));
    assert_eq!(config.server.keep_alive.time, Duration::from_secs(90));
}

/// The table in `docs/woodpecker.md` is made from the registry. To make it anew:
/// `PICULET_BLESS=1 cargo test -p piculet woodpecker_page`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a switch of this test, not of the program")]
fn the_table_of_the_woodpecker_page_is_made_from_the_registry() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/woodpecker.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- variables -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of variables -->").unwrap();
    let made = format!("{before}<!-- variables -->\n{}<!-- end of variables -->{after}", super::page::rows());
    if std::env::var("PICULET_BLESS").is_ok() {
        std::fs::write(path, &made).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), made);
}
