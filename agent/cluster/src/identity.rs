//! Which cluster this is.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Resource};

use crate::attempts::CallError;
use crate::cluster::Cluster;

/// The usual identity of a cluster is the UID of this namespace: it is never deleted.
pub(crate) const SYSTEM_NAMESPACE: &str = "kube-system";

/// How many nodes are asked for at once.
const PAGE: u32 = 500;

/// Which cluster this is, as far as the agent may know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The UID of the `kube-system` namespace; `None` if the agent may not read it.
    pub uid: Option<String>,
    /// The API server's version, for example `v1.34.4`.
    pub version: Option<String>,
    /// The platforms of the nodes, for example `linux/amd64`. Empty if the agent may not list nodes.
    pub platforms: BTreeSet<String>,
}

impl Cluster {
    /// Reads the cluster's identity. What the agent has no right to is unknown.
    ///
    /// # Errors
    /// If there was no answer.
    pub async fn identity(&self) -> Result<ClusterIdentity, CallError> {
        let (uid, version, platforms) = tokio::join!(self.uid(), self.version(), self.platforms());
        Ok(ClusterIdentity {
            uid: known(uid)?,
            version: known(version)?,
            platforms: known(platforms)?.unwrap_or_default(),
        })
    }

    async fn uid(&self) -> Result<String, CallError> {
        let api = Api::<PartialObjectMeta<Namespace>>::all(self.client().clone());
        let found = self.attempts("read the identity of the cluster").ask(|| api.get(SYSTEM_NAMESPACE)).await?;
        Ok(found.metadata.uid.unwrap_or_default())
    }

    async fn version(&self) -> Result<String, CallError> {
        let info = self.attempts("read the API server's version").ask(|| self.client().apiserver_version()).await?;
        Ok(info.git_version)
    }

    async fn platforms(&self) -> Result<BTreeSet<String>, CallError> {
        let api = Api::<PartialObjectMeta<Node>>::all(self.client().clone());
        let mut platforms = BTreeSet::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = self.attempts("list the nodes").ask(|| api.list(&params)).await?;
            platforms.extend(page.items.iter().filter_map(platform));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(platforms);
            }
        }
    }
}

/// A node's platform, from the labels that its kubelet sets.
fn platform(node: &PartialObjectMeta<Node>) -> Option<String> {
    let labels = node.meta().labels.as_ref()?;
    Some(format!("{}/{}", labels.get("kubernetes.io/os")?, labels.get("kubernetes.io/arch")?))
}

/// A refusal is unknown.
fn known<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error @ CallError::Refused { .. }) => {
            tracing::debug!(%error, "a part of the cluster's identity stays unknown");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
