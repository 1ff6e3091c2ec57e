//! A NetworkPolicy for each workflow. No cluster of these tests has a controller that carries one out: what is looked at is the
//! object, that the API server takes it, when it is there, and that it goes.

use fake_cluster::Rule;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use kube::api::{ListParams, PostParams};
use piculet_core::outcome::StepState::{Failure, Running, Success};
use piculet_pods::label;
use piculet_pods::settings::Isolation;
use serde_json::{Value, json};

use crate::acts::Acts;
use crate::world::{World, ends, job, scenario};

async fn policies(world: &World) -> Vec<NetworkPolicy> {
    world.site.api::<NetworkPolicy>().list(&ListParams::default()).await.unwrap().items
}

#[test]
fn a_workflow_has_a_policy_from_before_its_first_pod_to_its_end() {
    scenario("isolated", async |world| {
        world
            .agent_with(|config| {
                config.pods.network_policy.mode = Isolation::Isolated;
                let rule = json!({"to": [{"ipBlock": {"cidr": "10.20.0.0/16", "except": ["10.20.1.0/24"]}}], "ports": [{"port": 5000}]});
                config.pods.network_policy.egress = vec![serde_json::from_value(rule).unwrap()];
            })
            .await;
        let id = world.submit(vec![vec![job("build", Acts::new().line("begins").forever())]]);
        world.until(&id, "build", Running).await;
        let found = policies(world).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        let pod = world.site.pod("build").await;
        assert!(found[0].creation_timestamp() <= pod.creation_timestamp());
        assert_eq!(found[0].owner_references(), pod.owner_references(), "the anchor owns both");
        let spec = serde_json::to_value(&found[0].spec).unwrap();
        let selected = json!({"matchLabels": {label::WORKFLOW: pod.labels()[label::WORKFLOW]}});
        assert_eq!(spec["podSelector"], selected);
        assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(spec["ingress"], json!([{"from": [{"podSelector": selected}]}]));
        assert_eq!(
            spec["egress"][3]["ports"],
            json!([{"port": 5000, "protocol": "TCP"}]),
            "the API server completed it"
        );
        world.cancel(&id);
        world.ended(&id).await;
        world.until_clean().await;
        assert_eq!(policies(world).await.len(), 0);
    });
}

#[test]
fn no_workflow_runs_in_the_open_that_is_to_be_isolated() {
    scenario("isolated-without-right", async |world| {
        // A role of a real cluster is another scenario's; what the API server says is the same.
        let crate::site::Site::Fake(site) = &world.site else { return };
        let cluster = site.cluster.clone();
        let everything_else = Rule::everything().of_group("");
        cluster.access().restrict(fake_cluster::ADMIN, vec![everything_else]);
        world.agent_with(|config| config.pods.network_policy.mode = Isolation::Isolated).await;
        let ended = world.run(vec![vec![job("build", Acts::new())]]).await;
        assert_eq!(ends(&ended)["build"].0, Failure, "{ended:#?}");
        assert!(ended.steps[0].error.contains("networkpolicies"), "{ended:#?}");
        cluster.access().lift(fake_cluster::ADMIN);
        let ended = world.run(vec![vec![job("build", Acts::new())]]).await;
        assert_eq!(ends(&ended)["build"].0, Success, "{ended:#?}");
    });
}

#[test]
fn a_wrong_policy_is_refused_in_the_same_words() {
    scenario("policies", async |world| {
        let wrong = async |spec: Value| {
            let policy: NetworkPolicy =
                serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
            let params = PostParams { dry_run: true, ..PostParams::default() };
            match world.site.api::<NetworkPolicy>().create(&params, &policy).await {
                Err(kube::Error::Api(status)) => status.message,
                other => panic!("{other:?}"),
            }
        };
        let blocks = json!({"podSelector": {}, "egress": [{"to": [
            {},
            {"ipBlock": {"cidr": "10.0.0.0"}},
            {"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.2.0.0/24", "x"]}},
            {"ipBlock": {"cidr": "10.1.0.0/16"}, "podSelector": {}},
        ], "ports": [{"port": 0, "protocol": "ICMP"}]}], "policyTypes": ["Both"]});
        assert_eq!(wrong(blocks).await, WRONG);
    });
}

const WRONG: &str = "NetworkPolicy.networking.k8s.io \"p\" is invalid: [spec.egress[0].ports[0].protocol: Unsupported value: \"ICMP\": \
    supported values: \"TCP\", \"UDP\", \"SCTP\", spec.egress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, \
    inclusive, spec.egress[0].to[0]: Required value: must specify a peer, spec.egress[0].to[1].ipBlock.cidr: Invalid value: \
    \"10.0.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64), spec.egress[0].to[2].ipBlock.except[0]: \
    Invalid value: \"10.2.0.0/24\": must be a strict subset of `cidr`, spec.egress[0].to[2].ipBlock.except[1]: Invalid value: \
    \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64), spec.egress[0].to[3]: Forbidden: may not specify both \
    ipBlock and another peer, spec.policyTypes[0]: Unsupported value: \"Both\": supported values: \"Ingress\", \"Egress\"]";
