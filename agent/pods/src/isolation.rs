//! The NetworkPolicy of a workflow: its pods reach each other, name servers and the internet, and nobody else reaches them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::label;
use crate::settings::{Isolation, Settings};

/// Private networks and those of providers: where pods, nodes, the API server and everything in the house are.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];
const PRIVATE_6: [&str; 1] = ["fc00::/7"];

/// Never the internet, and never a private network that somebody could mean: the machine's cloud gives credentials to whoever
/// asks there.
const LINK_LOCAL: [&str; 1] = ["169.254.0.0/16"];
const LINK_LOCAL_6: [&str; 1] = ["fe80::/10"];

/// Where a node answers for the cluster's name server, if it has a cache of its own.
const NODE_CACHE: &str = "169.254.20.10/32";
/// The namespace of the cluster's name server.
const SYSTEM: &str = "kube-system";
const DNS: i32 = 53;

/// The policy for the pods of the workflow with this key; `None`: there is no limit.
pub(crate) fn policy(settings: &Settings, key: &str, metadata: ObjectMeta) -> Option<NetworkPolicy> {
    let wanted = &settings.network_policy;
    if wanted.mode == Isolation::Off {
        return None;
    }
    let own = LabelSelector {
        match_labels: Some(BTreeMap::from([(label::WORKFLOW.to_owned(), key.to_owned())])),
        ..LabelSelector::default()
    };
    let each_other = || vec![NetworkPolicyPeer { pod_selector: Some(own.clone()), ..NetworkPolicyPeer::default() }];
    let ingress = NetworkPolicyIngressRule { from: Some(each_other()), ports: None };
    let mut egress = vec![NetworkPolicyEgressRule { to: Some(each_other()), ports: None }];
    egress.push(name_servers(settings));
    egress.push(internet(wanted.allow_private_ranges));
    egress.extend(wanted.egress.iter().cloned());
    Some(NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(own),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some([ingress].into_iter().chain(wanted.ingress.iter().cloned()).collect()),
            egress: Some(egress),
        }),
    })
}

/// The cluster's name server, whatever it is called, and those that the operator gives to steps.
fn name_servers(settings: &Settings) -> NetworkPolicyEgressRule {
    let labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), SYSTEM.to_owned())]);
    let system = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    let cluster = NetworkPolicyPeer { namespace_selector: Some(system), ..NetworkPolicyPeer::default() };
    let given = settings.dns_config.iter().flat_map(|dns| dns.nameservers.iter().flatten());
    let given = given.filter_map(|server| server.parse::<IpAddr>().ok()).map(|server| match server {
        IpAddr::V4(server) => format!("{server}/32"),
        IpAddr::V6(server) => format!("{server}/128"),
    });
    let blocks = [NODE_CACHE.to_owned()].into_iter().chain(given).map(|cidr| block(&cidr, &[]));
    let port = |protocol: &str| NetworkPolicyPort {
        port: Some(IntOrString::Int(DNS)),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    };
    NetworkPolicyEgressRule {
        to: Some([cluster].into_iter().chain(blocks).collect()),
        ports: Some(vec![port("UDP"), port("TCP")]),
    }
}

fn internet(allow_private_ranges: bool) -> NetworkPolicyEgressRule {
    let without = |private: &[&'static str], always: &[&'static str]| -> Vec<&'static str> {
        let private = private.iter().filter(|_| !allow_private_ranges);
        private.chain(always).copied().collect()
    };
    let all = block("0.0.0.0/0", &without(&PRIVATE, &LINK_LOCAL));
    let all_6 = block("::/0", &without(&PRIVATE_6, &LINK_LOCAL_6));
    NetworkPolicyEgressRule { to: Some(vec![all, all_6]), ports: None }
}

fn block(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    let except = (!except.is_empty()).then(|| except.iter().map(|&cidr| cidr.to_owned()).collect());
    NetworkPolicyPeer { ip_block: Some(IPBlock { cidr: cidr.to_owned(), except }), ..NetworkPolicyPeer::default() }
}
