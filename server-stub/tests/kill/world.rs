//! An agent with its cluster, users who submit without a pause, and the judgement of what became of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_cluster::recording::Recording;
use fake_cluster::{FakeCluster, Script, ScriptedRuntime, Settings};
use piculet::agent::Agent;
use piculet::config::{Config, Target};
use piculet::shutdown::Shutdown;
use piculet_cluster::{Cluster, Limits};
use piculet_core::id::InstanceId;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::api::Api;
use crate::server::Served;

const NAMESPACE: &str = "ci";
/// What each step prints, and how fast.
const LINES: usize = 60;
const PACE: Duration = Duration::from_millis(10);
const STEPS: [&str; 3] = ["left", "right", "last"];
/// How long everything may take to end once nothing is broken any more.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    runtime: Arc<Recording>,
    begun: Instant,
    is_over: Arc<AtomicBool>,
    _cluster: FakeCluster,
}

/// What users submitted.
pub(crate) struct Submitting {
    users: Vec<JoinHandle<()>>,
    /// The names of workflows that the server said it has.
    accepted: Arc<Mutex<BTreeSet<String>>>,
    /// Of these nobody knows: the answer never came.
    unknown: Arc<Mutex<BTreeSet<String>>>,
}

impl World {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let scripts = ScriptedRuntime::new();
        let script = (0..LINES).fold(Script::new(), |script, number| script.line(&line(number)).wait(PACE));
        scripts.on_all(script.exit(0));
        let runtime = Recording::of(scripts);
        let cluster = FakeCluster::start(Settings::default(), runtime.clone());
        let mut config = Config::default();
        let server: piculet_link::stream::Address = format!("http://{server}").parse().unwrap();
        config.server.address = Target::Stream(server.clone());
        config.agent.name = "agent".to_owned();
        config.agent.max_workflows = 20;
        config.admin.address = None;
        config.pods.namespace = NAMESPACE.to_owned();
        let link = piculet::link::stream(&server, &config.server);
        let kubernetes = Cluster::new(cluster.client(), NAMESPACE, Limits::default());
        let agent = Agent::new(config, kubernetes, InstanceId::new("agent"), "test".to_owned());
        tokio::spawn(agent.run(link, Shutdown::default()));
        Self { runtime, begun: Instant::now(), is_over: Arc::default(), _cluster: cluster }
    }

    /// Lets so many users submit one workflow after the other, each when the last one is over.
    pub(crate) fn keep_busy(&self, api: SocketAddr, users: usize) -> Submitting {
        let (accepted, unknown) = (Arc::<Mutex<_>>::default(), Arc::<Mutex<_>>::default());
        let users = (0..users).map(|user| {
            let (accepted, unknown) = (Arc::clone(&accepted), Arc::clone(&unknown));
            tokio::spawn(submit_until_over(user, Api(api), self.is_over.clone(), accepted, unknown))
        });
        Submitting { users: users.collect(), accepted, unknown }
    }

    /// Waits until everything is over, and looks at all of it.
    pub(crate) async fn judge(self, what: &str, times: u32, submitting: Submitting, served: &Served) {
        self.is_over.store(true, Ordering::Relaxed);
        for user in submitting.users {
            user.await.unwrap();
        }
        let accepted = submitting.accepted.lock().unwrap().clone();
        let unknown = submitting.unknown.lock().unwrap().clone();
        let api = Api(served.api());
        let workflows = self.all_over(&api).await;
        let names: Vec<_> = workflows.iter().filter_map(|workflow| workflow["name"].as_str()).collect();
        let lost = accepted.iter().filter(|name| !names.contains(&name.as_str())).count();
        let strangers = names.iter().filter(|name| !accepted.contains(**name) && !unknown.contains(**name)).count();
        let doubled = names.len() - names.iter().collect::<BTreeSet<_>>().len();
        let unsuccessful = workflows.iter().filter(|workflow| workflow["state"] != "success").count();
        for workflow in workflows.iter().filter(|workflow| workflow["state"] != "success") {
            println!("{workflow}");
        }
        let expected: Vec<_> = (0..LINES).map(line).collect();
        let (mut lines, mut wrong_logs, mut never_ran, mut ran_again) = (0, 0, 0, 0);
        for workflow in &workflows {
            for step in workflow["steps"].as_array().unwrap() {
                let ran = self.runtime.runs("step", step["name"].as_str().unwrap()).len();
                never_ran += usize::from(ran == 0);
                ran_again += ran.saturating_sub(1);
                let log = log_of(&api, workflow, step).await;
                lines += log.len();
                wrong_logs += usize::from(log != expected);
            }
        }
        println!(
            "{what}: {times} times in {:.0} s; {} workflows accepted, {} without an answer, {} in all; {lines} lines; \
             lost {lost}, doubled {doubled}, strangers {strangers}, without success {unsuccessful}, steps that never ran \
             {never_ran}, steps that ran again {ran_again}, logs that differ {wrong_logs}",
            self.begun.elapsed().as_secs_f64(),
            accepted.len(),
            unknown.len(),
            workflows.len()
        );
        assert!(!accepted.is_empty() && lines > 0);
        assert_eq!([lost, doubled, strangers, unsuccessful, never_ran, ran_again, wrong_logs], [0; 7]);
    }

    /// Waits until no workflow is open.
    async fn all_over(&self, api: &Api) -> Vec<Value> {
        let wait = async {
            loop {
                let workflows = list(api).await;
                if !workflows.is_empty() && !workflows.iter().any(is_open) {
                    return workflows;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(workflows) => workflows,
            Err(_) => {
                let workflows = list(api).await;
                panic!("after {PATIENCE:?} there is still: {:?}", workflows.iter().find(|workflow| is_open(workflow)));
            }
        }
    }
}

/// All workflows; none if the server is away.
async fn list(api: &Api) -> Vec<Value> {
    let listed = api.get("/api/workflows?limit=1000").await.unwrap_or_default();
    assert!(listed["next"].is_null(), "there are more than a page has");
    listed["workflows"].as_array().cloned().unwrap_or_default()
}

fn line(number: usize) -> String {
    format!("this is line {number} of {LINES}")
}

/// Steps have names of their own: by these the account of what ran is kept.
fn step_name(workflow: &str, step: &str) -> String {
    format!("{workflow}-{step}")
}

fn request(workflow: &str) -> Value {
    let step = |name| json!({"id": name, "name": step_name(workflow, name), "image": "alpine", "commands": ["true"]});
    let [left, right, last] = STEPS.map(step);
    json!({"workloads": [{"name": workflow, "stages": [{"steps": [left, right]}, {"steps": [last]}]}]})
}

/// One user: submits, waits for the end, and submits again.
async fn submit_until_over(
    user: usize,
    api: Api,
    is_over: Arc<AtomicBool>,
    accepted: Arc<Mutex<BTreeSet<String>>>,
    unknown: Arc<Mutex<BTreeSet<String>>>,
) {
    let mut rng = fastrand::Rng::with_seed(user as u64);
    for number in 1.. {
        let name = format!("u{user}-{number}");
        // Also while the server is away: that an answer lacks means nothing.
        tokio::time::sleep(Duration::from_millis(rng.u64(0..400))).await;
        match api.post("/api/workflows", &request(&name)).await {
            Some(submitted) => {
                accepted.lock().unwrap().insert(name);
                let path = format!("/api/workflows/{}", submitted["workflows"][0]["number"]);
                while !is_over.load(Ordering::Relaxed) && api.get(&path).await.is_none_or(|shown| is_open(&shown)) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            None => {
                unknown.lock().unwrap().insert(name);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        if is_over.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn is_open(workflow: &Value) -> bool {
    matches!(workflow["state"].as_str(), Some("pending" | "running"))
}

/// The lines that a step printed, without those that the agent added.
async fn log_of(api: &Api, workflow: &Value, step: &Value) -> Vec<String> {
    let (workflow, step) = (workflow["id"].as_str().unwrap(), step["id"].as_str().unwrap());
    let page = api.get(&format!("/api/workflows/{workflow}/steps/{step}/log")).await.unwrap();
    let lines = page["lines"].as_array().cloned().unwrap_or_default();
    let texts = lines.iter().filter_map(|line| Some(line["text"].as_str()?.to_owned()));
    texts.filter(|text| !text.starts_with("[piculet] ")).collect()
}
