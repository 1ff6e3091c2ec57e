//! Hears of every version of every object of a namespace, but for Secrets.

use std::fmt::Debug;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Resource;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::found::Found;
use crate::site::Site;

/// What comes last needs a moment.
const LATE: Duration = Duration::from_secs(2);

/// How long etcd may take to tell all.
const TELLING: Duration = Duration::from_secs(10);

pub(super) struct Listening {
    watches: JoinSet<()>,
    etcd: Option<Etcd>,
    found: Found,
}

impl Listening {
    /// Listens from now on.
    pub(super) async fn begin(site: &Site, found: &Found) -> Self {
        let mut listening = Self { watches: JoinSet::new(), etcd: Etcd::now().await, found: found.clone() };
        listening.listen::<Pod>(site).await;
        listening.listen::<ConfigMap>(site).await;
        listening.listen::<Service>(site).await;
        listening.listen::<PersistentVolumeClaim>(site).await;
        listening.listen::<NetworkPolicy>(site).await;
        listening.listen::<Event>(site).await;
        listening.listen::<Lease>(site).await;
        listening
    }

    async fn listen<K>(&mut self, site: &Site)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
        K: Send + 'static,
    {
        let (api, found) = (site.api::<K>(), self.found.clone());
        let list = api.list(&ListParams::default()).await.unwrap();
        let mut version = list.metadata.resource_version.unwrap_or_default();
        self.watches.spawn(async move {
            loop {
                let mut events = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
                while let Some(event) = events.next().await {
                    match event {
                        Ok(WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object)) => {
                            version = object.meta().resource_version.clone().unwrap_or_default();
                            found.add(&K::kind(&()), serde_json::to_string(&object).unwrap().as_bytes());
                        }
                        Ok(WatchEvent::Bookmark(bookmark)) => version = bookmark.metadata.resource_version,
                        Ok(WatchEvent::Error(status)) => panic!("a watch was refused: {status:?}"),
                        Err(_) => break,
                    }
                }
            }
        });
    }

    /// Hears the last, and stops.
    pub(super) async fn end(mut self) {
        tokio::time::sleep(LATE).await;
        self.watches.abort_all();
        while let Some(ended) = self.watches.join_next().await {
            assert!(!ended.is_err_and(|error| error.is_panic()), "a watch broke");
        }
        if let Some(etcd) = self.etcd {
            etcd.tell(&self.found).await;
        }
    }
}

/// The cluster's database, and from which of its revisions on it is looked at.
struct Etcd {
    address: String,
    revision: i64,
}

impl Etcd {
    /// `None` if its address is not given: it is no part of what a cluster offers.
    #[expect(clippy::disallowed_methods, reason = "what is tested is chosen from outside")]
    async fn now() -> Option<Self> {
        let address = std::env::var("PICULET_E2E_ETCD").ok().filter(|at| crate::site::is_real() && !at.is_empty())?;
        let etcd = Self { address, revision: 0 };
        let said = etcd.ask("kv/range", &json!({"key": STANDARD.encode("/registry"), "count_only": true})).await;
        let answer: Value = serde_json::from_str(&said).unwrap();
        let revision = answer["header"]["revision"].as_str().and_then(|text| text.parse().ok());
        Some(Self { revision: revision.unwrap_or_else(|| panic!("etcd says: {said}")), ..etcd })
    }

    /// Adds every version of every object that was written since, but for Secrets.
    async fn tell(self, found: &Found) {
        let key = |text: &str| STANDARD.encode(text);
        let request = json!({"key": key("/registry/"), "range_end": key("/registry0"), "start_revision": self.revision.to_string()});
        let said = self.ask("watch", &json!({"create_request": request})).await;
        let mut versions = 0;
        for line in said.lines() {
            // The time is up in the middle of a line, perhaps, which is one of others.
            let Ok(answer) = serde_json::from_str::<Value>(line) else { continue };
            assert!(answer["error"].is_null() && answer["result"]["canceled"] != true, "etcd says: {line}");
            for event in answer["result"]["events"].as_array().into_iter().flatten() {
                let text = |field: &str| STANDARD.decode(event["kv"][field].as_str().unwrap_or_default()).unwrap();
                let key = String::from_utf8_lossy(&text("key")).into_owned();
                if !key.starts_with("/registry/secrets/") {
                    found.add("etcd", key.as_bytes());
                    found.add("etcd", &text("value"));
                    versions += 1;
                }
            }
        }
        assert!(versions > 50, "etcd told of {versions} versions");
    }

    async fn ask(&self, call: &str, request: &Value) -> String {
        let url = format!("{}/v3/{call}", self.address);
        let seconds = TELLING.as_secs().to_string();
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "-N",
            "-m",
            if call == "watch" { &seconds } else { "5" },
            "-X",
            "POST",
            &url,
            "-d",
            &request.to_string(),
        ]);
        let output = curl.stderr(Stdio::inherit()).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}
