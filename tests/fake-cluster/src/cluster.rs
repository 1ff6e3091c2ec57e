//! The cluster as tests and the demo hold it.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::access::Access;
use crate::api::Api;
use crate::classes::Classes;
use crate::clock::{Clock, json_seconds};
use crate::controllers::{claims, garbage, namespaces, nodes};
use crate::counters::Counters;
use crate::failure::Failure;
use crate::faults::Faults;
use crate::kind::Kind;
use crate::kubelet::{Containers, KubeletTiming, Kubelets, Machines, Verdict};
use crate::log::LogSettings;
use crate::mutations::Mutations;
use crate::object::Key;
use crate::runtime::Runtime;
use crate::script::ScriptedRuntime;
use crate::service::Connection;
use crate::store::{DeleteOptions, Store};
use crate::{listen, scheduler};

/// The user of [`FakeCluster::client`] and of the kubeconfig.
pub const ADMIN: &str = "admin";

/// How the cluster is made, and how long its parts take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster's time at its start.
    pub epoch: Timestamp,
    /// What uids and generated names depend on.
    pub seed: u64,
    /// How many writes the API server remembers for watches.
    pub history: usize,
    /// Namespaces that exist from the start, beside `default` and those of the system. The first is that of clients.
    pub namespaces: Vec<String>,
    /// Nodes that exist from the start.
    pub nodes: Vec<NodeSettings>,
    /// The classes that objects may name.
    pub classes: Classes,
    /// From a pod's creation to its binding.
    pub scheduling: Duration,
    /// From a write to the garbage collector's look at it.
    pub garbage_collection: Duration,
    /// From the last sign of life of a node to its being marked as silent.
    pub node_grace: Duration,
    /// From a node's removal to that of its pods.
    pub orphan_collection: Duration,
    /// How long kubelets take.
    pub kubelet: KubeletTiming,
    /// How kubelets keep logs.
    pub logs: LogSettings,
}

impl Default for Settings {
    /// One node of 8 CPUs and 32 GiB, a namespace `ci`, and the year 2026.
    fn default() -> Self {
        Self {
            epoch: Timestamp::constant(1_767_225_600, 0),
            seed: 0,
            history: 10_000,
            namespaces: vec!["ci".into()],
            nodes: vec![NodeSettings::new("node-1")],
            classes: Classes::default(),
            scheduling: Duration::ZERO,
            garbage_collection: Duration::ZERO,
            node_grace: Duration::from_secs(50),
            orphan_collection: Duration::from_secs(40),
            kubelet: KubeletTiming::default(),
            logs: LogSettings::default(),
        }
    }
}

/// A node to be.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Its name, also the value of its label `kubernetes.io/hostname`.
    pub name: String,
    /// Further labels; they win over those that every node has.
    pub labels: Vec<(String, String)>,
    /// CPUs, as a quantity.
    pub cpu: String,
    /// Memory, as a quantity.
    pub memory: String,
}

impl NodeSettings {
    /// A Linux node of this machine's architecture with 8 CPUs and 32 GiB.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), labels: Vec::new(), cpu: "8".into(), memory: "32Gi".into() }
    }
}

/// The architecture of this machine, as Kubernetes writes it.
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}

/// A cluster in memory. Clones are the same cluster; it ends with the last of them and of its clients.
#[derive(Clone)]
pub struct FakeCluster {
    shared: Arc<Shared>,
}

/// What the clones of a cluster share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) api: Arc<Api>,
    store: Arc<Store>,
    kubelets: Arc<Kubelets>,
    machines: Arc<Machines>,
    node_grace: Duration,
    /// The namespace of clients that name none.
    namespace: String,
    /// Aborted with the cluster.
    tasks: Mutex<JoinSet<()>>,
}

impl Shared {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl FakeCluster {
    /// A cluster with default settings whose containers play the scripts of `runtime`. Needs a tokio runtime.
    #[must_use]
    pub fn scripted(runtime: &Arc<ScriptedRuntime>) -> Self {
        Self::start(Settings::default(), Arc::clone(runtime) as Arc<dyn Runtime>)
    }

