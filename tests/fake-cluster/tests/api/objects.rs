//! Objects: created, read, listed in pages and by selector.

use std::collections::BTreeMap;

use fake_cluster::Kind;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::fixture::{Fixture, object, pod, refusal};

fn map(name: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name, "labels": {"own": "yes"}}, "data": {"k": name}}))
}

#[tokio::test(start_paused = true)]
async fn a_new_object_gets_what_the_server_gives() {
    let fixture = Fixture::new();
    let secrets: Api<Secret> = Api::default_namespaced(fixture.cluster.client());
    let secret: Secret = object(json!({"metadata": {"generateName": "s-"}, "stringData": {"K": "v"}}));
    let created = secrets.create(&PostParams::default(), &secret).await.expect("created");
    let metadata = created.metadata;
    let name = metadata.name.expect("a name");
    assert!(name.starts_with("s-") && name.len() == 7, "{name}");
    assert_eq!(metadata.creation_timestamp.map(|time| time.0.to_string()), Some("2026-01-01T00:00:00Z".into()));
    assert_eq!(metadata.uid.map(|uid| uid.len()), Some(36));
    assert_eq!(created.type_.as_deref(), Some("Opaque"));
    assert_eq!(created.data.map(|data| data["K"].0.clone()), Some(b"v".to_vec()));
    assert_eq!(created.string_data, None, "it is only for writing");
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_its_defaults() {
    let fixture = Fixture::new();
    let asked: Pod = object(json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "alpine", "resources": {"limits": {"cpu": "1"}}}]},
    }));
    fixture.create(&asked).await;
    let stored = fixture.pod("p");
    let spec = &stored["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["terminationGracePeriodSeconds"], 30);
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(spec["containers"][0]["resources"]["requests"]["cpu"], "1");
    let mount = &spec["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount", "the token is mounted");
    assert_eq!(spec["volumes"][0]["name"], mount["name"]);
    assert_eq!(stored["status"]["qosClass"], "Burstable");
    assert_eq!(stored["metadata"]["generation"], 1);
}

#[tokio::test(start_paused = true)]
async fn names_are_taken_once_and_namespaces_must_exist() {
    let fixture = Fixture::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    maps.create(&PostParams::default(), &map("a")).await.expect("created");
    assert_eq!(
        refusal(maps.create(&PostParams::default(), &map("a")).await),
        (409, "AlreadyExists".into(), "configmaps \"a\" already exists".into())
    );
    assert_eq!(refusal(maps.get("b").await), (404, "NotFound".into(), "configmaps \"b\" not found".into()));
    let nowhere: Api<ConfigMap> = Api::namespaced(fixture.cluster.client(), "nowhere");
    assert_eq!(
        refusal(nowhere.create(&PostParams::default(), &map("a")).await),
        (404, "NotFound".into(), "namespaces \"nowhere\" not found".into())
    );
    let pods: Api<Pod> = Api::namespaced(fixture.cluster.client(), "nowhere");
    let refused = refusal(pods.create(&PostParams::default(), &pod("p")).await);
    assert_eq!(refused, (404, "NotFound".into(), "namespaces \"nowhere\" not found".into()));
}

