//! Which cluster it is.

use fake_cluster::{ADMIN, Fault, Kind, NodeSettings, Rule, Settings};
use piculet_cluster::{Cluster, ClusterIdentity, Limits};
use serde_json::json;

use crate::scripted::{Answer, server};
use crate::setup::{NAMESPACE, Setup};

#[tokio::test(start_paused = true)]
async fn a_cluster_is_known_by_its_system_namespace() {
    let nodes = [("node-1", "amd64"), ("node-2", "arm64"), ("node-3", "amd64")].map(|(name, arch)| {
        let mut node = NodeSettings::new(name);
        node.labels.push(("kubernetes.io/arch".to_owned(), arch.to_owned()));
        node
    });
    let nodes = nodes.to_vec();
    let setup = Setup::with(Settings { nodes, ..Settings::default() });
    let identity = setup.cluster.identity().await.unwrap();
    let namespace = setup.fake.object(Kind::Namespace, "", "kube-system").unwrap();
    assert_eq!(identity.uid.as_deref(), namespace["metadata"]["uid"].as_str());
    assert!(identity.version.is_some_and(|version| version.starts_with("v1.")));
    assert_eq!(identity.platforms.into_iter().collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
}

#[tokio::test(start_paused = true)]
async fn all_pages_of_nodes_count() {
    let node = |arch: &str| {
        let labels = json!({ "kubernetes.io/os": "linux", "kubernetes.io/arch": arch });
        json!({ "metadata": { "name": arch, "labels": labels } })
    };
    let (client, _) = server(move |uri| match uri {
        uri if uri.contains("continue=") => Answer::page(&[node("riscv64"), json!({ "metadata": {} })], ""),
        uri if uri.contains("/nodes") => Answer::page(&[node("amd64")], "more"),
        uri if uri.contains("/version") => Answer::Whole(403, String::new()),
        _ => Answer::json(&json!({ "metadata": { "uid": "u1" } })),
    });
    let identity = Cluster::new(client, NAMESPACE, Limits::default()).identity().await.unwrap();
    assert_eq!((identity.uid.as_deref(), identity.version), (Some("u1"), None));
    assert_eq!(identity.platforms.into_iter().collect::<Vec<_>>(), ["linux/amd64", "linux/riscv64"]);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_it_is_unknown() {
    let setup = Setup::new();
    setup.fake.access().restrict(ADMIN, vec![Rule::new(&["pods"], &["*"])]);
    let identity = setup.cluster.identity().await.unwrap();
    assert_eq!(ClusterIdentity { version: None, ..identity }, ClusterIdentity::default());
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_it_is_an_error() {
    let setup = Setup::new();
    setup.fake.faults().inject(Fault::drop_connection().always());
    assert_eq!(setup.cluster.identity().await.unwrap_err().code(), "cluster-unreachable");
}
