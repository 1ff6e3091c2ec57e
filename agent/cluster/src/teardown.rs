//! Removes everything of a workflow: as much as possible at once, whatever fails, and as often as is liked.

use std::fmt;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{ListParams, PropagationPolicy};
use piculet_core::id::Epoch;
use piculet_core::retry::{Backoff, Growth};
use piculet_pods::Object;
use piculet_pods::label::{self, Identity};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::apply::Anchor;
use crate::attempts::CallError;
use crate::cluster::Cluster;
use crate::stop::{Stopped, Target};

/// How many objects are deleted at once.
const AT_ONCE: usize = 16;

/// How long one call is tried for: there is a next look at what is left, and other objects wait.
const CALL: Duration = Duration::from_secs(10);

/// Between two looks at what is left. Pods take a second or two to go.
const GROWTH: Growth = Growth { initial: Duration::from_millis(200), factor: 2.0, cap: Duration::from_secs(2) };

/// What a teardown did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Teardown {
    /// How many objects it asked to go.
    pub deleted: usize,
    /// What was still there at the end.
    pub left: Vec<Leftover>,
    /// What went wrong on the way, for each question the last time. A kind that the agent may not list stands here too:
    /// the garbage collector removes its objects, but nobody looked.
    pub errors: Vec<CallError>,
}

/// An object that did not go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// It was asked to go, but something holds it.
    pub terminating: bool,
    /// What holds it.
    pub finalizers: Vec<String>,
}

/// An object that a workflow made, or may have made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    kind: Kind,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pod,
    ConfigMap,
    Secret,
    Service,
    PersistentVolumeClaim,
    NetworkPolicy,
}

/// What every workflow may have. A NetworkPolicy is looked for only where one was made.
const KINDS: [Kind; 5] = [Kind::Pod, Kind::ConfigMap, Kind::Secret, Kind::Service, Kind::PersistentVolumeClaim];

impl Teardown {
    /// Whether nothing is left, as far as the agent may see.
    pub fn is_complete(&self) -> bool {
        self.left.is_empty() && self.errors.iter().all(CallError::is_forbidden)
    }

    fn note(&mut self, error: CallError) {
        self.errors.retain(|earlier| earlier.what() != error.what());
        self.errors.push(error);
    }
}

impl From<&Object> for ObjectName {
    fn from(object: &Object) -> Self {
        let kind = match object {
            Object::ConfigMap(_) => Kind::ConfigMap,
            Object::Secret(_) => Kind::Secret,
            Object::Service(_) => Kind::Service,
            Object::NetworkPolicy(_) => Kind::NetworkPolicy,
            Object::PersistentVolumeClaim(_) => Kind::PersistentVolumeClaim,
            Object::Pod(_) => Kind::Pod,
        };
        Self { kind, name: object.name().to_owned() }
    }
}

impl ObjectName {
    /// A NetworkPolicy.
    pub(crate) fn of_network_policy(name: &str) -> Self {
        Self { kind: Kind::NetworkPolicy, name: name.to_owned() }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.kind, self.name)?;
        match (self.terminating, self.finalizers.as_slice()) {
            (true, []) => f.write_str(" (being deleted)"),
            (true, finalizers) => write!(f, " (being deleted, held by {})", finalizers.join(", ")),
            (false, _) => Ok(()),
        }
    }
}

