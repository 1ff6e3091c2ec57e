//! A namespace of a cluster, and what can happen to it from outside.

mod cuts;
mod fake;
mod outside;
mod real;
mod recording;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use piculet::config::Config;
use piculet_cluster::{Cluster, KubeSource, Limits};
use piculet_pods::label;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

pub(crate) use cuts::Cuts;
pub(crate) use fake::FakeSite;
pub(crate) use outside::new_pods;
pub(crate) use real::{RealSite, kubeconfig, remove};

use crate::acts::Acts;

/// Where a scenario runs.
pub(crate) enum Site {
    /// In memory, in virtual time.
    Fake(FakeSite),
    /// In a cluster.
    Real(RealSite),
}

impl Site {
    /// A namespace of its own for the scenario of this name.
    pub(crate) async fn open(name: &str) -> Self {
        let site = if is_real() { Self::Real(RealSite::open(name).await) } else { Self::Fake(FakeSite::open()) };
        site.enforce("restricted").await;
        site
    }

    /// From now on its namespace takes only pods of this Pod Security level.
    pub(crate) async fn enforce(&self, level: &str) {
        let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
        let namespaces = Api::<Namespace>::all(self.client());
        namespaces.patch(self.namespace(), &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
        // The API server looks at its own copy of the namespace.
        while self.refusal(json!({"containers": [{"name": "step", "image": "busybox:stable"}]})).await.is_some()
            != (level == "restricted")
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the API server says against a pod; `None`: it would take it.
    pub(crate) async fn refusal(&self, spec: serde_json::Value) -> Option<String> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "trial"}, "spec": spec})).unwrap();
        let params = PostParams { dry_run: true, ..PostParams::default() };
        match self.api::<Pod>().create(&params, &pod).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) => Some(status.message),
            Err(error) => panic!("no answer to a pod on trial: {error}"),
        }
    }

    /// Its name, for tables.
    pub(crate) fn kind(&self) -> &'static str {
        match mode() {
            Mode::Fake => "fake",
            Mode::Real => "real",
            Mode::Inside => "inside",
        }
    }

    /// With all rights.
    pub(crate) fn client(&self) -> Client {
        match self {
            Self::Fake(site) => site.cluster.client(),
            Self::Real(site) => site.client.clone(),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        match self {
            Self::Fake(_) => fake::NAMESPACE,
            Self::Real(site) => &site.namespace,
        }
    }

    /// Lets containers of a step do this.
    pub(crate) fn teach(&self, step: &str, acts: &Acts) {
        if let Self::Fake(site) = self {
            site.runtime.on_label(label::STEP_LEGACY, step, acts.script());
        }
    }

    /// What an agent uses.
    pub(crate) async fn cluster(&self) -> Cluster {
        self.cluster_by(None).await
    }

    /// What an agent uses whose connections all break as often. It does so as long as what is given beside it.
    pub(crate) async fn cluster_with_cuts(&self, each: Duration) -> (Cluster, Option<Cuts>) {
        match self {
            Self::Fake(site) => {
                let cluster = site.cluster.clone();
                tokio::spawn(async move {
                    loop {
                        tokio::time::sleep(each).await;
                        cluster.faults().cut_streams();
                    }
                });
                (self.cluster().await, None)
            }
            Self::Real(_) => {
                let cuts = Cuts::before(real::kubeconfig(), each).await;
                (self.cluster_by(Some(&cuts)).await, Some(cuts))
            }
        }
    }

    /// For commands that somebody runs who has all rights.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.pods.namespace = self.namespace().to_owned();
        config.kubernetes.kubeconfig = Some(real::kubeconfig());
        config
    }

    async fn cluster_by(&self, cuts: Option<&Cuts>) -> Cluster {
        let limits = Limits { patience: Duration::from_secs(10), ..Limits::default() };
        match self {
            Self::Fake(_) => Cluster::new(self.client(), self.namespace(), limits),
            Self::Real(_) => {
                let path = cuts.map_or_else(real::kubeconfig, |cuts| cuts.kubeconfig.clone());
                let source = KubeSource::Kubeconfig { path, context: None };
                Cluster::connect(&source, Some(self.namespace()), limits).await.unwrap()
            }
        }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client(), self.namespace())
    }

    /// Makes an object.
    pub(crate) async fn create<K>(&self, object: serde_json::Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// The only pod of a step.
    pub(crate) async fn pod(&self, step: &str) -> Pod {
        let params = ListParams::default().labels(&format!("{}={step}", label::STEP_LEGACY));
        let mut pods = self.api::<Pod>().list(&params).await.unwrap().items;
        assert_eq!(pods.len(), 1, "the step '{step}' has {} pods", pods.len());
        pods.remove(0)
    }

    /// Somebody deletes a step's pod.
    pub(crate) async fn delete_pod(&self, step: &str, grace: Option<Duration>) {
        let name = self.pod(step).await.name_any();
        let grace = grace.map(|grace| u32::try_from(grace.as_secs()).unwrap());
        let params = DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() };
        self.api::<Pod>().delete(&name, &params).await.unwrap();
    }

    /// Somebody drains the node.
    pub(crate) async fn evict_pod(&self, step: &str) {
        let name = self.pod(step).await.name_any();
        self.api::<Pod>().evict(&name, &EvictParams::default()).await.unwrap();
    }

    /// Every object of a kind that workflows make, as `kind/name`.
    pub(crate) async fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(self.names::<Pod>().await);
        left.extend(self.names::<ConfigMap>().await);
        left.extend(self.names::<Secret>().await);
        left.extend(self.names::<Service>().await);
        left.extend(self.names::<NetworkPolicy>().await);
        left.extend(self.names::<PersistentVolumeClaim>().await);
        left
    }

    async fn names<K>(&self) -> BTreeSet<String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let params = ListParams::default().labels(&label::selector());
        let list = self.api::<K>().list_metadata(&params).await.unwrap();
        list.items.iter().map(|object| format!("{}/{}", K::kind(&()), object.name_any())).collect()
    }

    /// The scenario is over.
    pub(crate) async fn close(self) {
        if let Self::Real(site) = self {
            site.close().await;
        }
    }
}

/// Where agents and pods are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The cluster in memory.
    Fake,
    /// A real one; the agent is here.
    Real,
    /// A real one; the agent is in it, from its chart.
    Inside,
}

/// What `PICULET_E2E` says.
#[expect(clippy::disallowed_methods, reason = "what is tested is chosen from outside")]
pub(crate) fn mode() -> Mode {
    match std::env::var("PICULET_E2E").as_deref() {
        Ok("inside") => Mode::Inside,
        Ok("real") => Mode::Real,
        Err(_) | Ok("" | "fake") => Mode::Fake,
        Ok(other) => panic!("PICULET_E2E is '{other}'; it has to be 'inside', 'real' or 'fake'"),
    }
}

/// Whether this run is against a real cluster.
pub(crate) fn is_real() -> bool {
    mode() != Mode::Fake
}
