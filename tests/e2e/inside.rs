//! Agents in the cluster: installed by helm from the chart, in a namespace of their own, with no rights but the chart's. Their
//! server is the scenario's, behind a socket of this machine.
//!
//! - `PICULET_E2E_IMAGE`: the agent's image, which the nodes have or can pull; without it `piculet:test`, as
//!   `deploy/image --profile dev docker.io/library/piculet:test` makes it and `tests/cluster/load` gives it to the nodes.
//! - `PICULET_E2E_HOST`: an address of this machine that pods reach; without it that of a node which is this machine.
//! - `PICULET_E2E_WITHOUT`: a right that the agents don't get, as `deploy/without-a-right` says it.

mod door;
mod without;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use server_stub::stub::{Network, Stub};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

use self::door::Door;
use self::without::Right;
use crate::site::remove;

/// What agents present to the server.
pub(crate) const TOKEN: &str = "let-the-chart-in";

/// How long an agent may take from its installation to its session.
const COMING: Duration = Duration::from_secs(90);

/// The namespace of a scenario's agents.
pub(crate) struct Inside {
    client: Client,
    pub(crate) namespace: String,
    host: IpAddr,
    /// How many were installed; the newest is `agent-<this>`.
    installed: u32,
}

impl Inside {
    /// Beside the namespace of its steps.
    pub(crate) async fn open(client: Client, steps: &str) -> Self {
        let namespace = format!("{steps}-agents");
        // The strictest of Kubernetes' own levels: the chart says that its pods fit.
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let object = json!({"metadata": {"name": namespace, "labels": labels}});
        let object = serde_json::from_value(object).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let host = host(&client).await;
        Self { client, namespace, host, installed: 0 }
    }

    /// Installs an agent with these settings, and with these values of the chart beside the usual ones. Its release is
    /// `agent-1`, the next one's `agent-2`.
    pub(crate) async fn install(&mut self, network: &Network, mut settings: Value, values: Value) {
        self.installed += 1;
        let release = self.release();
        let listener = TcpListener::bind((self.host, 0)).await.unwrap();
        let door = Door::open(listener, network.clone());
        let authority = format!("{release}-authority");
        let object = json!({"metadata": {"name": authority}, "data": {"ca.crt": door.authority}});
        let object: ConfigMap = serde_json::from_value(object).unwrap();
        let authorities = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        authorities.create(&PostParams::default(), &object).await.unwrap();

        settings["server"] = json!({"address": format!("https://{}", door.address)});
        let without = Right::left_out();
        let (repository, tag) = image();
        let mut all = json!({
            "image": {"repository": repository, "tag": tag},
            // Without a right there is no moment in which it has that: it is taken away first.
            "replicas": if without.is_some() { 0 } else { 1 },
            "config": settings,
            "token": {"value": TOKEN},
            "tls": {"authority": {"configMap": authority}},
            "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
        });
        crate::world::merge(&mut all, values);
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("values.yaml");
        std::fs::write(&file, all.to_string()).unwrap();
        let file = file.to_str().unwrap();
        self.helm(&["install", &release, chart().to_str().unwrap(), "--values", file]).await.unwrap();
        if let Some(right) = without {
            right.take_from(&self.client, &self.namespace, &release).await;
            let one = json!({"spec": {"replicas": 1}});
            let deployments = Api::<Deployment>::namespaced(self.client.clone(), &self.namespace);
            let name = format!("{release}-piculet");
            deployments.patch(&name, &PatchParams::default(), &Patch::Merge(one)).await.unwrap();
        }
    }

    /// The name of the newest release.
    pub(crate) fn release(&self) -> String {
        format!("agent-{}", self.installed)
    }

    /// Waits until the newest agent has a session.
    pub(crate) async fn until_session(&self, stub: &Stub) {
        if tokio::time::timeout(COMING, stub.expect_session()).await.is_err() {
            panic!("{} has no session within {} s", self.release(), COMING.as_secs());
        }
    }

    /// The agents' pods.
    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Runs helm in the agents' namespace; gives what it says, or what it says went wrong.
    pub(crate) async fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(helm());
        command.args(arguments).args(["--namespace", &self.namespace]).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        if output.status.success() { Ok(said) } else { Err(format!("helm {}: {said}", arguments.join(" "))) }
    }

    /// The scenario is over. Where it failed, what became of its agents is printed first.
    pub(crate) async fn close(self, failed: bool) {
        if failed {
            self.tell().await;
        }
        for number in 1..=self.installed {
            // It may be gone already. Nothing is left that a hook could remove.
            let _gone = self.helm(&["uninstall", &format!("agent-{number}"), "--no-hooks"]).await;
            // With the namespace helm's own record went, and these lie in none.
            let (name, params) =
                (format!("{}.agent-{number}-piculet.cluster-reads", self.namespace), DeleteParams::default());
            let _gone = Api::<ClusterRoleBinding>::all(self.client.clone()).delete(&name, &params).await;
            let _gone = Api::<ClusterRole>::all(self.client.clone()).delete(&name, &params).await;
        }
        // What an agent had to do is over, or will never be.
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let _gone = self.pods().delete_collection(&at_once, &ListParams::default()).await;
        remove(self.client, &self.namespace).await;
    }

    #[expect(clippy::print_stdout, reason = "it belongs to a failure that a person looks at")]
    async fn tell(&self) {
        for pod in self.pods().list(&ListParams::default()).await.map(|pods| pods.items).unwrap_or_default() {
            let name = pod.name_any();
            println!("--- {name}: {}", serde_json::to_string(&pod.status.unwrap_or_default()).unwrap());
            let params = LogParams { tail_lines: Some(60), ..LogParams::default() };
            println!("{}", self.pods().logs(&name, &params).await.unwrap_or_else(|error| error.to_string()));
        }
    }
}

/// Whether the agents get less than the chart gives.
pub(crate) fn lacks_a_right() -> bool {
    Right::left_out().is_some()
}

/// The chart's folder.
fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart/piculet")
}

/// The program, which is built where it isn't yet.
fn helm() -> &'static Path {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/tools/build");
        let built = std::process::Command::new(build).stderr(Stdio::inherit()).output().unwrap();
        assert!(built.status.success(), "deploy/tools/build could not build helm");
        Path::new(String::from_utf8(built.stdout).unwrap().trim()).join("helm")
    })
}

/// The image's repository and tag.
fn image() -> (String, String) {
    let image = variable("PICULET_E2E_IMAGE").unwrap_or_else(|| "piculet:test".to_owned());
    let (repository, tag) = image.rsplit_once(':').expect("PICULET_E2E_IMAGE has to be REPOSITORY:TAG");
    (repository.to_owned(), tag.to_owned())
}

/// An address of this machine that pods reach.
async fn host(client: &Client) -> IpAddr {
    if let Some(host) = variable("PICULET_E2E_HOST") {
        return host.parse().expect("PICULET_E2E_HOST has to be an IP address");
    }
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap().items;
    for address in nodes.iter().flat_map(|node| node.status.iter().flat_map(|status| status.addresses.iter().flatten()))
    {
        let Ok(address) = address.address.parse::<IpAddr>() else { continue };
        if TcpListener::bind(SocketAddr::new(address, 0)).await.is_ok() {
            return address;
        }
    }
    panic!("no node of the cluster is this machine: name an address of it that pods reach in PICULET_E2E_HOST")
}

#[expect(clippy::disallowed_methods, reason = "what is tested is chosen from outside")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
