//! Makes objects exist: once, whatever becomes of the answers.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::PostParams;
use piculet_core::id::PodUid;
use piculet_core::outcome::NeverStarted;
use piculet_core::retry::Verdict;
use piculet_pods::Object;
use piculet_pods::anchor::HOLDER_KEY;
use piculet_pods::label::Identity;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use crate::attempts::CallError;
use crate::cluster::Cluster;
use crate::refusal;

/// How long to look for an object whose creation failed after a try that had no answer.
const SECOND_LOOK: Duration = Duration::from_secs(10);

/// An object that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The UID that the API server gave it.
    pub uid: String,
    /// The version that it had.
    pub resource_version: String,
    /// It was there already, and it is ours.
    pub adopted: bool,
}

impl Applied {
    /// The UID, of a pod.
    pub fn pod_uid(&self) -> PodUid {
        PodUid::new(self.uid.as_str())
    }
}

/// The anchor of a workflow, as it exists: see [`piculet_pods::anchor`].
#[derive(Debug, Clone, PartialEq)]
pub struct Anchor {
    /// Its name.
    pub name: String,
    /// Its UID: what makes an object ours.
    pub uid: String,
    /// The object as the API server has it. An adopted one has the data of whoever wrote it last.
    pub object: ConfigMap,
    /// It was there already.
    pub adopted: bool,
}

/// Why an object does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused it.
    #[error("{error}")]
    Refused {
        /// The class.
        reason: NeverStarted,
        /// The answer.
        #[source]
        error: CallError,
    },
    /// Its name is taken by an object that isn't ours.
    #[error("There is a {object} already, and it belongs to {owner}. Delete it if nobody needs it.")]
    Occupied {
        /// Kind, name and namespace.
        object: String,
        /// Whose it is.
        owner: String,
    },
    /// An earlier object of its name is still on its way out.
    #[error("An earlier {object} was still being deleted after {} s.", waited.as_secs())]
    Terminating {
        /// Kind, name and namespace.
        object: String,
        /// For how long that was waited for.
        waited: Duration,
    },
    /// There was no answer of use. It may exist or not.
    #[error("{error}")]
    Unreachable {
        /// The last failure.
        #[source]
        error: CallError,
    },
}

/// How an object that has the name already is judged.
struct Ownership<K> {
    /// Whether what was found (the second) is what was wanted (the first).
    ours: fn(&K, &K) -> bool,
    /// Whose it is, for people.
    owner: fn(&K) -> String,
}

impl ApplyError {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "object-refused",
            Self::Occupied { .. } => "object-occupied",
            Self::Terminating { .. } => "object-terminating",
            Self::Unreachable { .. } => "cluster-unreachable",
        }
    }

    /// What a step is called that has no pod because of this.
    pub fn reason(&self) -> NeverStarted {
        match self {
            Self::Refused { reason, .. } => *reason,
            Self::Occupied { .. } => NeverStarted::Config,
            Self::Terminating { .. } | Self::Unreachable { .. } => NeverStarted::Cluster,
        }
    }

    /// Whether the agent lacks the right to make it.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if error.is_forbidden())
    }

    /// The words for a step's outcome: the cluster's own, where it has some.
    pub fn message(&self) -> String {
        match self {
            Self::Refused { error: CallError::Refused { message, .. }, .. } => message.clone(),
            _ => self.to_string(),
        }
    }
}

impl From<CallError> for ApplyError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused { .. } => Self::Refused { reason: refusal::class(&error), error },
            CallError::Unreachable { .. } => Self::Unreachable { error },
        }
    }
}

impl<K: Resource> Ownership<K> {
    /// Of an object that an anchor owns; or, for an agent that may make none, of one that was made for the same.
    const OF_ANCHOR: Self = Self {
        ours: |wanted, found| shares_owner(wanted.meta(), found.meta()) || same_orphan(wanted.meta(), found.meta()),
        owner: |found| owner(found.meta()),
    };
}

/// Of an anchor itself.
const ANCHOR: Ownership<ConfigMap> = Ownership {
    ours: |wanted, found| same_run(&wanted.metadata, &found.metadata),
    owner: |found| match found.data.as_ref().and_then(|data| data.get(HOLDER_KEY)) {
        Some(holder) => format!("{}, held by '{holder}'", owner(&found.metadata)),
        None => owner(&found.metadata),
    },
};

