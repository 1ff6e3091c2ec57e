//! What the agent weighs while steps run, and what it asks of the API server.

use std::path::Path;
use std::time::Duration;

use piculet_core::outcome::StepState;
use server_stub::mailbox::Stop;
use tokio::time::sleep;

use crate::api::{Api, Behind};
use crate::certificates::Certificates;
use crate::figures::{Figures, Unit};
use crate::own::mebibytes;
use crate::site::{Site, client};
use crate::{work, workflows};

/// How long the agent is left alone before it is looked at, and how long it is looked at.
const SETTLING: Duration = Duration::from_secs(5);
const LOOKING: Duration = Duration::from_secs(10);

/// Without work.
pub(crate) async fn idle(site: &Site, figures: &mut Figures) {
    look(site, "idle", figures).await;
}

/// With so many steps that run beside each other and print a line each second.
pub(crate) async fn running(site: &Site, steps: usize, figures: &mut Figures) {
    let spec = work::beside(&format!("quiet{steps}"), steps, &["sh", "-c", "while date; do sleep 1; done"]);
    let id = site.stub.submit(spec);
    let runs = |site: &Site| {
        let steps = site.stub.workflow(&id).steps;
        steps.iter().all(|step| step.state == StepState::Running)
    };
    while !runs(site) {
        sleep(Duration::from_millis(200)).await;
        let state = site.stub.workflow(&id);
        assert!(state.finished.is_none(), "{state:#?}");
    }
    look(site, &format!("{steps} running"), figures).await;
    let stop = Stop { reason: "measured".to_owned(), grace: Some(Duration::ZERO) };
    site.stub.server().cancel(&id, stop).unwrap();
    site.stub.ended(&id).await;
}

async fn look(site: &Site, what: &str, figures: &mut Figures) {
    sleep(SETTLING).await;
    let memory = site.agent.memory();
    figures.add(&format!("{what}: anonymous memory"), Unit::Mebibytes, mebibytes(memory.anonymous));
    figures.add(&format!("{what}: resident memory"), Unit::Mebibytes, mebibytes(memory.resident));
    let before = site.agent.processor_time();
    sleep(LOOKING).await;
    let used = site.agent.processor_time() - before;
    let share = used.as_secs_f64() * 1000.0 / LOOKING.as_secs_f64();
    figures.add(&format!("{what}: processor time in a second"), Unit::Milliseconds, share);
}

/// The requests of a workflow of ten steps, counted on their way to the API server.
pub(crate) async fn requests(program: &Path, kubeconfig: &Path, certificates: &Certificates, figures: &mut Figures) {
    let client = client(kubeconfig).await;
    let api = Api::start(Behind::Real(client.clone()), certificates, "default").await;
    let site = Site::open(client, "requests", program, &api.kubeconfig(), certificates).await;
    sleep(SETTLING).await;
    let before = api.requests();
    workflows::in_sequence(&site, 10).await;
    // What it made is removed after its end was said.
    sleep(SETTLING).await;
    for (call, count) in api.requests() {
        let count = count - before.get(&call).copied().unwrap_or_default();
        if count > 0 {
            let count = f64::from(u32::try_from(count).unwrap());
            figures.add(&format!("requests of a workflow of 10 steps: {call}"), Unit::Count, count);
        }
    }
    site.close().await;
}
