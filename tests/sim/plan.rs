//! What happens in a simulation, drawn from its seed: workflows with what their steps do, and what goes wrong.

use std::time::Duration;

use fastrand::Rng;
use piculet_core::workload::{FailurePolicy, StageSpec, StepSpec, WorkloadSpec};
use server_stub::woodpecker::{Compiled, FailureMode, Job};

use crate::service::Protocol;

/// One simulation.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How many agents each cluster has.
    pub(crate) clusters: Vec<u32>,
    /// How many workflows each agent runs at once.
    pub(crate) slots: u32,
    /// How long a write to the server's disk takes.
    pub(crate) disk: Duration,
    pub(crate) workflows: Vec<WorkflowPlan>,
    /// In the order of time.
    pub(crate) faults: Vec<(Duration, Fault)>,
}

/// A workflow.
#[derive(Debug, Clone)]
pub(crate) struct WorkflowPlan {
    pub(crate) name: String,
    /// When it is submitted.
    pub(crate) at: Duration,
    /// When somebody cancels it.
    pub(crate) cancelled: Option<Duration>,
    pub(crate) stages: Vec<Vec<StepPlan>>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub(crate) struct StepPlan {
    /// Unique in the simulation.
    pub(crate) name: String,
    pub(crate) pull: Duration,
    pub(crate) lines: usize,
    /// Between two lines.
    pub(crate) pace: Duration,
    pub(crate) exit_code: i32,
    pub(crate) max_attempts: u32,
    pub(crate) failure: FailurePolicy,
}

/// What goes wrong. Agents and clusters are counted from 0.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Nothing gets from the agent to the server or back; connections are dead without a word.
    ServerUnreachable { agent: usize, lasts: Duration },
    /// What the agent says doesn't get to the server; what the server says does.
    ServerDeaf { agent: usize, lasts: Duration },
    /// What the server says doesn't get to the agent; what the agent says does.
    ServerMute { agent: usize, lasts: Duration },
    /// What is under way between the agent and the server arrives later.
    ServerSlow { agent: usize, lasts: Duration },
    /// The server's process is killed, and started again after a while.
    ServerKilled { back_after: Duration },
    /// The agent's process is killed, and nobody starts it again.
    AgentKilled { agent: usize },
    /// An operator lets no more work go to the cluster for a while.
    Drain { cluster: usize, lasts: Duration },
    /// Nothing gets from the agent to its cluster's API server or back.
    ClusterUnreachable { agent: usize, lasts: Duration },
    /// Streams of watches and logs break.
    StreamsCut { cluster: usize },
    /// The API server forgets what happened: watches get 410.
    HistoryExpired { cluster: usize },
    /// So many requests of any kind fail with this status.
    RequestsFail { cluster: usize, code: u16, times: u32 },
    /// The API server's flow control refuses requests for a while.
    TooManyRequests { cluster: usize, times: u32 },
    /// Requests break before they were read.
    RequestsBreak { cluster: usize, times: u32 },
    /// Requests are carried out, and nobody is told.
    AnswersLost { cluster: usize, times: u32 },
    /// A running pod is evicted by its node.
    Eviction { cluster: usize, which: usize },
}

/// The names of all faults.
pub(crate) const KINDS: &[&str] = &[
    "ServerUnreachable",
    "ServerDeaf",
    "ServerMute",
    "ServerSlow",
    "ServerKilled",
    "AgentKilled",
    "Drain",
    "ClusterUnreachable",
    "StreamsCut",
    "HistoryExpired",
    "RequestsFail",
    "TooManyRequests",
    "RequestsBreak",
    "AnswersLost",
    "Eviction",
];

/// Draws a simulation.
pub(crate) fn draw(seed: u64, protocol: Protocol) -> Plan {
    let mut plan = draw_any(seed);
    if protocol == Protocol::Woodpecker {
        // Its server gives the workflows of an agent that doesn't come back to nobody, and knows no attempts.
        plan.faults.retain(|(_, fault)| !matches!(fault, Fault::AgentKilled { .. }));
        for step in plan.workflows.iter_mut().flat_map(|workflow| workflow.stages.iter_mut().flatten()) {
            step.max_attempts = 1;
        }
    }
    plan
}

fn draw_any(seed: u64) -> Plan {
    let mut rng = Rng::with_seed(seed);
    let clusters: Vec<u32> = (0..rng.usize(1..=2)).map(|_| rng.u32(1..=2)).collect();
    let agents: usize = clusters.iter().map(|agents| *agents as usize).sum();
    let workflows: Vec<_> = (0..rng.usize(2..=6)).map(|number| workflow(&mut rng, number)).collect();
    let disk = milliseconds(&mut rng, 1..300);
    // Every eighth goes without any fault: then nobody may complain.
    let count = if rng.u8(0..8) == 0 { 0 } else { rng.usize(1..=8) };
    let mut faults: Vec<_> = (0..count)
        .map(|_| {
            let fault = fault(&mut rng, agents, clusters.len());
            // What a server has in hand while it hands a workflow over is the hardest to keep: half of the kills come then.
            let at = match fault {
                Fault::ServerKilled { .. } if rng.bool() => {
                    let begun = rng.choice(&workflows).map_or(Duration::ZERO, |workflow| workflow.at);
                    begun + disk.mul_f64(3.0 * rng.f64()) + milliseconds(&mut rng, 0..200)
                }
                _ => milliseconds(&mut rng, 0..150_000),
            };
            (at, fault)
        })
        .collect();
    // The last agent stays: somebody has to do the work.
    if count > 0 && agents > 1 && rng.u8(0..8) == 0 {
        faults.push((milliseconds(&mut rng, 0..150_000), Fault::AgentKilled { agent: rng.usize(0..agents) }));
    }
    faults.sort_by_key(|(at, _)| *at);
    Plan { slots: rng.u32(1..=4), disk, clusters, workflows, faults }
}

