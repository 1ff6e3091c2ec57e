//! Removes what workflows left whose time is over: their agent was killed, or could not reach the cluster.
//!
//! What may go is written on the anchor: a deadline that holds whoever runs the workflow. Objects without an anchor were
//! made by an agent that may make none; they go by their age.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, ObjectList, PartialObjectMeta, PropagationPolicy};
use kube::{Api, Resource, ResourceExt as _};
use piculet_core::id::{Epoch, InstanceId};
use piculet_pods::anchor;
use piculet_pods::label::{self, Identity};
use serde::de::DeserializeOwned;

use crate::apply::Anchor;
use crate::attempts::CallError;
use crate::cluster::Cluster;
use crate::preflight::Places;
use crate::stop::{Stopped, Target};
use crate::teardown::{ObjectName, Teardown};

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
    /// Those of it that are looked for only where one is known of.
    policies: Vec<ObjectName>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaped {
    /// It was asked to go.
    Removed(Teardown),
    /// Somebody went on with the workflow since it was looked at: nothing was touched.
    Wanted,
}

/// One workflow's objects, as they are found.
#[derive(Debug, Default)]
struct Found {
    anchor: Option<ConfigMap>,
    objects: Vec<FoundObject>,
}

#[derive(Debug)]
struct FoundObject {
    kind: Cow<'static, str>,
    metadata: ObjectMeta,
    /// Until when a pod may run by its own time limit.
    runs_until: Option<Timestamp>,
}

type Workflows = BTreeMap<(String, String), Found>;

impl Cluster {
    /// Finds what may go: in this namespace, or in those of its organizations, too.
    ///
    /// # Errors
    /// If there was no answer, or if the agent may not list the anchors. Of other kinds that it may not list it finds
    /// nothing: the garbage collector removes what an anchor owned.
    pub async fn remains(&self, places: Places, which: Which) -> Result<Vec<Remains>, CallError> {
        let mut found = Workflows::new();
        for anchor in self.every::<ConfigMap, _>(places, async |api, params| api.list(&params).await).await? {
            let (metadata, kind) = (anchor.metadata.clone(), ConfigMap::kind(&()));
            if let Some(found) = self.note(FoundObject { kind, metadata, runs_until: None }, &mut found) {
                found.anchor = Some(anchor);
            }
        }
        let pods = self.every::<Pod, _>(places, async |api, params| api.list(&params).await).await;
        for pod in unless_forbidden(pods)? {
            let runs_until = runs_until(&pod);
            self.note(FoundObject { kind: Pod::kind(&()), metadata: pod.metadata, runs_until }, &mut found);
        }
        self.collect::<Secret>(places, &mut found).await?;
        self.collect::<Service>(places, &mut found).await?;
        self.collect::<PersistentVolumeClaim>(places, &mut found).await?;
        self.collect::<NetworkPolicy>(places, &mut found).await?;
        Ok(found.into_iter().flat_map(|(key, found)| found.remains(&key, which)).collect())
    }

    /// Removes it, and waits until it is gone. `grace` is what pods get between SIGTERM and SIGKILL. An anchor goes only if it
    /// is as it was when it was looked at.
    pub async fn reap(&self, remains: &Remains, grace: Duration) -> Reaped {
        let Remains { namespace, workflow, anchor, epoch, policies, .. } = remains;
        let cluster = if namespace == self.namespace() { self.clone() } else { self.in_namespace(namespace) };
        let mut errors = Vec::new();
        if let Some(Anchor { name, uid, object, .. }) = anchor {
            let attempts = cluster.attempts(cluster.here(format_args!("delete ConfigMap '{name}'")));
            let target = Target { name, uid: Some(uid), version: object.metadata.resource_version.as_deref() };
            let background = Some(PropagationPolicy::Background);
            match cluster.delete::<ConfigMap>(attempts, target, None, background).await {
                Ok(Stopped::Changed) => return Reaped::Wanted,
                Ok(Stopped::Asked | Stopped::Gone) => {}
                Err(error) => errors.push(error),
            }
        }
        let mut report = cluster.teardown(workflow, *epoch, anchor.as_ref(), policies, grace).await;
        report.errors.extend(errors);
        Reaped::Removed(report)
    }

