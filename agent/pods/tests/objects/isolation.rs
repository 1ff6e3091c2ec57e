//! The NetworkPolicy of a workflow.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use piculet_core::workload::StepSpec;
use piculet_pods::{Object, Settings, label, plan};
use serde_json::{Value, json};

use crate::world::{context, minimal, settings, workload};

fn policy(settings: &Settings) -> Option<(NetworkPolicy, Vec<&'static str>)> {
    let step = StepSpec { workspace_base: "/woodpecker".to_owned(), ..minimal() };
    let plan = plan(&workload(vec![step]), settings, &context()).expect("it can be planned");
    let kinds = plan.shared.iter().map(Object::kind).collect();
    let policy = plan.shared.into_iter().find_map(|object| match object {
        Object::NetworkPolicy(policy) => Some(*policy),
        _ => None,
    });
    policy.map(|policy| (policy, kinds))
}

fn spec(value: Value) -> Value {
    let (policy, _) = policy(&settings(value)).expect("there is one");
    serde_json::to_value(policy.spec).expect("JSON")
}

#[test]
fn without_being_asked_for_there_is_none() {
    assert_eq!(policy(&Settings::default()), None);
    assert_eq!(policy(&Settings::default().under(piculet_pods::settings::Profile::Hardened)), None);
}

#[test]
fn it_selects_the_workflows_pods_and_comes_before_everything_else() {
    let (made, kinds) = policy(&settings(json!({"network_policy": {"mode": "isolated"}}))).expect("there is one");
    assert_eq!(kinds.first(), Some(&"NetworkPolicy"));
    let labels = made.metadata.labels.expect("labels");
    let own = json!({"matchLabels": {label::WORKFLOW: labels[label::WORKFLOW]}});
    let made = serde_json::to_value(made.spec).expect("JSON");
    let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"];
    let names = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
    assert_eq!(
        made,
        json!({
            "podSelector": own,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": own}]}],
            "egress": [
                {"to": [{"podSelector": own}]},
                {
                    "to": [
                        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
                        {"ipBlock": {"cidr": "169.254.20.10/32"}}
                    ],
                    "ports": names
                },
                {"to": [
                    {"ipBlock": {"cidr": "0.0.0.0/0", "except": private}},
                    {"ipBlock": {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]}}
                ]}
            ]
        })
    );
}

#[test]
fn the_operator_opens_what_more_is_needed() {
    let rule = json!({"to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}], "ports": [{"port": 5000, "protocol": "TCP"}]});
    let scrape = json!({"from": [{"namespaceSelector": {"matchLabels": {"team": "observability"}}}]});
    let made = spec(json!({
        "network_policy": {"mode": "isolated", "allow_private_ranges": true, "egress": [rule], "ingress": [scrape]},
        "dns_config": {"nameservers": ["10.9.0.53", "fd00::53"]}
    }));
    assert_eq!(
        made["egress"][1]["to"].as_array().expect("a list")[2..],
        [json!({"ipBlock": {"cidr": "10.9.0.53/32"}}), json!({"ipBlock": {"cidr": "fd00::53/128"}})]
    );
    // Whoever asks a cloud's address for that gets credentials of the node.
    assert_eq!(
        made["egress"][2]["to"],
        json!([
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
            {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10"]}}
        ])
    );
    assert_eq!((&made["egress"][3], &made["ingress"][1]), (&rule, &scrape));
}

#[test]
fn rules_that_the_api_server_would_refuse_are_told_at_the_start() {
    let of = |value: Value| -> Vec<String> {
        let settings: Settings = serde_json::from_value(json!({"network_policy": value})).expect("well-formed");
        settings.check().into_iter().map(|problem| problem.field).collect()
    };
    assert_eq!(
        of(json!({
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0"}}]}],
            "ingress": [{}, {"from": [{}, {"ipBlock": {"cidr": "fd00::/8", "except": ["fd00::/129"]}}]}]
        })),
        ["network_policy.egress[0].to[0].ipBlock.cidr", "network_policy.ingress[1].from[1].ipBlock.except[0]"]
    );
    assert!(serde_json::from_value::<Settings>(json!({"network_policy": {"egress": [{"too": []}]}})).is_err());
}