fn milliseconds(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

fn workflow(rng: &mut Rng, number: usize) -> WorkflowPlan {
    let name = format!("w{number}");
    let mut steps = 0;
    let mut step = |rng: &mut Rng| {
        steps += 1;
        let is_long = rng.u8(0..4) == 0;
        let pace = if is_long { 1..20 } else { 1..300 };
        StepPlan {
            name: format!("{name}s{steps}"),
            pull: milliseconds(rng, 0..10_000),
            lines: if is_long { rng.usize(500..3000) } else { rng.usize(0..200) },
            pace: if rng.bool() { Duration::ZERO } else { milliseconds(rng, pace) },
            exit_code: if rng.u8(0..5) == 0 { rng.i32(1..256) } else { 0 },
            max_attempts: rng.u32(1..=3),
            failure: if rng.u8(0..6) == 0 { FailurePolicy::Ignore } else { FailurePolicy::Fail },
        }
    };
    let stages = (0..rng.usize(1..=3)).map(|_| (0..rng.usize(1..=3)).map(|_| step(rng)).collect()).collect();
    let at = milliseconds(rng, 0..60_000);
    let cancelled = (rng.u8(0..6) == 0).then(|| at + milliseconds(rng, 0..60_000));
    WorkflowPlan { name, at, cancelled, stages }
}

fn fault(rng: &mut Rng, agents: usize, clusters: usize) -> Fault {
    let (agent, cluster) = (rng.usize(0..agents), rng.usize(0..clusters));
    let times = rng.u32(1..=6);
    match rng.u8(0..14) {
        0 => Fault::ServerUnreachable { agent, lasts: milliseconds(rng, 100..90_000) },
        1 if rng.bool() => Fault::ServerDeaf { agent, lasts: milliseconds(rng, 100..90_000) },
        1 => Fault::ServerMute { agent, lasts: milliseconds(rng, 100..90_000) },
        2 => Fault::ServerSlow { agent, lasts: milliseconds(rng, 100..20_000) },
        3 | 4 => Fault::ServerKilled { back_after: outage(rng, 240_000) },
        5 => Fault::ClusterUnreachable { agent, lasts: outage(rng, 90_000) },
        6 => Fault::StreamsCut { cluster },
        7 => Fault::HistoryExpired { cluster },
        8 => Fault::RequestsFail { cluster, code: rng.choice([500, 503, 504]).unwrap_or(500), times },
        9 => Fault::TooManyRequests { cluster, times },
        10 => {
            if rng.bool() {
                Fault::RequestsBreak { cluster, times }
            } else {
                Fault::AnswersLost { cluster, times }
            }
        }
        11 => Fault::Drain { cluster, lasts: milliseconds(rng, 100..120_000) },
        _ => Fault::Eviction { cluster, which: rng.usize(0..100) },
    }
}

/// Most outages are short.
fn outage(rng: &mut Rng, longest: u64) -> Duration {
    let longest = if rng.u8(0..4) == 0 { longest } else { 30_000 };
    milliseconds(rng, 0..longest)
}

impl Fault {
    /// Its name, without what it is about.
    pub(crate) fn kind(&self) -> String {
        let text = format!("{self:?}");
        text.split_whitespace().next().unwrap_or_default().to_owned()
    }
}

impl Plan {
    /// Whether a fault of one of these kinds happens.
    pub(crate) fn has(&self, kinds: &[&str]) -> bool {
        self.faults.iter().any(|(_, fault)| kinds.contains(&fault.kind().as_str()))
    }
}

impl WorkflowPlan {
    pub(crate) fn steps(&self) -> impl Iterator<Item = &StepPlan> {
        self.stages.iter().flatten()
    }

    /// What is submitted.
    pub(crate) fn spec(&self) -> WorkloadSpec {
        let step = |step: &StepPlan| StepSpec {
            id: format!("id-{}", step.name),
            name: step.name.clone(),
            image: "alpine".to_owned(),
            entrypoint: vec!["/bin/program".to_owned()],
            max_attempts: step.max_attempts,
            failure: step.failure,
            ..StepSpec::default()
        };
        let stages = self.stages.iter().map(|stage| StageSpec { steps: stage.iter().map(step).collect() }).collect();
        WorkloadSpec { name: self.name.clone(), stages, ..WorkloadSpec::default() }
    }
}

impl WorkflowPlan {
    /// The same, as Woodpecker's server compiles it.
    pub(crate) fn compiled(&self) -> Compiled {
        let job = |step: &StepPlan| {
            let mode = match step.failure {
                FailurePolicy::Fail => FailureMode::Fail,
                FailurePolicy::Ignore => FailureMode::Ignore,
                FailurePolicy::Cancel => FailureMode::Cancel,
            };
            Job::plugin(&step.name, "alpine").failure(mode)
        };
        self.stages
            .iter()
            .fold(Compiled::new(self.name.as_str()), |compiled, stage| compiled.then(stage.iter().map(job)))
    }
}

impl StepPlan {
    /// What it prints, if nobody stops it.
    pub(crate) fn line(&self, number: usize) -> String {
        format!("{} says {number}", self.name)
    }
}
