//! One server, several clusters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fake_cluster::{FakeCluster, Script, ScriptedRuntime, Settings};
use piculet::agent::Agent;
use piculet::config::Config;
use piculet::shutdown::Shutdown;
use piculet_cluster::{Cluster, Limits};
use piculet_core::id::{InstanceId, WorkflowId};
use piculet_link::stream;
use piculet_link::stream::StreamLink;
use server_stub::dispatch::{State, Submission};
use server_stub::mailbox::Intake;
use server_stub::stub::Stub;
use server_stub::view::WorkflowView;
use tokio::time::sleep;

use crate::world::{NAMESPACE, step, workflow};

/// How many workflows of each kind there are.
const GPU: usize = 40;
const ANY: usize = 160;

/// A cluster with its agents, each with so many slots.
struct Site {
    name: &'static str,
    labels: &'static [(&'static str, &'static str)],
    slots: &'static [u32],
}

const SITES: [Site; 3] = [
    Site { name: "small", labels: &[], slots: &[4] },
    Site { name: "large", labels: &[], slots: &[8, 8] },
    Site { name: "gpu", labels: &[("gpu", "yes")], slots: &[6] },
];

fn start(site: &Site, stub: &Stub, runtime: &Arc<ScriptedRuntime>) {
    // What makes a cluster another one is the UID of its `kube-system` namespace, and that depends on the seed.
    let seed = site.name.bytes().map(u64::from).sum();
    let fake = FakeCluster::start(Settings { seed, ..Settings::default() }, runtime.clone());
    for (number, &slots) in site.slots.iter().enumerate() {
        let mut config = Config::default();
        config.agent.name = format!("{}-{number}", site.name);
        config.agent.max_workflows = slots;
        config.agent.labels = site.labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        config.kubernetes.cluster_name = site.name.to_owned();
        config.admin.address = None;
        config.pods.namespace = NAMESPACE.to_owned();
        let network = stub.network();
        let settings = stream::Settings::new("http://stub:1".parse().unwrap());
        let link = StreamLink::with_connector(settings, network.connector());
        let cluster = Cluster::new(fake.client(), NAMESPACE, Limits::default());
        let instance = InstanceId::new(config.agent.name.as_str());
        let agent = Agent::new(config, cluster, instance, "test".to_owned()).following_tokios_clock();
        tokio::spawn(agent.run(link, Shutdown::default()));
    }
}

fn submission(number: usize) -> Submission {
    let mut spec = workflow(vec![vec![step("build")]]);
    // Ids of steps are those of pods.
    spec.stages[0].steps[0].id = format!("build{number}");
    if number.is_multiple_of(5) {
        spec.labels.insert("gpu".to_owned(), "yes".to_owned());
    }
    Submission::new(WorkflowId::new(format!("w{number}")), spec)
}

/// How many of these workflows each cluster had, by whether they asked for a GPU.
fn placement(workflows: &[WorkflowView]) -> BTreeMap<(String, bool), usize> {
    let mut counts = BTreeMap::new();
    for workflow in workflows {
        let cluster = workflow.cluster.clone().unwrap_or_else(|| "nowhere".to_owned());
        *counts.entry((cluster, workflow.labels.contains_key("gpu"))).or_default() += 1;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn two_hundred_workflows_over_three_clusters_one_of_which_is_drained() {
    let stub = Stub::start(server_stub::server::Config::default());
    let runtime = ScriptedRuntime::new();
    runtime.on_all(Script::new().wait(Duration::from_secs(10)).line("done").exit(0));
    for site in &SITES {
        start(site, &stub, &runtime);
    }
    while stub.server().clusters().iter().map(|cluster| cluster.free_slots).sum::<u32>() < 26 {
        sleep(Duration::from_millis(10)).await;
    }
    stub.server().submit((0..GPU + ANY).map(submission).collect()).unwrap();
    sleep(Duration::from_secs(1)).await;
    let clusters = stub.server().clusters();
    println!("at the start:");
    for cluster in &clusters {
        println!("  {:8} {:2} of {:2} slots in use", cluster.name, cluster.workflows, cluster.capacity);
    }
    assert!(clusters.iter().all(|cluster| cluster.workflows == cluster.capacity as usize), "all are full");

    sleep(Duration::from_secs(30)).await;
    stub.server().set_cluster_intake("large", Intake::Closed).unwrap();
    let had = |workflows: &[WorkflowView]| workflows.iter().filter(|w| w.cluster.as_deref() == Some("large")).count();
    let before = had(&stub.server().workflows());
    sleep(Duration::from_secs(30)).await;
    let large = stub.server().cluster("large").unwrap();
    println!("30 s after the drain of 'large': {} workflows left there", large.workflows);
    assert_eq!(large.workflows, 0, "what it had ended there");
    for number in 0..GPU + ANY {
        stub.ended(&WorkflowId::new(format!("w{number}"))).await;
    }
    let workflows = stub.server().workflows();
    assert!(workflows.iter().all(|workflow| workflow.state == State::Success && workflow.epoch == 1));
    assert_eq!(had(&workflows), before, "nothing more came");

    let counts = placement(&workflows);
    println!("cluster   gpu=yes  without");
    for site in &SITES {
        let of = |gpu| counts.get(&(site.name.to_owned(), gpu)).copied().unwrap_or_default();
        println!("{:8}  {:7}  {:7}", site.name, of(true), of(false));
    }
    assert_eq!(counts.get(&("gpu".to_owned(), true)), Some(&GPU), "labels are kept to");
    assert_eq!(counts.values().sum::<usize>(), GPU + ANY);
    assert!(!counts.contains_key(&("nowhere".to_owned(), false)));
}
