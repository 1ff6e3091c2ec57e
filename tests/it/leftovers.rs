//! What is left of workflows in a cluster.

use std::time::Duration;

use fake_cluster::{FakeCluster, Kind};

/// What every namespace has anyway.
const KUBERNETES_OWN: &str = "kube-root-ca.crt";

/// Every object of a kind that workflows make, as `kind/name`.
pub(crate) fn of(cluster: &FakeCluster) -> Vec<String> {
    let kinds =
        [Kind::Pod, Kind::ConfigMap, Kind::Secret, Kind::Service, Kind::NetworkPolicy, Kind::PersistentVolumeClaim];
    let all = kinds.into_iter().flat_map(|kind| {
        let names = cluster.objects(kind).into_iter().map(|object| object["metadata"]["name"].clone());
        names.filter_map(move |name| Some((kind, name.as_str()?.to_owned())))
    });
    all.filter(|(_, name)| name != KUBERNETES_OWN).map(|(kind, name)| format!("{kind:?}/{name}")).collect()
}

/// Waits until there is nothing.
pub(crate) async fn until_none(cluster: &FakeCluster) {
    for _ in 0..300 {
        if of(cluster).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("after five minutes these are left: {:?}", of(cluster));
}
