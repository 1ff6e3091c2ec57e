//! What is added to a service.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{each, or};
use crate::kind::Kind;
use crate::store::Store;

pub(super) fn complete(store: &Store, namespace: &str, service: &mut Value) {
    let spec = &mut service["spec"];
    or(spec, "type", || "ClusterIP".into());
    or(spec, "sessionAffinity", || "None".into());
    or(spec, "internalTrafficPolicy", || "Cluster".into());
    or(spec, "ipFamilies", || json!(["IPv4"]));
    or(spec, "ipFamilyPolicy", || "SingleStack".into());
    if spec["type"] != "ExternalName" {
        or(spec, "clusterIP", || free_address(store).into());
        let address = spec["clusterIP"].clone();
        or(spec, "clusterIPs", || json!([address]));
    }
    for port in each(spec, "ports") {
        or(port, "protocol", || "TCP".into());
        let number = port["port"].clone();
        or(port, "targetPort", || number);
    }
    service["status"] = json!({"loadBalancer": {}});
    service["metadata"]["namespace"] = namespace.into();
}

/// The first address of the service network that no service has.
fn free_address(store: &Store) -> String {
    let services = store.list(Kind::Service, None);
    let taken: BTreeSet<&str> = services.iter().map(|service| service.text(&["spec", "clusterIP"])).collect();
    let mut addresses = (0..=255).flat_map(|high| (2..=254).map(move |low| format!("10.96.{high}.{low}")));
    addresses.find(|address| !taken.contains(address.as_str())).unwrap_or_default()
}
