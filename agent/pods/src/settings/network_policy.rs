//! What the operator decides about whom steps may talk to.

use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyIngressRule};
use serde::{Deserialize, Serialize};

/// Whom the steps of a workflow may talk to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkPolicy {
    /// Whether there is any limit.
    pub mode: Isolation,
    /// Lets isolated steps reach private addresses, too: registries and mirrors, but also pods, nodes and the API server.
    pub allow_private_ranges: bool,
    /// Further rules, in Kubernetes' own form, for whom isolated steps may reach.
    #[serde(deserialize_with = "crate::strict::deserialize")]
    pub egress: Vec<NetworkPolicyEgressRule>,
    /// Further rules, in Kubernetes' own form, for who may reach isolated steps.
    #[serde(deserialize_with = "crate::strict::deserialize")]
    pub ingress: Vec<NetworkPolicyIngressRule>,
}

/// Whether a workflow's pods are kept apart from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// The agent limits nothing.
    #[default]
    Off,
    /// A NetworkPolicy for each workflow: its steps reach each other, name servers and the internet, and nobody else reaches them.
    Isolated,
}

impl NetworkPolicy {
    /// The blocks of addresses that the operator's rules name, each with its field.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (String, &str)> {
        let egress = self.egress.iter().enumerate().map(|(i, rule)| (format!("egress[{i}].to"), &rule.to));
        let ingress = self.ingress.iter().enumerate().map(|(i, rule)| (format!("ingress[{i}].from"), &rule.from));
        egress.chain(ingress).flat_map(|(field, peers)| {
            let peers = peers.iter().flatten().enumerate();
            peers.flat_map(move |(p, peer)| {
                let block = peer.ip_block.as_ref();
                let field = format!("network_policy.{field}[{p}].ipBlock");
                let whole = block.map(|block| (format!("{field}.cidr"), block.cidr.as_str()));
                let parts = block.into_iter().flat_map(|block| block.except.iter().flatten()).enumerate();
                whole.into_iter().chain(parts.map(move |(e, part)| (format!("{field}.except[{e}]"), part.as_str())))
            })
        })
    }
}
