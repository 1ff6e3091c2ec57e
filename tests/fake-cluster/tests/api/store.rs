//! Objects, as the API stores them.

use fake_cluster::{FakeCluster, ScriptedRuntime};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn objects_are_created_listed_and_deleted() {
    let cluster = FakeCluster::scripted(&ScriptedRuntime::new());
    let secrets: Api<Secret> = Api::default_namespaced(cluster.client());
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"generateName": "s-", "labels": {"a": "b"}}, "stringData": {"K": "v"},
    }))
    .expect("a secret");
    let created = secrets.create(&PostParams::default(), &secret).await.expect("created");
    assert_eq!(created.type_.as_deref(), Some("Opaque"));
    assert_eq!(
        created.data.as_ref().and_then(|data| data.get("K")).map(|value| value.0.as_slice()),
        Some(b"v".as_slice())
    );
    let name = created.metadata.name.clone().expect("a name");
    let again = secrets
        .create(
            &PostParams::default(),
            &Secret {
                metadata: kube::api::ObjectMeta { name: Some(name.clone()), ..Default::default() },
                ..Default::default()
            },
        )
        .await;
    match again {
        Err(kube::Error::Api(status)) => assert_eq!((status.code, status.reason.as_str()), (409, "AlreadyExists")),
        other => panic!("{other:?}"),
    }
    assert_eq!(secrets.list(&ListParams::default().labels("a=b")).await.expect("a list").items.len(), 1);
    secrets.delete(&name, &DeleteParams::default()).await.expect("deleted");
    assert!(secrets.get_opt(&name).await.expect("an answer").is_none());
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    assert_eq!(maps.list(&ListParams::default()).await.expect("a list").items.len(), 1, "kube-root-ca.crt");
}
