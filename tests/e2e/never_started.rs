//! Pods that can't start: each ends within its own limit, and says why.

use std::time::Duration;

use piculet_core::outcome::StepState::{Failure, Killed};
use piculet_core::workload::VolumeSpec;
use serde_json::json;
use tokio::time::Instant;

use crate::acts::Acts;
use crate::obstacles::registry;
use crate::told::told;
use crate::world::{Job, World, job, scenario};

/// Runs a step that can't start, and looks that it says so in these words.
async fn refused(world: &World, cause: &str, job: Job, words: &[&str]) {
    let since = Instant::now();
    let id = world.submit(vec![vec![job]]);
    let step = world.step(&world.ended(&id).await, "build");
    let log = world.log(&id, "build");
    told(world, cause, since, &step, &log, "never-started");
    assert_eq!((step.state, step.exit_code), (Failure, None), "{cause}");
    for words in words {
        assert!(step.error.contains(words), "{cause}: '{words}' is not in: {}", step.error);
    }
}

fn build() -> Job {
    job("build", Acts::new())
}

#[test]
fn an_image_that_can_not_be_pulled() {
    scenario("images", async |world| {
        world.agent().await;
        let unpullable = |image: &str, says: &str| {
            let image = image.to_owned();
            job("build", Acts::new().unpullable(says)).with(move |spec| spec.image = image)
        };
        let missing = format!("{}/missing:1", registry("404 Not Found").await);
        let says = format!("failed to resolve reference \"{missing}\": {missing}: not found");
        refused(
            world,
            "image missing",
            unpullable(&missing, &says),
            &["image could not be pulled", &missing, "not found"],
        )
        .await;

        let forbidden = format!("{}/private:1", registry("403 Forbidden").await);
        let says = format!("pulling from host failed with status code [manifests 1]: 403 Forbidden: {forbidden}");
        refused(
            world,
            "pull forbidden",
            unpullable(&forbidden, &says),
            &["image could not be pulled", "403 Forbidden"],
        )
        .await;

        let invalid = build().with(|spec| spec.image = "No/Image:At All".to_owned());
        refused(world, "image's name invalid", invalid, &["image could not be pulled", "No/Image:At All"]).await;
    });
}

#[test]
fn a_pod_that_no_node_takes() {
    scenario("unschedulable", async |world| {
        world.agent().await;
        let nowhere = build().kubernetes(json!({"nodeSelector": {"disk": "none-like-this"}}));
        refused(world, "no node has the label", nowhere, &["no node takes its pod", "node affinity/selector"]).await;
        let huge = build().kubernetes(json!({"resources": {"requests": {"memory": "900Gi"}}}));
        refused(world, "no node has the memory", huge, &["no node takes its pod", "Insufficient memory"]).await;
    });
}

#[test]
fn a_pod_that_names_what_is_not_there() {
    scenario("missing", async |world| {
        world.agent().await;
        let secret = build().kubernetes(json!({"secrets": [{"name": "not-here"}]}));
        refused(world, "Secret missing", secret, &["configuration is wrong", "secret \"not-here\" not found"]).await;
        let account = build().kubernetes(json!({"serviceAccountName": "nobody"}));
        refused(world, "service account missing", account, &["configuration is wrong", "nobody"]).await;
        let claim = build().with(|spec| {
            spec.volumes =
                vec![VolumeSpec { claim: "no-claim".to_owned(), path: "/data".to_owned(), read_only: false }];
        });
        refused(world, "claim missing", claim, &["volume is not available", "no-claim"]).await;
        let program = build().with(|spec| spec.entrypoint = vec!["/no/such/program".to_owned()]);
        refused(world, "program missing", program.fails_to_start("/no/such/program"), &["/no/such/program"]).await;
    });
}

#[test]
fn an_image_that_must_not_be_pulled() {
    scenario("never-pulled", async |world| {
        let never = json!({"op": "add", "path": "/spec/containers/0/imagePullPolicy", "value": "Never"});
        if !world.site.change_new_pods(json!([never])).await {
            return;
        }
        world.agent().await;
        let image = "registry.piculet.test/nowhere:1";
        let says = format!("Container image \"{image}\" is not present with pull policy of Never");
        let never = job("build", Acts::new().unloadable(&says)).with(|spec| spec.image = image.to_owned());
        refused(world, "ErrImageNeverPull", never, &["image could not be pulled", "ErrImageNeverPull", image]).await;
    });
}