#[tokio::test(start_paused = true)]
async fn the_server_tells_what_it_has() {
    let fixture = Fixture::new();
    let client = fixture.cluster.client();
    assert_eq!(client.list_core_api_versions().await.expect("versions").versions, ["v1"]);
    let core = client.list_core_api_resources("v1").await.expect("resources").resources;
    let log = core.iter().find(|resource| resource.name == "pods/log").expect("a part of pods");
    assert_eq!((log.verbs.as_slice(), log.namespaced), (["get".to_owned()].as_slice(), true));
    let groups = client.list_api_groups().await.expect("groups").groups;
    assert!(groups.iter().any(|group| group.name == "coordination.k8s.io"));
    for path in ["/healthz", "/readyz", "/livez"] {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        assert_eq!(client.request_text(request).await.expect("healthy"), "ok");
    }
    for path in ["/apis/apps/v1/deployments", "/api/v1/namespaces/ci/widgets", "/metrics"] {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        match client.request_text(request).await {
            Err(kube::Error::Api(status)) => assert_eq!(status.code, 404, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing() {
    let fixture = Fixture::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    let tried = maps.create(&PostParams { dry_run: true, ..PostParams::default() }, &map("a")).await;
    assert_eq!(tried.expect("it would work").metadata.name.as_deref(), Some("a"));
    assert_eq!(maps.get_opt("a").await.expect("an answer"), None);
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_of_one_revision() {
    let fixture = Fixture::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    for name in ["a", "b", "c", "d", "e"] {
        maps.create(&PostParams::default(), &map(name)).await.expect("created");
    }
    let names = |list: &kube::api::ObjectList<ConfigMap>| -> Vec<String> {
        list.items.iter().filter_map(|map| map.metadata.name.clone()).collect()
    };
    let params = ListParams::default().limit(2);
    let first = maps.list(&params).await.expect("a page");
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first.metadata.remaining_item_count, Some(4), "kube-root-ca.crt is one of them");
    maps.create(&PostParams::default(), &map("b2")).await.expect("created");
    let token = first.metadata.continue_.expect("a token");
    let second = maps.list(&params.clone().continue_token(&token)).await.expect("a page");
    assert_eq!(names(&second), ["c", "d"], "b2 came later");
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    fixture.cluster.expire_history();
    let token = second.metadata.continue_.expect("a token");
    let (code, reason, message) = refusal(maps.list(&params.clone().continue_token(&token)).await);
    assert_eq!((code, reason.as_str()), (410, "Expired"));
    assert!(message.starts_with("The provided continue parameter is too old"), "{message}");
    let labelled = maps.list(&ListParams::default().labels("own=yes,own").fields("metadata.name!=a")).await;
    assert_eq!(names(&labelled.expect("a list")), ["b", "b2", "c", "d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn lists_know_the_revisions_of_the_past_and_of_the_future() {
    let fixture = Fixture::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    let created = maps.create(&PostParams::default(), &map("a")).await.expect("created");
    let version = created.metadata.resource_version.expect("a version");
    maps.create(&PostParams::default(), &map("b")).await.expect("created");
    let exact = ListParams::default().labels("own").at(&version).matching(kube::api::VersionMatch::Exact);
    let then = maps.list(&exact).await.expect("the past");
    assert_eq!(then.items.len(), 1);
    assert_eq!(then.metadata.resource_version, Some(version.clone()));
    let newer = ListParams::default().labels("own").at(&version).matching(kube::api::VersionMatch::NotOlderThan);
    assert_eq!(maps.list(&newer).await.expect("the present").items.len(), 2);
    fixture.cluster.expire_history();
    let (code, reason, _) = refusal(maps.list(&exact).await);
    assert_eq!((code, reason.as_str()), (410, "Expired"));
    let future = ListParams::default().at("999999").matching(kube::api::VersionMatch::NotOlderThan);
    let (code, reason, message) = refusal(maps.list(&future).await);
    assert_eq!((code, reason.as_str()), (504, "Timeout"));
    assert!(message.starts_with("Timeout: Too large resource version: 999999, current:"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn services_and_claims_get_their_defaults() {
    let fixture = Fixture::new();
    let services: Api<Service> = Api::default_namespaced(fixture.cluster.client());
    let headless: Service =
        object(json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}}));
    let created = services.create(&PostParams::default(), &headless).await.expect("created").spec.expect("a spec");
    assert_eq!((created.cluster_ip.as_deref(), created.type_.as_deref()), (Some("None"), Some("ClusterIP")));
    let plain: Service = object(json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}));
    let created = services.create(&PostParams::default(), &plain).await.expect("created").spec.expect("a spec");
    assert_eq!(created.cluster_ip.as_deref(), Some("10.96.0.2"));
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(fixture.cluster.client());
    let claim: PersistentVolumeClaim = object(json!({
        "metadata": {"name": "w"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }));
    let created = claims.create(&PostParams::default(), &claim).await.expect("created");
    assert_eq!(created.metadata.finalizers, Some(vec!["kubernetes.io/pvc-protection".into()]));
    assert_eq!(created.spec.and_then(|spec| spec.storage_class_name), Some("standard".into()));
    assert_eq!(created.status.and_then(|status| status.phase), Some("Pending".into()));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_furnished_and_the_system_has_its_uid() {
    let fixture = Fixture::new();
    let namespaces: Api<Namespace> = Api::all(fixture.cluster.client());
    assert!(namespaces.get("kube-system").await.expect("there").metadata.uid.is_some());
    let labels: Option<BTreeMap<String, String>> = None;
    let new: Namespace = object(json!({"metadata": {"name": "org-1", "labels": labels}}));
    namespaces.create(&PostParams::default(), &new).await.expect("created");
    crate::fixture::settle().await;
    assert!(fixture.cluster.object(Kind::ServiceAccount, "org-1", "default").is_some());
    assert!(fixture.cluster.object(Kind::ConfigMap, "org-1", "kube-root-ca.crt").is_some());
    let stored = fixture.cluster.object(Kind::Namespace, "", "org-1").expect("there");
    assert_eq!(stored["metadata"]["labels"]["kubernetes.io/metadata.name"], "org-1");
}