impl Cluster {
    /// Removes what a workflow has in the namespace, and waits until it is gone: at most `grace` and
    /// [`Limits::teardown`](crate::Limits::teardown) together.
    ///
    /// Pods go first, with this grace; then the anchor, and the garbage collector removes what it owns; then
    /// whatever still has the workflow's label. Nothing is touched that another anchor owns. An error stops nothing.
    /// A further call finds what is left, and is a few reads if nothing is.
    ///
    /// `workflow` is the value of the label [`label::WORKFLOW`]. Without an `anchor` (its creation had no answer, or the
    /// agent may not make any) an object with the label is this run's if it was made under `epoch`: another run of the
    /// same workflow has another. Then also, of kinds that the agent may not list, what is in `made` is deleted by its
    /// name. NetworkPolicies are looked for only if there is one in `made`.
    pub async fn teardown(
        &self,
        workflow: &str,
        epoch: Epoch,
        anchor: Option<&Anchor>,
        made: &[ObjectName],
        grace: Duration,
    ) -> Teardown {
        let mut sweep = Sweep {
            cluster: self,
            selector: label::workflow_selector(workflow),
            epoch,
            anchor,
            unseen: if anchor.is_none() { made.to_vec() } else { Vec::new() },
            kinds: KINDS
                .into_iter()
                .chain(made.iter().map(|object| object.kind).find(|kind| *kind == Kind::NetworkPolicy))
                .collect(),
            grace,
            started: Instant::now(),
            patience: grace.saturating_add(self.limits().teardown),
        };
        let mut report = Teardown::default();
        let pods = sweep.find(Kind::Pod).await;
        sweep.delete(vec![(Kind::Pod, pods)], &mut report).await;
        if let Some(anchor) = anchor {
            sweep.delete(vec![(Kind::ConfigMap, Ok(vec![anchor.object.metadata.clone()]))], &mut report).await;
        }
        sweep.until_gone(&mut report).await;
        report
    }
}

/// One teardown.
struct Sweep<'a> {
    cluster: &'a Cluster,
    selector: String,
    epoch: Epoch,
    anchor: Option<&'a Anchor>,
    /// What is deleted by its name if nobody can see it, and was not yet.
    unseen: Vec<ObjectName>,
    /// What is looked for.
    kinds: Vec<Kind>,
    grace: Duration,
    started: Instant,
    patience: Duration,
}

type Found = Vec<(Kind, Result<Vec<ObjectMeta>, CallError>)>;