    /// Starts a cluster. Needs a tokio runtime.
    #[must_use]
    pub fn start(settings: Settings, runtime: Arc<dyn Runtime>) -> Self {
        let clock = Clock::starting_at(settings.epoch);
        let store = Arc::new(Store::new(clock, settings.history, settings.seed));
        let machines = Arc::new(Machines::default());
        let containers = Arc::new(Containers::new(clock, settings.logs));
        let kubelets = Kubelets::new(
            Arc::clone(&store),
            runtime,
            Arc::clone(&containers),
            Arc::clone(&machines),
            settings.kubelet,
        );
        let classes = Arc::new(settings.classes);
        let api = Arc::new(Api {
            store: Arc::clone(&store),
            containers,
            machines: Arc::clone(&machines),
            faults: Faults::new(),
            mutations: Mutations::default(),
            counters: Arc::new(Counters::default()),
            access: Access::default(),
            classes: Arc::clone(&classes),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(scheduler::run(Arc::clone(&store), Arc::clone(&classes), settings.scheduling));
        tasks.spawn(garbage::run(Arc::clone(&store), settings.garbage_collection));
        tasks.spawn(namespaces::run(Arc::clone(&store)));
        tasks.spawn(claims::run(Arc::clone(&store), classes));
        tasks.spawn(nodes::run(Arc::clone(&store), settings.orphan_collection));
        tasks.spawn(Arc::clone(&kubelets).run());
        let node_grace = settings.node_grace;
        let namespace = settings.namespaces.first().map_or("default", String::as_str).to_owned();
        let tasks = Mutex::new(tasks);
        let shared = Arc::new(Shared { api, store, kubelets, machines, node_grace, namespace, tasks });
        let cluster = Self { shared };
        let system = ["default", "kube-system", "kube-public", "kube-node-lease"].map(str::to_owned);
        for namespace in system.iter().chain(&settings.namespaces) {
            cluster.create_namespace(namespace);
        }
        for node in &settings.nodes {
            cluster.add_node(node);
        }
        cluster
    }

    /// A client that may do everything, with the first of the settings' namespaces as its own.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client_as(ADMIN, &self.shared.namespace)
    }

    /// A client of a user, with a default namespace.
    #[must_use]
    pub fn client_as(&self, user: &str, namespace: &str) -> kube::Client {
        kube::Client::new(self.connect(user), namespace)
    }

    /// A user's connection, as a service for `kube::Client`.
    #[must_use]
    pub fn connect(&self, user: &str) -> Connection {
        Connection::new(Arc::clone(&self.shared), user)
    }

    /// Listens for plain HTTP. Returns the address and a kubeconfig for it.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<(SocketAddr, String)> {
        let address = listen::listen(&self.shared, address).await?;
        Ok((address, listen::kubeconfig(address, &self.shared.namespace)))
    }

    /// What goes wrong with requests.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.api.faults
    }

