//! The floor: pods without anybody's help, from their creation until a watch shows that they succeeded.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use tokio::time::Instant;

use crate::site::Site;
use crate::work::IMAGE;

/// One after the other.
pub(crate) async fn in_sequence(site: &Site, count: usize) -> Duration {
    let began = Instant::now();
    for number in 0..count {
        run(site, number, 1).await;
    }
    let took = began.elapsed();
    clean(site).await;
    took
}

/// All together.
pub(crate) async fn at_once(site: &Site, count: usize) -> Duration {
    let began = Instant::now();
    run(site, 0, count).await;
    let took = began.elapsed();
    clean(site).await;
    took
}

async fn run(site: &Site, from: usize, count: usize) {
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), &site.namespace);
    let list = pods.list_metadata(&ListParams::default().limit(1)).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    let params = WatchParams::default().labels("bench=bare");
    let mut watch = pin!(pods.watch(&params, &version).await.unwrap());
    for number in from..from + count {
        let pod = json!({
            "metadata": {"name": name(number), "labels": {"bench": "bare"}},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "c", "image": IMAGE, "command": ["true"]}],
            },
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }
    let mut left: BTreeSet<_> = (from..from + count).map(name).collect();
    while !left.is_empty() {
        // A watch lasts minutes, the pods take seconds.
        let event = watch.try_next().await.unwrap().expect("the watch ended before the pods did");
        if let WatchEvent::Modified(pod) = event
            && pod.status.and_then(|status| status.phase).as_deref() == Some("Succeeded")
        {
            left.remove(&pod.metadata.name.unwrap());
        }
    }
}

fn name(number: usize) -> String {
    format!("bare-{number}")
}

async fn clean(site: &Site) {
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), &site.namespace);
    let ours = ListParams::default().labels("bench=bare");
    pods.delete_collection(&DeleteParams::default(), &ours).await.unwrap();
    while !pods.list_metadata(&ours).await.unwrap().items.is_empty() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