impl Sweep<'_> {
    /// Deletes what is found, again and again, until nothing is found any more.
    async fn until_gone(&mut self, report: &mut Teardown) {
        let mut backoff = Backoff::new(GROWTH, self.cluster.next_seed());
        let mut kinds = self.kinds.clone();
        loop {
            let sweep = &*self;
            let found: Found = stream::iter(kinds.clone())
                .map(|kind| async move { (kind, sweep.find(kind).await) })
                .buffered(AT_ONCE)
                .collect()
                .await;
            kinds = found
                .iter()
                .filter(|(kind, objects)| match objects {
                    Ok(objects) => !objects.is_empty(),
                    // What may not be listed may not be listed a moment later.
                    Err(error) => !error.is_forbidden() || self.unseen.iter().any(|object| object.kind == *kind),
                })
                .map(|(kind, _)| *kind)
                .collect();
            let left =
                found.iter().flat_map(|(kind, objects)| objects.iter().flatten().map(|object| leftover(*kind, object)));
            let left: Vec<Leftover> = left.collect();
            self.delete(found, report).await;
            if kinds.is_empty() {
                return;
            }
            let pause = backoff.next();
            if self.remaining() <= pause {
                report.left = left;
                return;
            }
            sleep(pause).await;
        }
    }

    /// Asks all to go that were not asked before.
    async fn delete(&mut self, found: Found, report: &mut Teardown) {
        let mut objects = Vec::new();
        for (kind, found) in found {
            match found {
                Ok(found) => objects.extend(found.into_iter().map(|object| (kind, object))),
                Err(error) => {
                    if error.is_forbidden() {
                        let unseen = self.unseen.iter().filter(|object| object.kind == kind);
                        let named = |object: &ObjectName| {
                            (kind, ObjectMeta { name: Some(object.name.clone()), ..ObjectMeta::default() })
                        };
                        objects.extend(unseen.map(named));
                    }
                    report.note(error);
                }
            }
        }
        objects.retain(|(_, object)| object.deletion_timestamp.is_none());
        let sweep = &*self;
        let answers = stream::iter(objects)
            .map(|(kind, object)| async move {
                let name = object.name.clone().unwrap_or_default();
                (ObjectName { kind, name }, sweep.delete_one(kind, object).await)
            })
            .buffer_unordered(AT_ONCE);
        let answers: Vec<_> = answers.collect().await;
        for (object, answer) in answers {
            // What may be neither seen nor deleted is left to the cluster.
            if answer.as_ref().map_or_else(CallError::is_forbidden, |_| true) {
                self.unseen.retain(|unseen| *unseen != object);
            }
            match answer {
                Ok(Stopped::Asked) => report.deleted += 1,
                Ok(Stopped::Gone | Stopped::Changed) => {}
                Err(error) => report.note(error),
            }
        }
    }

    async fn find(&self, kind: Kind) -> Result<Vec<ObjectMeta>, CallError> {
        let found = match kind {
            Kind::Pod => self.list::<Pod>().await,
            Kind::ConfigMap => self.list::<ConfigMap>().await,
            Kind::Secret => self.list::<Secret>().await,
            Kind::Service => self.list::<Service>().await,
            Kind::NetworkPolicy => self.list::<NetworkPolicy>().await,
            Kind::PersistentVolumeClaim => self.list::<PersistentVolumeClaim>().await,
        };
        Ok(found?.into_iter().filter(|object| self.is_ours(kind, object)).collect())
    }

    async fn list<K>(&self) -> Result<Vec<ObjectMeta>, CallError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + fmt::Debug + DeserializeOwned,
    {
        let api = self.cluster.api::<K>();
        let params = ListParams::default().labels(&self.selector);
        let what = self.cluster.here(format_args!("list {}", K::plural(&())));
        let list =
            self.cluster.attempts_within(what, self.remaining().min(CALL)).ask(|| api.list_metadata(&params)).await?;
        Ok(list.items.into_iter().map(|object| object.metadata).collect())
    }

    async fn delete_one(&self, kind: Kind, object: ObjectMeta) -> Result<Stopped, CallError> {
        let name = object.name.as_deref().unwrap_or_default();
        let target = Target { name, uid: object.uid.as_deref(), version: None };
        let what = self.cluster.here(format_args!("delete {} '{name}'", kind.as_str()));
        let attempts = self.cluster.attempts_within(what, self.remaining().min(CALL));
        let background = Some(PropagationPolicy::Background);
        match kind {
            Kind::Pod => self.cluster.delete::<Pod>(attempts, target, Some(self.grace), background).await,
            Kind::ConfigMap => self.cluster.delete::<ConfigMap>(attempts, target, None, background).await,
            Kind::Secret => self.cluster.delete::<Secret>(attempts, target, None, background).await,
            Kind::Service => self.cluster.delete::<Service>(attempts, target, None, background).await,
            Kind::NetworkPolicy => self.cluster.delete::<NetworkPolicy>(attempts, target, None, background).await,
            Kind::PersistentVolumeClaim => {
                self.cluster.delete::<PersistentVolumeClaim>(attempts, target, None, background).await
            }
        }
    }

    /// Whether an object with the workflow's label is this run's: another one of the same workflow has another anchor,
    /// and another epoch.
    fn is_ours(&self, kind: Kind, object: &ObjectMeta) -> bool {
        let Some(anchor) = self.anchor else {
            return Identity::of(object).is_some_and(|identity| identity.epoch == self.epoch);
        };
        let owners = object.owner_references.as_deref().unwrap_or_default();
        if kind == Kind::ConfigMap && owners.is_empty() {
            return object.uid.as_deref() == Some(anchor.uid.as_str());
        }
        owners.is_empty() || owners.iter().any(|owner| owner.uid == anchor.uid)
    }

    fn remaining(&self) -> Duration {
        self.patience.saturating_sub(self.started.elapsed())
    }
}

fn leftover(kind: Kind, object: &ObjectMeta) -> Leftover {
    Leftover {
        kind: kind.as_str(),
        name: object.name.clone().unwrap_or_default(),
        terminating: object.deletion_timestamp.is_some(),
        finalizers: object.finalizers.clone().unwrap_or_default(),
    }
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
        }
    }
}
