//! The profile `hardened`: what the Pod Security level `restricted` asks of a pod, whatever a step asks for.

use k8s_openapi::api::core::v1::{PodSpec, SecurityContext};
use piculet_core::id::{Attempt, StepIndex};
use piculet_core::secret::Secret;
use piculet_core::workload::{StepKind, StepSpec};
use piculet_pods::settings::{Profile, Settings};
use piculet_pods::{plan, step};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{context, first, minimal, options, start, workload};

fn hardened() -> Settings {
    Settings::default().under(Profile::Hardened)
}

fn spec(step: StepSpec, settings: &Settings) -> PodSpec {
    first(&workload(vec![step]), settings).pod.spec.expect("a spec")
}

/// What the level asks for; empty if the pod has it all.
fn against_restricted(pod: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    let security = pod.security_context.clone().unwrap_or_default();
    let kind = security.seccomp_profile.map(|profile| profile.type_).unwrap_or_default();
    must(security.run_as_non_root == Some(true), "runAsNonRoot");
    must(security.run_as_user != Some(0), "runAsUser");
    must(matches!(kind.as_str(), "RuntimeDefault" | "Localhost"), "seccompProfile");
    must(security.app_armor_profile.is_none_or(|profile| profile.type_ != "Unconfined"), "appArmorProfile");
    must(!pod.host_network.unwrap_or_default() && !pod.host_pid.unwrap_or_default(), "host namespaces");
    for volume in pod.volumes.iter().flatten() {
        let is_known =
            volume.empty_dir.is_some() || volume.persistent_volume_claim.is_some() || volume.secret.is_some();
        must(is_known, "volumes");
    }
    for container in pod.containers.iter().chain(pod.init_containers.iter().flatten()) {
        let security = container.security_context.clone().unwrap_or_default();
        let SecurityContext { capabilities, allow_privilege_escalation, privileged, run_as_user, .. } = security;
        let dropped = capabilities.clone().and_then(|capabilities| capabilities.drop).unwrap_or_default();
        must(dropped.iter().any(|name| name == "ALL"), "capabilities.drop");
        must(capabilities.is_none_or(|capabilities| capabilities.add.is_none()), "capabilities.add");
        must(allow_privilege_escalation == Some(false), "allowPrivilegeEscalation");
        must(!privileged.unwrap_or_default() && run_as_user != Some(0), "privileged");
    }
    found
}

