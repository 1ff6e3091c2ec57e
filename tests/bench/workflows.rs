//! The same as workflows, from their submission until the server knows that they are over.

use std::time::Duration;

use piculet_core::workload::WorkloadSpec;
use server_stub::dispatch::State;
use tokio::time::Instant;

use crate::site::Site;
use crate::work;

/// One step after the other.
pub(crate) async fn in_sequence(site: &Site, count: usize) -> Duration {
    run(site, vec![work::in_sequence("sequence", count)]).await
}

/// Each with one step, all together.
pub(crate) async fn at_once(site: &Site, count: usize) -> Duration {
    run(site, (0..count).map(|number| work::in_sequence(&format!("many{number}"), 1)).collect()).await
}

/// One step that prints 200,000 lines of 80 characters.
///
/// # Panics
/// If one of them is missing.
pub(crate) async fn flood(site: &Site) -> Duration {
    let print = r#"sleep 2; awk 'BEGIN { for (i = 0; i < 200000; i++) printf "%080d\n", i }'"#;
    let spec = work::beside("flood", 1, &["sh", "-c", print]);
    let began = Instant::now();
    let id = site.stub.submit(spec);
    let workflow = site.stub.ended(&id).await;
    let took = began.elapsed() - Duration::from_secs(2);
    assert_eq!(workflow.state, State::Success);
    let log = site.stub.log(&id, &work::step_name("flood", 0));
    let lines = log.into_iter().filter(|line| !line.bytes.starts_with(b"[piculet]")).count();
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
