//! The checks of network policies.

use std::net::IpAddr;

use serde_json::Value;

use super::{names, push, text};
use crate::failure::FieldError;
use crate::object::list;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const TYPES: [&str; 2] = ["Ingress", "Egress"];

pub(super) fn check(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_labels(&spec["podSelector"], "spec.podSelector", &mut errors);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in list(&spec[rules]).enumerate() {
            let path = format!("spec.{rules}[{index}]");
            for (p, port) in list(&rule["ports"]).enumerate() {
                check_port(port, &format!("{path}.ports[{p}]"), &mut errors);
            }
            for (p, peer) in list(&rule[peers]).enumerate() {
                check_peer(peer, &format!("{path}.{peers}[{p}]"), &mut errors);
            }
        }
    }
    for (index, kind) in list(&spec["policyTypes"]).enumerate() {
        let kind = kind.as_str().unwrap_or_default();
        if !TYPES.contains(&kind) {
            errors.push(FieldError::not_supported(format!("spec.policyTypes[{index}]"), kind, &TYPES));
        }
    }
    errors
}

fn check_port(port: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let protocol = text(port, "protocol");
    if !PROTOCOLS.contains(&protocol) {
        errors.push(FieldError::not_supported(format!("{path}.protocol"), protocol, &PROTOCOLS));
    }
    if let Some(number) = port["port"].as_i64() {
        push(errors, format!("{path}.port"), number, names::port(number));
    }
}

fn check_peer(peer: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let selectors = ["podSelector", "namespaceSelector"].into_iter().filter(|field| !peer[field].is_null());
    let count = selectors.clone().count();
    for field in selectors {
        check_labels(&peer[field], &format!("{path}.{field}"), errors);
    }
    let block = &peer["ipBlock"];
    match (block.is_null(), count) {
        (true, 0) => errors.push(FieldError::required(path, "must specify a peer")),
        (true, _) => {}
        (false, 0) => check_block(block, &format!("{path}.ipBlock"), errors),
        (false, _) => errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer")),
    }
}

fn check_block(block: &Value, path: &str, errors: &mut Vec<FieldError>) {
    const WRONG: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let cidr = text(block, "cidr");
    if cidr.is_empty() {
        errors.push(FieldError::required(format!("{path}.cidr"), ""));
        return;
    }
    let whole = Block::read(cidr);
    if whole.is_none() {
        errors.push(FieldError::invalid(format!("{path}.cidr"), cidr, WRONG));
    }
    for (index, part) in list(&block["except"]).enumerate() {
        let (part, path) = (part.as_str().unwrap_or_default(), format!("{path}.except[{index}]"));
        match (Block::read(part), whole) {
            (None, _) => errors.push(FieldError::invalid(path, part, WRONG)),
            (Some(inner), Some(whole)) if !inner.is_within(whole) => {
                errors.push(FieldError::invalid(path, part, "must be a strict subset of `cidr`"));
            }
            _ => {}
        }
    }
}

fn check_labels(selector: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        let field = format!("{path}.matchLabels");
        push(errors, &field, key.as_str(), names::qualified_name(key));
        push(errors, &field, value.clone(), names::label_value(value.as_str().unwrap_or_default()));
    }
}

/// A block of addresses: as one number, and how many of its bits count.
#[derive(Clone, Copy)]
struct Block {
    is_v6: bool,
    address: u128,
    bits: u32,
}

impl Block {
    fn read(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let bits: u32 = bits.parse().ok()?;
        match address.parse().ok()? {
            IpAddr::V4(address) if bits <= 32 => {
                Some(Self { is_v6: false, address: u128::from(address.to_bits()) << 96, bits })
            }
            IpAddr::V6(address) if bits <= 128 => Some(Self { is_v6: true, address: address.to_bits(), bits }),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    fn is_within(self, whole: Self) -> bool {
        let head = |address: u128| if whole.bits == 0 { 0 } else { address >> (128 - whole.bits) };
        self.is_v6 == whole.is_v6 && self.bits > whole.bits && head(self.address) == head(whole.address)
    }
}
