//! The same as workflows, from their submission until the server knows that they are over.

use std::time::Duration;

use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use server_stub::dispatch::State;
use tokio::time::Instant;

use crate::site::{IMAGE, Site};

/// One step after the other.
pub(crate) async fn in_sequence(site: &Site, count: usize) -> Duration {
    let stages = (0..count).map(|number| stage(&format!("step{number}"), &["true"]));
    run(site, vec![WorkloadSpec { name: "sequence".to_owned(), stages: stages.collect(), ..WorkloadSpec::default() }])
        .await
}

/// Each with one step, all together.
pub(crate) async fn at_once(site: &Site, count: usize) -> Duration {
    let workflow = |number: usize| WorkloadSpec {
        name: format!("one of many {number}"),
        stages: vec![stage(&format!("many{number}"), &["true"])],
        ..WorkloadSpec::default()
    };
    run(site, (0..count).map(workflow).collect()).await
}

/// One step that prints 200,000 lines of 80 characters.
///
/// # Panics
/// If one of them is missing.
pub(crate) async fn flood(site: &Site) -> Duration {
    let print = r#"sleep 2; awk 'BEGIN { for (i = 0; i < 200000; i++) printf "%080d\n", i }'"#;
    let stages = vec![stage("flood", &["sh", "-c", print])];
    let spec = WorkloadSpec { name: "flood".to_owned(), stages, ..WorkloadSpec::default() };
    let began = Instant::now();
    let id = site.stub.submit(spec);
    let workflow = site.stub.ended(&id).await;
    let took = began.elapsed() - Duration::from_secs(2);
    assert_eq!(workflow.state, State::Success);
    let lines = site.stub.log(&id, "flood").into_iter().filter(|line| !line.bytes.starts_with(b"[piculet]")).count();
    assert_eq!(lines, 200_000, "lines of the flood that are stored");
    took
}

async fn run(site: &Site, specs: Vec<WorkloadSpec>) -> Duration {
    let began = Instant::now();
    let ids: Vec<_> = specs.into_iter().map(|spec| site.stub.submit(spec)).collect();
    for id in &ids {
        let workflow = site.stub.ended(id).await;
        assert_eq!(workflow.state, State::Success, "{workflow:#?}");
    }
    began.elapsed()
}

fn stage(name: &str, entrypoint: &[&str]) -> StageSpec {
    let step = StepSpec {
        id: format!("id{name}"),
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        entrypoint: entrypoint.iter().map(ToString::to_string).collect(),
        workspace_base: "/woodpecker".to_owned(),
        working_dir: "/woodpecker/src".to_owned(),
        ..StepSpec::default()
    };
    StageSpec { steps: vec![step] }
}
