//! A cluster that is really there.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::json;

use super::recording::Recording;

/// How long a namespace may take to go.
const GOING: Duration = Duration::from_secs(120);

/// A namespace of its own.
pub(crate) struct RealSite {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    recording: Option<Recording>,
}

/// The file that says where the cluster is.
#[expect(clippy::disallowed_methods, reason = "what is tested is chosen from outside")]
pub(crate) fn kubeconfig() -> PathBuf {
    let path = std::env::var_os("KUBECONFIG").map(PathBuf::from);
    path.unwrap_or_else(|| {
        panic!("PICULET_E2E=real needs KUBECONFIG: the file of a cluster, as tests/cluster/up prints it")
    })
}

impl RealSite {
    pub(super) async fn open(name: &str) -> Self {
        let file = Kubeconfig::read_from(kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let namespace = format!("piculet-e2e-{}-{}", name.replace('_', "-"), std::process::id());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let recording = Recording::begin(&client, &namespace, name);
        let site = Self { client, namespace, recording };
        // Pods are refused until it is there.
        let accounts = Api::<ServiceAccount>::namespaced(site.client.clone(), &site.namespace);
        while accounts.get_opt("default").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        site
    }

    pub(super) async fn close(self) {
        self.take_back().await;
        if let Some(recording) = self.recording {
            recording.end();
        }
        remove(self.client, &self.namespace).await;
    }
}

/// Removes a namespace, and waits until it is gone.
pub(crate) async fn remove(client: Client, namespace: &str) {
    let namespaces = Api::<Namespace>::all(client);
    // A scenario may have taken it away.
    let _gone = namespaces.delete(namespace, &DeleteParams::default()).await;
    let gone = async {
        while namespaces.get_opt(namespace).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let waited = tokio::time::timeout(GOING, gone).await;
    assert!(waited.is_ok(), "the namespace {namespace} does not go");
}
