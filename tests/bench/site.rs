//! A namespace of its own in the cluster of `KUBECONFIG`, a server and an agent, each behind TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::config::{Config as KubeConfig, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::json;
use server_stub::serve::{Tls, TlsFiles, bind};
use server_stub::stub::Stub;
use tokio::time::sleep;

use crate::certificates::Certificates;
use crate::program::{Program, Sides};

pub(crate) struct Site {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) stub: Stub,
    pub(crate) agent: Program,
}

/// The file that says where the cluster is, if there is one.
#[expect(clippy::disallowed_methods, reason = "the cluster is chosen from outside")]
pub(crate) fn kubeconfig() -> Option<PathBuf> {
    std::env::var_os("KUBECONFIG").map(PathBuf::from)
}

pub(crate) async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = KubeConfig::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    // A log that is quiet for so long would end.
    config.read_timeout = None;
    Client::try_from(config).unwrap()
}

impl Site {
    /// `kubeconfig` is the agent's.
    pub(crate) async fn open(
        client: Client,
        name: &str,
        program: &Path,
        kubeconfig: &Path,
        certificates: &Certificates,
    ) -> Self {
        let namespace = format!("piculet-bench-{name}-{}", std::process::id());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &namespace);
        while accounts.get_opt("default").await.unwrap().is_none() {
            sleep(Duration::from_millis(50)).await;
        }
        let stub = Stub::start(Default::default());
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let server = listener.local_addr().unwrap();
        let files =
            TlsFiles { certificate: certificates.certificate(), key: certificates.key(), client_authority: None };
        tokio::spawn(stub.server().serve_agents(listener, Some(Tls::load(files).unwrap())));
        let agent = Program::start(program, &Sides { server, certificates, kubeconfig, namespace: &namespace });
        let _session = stub.expect_session().await;
        Self { client, namespace, stub, agent }
    }

    pub(crate) async fn close(self) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }
}
