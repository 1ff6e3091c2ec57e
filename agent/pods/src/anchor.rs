//! The anchor: the small object that owns everything of a workflow, and remembers what an adopter has to know.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use piculet_core::id::{Epoch, InstanceId, ServerId, WorkflowId};
use piculet_core::secret::Secret;
use piculet_core::workload::{StepSpec, Workload};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The schema of the anchors that this version writes, and the only one that it reads.
pub const SCHEMA: &str = "piculet.dev/anchor/v1";

/// The entry of the ConfigMap that names the schema.
pub const SCHEMA_KEY: &str = "schema";
/// The entry that names the server.
pub const SERVER_KEY: &str = "server";
/// The entry that names the workflow.
pub const WORKFLOW_KEY: &str = "workflow";
/// The entry that names the holder.
pub const HOLDER_KEY: &str = "holder";
/// The entry with the epoch.
pub const EPOCH_KEY: &str = "epoch";
/// The entry with the digest.
pub const DIGEST_KEY: &str = "digest";
/// The entry with the deadline.
pub const DEADLINE_KEY: &str = "deadline";
/// The entry with the version of the program that wrote it last.
pub const VERSION_KEY: &str = "version";

/// What an anchor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The server that wants the workflow run.
    pub server: ServerId,
    /// The server's id of the workflow.
    pub workflow: WorkflowId,
    /// The instance that drives it.
    pub holder: InstanceId,
    /// Grows with each change of the holder.
    pub epoch: Epoch,
    /// [`digest`] of the workload.
    pub digest: String,
    /// When the workflow's time is over. What nobody holds then may be swept.
    pub deadline: Timestamp,
    /// The version of piculet that wrote it.
    pub version: String,
}

/// Why a ConfigMap is no anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// Another version wrote it, and this one must not touch it.
    #[error(
        "the anchor has the schema '{found}', and this version of piculet knows '{SCHEMA}' only; upgrade the agent [anchor-schema]"
    )]
    Schema {
        /// What it says.
        found: String,
    },
    /// An entry is missing or was changed.
    #[error("the anchor's entry '{key}' is missing or makes no sense; somebody changed it [anchor-entry]")]
    Entry {
        /// Which.
        key: &'static str,
    },
}

impl Anchor {
    /// The entries of the ConfigMap.
    pub fn data(&self) -> BTreeMap<String, String> {
        [
            (SCHEMA_KEY, SCHEMA.to_owned()),
            (SERVER_KEY, self.server.to_string()),
            (WORKFLOW_KEY, self.workflow.to_string()),
            (HOLDER_KEY, self.holder.to_string()),
            (EPOCH_KEY, self.epoch.0.to_string()),
            (DIGEST_KEY, self.digest.clone()),
            (DEADLINE_KEY, self.deadline.to_string()),
            (VERSION_KEY, self.version.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// The ConfigMap.
    pub(crate) fn config_map(&self, metadata: ObjectMeta) -> ConfigMap {
        ConfigMap { metadata, data: Some(self.data()), ..ConfigMap::default() }
    }

    /// Reads it back.
    ///
    /// # Errors
    /// If another version wrote it, or if an entry is missing or makes no sense. Entries that are not known are left
    /// alone.
    pub fn read(object: &ConfigMap) -> Result<Self, AnchorError> {
        let entry =
            |key: &'static str| object.data.as_ref().and_then(|data| data.get(key)).ok_or(AnchorError::Entry { key });
        let schema = entry(SCHEMA_KEY)?;
        if schema != SCHEMA {
            return Err(AnchorError::Schema { found: schema.clone() });
        }
        Ok(Self {
            server: ServerId::new(entry(SERVER_KEY)?.as_str()),
            workflow: WorkflowId::new(entry(WORKFLOW_KEY)?.as_str()),
            holder: InstanceId::new(entry(HOLDER_KEY)?.as_str()),
            epoch: Epoch(entry(EPOCH_KEY)?.parse().map_err(|_| AnchorError::Entry { key: EPOCH_KEY })?),
            digest: entry(DIGEST_KEY)?.clone(),
            deadline: entry(DEADLINE_KEY)?.parse().map_err(|_| AnchorError::Entry { key: DEADLINE_KEY })?,
            version: entry(VERSION_KEY)?.clone(),
        })
    }
}

/// Puts off the deadline of an anchor that is still to be made.
pub fn put_off(anchor: &mut ConfigMap, deadline: Timestamp) {
    anchor.data.get_or_insert_default().insert(DEADLINE_KEY.to_owned(), deadline.to_string());
}

/// The reference that makes a created anchor the owner of another object; `None` before it was created.
///
/// It doesn't block the anchor's deletion: the workflow's end never waits for a pod. It doesn't call the anchor a
/// controller either: a drain would then take the pods for replaceable.
pub fn owner(anchor: &ConfigMap) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: anchor.metadata.name.clone()?,
        uid: anchor.metadata.uid.clone()?,
        block_owner_deletion: None,
        controller: None,
    })
}

