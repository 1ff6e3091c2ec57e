//! Where only `restricted` pods may run: what the agent makes is taken and works, and what can't work says what can be done.

use piculet_core::outcome::StepState::{Failure, Success};
use piculet_core::workload::StepKind;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::acts::Acts;
use crate::told::told;
use crate::world::{Job, ends, job, scenario};

/// A step that runs this, and what it prints.
fn runs(name: &str, script: &str, prints: &[&str]) -> Job {
    let acts = prints.iter().fold(Acts::new(), |acts, line| acts.line(line));
    ending(name, script, acts)
}

/// The same with another end.
fn ending(name: &str, script: &str, acts: Acts) -> Job {
    let script = script.to_owned();
    job(name, acts).with(|spec| spec.entrypoint = vec!["/bin/sh".to_owned(), "-ec".to_owned(), script])
}

#[test]
fn a_workflow_of_all_kinds_of_steps_works() {
    scenario("restricted", async |world| {
        world.agent().await;
        let script = |name: &str, commands: &[&str], prints: &[&str]| {
            let commands: Vec<_> = commands.iter().map(|&command| command.to_owned()).collect();
            let echoed =
                commands.iter().map(|command| format!("+ {command}")).zip(prints.iter().map(|&line| line.to_owned()));
            let lines: Vec<_> = echoed.flat_map(<[String; 2]>::from).filter(|line| !line.is_empty()).collect();
            let acts = lines.iter().fold(Acts::new(), |acts, line| acts.line(line));
            job(name, acts).with(|spec| {
                spec.entrypoint.clear();
                spec.commands = commands;
            })
        };
        let service = ending("db", "echo up; while :; do sleep 1 & wait $!; done", Acts::new().line("up").forever())
            .with(|spec| (spec.kind, spec.detached) = (StepKind::Service, true));
        let id = world.submit(vec![
            vec![service],
            vec![script(
                "one",
                &["id -u", "echo one > made", "echo $HOME", "touch $HOME/mine"],
                &["1000", "", "/home/ci", ""],
            )],
            vec![script("two", &["cat made", "echo two >> made"], &["one", ""])],
            vec![
                runs(
                    "plugin",
                    "id -g; pwd; tail -n 1 made; mkdir -p deep/er; echo x > deep/er/x",
                    &["1000", "/woodpecker/src", "two"],
                )
                .with(|spec| spec.kind = StepKind::Plugin),
            ],
        ]);
        let ended = world.ended(&id).await;
        assert!(ends(&ended).values().all(|(state, _)| *state == Success), "{ended:#?}\n{:#?}", world.log(&id, "one"));
        assert_eq!(
            world.own_lines(&id, "one"),
            ["+ id -u", "1000", "+ echo one > made", "+ echo $HOME", "/home/ci", "+ touch $HOME/mine"]
        );
        assert_eq!(world.own_lines(&id, "two"), ["+ cat made", "one", "+ echo two >> made"]);
        assert_eq!(world.own_lines(&id, "plugin"), ["1000", "/woodpecker/src", "two"]);
        assert_eq!(world.own_lines(&id, "db"), ["up"]);
    });
}

#[test]
fn who_lacks_a_right_is_told_where_to_get_it() {
    scenario("denied", async |world| {
        world.agent().await;
        let denied = Acts::new().line("sh: can't create /etc/hosts.new: Permission denied").exit(1);
        let id = world.submit(vec![vec![ending("build", "echo > /etc/hosts.new", denied)]]);
        let ended = world.ended(&id).await;
        assert_eq!(ends(&ended)["build"].0, Failure);
        let log = world.log(&id, "build");
        assert!(log.iter().any(|line| line.contains("Permission denied")), "{log:#?}");
        let last = log.last().map_or("", String::as_str);
        assert!(
            last.starts_with("[piculet] This step ran as user 1000") && last.contains("pods.root_images"),
            "{log:#?}"
        );
        // Who fails for another reason hears nothing of it.
        let id = world.submit(vec![vec![runs("build", "echo broken; exit 1", &["broken"]).exits(1)]]);
        world.ended(&id).await;
        assert_eq!(world.log(&id, "build").last().map(String::as_str), Some("broken"));
    });
}

#[test]
fn an_image_that_would_be_root_is_refused_at_once() {
    scenario("image-is-root", async |world| {
        world.agent_with(|config| config.pods.security.run_as_user = None).await;
        let says = "container has runAsNonRoot and image will run as root (pod: \"trial\", container: trial)";
        let since = Instant::now();
        let id = world.submit(vec![vec![job("build", Acts::new().misconfigured(says))]]);
        let step = world.step(&world.ended(&id).await, "build");
        told(world, "image's user is root", since, &step, &world.log(&id, "build"), "never-started");
        for words in ["runAsNonRoot", "pods.security.run_as_user", "pods.root_images"] {
            assert!(step.error.contains(words), "{}", step.error);
        }
    });
}

