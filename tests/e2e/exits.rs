//! Containers that end by themselves.

use std::time::Duration;

use piculet_core::outcome::StepState::{Failure, Success};
use serde_json::json;
use tokio::time::Instant;

use crate::acts::Acts;
use crate::told::told;
use crate::world::{ends, job, scenario};

#[test]
fn an_exit_code_arrives_as_it_is() {
    scenario("exit-codes", async |world| {
        world.agent().await;
        for code in [0, 1, 7, 255] {
            let ended = world.run(vec![vec![job("code", Acts::new().line("out").exit(code))]]).await;
            let state = if code == 0 { Success } else { Failure };
            assert_eq!(ends(&ended)["code"], (state, Some(code)));
        }
    });
}

#[test]
fn a_signal_is_told_by_its_name() {
    scenario("signals", async |world| {
        world.agent().await;
        for (signal, name) in [(11, "SIGSEGV"), (9, "SIGKILL"), (6, "SIGABRT")] {
            let since = Instant::now();
            let id = world.submit(vec![vec![job("dies", Acts::new().line("out").signal(signal))]]);
            let step = world.step(&world.ended(&id).await, "dies");
            assert_eq!(step.exit_code, Some(128 + signal), "{step:?}");
            told(world, &format!("{name} in the step"), since, &step, &world.log(&id, "dies"), "exited");
            assert!(step.error.contains(name), "{}", step.error);
        }
    });
}

#[test]
fn a_step_that_needs_too_much_memory_is_told_how_much_it_may_have() {
    scenario("out-of-memory", async |world| {
        world.agent().await;
        let limits = json!({"resources": {"limits": {"memory": "32Mi"}}});
        for (acts, cause) in [
            (Acts::new().out_of_memory(), "out of memory"),
            (Acts::new().child_out_of_memory(1), "out of memory in a child, exit code 1"),
            (Acts::new().child_out_of_memory(0), "out of memory in a child, exit code 0"),
        ] {
            let since = Instant::now();
            let id = world
                .submit(vec![vec![job("greedy", acts).kubernetes(limits.clone())], vec![job("after", Acts::new())]]);
            let ended = world.ended(&id).await;
            let step = world.step(&ended, "greedy");
            told(world, cause, since, &step, &world.log(&id, "greedy"), "oom-killed");
            assert!(step.error.contains("33554432"), "it names the limit: {}", step.error);
            assert_eq!(world.step(&ended, "after").state.as_str(), "skipped");
        }
    });
}

#[test]
fn a_container_that_the_cluster_puts_beside_it_changes_nothing() {
    scenario("sidecar", async |world| {
        // Before ours, and in the end worse than it.
        let sidecar =
            json!({"name": "injected", "image": "busybox:stable", "command": ["/bin/sh", "-c", "sleep 3; exit 9"]});
        let sidecar = json!({"op": "add", "path": "/spec/containers/0", "value": sidecar});
        if !world.site.change_new_pods(json!([sidecar])).await {
            return;
        }
        world.agent().await;
        let works = job("works", Acts::new().line("out").wait(Duration::from_secs(5)));
        let fails = job("fails", Acts::new().line("out").exit(7));
        let id = world.submit(vec![vec![works], vec![fails]]);
        let ended = world.ended(&id).await;
        assert_eq!(ends(&ended)["works"], (Success, Some(0)));
        assert_eq!(ends(&ended)["fails"], (Failure, Some(7)));
        assert_eq!(world.own_lines(&id, "works"), ["out"]);
    });
}