impl Cluster {
    /// Makes an object exist. Calling it again changes nothing.
    ///
    /// An object that is there already is taken for ours only if it has an owner in common with the one that is wanted
    /// (our anchor, by UID; without any owner it has to be made for the same) and isn't being deleted; one that is being
    /// deleted is waited for, since its name becomes free. One that the agent may not look at is taken for ours. After a
    /// try that had no answer no error is believed before a look at what is there.
    ///
    /// # Errors
    /// If the API server refuses it, if its name stays taken, or if there was no answer within [`Limits::patience`]
    /// (and ten seconds more, for that look).
    ///
    /// [`Limits::patience`]: crate::Limits::patience
    pub async fn ensure(&self, object: &Object) -> Result<Applied, ApplyError> {
        match object {
            Object::ConfigMap(object) => self.ensure_owned(object).await,
            Object::Secret(object) => self.ensure_owned(object).await,
            Object::Service(object) => self.ensure_owned(object).await,
            Object::NetworkPolicy(object) => self.ensure_owned(object.as_ref()).await,
            Object::PersistentVolumeClaim(object) => self.ensure_owned(object).await,
            Object::Pod(object) => {
                let (pod, adopted) = self.make::<Pod>(object, &Ownership::OF_ANCHOR).await?;
                let applied = applied(&pod.metadata, adopted);
                self.tell_watch(pod);
                Ok(applied)
            }
        }
    }

    /// Makes the anchor of a workflow exist. One that is there already is taken for ours only if it was made for the
    /// same workflow of the same server under the same epoch, and isn't being deleted: one of another epoch is that of
    /// another run. From then on it says that it is held by who wanted it.
    ///
    /// # Errors
    /// As [`Cluster::ensure`].
    pub async fn ensure_anchor(&self, anchor: &ConfigMap) -> Result<Anchor, ApplyError> {
        let (found, adopted) = self.make(anchor, &ANCHOR).await?;
        let object = if adopted { self.claim(anchor, found).await } else { found };
        Ok(Anchor {
            name: object.metadata.name.clone().unwrap_or_default(),
            uid: object.metadata.uid.clone().unwrap_or_default(),
            object,
            adopted,
        })
    }