    async fn collect<K>(&self, places: Places, found: &mut Workflows) -> Result<(), CallError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let objects = self.every::<K, _>(places, async |api, params| api.list_metadata(&params).await).await;
        for PartialObjectMeta { metadata, .. } in unless_forbidden(objects)? {
            self.note(FoundObject { kind: K::kind(&()), metadata, runs_until: None }, found);
        }
        Ok(())
    }

    /// Puts an object to the others of its workflow, if it is of one in a namespace of ours.
    fn note<'a>(&self, object: FoundObject, found: &'a mut Workflows) -> Option<&'a mut Found> {
        let (namespace, labels) = (object.metadata.namespace.clone()?, object.metadata.labels.as_ref()?);
        let workflow = labels.get(label::WORKFLOW)?.clone();
        if !self.is_ours(&namespace) {
            return None;
        }
        let found = found.entry((namespace, workflow)).or_default();
        found.objects.push(object);
        Some(found)
    }

    /// Whether a namespace is this one, or that of one of its organizations. Another agent's may be in the cluster, too.
    fn is_ours(&self, namespace: &str) -> bool {
        let organization = namespace.strip_prefix(self.namespace()).and_then(|rest| rest.strip_prefix('-'));
        namespace == self.namespace() || organization.is_some_and(|id| id.parse::<i64>().is_ok())
    }

    /// All objects of a kind that any piculet made.
    async fn every<K, L>(
        &self,
        places: Places,
        list: impl AsyncFn(Api<K>, ListParams) -> kube::Result<ObjectList<L>>,
    ) -> Result<Vec<L>, CallError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone,
        L: Clone,
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
            let page = self.attempts(what.clone()).ask(|| list(api.clone(), params.clone())).await?;
            objects.extend(page.items);
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(objects);
            }
        }
    }
}

impl Found {
    /// Objects without an anchor may be of several runs of the workflow, each with its epoch.
    fn remains(self, (namespace, workflow): &(String, String), which: Which) -> Vec<Remains> {
        let Self { anchor, objects } = self;
        let mut runs: BTreeMap<Option<Epoch>, Vec<FoundObject>> = BTreeMap::new();
        match &anchor {
            // By what an anchor owns they are told apart then, not by epochs.
            Some(anchor) => drop(runs.insert(epoch(&anchor.metadata).or(Some(Epoch(0))), objects)),
            None => {
                for object in objects {
                    runs.entry(epoch(&object.metadata)).or_default().push(object);
                }
            }
        }
        let runs = runs.into_iter().filter_map(|(epoch, objects)| Some((epoch?, objects)));
        let may_go = runs.filter(|(_, objects)| match &anchor {
            Some(anchor) => anchor_may_go(anchor, which),
            None => objects_may_go(objects, which),
        });
        let remains = may_go.map(|(epoch, objects)| {
            let name = |object: &FoundObject| {
                format!("{} '{}'", object.kind, object.metadata.name.as_deref().unwrap_or_default())
            };
            let policies = objects.iter().filter(|object| object.kind == NetworkPolicy::kind(&()));
            let policies = policies.filter_map(|object| object.metadata.name.as_deref());
            Remains {
                namespace: namespace.clone(),
                workflow: workflow.clone(),
                holder: anchor.as_ref().and_then(|anchor| Some(anchor::Anchor::read(anchor).ok()?.holder)),
                policies: policies.map(ObjectName::of_network_policy).collect(),
                objects: objects.iter().map(name).collect(),
                anchor: anchor.clone().map(|object| Anchor {
                    name: object.name_any(),
                    uid: object.uid().unwrap_or_default(),
                    object,
                    adopted: true,
                }),
                epoch,
            }
        });
        remains.collect()
    }
}

fn anchor_may_go(anchor: &ConfigMap, which: Which) -> bool {
    match (which, anchor::Anchor::read(anchor)) {
        (Which::All, _) => true,
        // Whoever went on with the workflow gave it its whole time anew, and may not have been allowed to write that.
        (Which::Over { now, .. }, Ok(says)) => {
            let made = anchor.metadata.creation_timestamp.as_ref();
            let again = made.map_or(SignedDuration::ZERO, |made| says.deadline.duration_since(made.0));
            says.deadline.saturating_add(again.max(SignedDuration::ZERO)).is_ok_and(|over| over < now)
        }
        // Another version knows when; somebody changed it: nobody knows.
        (Which::Over { .. }, Err(_)) => false,
    }
}

fn objects_may_go(objects: &[FoundObject], which: Which) -> bool {
    let Which::Over { now, age } = which else { return true };
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    let made = objects.iter().filter_map(|object| Some(object.metadata.creation_timestamp.as_ref()?.0)).max();
    let is_busy = objects.iter().any(|object| object.runs_until.is_some_and(|until| until > now));
    made.is_some_and(|made| now.duration_since(made) > age) && !is_busy
}

/// A pod that has ended runs no more.
fn runs_until(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref();
    if status.and_then(|status| status.phase.as_deref()).is_some_and(|phase| matches!(phase, "Succeeded" | "Failed")) {
        return None;
    }
    let limit = SignedDuration::from_secs(pod.spec.as_ref()?.active_deadline_seconds?);
    let since = status.and_then(|status| status.start_time.as_ref()).or(pod.metadata.creation_timestamp.as_ref());
    Some(since?.0.saturating_add(limit).unwrap_or(Timestamp::MAX))
}

fn epoch(metadata: &ObjectMeta) -> Option<Epoch> {
    Identity::of(metadata).map(|identity| identity.epoch)
}

/// What may not be listed is not there, for whoever looks for it.
fn unless_forbidden<L>(objects: Result<Vec<L>, CallError>) -> Result<Vec<L>, CallError> {
    match objects {
        Err(error) if error.is_forbidden() => Ok(Vec::new()),
        objects => objects,
    }
}
