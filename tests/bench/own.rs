//! What the agent itself takes, on a cluster in memory whose parts take no time: over TLS, with no time hidden.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fake_cluster::{FakeCluster, KubeletTiming, NodeSettings, Settings};
use tokio::time::{Instant, sleep};

use crate::api::{Api, Behind};
use crate::certificates::Certificates;
use crate::figures::{Figures, Unit};
use crate::leash::Leash;
use crate::program::{Program, Sides};
use crate::server::Server;
use crate::work;

const NAMESPACE: &str = "ci";
/// Workflows that run one after the other, and the steps of each.
const WORKFLOWS: usize = 20;
const STEPS: usize = 10;
/// Workflows of one step each that run at once.
const MANY: usize = 1000;
/// How long the agent is left alone before its memory is looked at.
const SETTLING: Duration = Duration::from_secs(3);

/// A cluster, a server and an agent.
struct Side {
    leash: std::sync::Arc<Leash>,
    api: Api,
    server: Server,
    agent: Program,
}

impl Side {
    async fn start(program: &Path, certificates: &Certificates, let_go: bool) -> Self {
        let leash = Leash::new(let_go);
        let at_once =
            KubeletTiming { phase_lag: Duration::ZERO, removal_lag: Duration::ZERO, ..KubeletTiming::default() };
        let node = |number| NodeSettings { cpu: "1000".to_owned(), ..NodeSettings::new(&format!("node-{number}")) };
        let settings = Settings {
            nodes: (0..MANY.div_ceil(100)).map(node).collect(),
            history: 1_000_000,
            kubelet: at_once,
            ..Settings::default()
        };
        let cluster = FakeCluster::start(settings, leash.clone());
        let api = Api::start(Behind::Fake(cluster), certificates, NAMESPACE).await;
        let server = Server::start(certificates).await;
        let sides =
            Sides { server: server.address(), certificates, kubeconfig: &api.kubeconfig(), namespace: NAMESPACE };
        let agent = Program::start(program, &sides);
        server.agent().await;
        Self { leash, api, server, agent }
    }
}

/// Steps one after the other.
pub(crate) async fn in_sequence(program: &Path, certificates: &Certificates, figures: &mut Figures) {
    let side = Side::start(program, certificates, true).await;
    let before = side.agent.processor_time();
    for workflow in 0..WORKFLOWS {
        let name = format!("w{workflow}");
        side.server.assign(&name, &work::in_sequence(&name, STEPS)).await;
        side.server.finished(workflow + 1).await;
    }
    let used = side.agent.processor_time() - before;
    let (created, ended) = (side.api.created(), side.api.ended());
    let journal = side.server.journal();
    assert_eq!(journal.wrong, Vec::<String>::new());
    assert_eq!(journal.lines, WORKFLOWS * STEPS, "lines of all steps");
    let (mut to_first, mut to_next) = (Vec::new(), Vec::new());
    for workflow in 0..WORKFLOWS {
        let step = |number| work::step_name(&format!("w{workflow}"), number);
        to_first.push(created[&step(0)] - journal.words[&format!("w{workflow}")]);
        to_next.extend((1..STEPS).map(|number| created[&step(number)] - ended[&step(number - 1)]));
    }
    let to_report = between(&ended, &journal.ends);
    figures.spread("own time, server's word to first pod", to_first);
    figures.spread("own time, end of a step to the next pod", to_next);
    figures.spread("own time, end of a step to the report", to_report);
    let steps = u32::try_from(WORKFLOWS * STEPS).unwrap();
    figures.add("processor time of a step", Unit::Milliseconds, used.as_secs_f64() * 1000.0 / f64::from(steps));
}

/// As many workflows at once, whose logs are all followed at the same time.
pub(crate) async fn at_once(program: &Path, certificates: &Certificates, figures: &mut Figures) {
    let side = Side::start(program, certificates, false).await;
    sleep(SETTLING).await;
    let idle = side.agent.memory();
    let before = side.agent.processor_time();
    figures.add("idle, anonymous memory", Unit::Mebibytes, mebibytes(idle.anonymous));
    figures.add("idle, resident memory", Unit::Mebibytes, mebibytes(idle.resident));
    let began = Instant::now();
    for workflow in 0..MANY {
        let name = format!("w{workflow}");
        side.server.assign(&name, &work::in_sequence(&name, 1)).await;
    }
    let followed = async {
        while side.api.followed() < MANY || side.server.journal().lines < MANY {
            sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(300), followed).await.is_err() {
        panic!("of {MANY} logs only {} are followed, {} lines came", side.api.followed(), side.server.journal().lines);
    }
    figures.add("1,000 workflows, until all logs are followed", Unit::Seconds, began.elapsed().as_secs_f64());
    sleep(SETTLING).await;
    let full = side.agent.memory();
    figures.add("1,000 followed, anonymous memory above idle", Unit::Mebibytes, above(full.anonymous, idle.anonymous));
    figures.add("1,000 followed, resident memory above idle", Unit::Mebibytes, above(full.resident, idle.resident));
    let count = |count: usize| f64::from(u32::try_from(count).unwrap());
    figures.add("1,000 followed, connections to the API server", Unit::Count, count(side.api.connections()));
    let released = Instant::now();
    side.leash.let_go();
    side.server.finished(MANY).await;
    figures.add("1,000 steps end at once, until all are reported", Unit::Seconds, released.elapsed().as_secs_f64());
    let used = side.agent.processor_time() - before;
    figures.add("1,000 workflows, processor time", Unit::Seconds, used.as_secs_f64());
    let (created, ended) = (side.api.created(), side.api.ended());
    let journal = side.server.journal();
    assert_eq!(journal.wrong, Vec::<String>::new());
    assert_eq!(journal.lines, MANY, "lines of all steps");
    let words = journal.words.iter().map(|(name, at)| (work::step_name(name, 0), *at)).collect();
    figures.spread("1,000 at once, server's word to first pod", between(&words, &created));
    figures.spread("1,000 at once, end of a step to the report", between(&ended, &journal.ends));
}

/// What lies between two moments of each step.
fn between(from: &BTreeMap<String, Instant>, to: &BTreeMap<String, Instant>) -> Vec<Duration> {
    assert_eq!(from.len(), to.len(), "a moment of each step");
    from.iter().map(|(step, at)| to[step].saturating_duration_since(*at)).collect()
}

fn above(full: u64, idle: u64) -> f64 {
    mebibytes(full.saturating_sub(idle))
}

#[expect(clippy::cast_precision_loss, reason = "no memory is that large")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
