use std::time::Duration;

use piculet_pods::settings::{Profile, Security};

use super::{Config, Host, Layers, LogFormat, SETTINGS, resolve, unreadable};

const MINIMAL: &str = "server: {address: 'https://ci:9443', token_file: /token}\n";

fn host() -> Host {
    Host {
        name: "node-1".to_owned(),
        is_terminal: false,
        in_cluster: true,
        kubeconfig: Some("/home/u/.kube/config".into()),
    }
}

fn layers(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Layers {
    let mut layers = Layers::default();
    layers.file("agent.yaml", file);
    layers.environment(environment.iter().copied());
    for (key, value) in flags {
        layers.flag("--set", key, value);
    }
    layers
}

fn good(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Config {
    resolve(layers(file, environment, flags), &host()).unwrap()
}

fn errors(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<String> {
    let errors = resolve(layers(file, environment, flags), &host()).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_minimal_file_has_the_documented_defaults() {
    let config = good(MINIMAL, &[], &[]);
    assert_eq!(config.agent.name, "node-1");
    assert_eq!(config.agent.max_workflows, 4);
    assert_eq!(config.kubernetes.kubeconfig, None, "inside a cluster the service account goes first");
    assert_eq!(config.log.format, LogFormat::Human);
}

#[test]
fn later_layers_win() {
    let file = format!("{MINIMAL}agent: {{max_workflows: 2, name: file}}\nlimits: {{pull: 3m}}\n");
    let environment = [("PICULET_AGENT_MAX_WORKFLOWS", "3"), ("PICULET_AGENT_NAME", "007"), ("HOME", "/root")];
    let config = good(&file, &environment, &[("agent.max_workflows", "5")]);
    assert_eq!(config.agent.max_workflows, 5);
    assert_eq!(config.limits.pull, Duration::from_secs(180));
    assert_eq!(config.agent.name, "007", "a name of digits is a name");
}

#[test]
fn what_pods_look_like_can_stand_in_every_layer() {
    let file = format!("{MINIMAL}pods: {{namespace: ci, storage_class: slow}}\n");
    let environment = [("PICULET_PODS_STORAGE_CLASS", "fast"), ("PICULET_PODS_NODE_SELECTOR", "{pool: ci}")];
    let config = good(&file, &environment, &[("pods.stop_timeout_seconds", "7")]);
    assert_eq!(config.pods.namespace, "ci");
    assert_eq!(config.pods.storage_class.as_deref(), Some("fast"));
    assert_eq!(config.pods.node_selector["pool"], "ci");
    assert_eq!(config.limits.grace, Duration::from_secs(7), "the machine's grace is that of the pods");
}

#[test]
fn a_part_of_a_block_of_pods_can_stand_in_every_layer() {
    let file = format!("{MINIMAL}pods: {{security: {{run_as_user: 1, fs_group: 7}}, volume_size: 5}}\n");
    let environment = [("PICULET_PODS_SECURITY_RUN_AS_USER", "1000"), ("PICULET_PODS_ALLOW_FROM_STEP_LABELS", "true")];
    let flags = [
        ("pods.security.run_as_non_root", "true"),
        ("pods.default_resources.requests.cpu", "100m"),
        ("pods.node_selector.kubernetes.io/arch", "arm64"),
        ("pods.pod_labels.sidecar.istio.io/inject", "false"),
    ];
    let pods = good(&file, &environment, &flags).pods;
    assert_eq!((pods.security.run_as_user, pods.security.fs_group), (Some(1000), Some(7)));
    assert!(pods.security.run_as_non_root && pods.allow_from_step.labels);
    assert_eq!(pods.default_resources.requests["cpu"], "100m");
    assert_eq!(pods.node_selector["kubernetes.io/arch"], "arm64");
    assert_eq!(pods.pod_labels["sidecar.istio.io/inject"], "false");
    assert_eq!(pods.volume_size, "5", "a quantity may look like a number");
    assert_eq!(errors(&format!("{MINIMAL}pods: {{namespace: }}"), &[], &[]).len(), 1, "nothing is not the word null");
    let wrong = errors(MINIMAL, &[("PICULET_PODS_SECURITY_FS_GROUP", "many")], &[("pods.security.fs_grop", "1")]);
    insta::assert_snapshot!(wrong.join("\n"));
}

#[test]
fn pods_are_hardened_unless_the_profile_or_a_single_field_says_otherwise() {
    let config = good(MINIMAL, &[], &[]);
    assert_eq!(config.pods.profile, Profile::Hardened, "with piculet's own server");
    assert_eq!(config.pods.security, Security::of(Profile::Hardened));
    let config = good(&format!("{MINIMAL}pods: {{profile: compat, security: {{run_as_non_root: true}}}}\n"), &[], &[]);
    assert_eq!(config.pods.security, Security { run_as_non_root: true, ..Security::default() });
    assert!(config.pods.allow_from_step.privileged);
    // A later layer chooses the profile, an earlier one a field of it.
    let file = format!("{MINIMAL}pods: {{profile: compat, security: {{fs_group: null}}}}\n");
    let config = good(&file, &[("PICULET_PODS_PROFILE", "hardened")], &[("pods.security.run_as_user", "7")]);
    let expected = Security { fs_group: None, run_as_user: Some(7), ..Security::of(Profile::Hardened) };
    assert_eq!(config.pods.security, expected);
    assert!(!config.pods.allow_from_step.privileged);
    let errors = errors(&format!("{MINIMAL}pods: {{profile: strict}}\n"), &[], &[]);
    assert!(errors[0].starts_with("pods.profile (in agent.yaml): unknown variant `strict`"), "{errors:?}");
}

#[test]
fn what_is_almost_right_is_told_what_it_lacks() {
    let file = format!("{MINIMAL}agent: 5\nlimits: {{lost: 0s}}\nadmin: {{address: here}}\n");
    let wrong = errors(&file, &[("PICULET_ADMIN_PORT", "8080")], &[("agent.labels", "a=b,a=c")]);
    insta::assert_snapshot!(wrong.join("\n"));
    insta::assert_snapshot!(errors("log: {level: info}\nlog: {level: warn}\n", &[], &[]).join("\n"));
    insta::assert_snapshot!(
        errors("server: {address: 'http://ci:9443'}", &[("PICULET_SERVER_TOKEN", "a b")], &[]).join("\n")
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let file =
        "server: {adress: x, token: abc}\nagent: {max_workflows: 0}\nlimits: {pull: soon}\npods: {volume_siz: 1G}\n";
    let environment = [("PICULET_LOGS_MEMORY", "lots"), ("PICULET_NONSENSE", "1")];
    let errors = errors(file, &environment, &[("agent.nam", "x")]);
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn a_broken_file_is_shown_with_its_place() {
    insta::assert_snapshot!(errors("server: {address: 'https://ci'\nagent: [", &[], &[]).join("\n"));
}

#[test]
fn what_kubernetes_sets_for_a_service_named_piculet_is_left_alone() {
    let links = [
        ("PICULET_SERVICE_HOST", "10.0.0.1"),
        ("PICULET_SERVICE_PORT", "3000"),
        ("PICULET_SERVICE_PORT_ADMIN", "3000"),
        ("PICULET_PORT", "tcp://10.0.0.1:3000"),
        ("PICULET_PORT_3000_TCP_ADDR", "10.0.0.1"),
        ("PICULET_SERVER_SERVICE_HOST", "10.0.0.2"),
        ("PICULET_SERVER_PORT_9443_TCP", "tcp://10.0.0.2:9443"),
    ];
    good(MINIMAL, &links, &[]);
}

#[test]
fn a_token_may_come_from_the_environment_and_is_not_shown() {
    let config = good("server: {address: 'http://ci:9443'}", &[("PICULET_SERVER_TOKEN", "{hunter2}")], &[]);
    assert_eq!(config.server.token.as_ref().unwrap().expose(), "{hunter2}", "a secret is taken to the letter");
    assert!(!format!("{config:?}").contains("hunter2"));
    let twice = errors(MINIMAL, &[("PICULET_SERVER_TOKEN", "hunter2")], &[]);
    assert_eq!(twice.len(), 1, "{twice:?}");
}

#[test]
fn a_directory_for_logs_has_to_be_usable() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let wrong = |directory: &str, disk: &str| {
        let config = good(MINIMAL, &[], &[("logs.directory", directory), ("logs.disk", disk)]);
        let errors = unreadable(&config).into_iter().filter(|error| error.key == "logs.directory");
        errors.map(|error| error.to_string()).collect::<Vec<_>>().join("; ")
    };
    let path = |name: &str| directory.path().join(name).display().to_string();
    assert_eq!(wrong(&path("new/one"), "1Gi"), "");
    assert_eq!(std::fs::read_dir(path("new/one")).unwrap().count(), 0, "nothing is left of the attempt");
    assert_eq!(wrong("logs", "0"), "", "without disk no directory");
    assert!(wrong("logs", "1Mi").contains("'logs' is not absolute"), "{}", wrong("logs", "1Mi"));
    assert!(wrong(&path("file/logs"), "1Mi").contains("file/logs' can't be used"), "{}", wrong(&path("file"), "1Mi"));
}

#[test]
fn outside_a_cluster_the_users_kubeconfig_is_used() {
    let outside = Host { in_cluster: false, ..host() };
    let config = resolve(layers(MINIMAL, &[], &[]), &outside).unwrap();
    assert_eq!(config.kubernetes.kubeconfig, outside.kubeconfig);
}

#[test]
fn the_registry_says_the_defaults_that_are_used() {
    // A default that is written as a value must be that value.
    let mut written = Layers::default();
    for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty() && !setting.default.contains(' ')) {
        written.flag("--set", setting.key, setting.default);
    }
    written.file("agent.yaml", MINIMAL);
    assert_eq!(resolve(written, &host()).unwrap(), good(MINIMAL, &[], &[]));
}

/// `docs/settings.md` is made from the registry. To make it anew: `PICULET_BLESS=1 cargo test -p piculet settings_page`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a switch of this test, not of the program")]
fn the_settings_page_is_made_from_the_registry() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
    let page = super::page::settings_page();
    if std::env::var("PICULET_BLESS").is_ok() {
        std::fs::write(path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), page);
}

#[test]
fn traces_are_configured_by_the_standard_variables() {
    assert_eq!(good(MINIMAL, &[], &[]).traces, None);
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
    ];
    let config = good(MINIMAL, &environment, &[]);
    assert_eq!(config.traces.as_ref().unwrap().endpoint.to_string(), "https://collector:4317");
    assert!(!format!("{config:?}").contains("hunter2"));
    let unreadable: Vec<_> = unreadable(&config).iter().map(ToString::to_string).collect();
    assert!(unreadable.iter().any(|error| error.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE: ")), "{unreadable:?}");
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"), ("OTEL_TRACES_SAMPLER", "often")];
    let wrong = errors(MINIMAL, &environment, &[]).join("\n");
    assert!(wrong.contains("from OTEL_EXPORTER_OTLP_ENDPOINT: the collector's address has no scheme"), "{wrong}");
    assert!(wrong.contains("from OTEL_TRACES_SAMPLER: there is no such sampler"), "{wrong}");
    let environment = [environment[0], ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
    let config = good(MINIMAL, &environment, &[]);
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(config.traces, None);
    assert!(warnings[0].contains("OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf' is not spoken here"), "{warnings:?}");
}

#[test]
fn the_page_of_traces_names_no_variable_that_is_not_read() {
    let page = include_str!("../../docs/traces.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `OTEL_")).filter_map(|row| row.split_once('`'));
    let names: Vec<_> = rows.map(|(name, _)| format!("OTEL_{name}")).collect();
    assert!(names.len() > 10, "{names:?}");
    let read = |given: &[(&str, &str)]| {
        let base = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("OTEL_TRACES_SAMPLER", "traceidratio")];
        piculet_link::otlp::Settings::read(base.iter().chain(given).copied())
    };
    for name in names {
        // A word that is right for no two of them, and the default of none.
        assert_ne!(read(&[(&name, "true")]), read(&[]), "{name} is not read");
    }
}