    async fn ensure_owned<K>(&self, wanted: &K) -> Result<Applied, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let (made, adopted) = self.make(wanted, &Ownership::OF_ANCHOR).await?;
        Ok(applied(made.meta(), adopted))
    }

    /// Creates the object, or finds the one that is there and ours.
    async fn make<K>(&self, wanted: &K, ownership: &Ownership<K>) -> Result<(K, bool), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let mut unanswered = false;
        let (kind, name) = (K::kind(&()), wanted.meta().name.as_deref());
        let span =
            tracing::info_span!(target: "piculet::trace", "apply", "k8s.object.kind" = %kind, "k8s.object.name" = name);
        match self.try_make(wanted, ownership, &mut unanswered).instrument(span).await {
            // A refusal may even be the doing of the very object that was created: it fills the quota.
            Err(error @ (ApplyError::Refused { .. } | ApplyError::Unreachable { .. })) if unanswered => {
                self.look_again(wanted, ownership, error).await
            }
            made => made,
        }
    }

    /// Tries until there is an object, or an error. `unanswered` becomes true if a creation may have been carried out
    /// without an answer that says so.
    async fn try_make<K>(
        &self,
        wanted: &K,
        ownership: &Ownership<K>,
        unanswered: &mut bool,
    ) -> Result<(K, bool), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let api = self.api::<K>();
        let name = wanted.meta().name.as_deref().unwrap_or_default();
        let label = label(wanted);
        let place = self.here(&label);
        let started = tokio::time::Instant::now();
        let mut attempts = self.attempts(format!("create {place}"));
        loop {
            let created = attempts.once(async {
                match api.create(&PostParams::default(), wanted).await {
                    Ok(created) => Ok(Some(created)),
                    Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
                    Err(error) => Err(error),
                }
            });
            let created = created.await;
            *unanswered |= matches!(created, Ok(None) | Err(CallError::Unreachable { .. }));
            match created? {
                Some(Some(created)) => return Ok((created, false)),
                Some(None) => {}
                None => continue,
            }
            let found = match attempts.once(api.get_opt(name)).await {
                // Names are made of what is unique: whoever made it made it for this.
                Err(error) if error.is_forbidden() => {
                    tracing::debug!(object = label, "it exists already; nobody may look whether it is ours");
                    return Ok((wanted.clone(), true));
                }
                found => found?,
            };
            let Some(found) = found else { continue };
            // It has gone meanwhile: its name is free.
            let Some(found) = found else { continue };
            if found.meta().deletion_timestamp.is_some() {
                let busy = format!("an earlier {label} is still being deleted");
                if attempts.pause(Verdict::RETRY, busy).await.is_err() {
                    return Err(ApplyError::Terminating { object: place, waited: started.elapsed() });
                }
            } else if (ownership.ours)(wanted, &found) {
                tracing::debug!(object = label, "it exists already and is ours");
                return Ok((found, true));
            } else {
                return Err(ApplyError::Occupied { object: place, owner: (ownership.owner)(&found) });
            }
        }
    }

    /// Looks whether the object is there and ours after all, though its creation ended with `error`.
    async fn look_again<K>(
        &self,
        wanted: &K,
        ownership: &Ownership<K>,
        error: ApplyError,
    ) -> Result<(K, bool), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = self.api::<K>();
        let name = wanted.meta().name.as_deref().unwrap_or_default();
        let label = label(wanted);
        let what = self.here(format_args!("find out whether there is a {label}"));
        match self.attempts_within(what, SECOND_LOOK).ask(|| api.get_opt(name)).await {
            Ok(Some(found)) if found.meta().deletion_timestamp.is_none() && (ownership.ours)(wanted, &found) => {
                tracing::debug!(object = label, %error, "it exists and is ours, whatever was said since");
                Ok((found, true))
            }
            // Now it is not known any more whether the refusal means that there is none.
            Err(unknown @ CallError::Unreachable { .. }) if matches!(error, ApplyError::Refused { .. }) => {
                Err(unknown.into())
            }
            Ok(_) | Err(_) => Err(error),
        }
    }
}

/// Kind and name, for people.
fn label<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} '{}'", K::kind(&()), object.meta().name.as_deref().unwrap_or_default())
}

fn applied(metadata: &ObjectMeta, adopted: bool) -> Applied {
    Applied {
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        adopted,
    }
}

fn shares_owner(wanted: &ObjectMeta, found: &ObjectMeta) -> bool {
    let owners = |metadata: &ObjectMeta| metadata.owner_references.clone().unwrap_or_default();
    let found = owners(found);
    owners(wanted).iter().any(|wanted| found.iter().any(|found| found.uid == wanted.uid))
}

/// Whether both belong to nobody, and to the same attempt at the same step of the same run.
fn same_orphan(wanted: &ObjectMeta, found: &ObjectMeta) -> bool {
    let is_orphan = |metadata: &ObjectMeta| metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
    let identity = Identity::of(wanted);
    is_orphan(wanted) && is_orphan(found) && identity.is_some() && identity == Identity::of(found)
}

fn same_run(wanted: &ObjectMeta, found: &ObjectMeta) -> bool {
    match (Identity::of(wanted), Identity::of(found)) {
        (Some(wanted), Some(found)) => {
            (wanted.server, wanted.workflow, wanted.epoch) == (found.server, found.workflow, found.epoch)
        }
        _ => false,
    }
}

/// Whose an object is, for people.
fn owner(metadata: &ObjectMeta) -> String {
    if let Some(identity) = Identity::of(metadata) {
        let Identity { server, workflow, epoch, .. } = identity;
        return format!("workflow '{workflow}' of server '{server}' under epoch {}", epoch.0);
    }
    match metadata.owner_references.as_deref() {
        Some([owner, ..]) => format!("{} '{}'", owner.kind, owner.name),
        _ => "nobody that piculet knows".to_owned(),
    }
}
