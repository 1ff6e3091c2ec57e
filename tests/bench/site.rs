//! A namespace of its own in the cluster of `KUBECONFIG`, a server and an agent.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::config::{Config as KubeConfig, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use piculet::agent::Agent;
use piculet::config::Config;
use piculet::shutdown::Shutdown;
use piculet_cluster::{Cluster, KubeSource, Limits};
use piculet_core::id::InstanceId;
use piculet_link::stream::{Settings, StreamLink};
use serde_json::json;
use server_stub::stub::Stub;

pub(crate) const IMAGE: &str = "busybox:stable";

pub(crate) struct Site {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) stub: Stub,
}

impl Site {
    #[expect(clippy::disallowed_methods, reason = "the cluster is chosen from outside")]
    pub(crate) async fn open() -> Self {
        let path = std::env::var_os("KUBECONFIG").map(PathBuf::from);
        let path = path.unwrap_or_else(|| panic!("KUBECONFIG has to name a cluster; tests/cluster/up starts one"));
        let file = Kubeconfig::read_from(&path).unwrap();
        let config = KubeConfig::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let namespace = format!("piculet-bench-{}", std::process::id());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &namespace);
        while accounts.get_opt("default").await.unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let site = Self { client, namespace, stub: Stub::start(Default::default()) };
        site.start_agent(path).await;
        site
    }

    async fn start_agent(&self, kubeconfig: PathBuf) {
        let network = self.stub.network();
        let link = StreamLink::with_connector(Settings::new("http://stub:1".parse().unwrap()), network.connector());
        let mut config = Config::default();
        config.agent.max_workflows = 100;
        config.admin.address = None;
        config.pods.namespace = self.namespace.clone();
        let source = KubeSource::Kubeconfig { path: kubeconfig, context: None };
        let cluster = Cluster::connect(&source, Some(&self.namespace), Limits::default()).await.unwrap();
        let agent = Agent::new(config, cluster, InstanceId::new("bench"), "bench".to_owned());
        tokio::spawn(agent.run(link, Shutdown::default()));
    }

    pub(crate) async fn close(self) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }
}