#[test]
fn an_image_that_the_operator_names_may_be_root_where_baseline_holds() {
    scenario("root-image", async |world| {
        world.agent_with(|config| config.pods.root_images = vec!["busybox".to_owned()]).await;
        let root = || runs("build", "id -u; echo > /etc/hosts.new", &["0"]);
        let since = Instant::now();
        let id = world.submit(vec![vec![root()]]);
        let step = world.step(&world.ended(&id).await, "build");
        told(world, "root where restricted holds", since, &step, &world.log(&id, "build"), "never-started");
        assert!(step.error.contains("violates PodSecurity \"restricted:latest\""), "{}", step.error);
        world.site.enforce("baseline").await;
        let id = world.submit(vec![vec![root()]]);
        let ended = world.ended(&id).await;
        assert_eq!(ends(&ended)["build"], (Success, Some(0)), "{:#?}", world.log(&id, "build"));
        assert_eq!(world.own_lines(&id, "build"), ["0"]);
    });
}

/// A pod that is wrong in every way that the levels look at.
fn wrong_in_every_way() -> Value {
    json!({
        "securityContext": {
            "runAsUser": 0, "runAsNonRoot": false,
            "seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}
        },
        "initContainers": [{"name": "i", "image": "i:1", "securityContext": {"privileged": true, "runAsUser": 0}}],
        "containers": [
            {
                "name": "a", "image": "i:1",
                "ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 443, "hostPort": 443}],
                "securityContext": {"capabilities": {"add": ["SYS_ADMIN", "NET_BIND_SERVICE"]}}
            },
            {
                "name": "b", "image": "i:1",
                "ports": [{"containerPort": 81, "hostPort": 81}],
                "securityContext": {
                    "runAsNonRoot": false, "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}, "seccompProfile": {"type": "Unconfined"}
                }
            }
        ],
        "volumes": [{"name": "h", "hostPath": {"path": "/"}}, {"name": "n", "nfs": {"server": "s", "path": "/"}}],
        "hostPID": true, "hostIPC": true
    })
}

#[test]
fn the_levels_of_pod_security_speak_in_the_same_words() {
    const BARE: &str = "pods \"trial\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
        (container \"a\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"a\" must \
        set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"a\" must set \
        securityContext.runAsNonRoot=true), seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type \
        to \"RuntimeDefault\" or \"Localhost\")";
    const RESTRICTED: &str = "pods \"trial\" is forbidden: violates PodSecurity \"restricted:latest\": forbidden AppArmor profile \
        (pod must not set AppArmor profile type to \"Unconfined\"), host namespaces (hostPID=true, hostIPC=true), hostPort \
        (containers \"a\", \"b\" use hostPorts 443, 80, 81), privileged (container \"i\" must not set \
        securityContext.privileged=true), allowPrivilegeEscalation != false (containers \"i\", \"a\" must set \
        securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers \"i\", \"a\" must set \
        securityContext.capabilities.drop=[\"ALL\"]; containers \"a\", \"b\" must not include \"NET_RAW\", \"SYS_ADMIN\" in \
        securityContext.capabilities.add), restricted volume types (volumes \"h\", \"n\" use restricted volume types \
        \"hostPath\", \"nfs\"), runAsNonRoot != true (pod and container \"b\" must not set securityContext.runAsNonRoot=false), \
        runAsUser=0 (pod and container \"i\" must not set runAsUser=0), seccompProfile (pod and container \"b\" must not set \
        securityContext.seccompProfile.type to \"Unconfined\")";
    const BASELINE: &str = "pods \"trial\" is forbidden: violates PodSecurity \"baseline:latest\": forbidden AppArmor profile (pod \
        must not set AppArmor profile type to \"Unconfined\"), non-default capabilities (containers \"a\", \"b\" must not include \
        \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add), host namespaces (hostPID=true, hostIPC=true), hostPath \
        volumes (volume \"h\"), hostPort (containers \"a\", \"b\" use hostPorts 443, 80, 81), privileged (container \"i\" must not \
        set securityContext.privileged=true), seccompProfile (pod and container \"b\" must not set \
        securityContext.seccompProfile.type to \"Unconfined\")";
    scenario("levels", async |world| {
        let bare = || json!({"containers": [{"name": "a", "image": "i:1"}]});
        let good = json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "a", "image": "i:1",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}
            }],
            "volumes": [{"name": "e", "emptyDir": {}}]
        });
        assert_eq!(world.site.refusal(bare()).await.as_deref(), Some(BARE));
        assert_eq!(world.site.refusal(wrong_in_every_way()).await.as_deref(), Some(RESTRICTED));
        assert_eq!(world.site.refusal(good).await, None);
        world.site.enforce("baseline").await;
        assert_eq!(world.site.refusal(bare()).await, None);
        assert_eq!(world.site.refusal(wrong_in_every_way()).await.as_deref(), Some(BASELINE));
    });
}
