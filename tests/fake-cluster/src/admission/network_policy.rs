//! The defaults of a network policy.

use serde_json::{Value, json};

use super::{each, or};

pub(super) fn complete(spec: &mut Value) {
    if !spec.is_object() {
        *spec = json!({});
    }
    or(spec, "podSelector", || json!({}));
    let has_egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
    or(spec, "policyTypes", || if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    for rules in ["ingress", "egress"] {
        for rule in each(spec, rules) {
            for port in each(rule, "ports") {
                or(port, "protocol", || "TCP".into());
            }
        }
    }
}