/// SHA-256 of the workload, in hexadecimal. Equal for two deliveries of the same workflow.
///
/// Secret values stay out of it: the anchor may be read by many, and a digest over a short secret could be guessed.
pub fn digest(workload: &Workload) -> String {
    #[derive(Serialize)]
    struct Digested<'a> {
        id: &'a WorkflowId,
        name: &'a str,
        labels: &'a BTreeMap<String, String>,
        timeout_seconds: Option<u64>,
        steps: Vec<(usize, StepSpec)>,
    }
    let without_secrets = |spec: &StepSpec| {
        let mut spec = spec.clone();
        for value in spec.secret_environment.values_mut() {
            *value = Secret::default();
        }
        if let Some(auth) = &mut spec.registry_auth {
            auth.password = Secret::default();
        }
        spec
    };
    let digested = Digested {
        id: &workload.id,
        name: &workload.name,
        labels: &workload.labels,
        timeout_seconds: workload.timeout.map(|timeout| timeout.as_secs()),
        steps: workload.steps().iter().map(|step| (step.stage, without_secrets(&step.spec))).collect(),
    };
    let json = serde_json::to_vec(&digested).expect("the keys of a workload are strings");
    Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use piculet_core::id::{Epoch, InstanceId, ServerId, WorkflowId};
    use piculet_core::secret::Secret;
    use piculet_core::workload::{StageSpec, StepSpec, Workload, WorkloadSpec};

    use super::{Anchor, AnchorError, SCHEMA_KEY, digest, owner};

    fn anchor() -> Anchor {
        Anchor {
            server: ServerId::new("ci.example.org"),
            workflow: WorkflowId::new("4711"),
            holder: InstanceId::new("agent-0"),
            epoch: Epoch(2),
            digest: "00".to_owned(),
            deadline: Timestamp::from_second(1_700_000_000).unwrap(),
            version: "0.1.0".to_owned(),
        }
    }

    fn workload(image: &str, secret: &str) -> Workload {
        let step = StepSpec {
            id: "a".to_owned(),
            name: "a".to_owned(),
            image: image.to_owned(),
            secret_environment: BTreeMap::from([("TOKEN".to_owned(), Secret::new(secret))]),
            ..StepSpec::default()
        };
        let spec = WorkloadSpec { stages: vec![StageSpec { steps: vec![step] }], ..WorkloadSpec::default() };
        Workload::new(WorkflowId::new("1"), spec).unwrap()
    }

    #[test]
    fn an_anchor_survives_its_config_map() {
        let object = anchor().config_map(ObjectMeta::default());
        assert_eq!(Anchor::read(&object), Ok(anchor()));
    }

    #[test]
    fn what_is_no_anchor_of_ours_is_told_apart() {
        let mut object = anchor().config_map(ObjectMeta::default());
        for key in anchor().data().keys() {
            let mut broken = object.clone();
            broken.data.as_mut().unwrap().remove(key);
            assert!(matches!(Anchor::read(&broken), Err(AnchorError::Entry { key: missing }) if missing == key));
        }
        object.data.as_mut().unwrap().insert("epoch".to_owned(), "soon".to_owned());
        assert_eq!(Anchor::read(&object), Err(AnchorError::Entry { key: "epoch" }));
        object.data.as_mut().unwrap().insert(SCHEMA_KEY.to_owned(), "piculet.dev/anchor/v9".to_owned());
        assert_eq!(
            Anchor::read(&object),
            Err(AnchorError::Schema { found: "piculet.dev/anchor/v9".to_owned() }),
            "the schema comes first: nothing else is understood"
        );
    }

    #[test]
    fn only_what_was_created_can_own() {
        let mut object = anchor().config_map(ObjectMeta { name: Some("wp-1".to_owned()), ..ObjectMeta::default() });
        assert_eq!(owner(&object), None);
        object.metadata.uid = Some("uid-1".to_owned());
        let owner = owner(&object).expect("it has a UID now");
        assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("ConfigMap", "uid-1"));
        assert_eq!((owner.block_owner_deletion, owner.controller), (None, None));
    }

    #[test]
    fn the_digest_covers_everything_but_secret_values() {
        assert_eq!(digest(&workload("a", "one")), digest(&workload("a", "two")));
        assert_ne!(digest(&workload("a", "one")), digest(&workload("b", "one")));
        assert_eq!(digest(&workload("a", "one")).len(), 64);
    }
}
