//! Who may do what.

use fake_cluster::Rule;
use k8s_openapi::api::authorization::v1::{SelfSubjectAccessReview, SelfSubjectRulesReview};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ListParams, LogParams, PostParams};
use serde_json::json;

use crate::fixture::{Fixture, object, pod, refusal};

fn reduced() -> Vec<Rule> {
    vec![Rule::new(&["pods"], &["get", "list", "create"]).in_namespace("ci"), Rule::new(&["pods/log"], &["get"])]
}

#[tokio::test(start_paused = true)]
async fn what_is_not_allowed_is_refused_in_the_servers_words() {
    let fixture = Fixture::new();
    fixture.cluster.access().restrict("agent", reduced());
    let client = fixture.cluster.client_as("agent", "ci");
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("p")).await.expect("allowed");
    pods.logs("p", &LogParams::default()).await.expect("allowed");
    assert_eq!(
        refusal(pods.delete("p", &Default::default()).await),
        (
            403,
            "Forbidden".into(),
            "pods \"p\" is forbidden: User \"agent\" cannot delete resource \"pods\" in API group \"\" in the \
             namespace \"ci\""
                .into()
        )
    );
    let everywhere: Api<Pod> = Api::all(client.clone());
    assert_eq!(
        refusal(everywhere.list(&ListParams::default()).await).2,
        "pods is forbidden: User \"agent\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
    );
    let namespaces: Api<Namespace> = Api::all(client);
    assert_eq!(
        refusal(namespaces.get("kube-system").await).2,
        "namespaces \"kube-system\" is forbidden: User \"agent\" cannot get resource \"namespaces\" in API group \"\" \
         in the namespace \"kube-system\""
    );
    fixture.cluster.access().lift("agent");
    everywhere.list(&ListParams::default()).await.expect("allowed again");
}

#[tokio::test(start_paused = true)]
async fn reviews_tell_what_is_allowed() {
    let fixture = Fixture::new();
    fixture.cluster.access().restrict("agent", reduced());
    let client = fixture.cluster.client_as("agent", "ci");
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    for (verb, resource, part, namespace, expected) in [
        ("create", "pods", "", "ci", true),
        ("create", "pods", "", "other", false),
        ("get", "pods", "log", "ci", true),
        ("patch", "pods", "", "ci", false),
    ] {
        let attributes = json!({"verb": verb, "resource": resource, "subresource": part, "namespace": namespace});
        let review = object(json!({"metadata": {}, "spec": {"resourceAttributes": attributes}}));
        let answer = reviews.create(&PostParams::default(), &review).await.expect("an answer");
        assert_eq!(
            answer.status.map(|status| status.allowed),
            Some(expected),
            "{verb} {resource}/{part} in {namespace}"
        );
    }
    let all: Api<SelfSubjectRulesReview> = Api::all(client);
    let review = object(json!({"metadata": {}, "spec": {"namespace": "other"}}));
    let answer = all.create(&PostParams::default(), &review).await.expect("an answer").status.expect("a status");
    assert_eq!(answer.resource_rules.len(), 1);
    assert_eq!(answer.resource_rules[0].resources, Some(vec!["pods/log".into()]));
}
