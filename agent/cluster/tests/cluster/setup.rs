//! A cluster, and the objects of a workflow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fake_cluster::runtime::Runtime;
use fake_cluster::{FakeCluster, Script, ScriptedRuntime, Settings};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, PodSpec, Secret, Service, ServiceSpec,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use piculet_cluster::{Anchor, Applied, Cluster, Limits};
use piculet_core::id::{Epoch, ServerId, WorkflowId};
use piculet_pods::label::{self, Identity};
use piculet_pods::{Object, anchor};
use serde_json::Value;

/// The namespace.
pub(crate) const NAMESPACE: &str = "ci";

/// The container of every pod.
pub(crate) const STEP: &str = "step";

/// A cluster and us.
pub(crate) struct Setup {
    pub(crate) fake: FakeCluster,
    pub(crate) script: Arc<ScriptedRuntime>,
    pub(crate) cluster: Cluster,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let script = ScriptedRuntime::new();
        let fake = FakeCluster::start(settings, script.clone() as Arc<dyn Runtime>);
        let cluster = Cluster::new(fake.client(), NAMESPACE, Limits::default()).with_seed(7);
        Self { fake, script, cluster }
    }

    /// The anchor of workflow `key`, made.
    pub(crate) async fn anchor(&self, key: &str) -> Anchor {
        self.anchor_of(key, Epoch(1)).await
    }

    /// The anchor of another run of it, made.
    pub(crate) async fn anchor_of(&self, key: &str, epoch: Epoch) -> Anchor {
        self.cluster.ensure_anchor(&anchor_of(key, "server", epoch)).await.unwrap()
    }

    /// A pod of the anchor, made, that plays a script.
    pub(crate) async fn run(&self, anchor: &Anchor, name: &str, script: Script) -> Applied {
        self.script.on_pod(name, script);
        self.cluster.ensure(&pod(anchor, name).into()).await.unwrap()
    }

    /// How many objects of a kind we have.
    pub(crate) fn count(&self, kind: fake_cluster::Kind) -> usize {
        let label = |object: &Value| object["metadata"]["labels"][label::MANAGED_BY].clone();
        self.fake.objects(kind).iter().filter(|object| label(object) == label::MANAGED_BY_PICULET).count()
    }
}

/// The anchor of workflow `key` of a server, under the first epoch.
pub(crate) fn anchor_object(key: &str, server: &str) -> ConfigMap {
    anchor_of(key, server, Epoch(1))
}

/// The anchor of a run of workflow `key` of a server.
pub(crate) fn anchor_of(key: &str, server: &str, epoch: Epoch) -> ConfigMap {
    let identity = Identity { server: ServerId::new(server), workflow: WorkflowId::new(key), epoch, step: None };
    let metadata = ObjectMeta { annotations: Some(identity.annotations()), ..labelled(key, &format!("anchor-{key}")) };
    ConfigMap { metadata, ..ConfigMap::default() }
}

/// The metadata of an object of workflow `key`.
fn labelled(key: &str, name: &str) -> ObjectMeta {
    let labels = [(label::MANAGED_BY, label::MANAGED_BY_PICULET), (label::WORKFLOW, key)];
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..ObjectMeta::default()
    }
}

fn key(anchor: &Anchor) -> &str {
    &anchor.object.metadata.labels.as_ref().unwrap()[label::WORKFLOW]
}

pub(crate) fn owned(anchor: &Anchor, name: &str) -> ObjectMeta {
    let owner: OwnerReference = anchor::owner(&anchor.object).unwrap();
    // The epoch is stamped on everything.
    let annotations = anchor.object.metadata.annotations.clone();
    ObjectMeta { annotations, owner_references: Some(vec![owner]), ..labelled(key(anchor), name) }
}

/// A pod with one container.
pub(crate) fn pod(anchor: &Anchor, name: &str) -> Pod {
    let container = Container { name: STEP.to_owned(), image: Some("alpine".to_owned()), ..Container::default() };
    Pod {
        metadata: owned(anchor, name),
        spec: Some(PodSpec {
            containers: vec![container],
            restart_policy: Some("Never".to_owned()),
            termination_grace_period_seconds: Some(30),
            ..PodSpec::default()
        }),
        ..Pod::default()
    }
}

/// One of each other kind.
pub(crate) fn others(anchor: &Anchor) -> Vec<Object> {
    let storage = BTreeMap::from([("storage".to_owned(), Quantity("1Gi".to_owned()))]);
    let claim = PersistentVolumeClaim {
        metadata: owned(anchor, &format!("volume-{}", key(anchor))),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements { requests: Some(storage), limits: None }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    };
    let service = Service {
        metadata: owned(anchor, &format!("service-{}", key(anchor))),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(BTreeMap::from([(label::WORKFLOW.to_owned(), key(anchor).to_owned())])),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    let secret = Secret { metadata: owned(anchor, &format!("secret-{}", key(anchor))), ..Secret::default() };
    vec![claim.into(), service.into(), secret.into()]
}

/// A limit in virtual time for what should come soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what).await.expect("it comes within two minutes")
}