#[test]
fn a_configmap_that_is_not_there() {
    scenario("configmap", async |world| {
        let from = json!([{"configMapRef": {"name": "not-here"}}]);
        let from = json!({"op": "add", "path": "/spec/containers/0/envFrom", "value": from});
        if !world.site.change_new_pods(json!([from])).await {
            return;
        }
        world.agent().await;
        let words = ["configuration is wrong", "configmap \"not-here\" not found"];
        refused(world, "ConfigMap missing", build(), &words).await;
    });
}

#[test]
fn a_volume_of_a_configmap_that_is_not_there() {
    scenario("configmap-volume", async |world| {
        let volume = json!({"name": "more", "configMap": {"name": "not-here"}});
        let mount = json!({"name": "more", "mountPath": "/more"});
        let volume = json!({"op": "add", "path": "/spec/volumes/-", "value": volume});
        let mount = json!({"op": "add", "path": "/spec/containers/0/volumeMounts/-", "value": mount});
        if !world.site.change_new_pods(json!([volume, mount])).await {
            return;
        }
        world.agent().await;
        refused(world, "ConfigMap of a volume missing", build(), &["configmap \"not-here\" not found"]).await;
    });
}

#[test]
fn a_volume_that_nobody_makes() {
    scenario("unbound", async |world| {
        world.agent_set(json!({"pods": {"storage_class": "none-like-this"}})).await;
        refused(world, "no such storage class", build(), &["volume is not available", "PersistentVolumeClaim"]).await;
    });
}

#[test]
fn a_namespace_whose_quota_is_used_up() {
    scenario("quota", async |world| {
        world.agent().await;
        world.site.forbid_all_by_quota().await;
        refused(world, "quota exceeded", build(), &["quota is used up", "exceeded quota: none"]).await;
    });
}

#[test]
fn a_policy_that_is_against_it() {
    scenario("policy", async |world| {
        world.agent().await;
        world.site.forbid_all_by_policy().await;
        refused(world, "refused by a policy", build(), &["the cluster refused its pod", "no builds on a Friday"]).await;
    });
}

#[test]
fn a_webhook_that_does_not_answer() {
    scenario("webhook", async |world| {
        world.not_inside("an agent that no test has changed asks for four minutes before it gives up");
        world.agent().await;
        world.site.break_the_webhook().await;
        refused(world, "webhook down", build(), &["judge.piculet.test"]).await;
    });
}

#[test]
fn a_user_namespace_that_the_node_can_not_make() {
    scenario("userns", async |world| {
        world.agent().await;
        let says = "can't set `spec.hostUsers: false`, runtime does not support user namespaces";
        let own = job("build", Acts::new().no_sandbox(says)).kubernetes(json!({"hostUsers": false}));
        refused(world, "user namespaces refused", own, &["user namespaces"]).await;
    });
}

#[test]
fn a_step_and_a_workflow_that_take_too_long() {
    scenario("deadlines", async |world| {
        world.agent().await;
        let slow = Acts::new().line("begins").on_sigterm(Duration::from_secs(1), "last words", 0).forever();
        for (cause, of_step, of_workflow, state) in
            [("step's time limit", Some(4), None, Failure), ("workflow's time limit", None, Some(4), Killed)]
        {
            let since = Instant::now();
            let slow = job("slow", slow.clone()).with(|spec| spec.timeout_seconds = of_step);
            let id = world.submit_with(vec![vec![slow]], |spec| spec.timeout_seconds = of_workflow);
            let step = world.step(&world.ended(&id).await, "slow");
            told(world, cause, since, &step, &world.log(&id, "slow"), "deadline-exceeded");
            assert_eq!(step.state, state);
            assert_eq!(world.own_lines(&id, "slow"), ["begins", "last words"]);
        }
    });
}
