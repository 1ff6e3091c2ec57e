//! Removes what workflows left whose time is over: their agent was killed, or could not reach the cluster.
//!
//! What may go is written on the anchor: a deadline that holds whoever runs the workflow. Objects without an anchor were
//! made by an agent that may make none; they go by their age.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use piculet_core::id::{Epoch, InstanceId};
use piculet_pods::anchor;
use piculet_pods::label::{self, Identity};
use serde::de::DeserializeOwned;

use crate::apply::Anchor;
use crate::attempts::CallError;
use crate::cluster::Cluster;
use crate::preflight::Places;
use crate::teardown::Teardown;

/// Objects in one answer.
const PAGE: u32 = 500;

/// What may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of workflows whose time would have been over twice then, and objects without an anchor that were made so long before.
    Over {
        /// The wall clock's time.
        now: Timestamp,
        /// How old an object without an anchor has to be.
        age: Duration,
    },
    /// Everything, whether somebody needs it or not.
    All,
}

/// What one workflow has left.
#[derive(Debug, Clone)]
pub struct Remains {
    /// Where.
    pub namespace: String,
    /// The value of the label [`label::WORKFLOW`].
    pub workflow: String,
    /// Who drove the workflow, as its anchor says.
    pub holder: Option<InstanceId>,
    /// What there is: kind and name.
    pub objects: Vec<String>,
    anchor: Option<Anchor>,
    epoch: Epoch,
}

/// One workflow's objects, as they are found.
#[derive(Debug, Default)]
struct Found {
    anchor: Option<ConfigMap>,
    objects: Vec<(&'static str, ObjectMeta)>,
}

impl Cluster {
    /// Finds what may go.
    ///
    /// # Errors
    /// If there was no answer, or if the agent may not list the anchors. Of other kinds that it may not list it finds
    /// nothing: the garbage collector removes what an anchor owned.
    pub async fn remains(&self, places: Places, which: Which) -> Result<Vec<Remains>, CallError> {
        let mut found: BTreeMap<(String, String), Found> = BTreeMap::new();
        for anchor in self.every::<ConfigMap>(places).await? {
            let Some(key) = key(&anchor.metadata) else { continue };
            let entry = found.entry(key).or_default();
            entry.objects.push(("ConfigMap", anchor.metadata.clone()));
            entry.anchor = Some(anchor);
        }
        self.collect::<Pod>(places, "Pod", &mut found).await?;
        self.collect::<Secret>(places, "Secret", &mut found).await?;
        self.collect::<Service>(places, "Service", &mut found).await?;
        self.collect::<PersistentVolumeClaim>(places, "PersistentVolumeClaim", &mut found).await?;
        Ok(found.into_iter().filter_map(|(key, found)| found.remains(key, which)).collect())
    }

    /// Removes it, and waits until it is gone. `grace` is what pods get between SIGTERM and SIGKILL.
    pub async fn reap(&self, remains: &Remains, grace: Duration) -> Teardown {
        let Remains { namespace, workflow, anchor, epoch, .. } = remains;
        let cluster = if namespace == self.namespace() { self.clone() } else { self.in_namespace(namespace) };
        cluster.teardown(workflow, *epoch, anchor.as_ref(), &[], grace).await
    }

    async fn collect<K>(
        &self,
        places: Places,
        kind: &'static str,
        found: &mut BTreeMap<(String, String), Found>,
    ) -> Result<(), CallError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let objects = match self.every::<K>(places).await {
            Err(error) if error.is_forbidden() => return Ok(()),
            objects => objects?,
        };
        for object in objects {
            if let Some(key) = key(object.meta()) {
                found.entry(key).or_default().objects.push((kind, object.meta().clone()));
            }
        }
        Ok(())
    }

    /// All objects of a kind that any piculet made.
    async fn every<K>(&self, places: Places) -> Result<Vec<K>, CallError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = match places {
            Places::OneNamespace => self.api(),
            Places::ManyNamespaces => Api::all(self.client().clone()),
        };
        let what = match places {
            Places::OneNamespace => self.here(format_args!("list {}", K::plural(&()))),
            Places::ManyNamespaces => format!("list {} in the whole cluster", K::plural(&())),
        };
        let mut params = ListParams::default().labels(&label::selector()).limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let page = self.attempts(what.clone()).ask(|| api.list(&params)).await?;
            objects.extend(page.items);
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(objects);
            }
        }
    }
}

impl Found {
    fn remains(self, (namespace, workflow): (String, String), which: Which) -> Option<Remains> {
        let says = self.anchor.as_ref().map(anchor::Anchor::read);
        let may_go = match (which, &says) {
            (Which::All, _) => true,
            // Whoever went on with the workflow gave it its whole time anew, and may not have been allowed to write that.
            (Which::Over { now, .. }, Some(Ok(says))) => {
                let made = self.anchor.as_ref().and_then(|anchor| Some(anchor.metadata.creation_timestamp.as_ref()?.0));
                let again = made.map_or(SignedDuration::ZERO, |made| says.deadline.duration_since(made));
                says.deadline.saturating_add(again.max(SignedDuration::ZERO)).is_ok_and(|over| over < now)
            }
            // Another version knows when; somebody changed it: nobody knows.
            (Which::Over { .. }, Some(Err(_))) => false,
            (Which::Over { now, age }, None) => {
                let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
                let made = self.objects.iter().filter_map(|(_, object)| Some(object.creation_timestamp.as_ref()?.0));
                made.max().is_some_and(|made| now.duration_since(made) > age)
            }
        };
        let epoch = self.objects.iter().find_map(|(_, object)| Some(Identity::of(object)?.epoch))?;
        let anchor = self.anchor.map(|object| Anchor {
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            object,
            adopted: true,
        });
        let objects = self
            .objects
            .iter()
            .map(|(kind, object)| format!("{kind} '{}'", object.name.as_deref().unwrap_or_default()));
        may_go.then(|| Remains {
            namespace,
            workflow,
            holder: says.and_then(Result::ok).map(|says| says.holder),
            objects: objects.collect(),
            anchor,
            epoch,
        })
    }
}

/// Where, and of which workflow.
fn key(object: &ObjectMeta) -> Option<(String, String)> {
    let workflow = object.labels.as_ref()?.get(label::WORKFLOW)?;
    Some((object.namespace.clone()?, workflow.clone()))
}