    /// How much the API was used.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.api.counters
    }

    /// From now on, each new pod is changed so before anything else looks at it, as a mutating webhook does.
    ///
    /// # Panics
    /// If it is no JSON patch.
    pub fn change_new_pods(&self, patch: Value) {
        let patch = serde_json::from_value(patch);
        self.shared.api.mutations.add(patch.unwrap_or_else(|error| panic!("this is no JSON patch: {error}")));
    }

    /// Who may do what.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.shared.api.access
    }

    /// The cluster's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.store.clock().now()
    }

    /// Forgets all writes: a watch or a paged list that would need one gets `410 Expired`.
    pub fn expire_history(&self) {
        self.shared.store.expire_history();
    }

    /// An object as it is stored, without going through the API.
    #[must_use]
    pub fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        self.shared.store.get(&Key::new(kind, namespace, name)).map(|object| object.value().clone())
    }

    /// All objects of a kind, by namespace and name, without going through the API.
    #[must_use]
    pub fn objects(&self, kind: Kind) -> Vec<Value> {
        self.shared.store.list(kind, None).iter().map(|object| object.value().clone()).collect()
    }

    /// Creates a namespace; one that exists stays as it is.
    pub fn create_namespace(&self, name: &str) {
        if let Err(failure) = namespaces::create(&self.shared.store, name) {
            tracing::debug!(%failure, "the namespace was not created");
        }
    }

    /// Adds a node, ready.
    pub fn add_node(&self, node: &NodeSettings) {
        let store = &self.shared.store;
        self.shared.machines.switch(&node.name, true);
        let mut labels = json!({
            "kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": own_architecture(),
        });
        for (key, value) in &node.labels {
            labels[key] = value.as_str().into();
        }
        let architecture = labels["kubernetes.io/arch"].clone();
        let number = store.list(Kind::Node, None).len() + 1;
        let room = json!({"cpu": node.cpu, "memory": node.memory, "pods": "110"});
        let created = store.create(Kind::Node, "", json!({
            "kind": "Node", "apiVersion": "v1", "metadata": {"name": node.name, "labels": labels}, "spec": {},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": format!("10.0.0.{number}")},
                    {"type": "Hostname", "address": node.name},
                ],
                "capacity": room, "allocatable": room,
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "KubeletReady",
                    "message": "kubelet is posting ready status", "lastTransitionTime": json_seconds(store.clock().now()),
                }],
                "nodeInfo": {
                    "architecture": architecture, "operatingSystem": "linux", "kubeletVersion": "v1.34.4",
                    "containerRuntimeVersion": "containerd://2.1.0", "kernelVersion": "6.1.0", "osImage": "Fake Linux",
                    "bootID": "", "kubeProxyVersion": "", "machineID": "", "systemUUID": "",
                },
            },
        }), false);
        if let Err(failure) = created {
            tracing::debug!(%failure, "the node was not added");
        }
    }

    /// A node falls silent: its containers run on, unseen. After a while it is marked, and later its pods are deleted.
    pub fn lose_node(&self, name: &str) {
        self.shared.machines.switch(name, false);
        let (store, machines) = (Arc::clone(&self.shared.store), Arc::clone(&self.shared.machines));
        let (name, grace) = (name.to_owned(), self.shared.node_grace);
        self.shared.spawn(async move {
            tokio::time::sleep(grace).await;
            if !machines.is_up(&name) {
                nodes::mark_silent(&store, &name);
            }
        });
    }

    /// A silent node comes back, and its kubelet reports what happened meanwhile.
    pub fn restore_node(&self, name: &str) {
        self.shared.machines.switch(name, true);
        nodes::mark_ready(&self.shared.store, name);
    }

    /// A node goes for good, with everything on it: its object is deleted, and its pods are collected.
    pub fn remove_node(&self, name: &str) {
        self.shared.machines.switch(name, false);
        let removed = self.shared.store.delete(&Key::new(Kind::Node, "", name), &DeleteOptions::default());
        if let Err(failure) = removed {
            tracing::debug!(%failure, "there is no such node");
        }
    }

    /// The kubelet ends a pod because its node runs out of something. The pod's object stays.
    ///
    /// # Errors
    /// If there is no such pod.
    pub fn evict(&self, namespace: &str, pod: &str, message: &str) -> Result<(), Failure> {
        let found = self.shared.store.get(&Key::new(Kind::Pod, namespace, pod));
        let found = found.ok_or_else(|| Failure::not_found(Kind::Pod, pod))?;
        let verdict = Verdict { reason: "Evicted", message: message.to_owned(), disrupted: true };
        self.shared.kubelets.evict(found.uid(), verdict);
        Ok(())
    }

    /// The scheduler deletes a pod to make room for another.
    ///
    /// # Errors
    /// If there is no such pod.
    pub fn preempt(&self, namespace: &str, pod: &str) -> Result<(), Failure> {
        scheduler::preempt(&self.shared.store, &Key::new(Kind::Pod, namespace, pod))
    }

    /// Ends the cluster: nobody listens any more, no controller works, and every container has ended on return.
    pub async fn shut_down(&self) {
        let mut tasks = {
            let mut held = self.shared.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *held)
        };
        tasks.shutdown().await;
        self.shared.kubelets.ended().await;
    }
}

impl fmt::Debug for FakeCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeCluster").field("now", &self.now()).finish_non_exhaustive()
    }
}