fn asked() -> impl Strategy<Value = Value> {
    let maybe = |values: Vec<Value>| proptest::option::of(proptest::sample::select(values));
    let profiles = || vec![json!({"type": "Unconfined"}), json!({"type": "RuntimeDefault"})];
    let flags = || vec![json!(true), json!(false)];
    let ids = || vec![json!(0), json!(5)];
    (
        (maybe(flags()), maybe(flags()), maybe(ids()), maybe(ids()), maybe(ids())),
        (maybe(profiles()), maybe(profiles()), maybe(flags()), maybe(vec![json!({"drop": ["CHOWN"]})]), maybe(flags())),
    )
        .prop_map(
            |((privileged, non_root, user, group, fs), (seccomp, apparmor, gain, capabilities, host_users))| {
                let fields = [
                    ("privileged", privileged),
                    ("runAsNonRoot", non_root),
                    ("runAsUser", user),
                    ("runAsGroup", group),
                    ("fsGroup", fs),
                    ("seccompProfile", seccomp),
                    ("apparmorProfile", apparmor),
                    ("allowPrivilegeEscalation", gain),
                    ("capabilities", capabilities),
                ];
                let security: Value =
                    fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
                let mut options = json!({"securityContext": security});
                if let Some(host_users) = host_users {
                    options["hostUsers"] = host_users;
                }
                options
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_step_asks_for_its_pod_is_restricted(
        asked in asked(),
        has_commands in any::<bool>(),
        kind in prop_oneof![Just(StepKind::Commands), Just(StepKind::Service), Just(StepKind::Plugin)],
        has_workspace in any::<bool>(),
    ) {
        let step = StepSpec {
            kind,
            commands: if has_commands && kind != StepKind::Plugin { vec!["true".to_owned()] } else { Vec::new() },
            workspace_base: if has_workspace { "/woodpecker".to_owned() } else { String::new() },
            working_dir: "/woodpecker/src".to_owned(),
            kubernetes: options(&asked),
            ..minimal()
        };
        let found = against_restricted(&spec(step, &hardened()));
        prop_assert!(found.is_empty(), "{asked}: {found:?}");
    }
}

#[test]
fn a_step_can_write_its_home_and_the_folder_where_it_works() {
    let mounts = |pod: &PodSpec| -> Vec<(String, bool)> {
        let volumes: Vec<_> = pod.volumes.iter().flatten().collect();
        let of = |name: &str| volumes.iter().any(|volume| volume.name == name && volume.empty_dir.is_some());
        let mounts = pod.containers[0].volume_mounts.iter().flatten();
        mounts.map(|mount| (mount.mount_path.clone(), of(&mount.name))).collect()
    };
    let home = |pod: &PodSpec| {
        let env = pod.containers[0].env.iter().flatten().find(|env| env.name == "HOME");
        env.map(|env| env.value.clone().unwrap_or_else(|| "a secret".to_owned()))
    };
    let commands = StepSpec {
        commands: vec!["true".to_owned()],
        workspace_base: "/woodpecker".to_owned(),
        working_dir: "/woodpecker/src".to_owned(),
        ..minimal()
    };
    let pod = spec(commands.clone(), &hardened());
    assert_eq!(mounts(&pod), [("/woodpecker".to_owned(), false), ("/home/ci".to_owned(), true)]);
    assert_eq!(home(&pod).as_deref(), Some("/home/ci"));
    assert!(pod.init_containers.is_none(), "the script makes the folder itself");

    let alone = StepSpec {
        kind: StepKind::Service,
        detached: true,
        kubernetes: options(&json!({"workspaceVolume": false})),
        ..commands.clone()
    };
    let pod = spec(alone, &hardened());
    assert_eq!(mounts(&pod), [("/home/ci".to_owned(), true), ("/woodpecker".to_owned(), true)]);

    let own = StepSpec { environment: [("HOME".to_owned(), "/woodpecker/me".to_owned())].into(), ..commands.clone() };
    let pod = spec(own, &hardened());
    assert_eq!(mounts(&pod), [("/woodpecker".to_owned(), false)]);
    assert_eq!(home(&pod).as_deref(), Some("/woodpecker/me"));
    let secret = StepSpec {
        secret_environment: [("HOME".to_owned(), Secret::new("/woodpecker/me"))].into(),
        ..commands.clone()
    };
    assert_eq!(home(&spec(secret, &hardened())).as_deref(), Some("a secret"));

    // The kubelet would make a plugin's folder as root.
    let plugin = StepSpec { kind: StepKind::Plugin, commands: Vec::new(), ..commands.clone() };
    let init = spec(plugin, &hardened()).init_containers.expect("one");
    assert_eq!(init[0].image_pull_policy.as_deref(), Some("IfNotPresent"));

    // With the image's own user everything is as the image has it.
    let root = Settings { root_images: vec!["busybox".to_owned()], ..hardened() };
    let pod = spec(commands, &root);
    assert_eq!((mounts(&pod), home(&pod)), (vec![("/woodpecker".to_owned(), false)], None));
}

#[test]
fn who_may_be_root_gets_what_baseline_takes_and_nobody_else() {
    let settings = Settings { root_images: vec!["docker.io/library/busybox:1.37".to_owned()], ..hardened() };
    let mut switched = hardened();
    switched.allow_from_step.root = true;
    let asks =
        |user: i64| StepSpec { kubernetes: options(&json!({"securityContext": {"runAsUser": user}})), ..minimal() };
    for (step, settings, user) in [
        (minimal(), &settings, None),
        (asks(7), &settings, Some(7)),
        (asks(0), &settings, Some(0)),
        (asks(0), &switched, Some(0)),
    ] {
        let pod = spec(step, settings);
        let security = pod.security_context.clone().expect("one");
        assert_eq!((security.run_as_user, security.run_as_non_root), (user, None));
        assert_eq!(security.seccomp_profile.expect("one").type_, "RuntimeDefault");
        assert_eq!(pod.containers[0].security_context, None);
    }
    let other = StepSpec { image: "busybox:1.36".to_owned(), ..minimal() };
    for (step, settings) in [(other, &settings), (minimal(), &switched), (asks(7), &switched), (asks(0), &hardened())] {
        assert_eq!(against_restricted(&spec(step, settings)), [] as [&str; 0]);
    }
    let objects = first(&workload(vec![asks(0)]), &hardened());
    assert!(objects.notes.iter().any(|note| note.contains("allow_from_step.root")), "{:?}", objects.notes);
}

#[test]
fn a_privileged_step_is_refused_unless_the_operator_allows_it() {
    let privileged = || StepSpec { privileged: true, ..minimal() };
    let refused = plan(&workload(vec![privileged()]), &hardened(), &context()).expect_err("it is refused");
    assert_eq!(
        refused.to_string(),
        "step 'build': privileged: this agent runs no privileged steps; its operator can allow them, with \
         allow_from_step.privileged [privileged]"
    );
    let declines = StepSpec { kubernetes: options(&json!({"securityContext": {"privileged": false}})), ..privileged() };
    assert_eq!(against_restricted(&spec(declines, &hardened())), [] as [&str; 0]);
    let mut allowed = hardened();
    allowed.allow_from_step.privileged = true;
    let pod = spec(privileged(), &allowed);
    assert_eq!(pod.security_context.expect("one").run_as_user, None, "privileges are of no use to another than root");
    assert_eq!(pod.containers[0].security_context.clone().expect("one").privileged, Some(true));
}

#[test]
fn a_step_that_lacks_a_right_is_told_what_can_be_done() {
    let of = |settings: &Settings| {
        let workload = workload(vec![minimal()]);
        step(&workload, StepIndex(0), Attempt::FIRST, &start(), settings, &context(), None).expect("built").if_denied
    };
    let said = of(&hardened()).expect("it runs as another user than its image's");
    assert!(said.contains("user 1000") && said.contains("pods.root_images"), "{said}");
    assert_eq!(of(&Settings::default()), None);
    assert_eq!(of(&Settings { root_images: vec!["*".to_owned()], ..hardened() }), None);
}
