//! What the server refuses, and how it words it.

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service};
use kube::Resource;
use kube::api::{Api, ListParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::fixture::{Fixture, object, pod_with, refusal};

/// What the server says of a pod whose specification differs in this.
async fn pod_refused(more: Value) -> String {
    let fixture = Fixture::new();
    let (code, reason, message) = refusal(fixture.pods.create(&PostParams::default(), &pod_with("p", more)).await);
    assert_eq!((code, reason.as_str()), (422, "Invalid"), "{message}");
    message
}

fn step(more: Value) -> Value {
    let mut container = json!({"name": "step", "image": "alpine:3"});
    json_patch::merge(&mut container, &more);
    json!({"containers": [container]})
}

async fn refused<K>(value: Value) -> (u16, String, String)
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    K::DynamicType: Default,
{
    let fixture = Fixture::new();
    let objects: Api<K> = Api::default_namespaced(fixture.cluster.client());
    refusal(objects.create(&PostParams::default(), &object(value)).await)
}

#[tokio::test(start_paused = true)]
async fn pods_are_checked() {
    for (more, expected) in [
        (
            step(json!({"name": "A"})),
            "spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case \
             alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  \
             or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        (step(json!({"name": "a.b"})), "spec.containers[0].name: Invalid value: \"a.b\": must not contain dots"),
        (step(json!({"image": ""})), "spec.containers[0].image: Required value"),
        (
            step(json!({"env": [{"name": "A=B", "value": ""}]})),
            "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist \
             only of printable ASCII characters other than '='",
        ),
        (
            step(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            step(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]}),
            "spec.volumes[1].name: Duplicate value: \"v\"",
        ),
        (
            json!({"restartPolicy": "Sometimes"}),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \
             \"OnFailure\"",
        ),
        (
            json!({"hostAliases": [{"ip": "x", "hostnames": ["a"]}]}),
            "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
             2001:db8::ffff)",
        ),
        (
            json!({"activeDeadlineSeconds": 0}),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (
            json!({"activeDeadlineSeconds": 2_147_483_648_i64}),
            "spec.activeDeadlineSeconds: Invalid value: 2147483648: must be between 1 and 2147483647, inclusive",
        ),
        (
            step(json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}})),
            "spec.containers[0].securityContext: Invalid value: \
             {\"allowPrivilegeEscalation\":false,\"privileged\":true}: cannot set `allowPrivilegeEscalation` to false \
             and `privileged` to true",
        ),
        (
            step(json!({"securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"add": ["CAP_SYS_ADMIN"]},
            }})),
            "spec.containers[0].securityContext: Invalid value: \
             {\"allowPrivilegeEscalation\":false,\"capabilities\":{\"add\":[\"CAP_SYS_ADMIN\"]}}: cannot set \
             `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
        ),
        (json!({"containers": []}), "spec.containers: Required value"),
    ] {
        assert_eq!(pod_refused(more).await, format!("Pod \"p\" is invalid: {expected}"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_just_possible_is_taken() {
    for more in [
        json!({"activeDeadlineSeconds": 1}),
        json!({"activeDeadlineSeconds": 2_147_483_647}),
        step(json!({"securityContext": {"privileged": true}})),
        step(json!({"securityContext": {"privileged": false, "allowPrivilegeEscalation": false}})),
        json!({
            "containers": [{"name": "step", "image": "alpine:3", "volumeMounts": [{"name": "v", "mountPath": "/a:b"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }),
    ] {
        Fixture::new().create(&pod_with("p", more)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_problems_are_told_at_once() {
    let said = pod_refused(json!({"activeDeadlineSeconds": 0, "terminationGracePeriodSeconds": -1})).await;
    assert!(said.starts_with("Pod \"p\" is invalid: [spec.activeDeadlineSeconds: "), "{said}");
    assert!(said.ends_with("must be greater than or equal to 0]"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn names_and_labels_are_checked() {
    let (code, _, message) = refused::<ConfigMap>(json!({"metadata": {"name": "Not_DNS"}})).await;
    assert_eq!(code, 422);
    assert!(message.starts_with("ConfigMap \"Not_DNS\" is invalid: metadata.name: Invalid value: \"Not_DNS\": a lowercase RFC 1123 subdomain"), "{message}");
    let (_, _, message) = refused::<ConfigMap>(json!({"metadata": {}})).await;
    assert_eq!(message, "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required");
    let (_, _, message) =
        refused::<ConfigMap>(json!({"metadata": {"name": "a", "labels": {"k": "x".repeat(64)}}})).await;
    assert!(message.ends_with("must be no more than 63 bytes"), "{message}");
    let (_, _, message) = refused::<ConfigMap>(json!({"metadata": {"name": "a", "finalizers": ["mine"]}})).await;
    assert!(message.ends_with("name is neither a standard finalizer name nor is it fully qualified"), "{message}");
    let (_, _, message) = refused::<Service>(json!({"metadata": {"name": "1a"}, "spec": {"clusterIP": "None"}})).await;
    assert!(
        message.starts_with("Service \"1a\" is invalid: metadata.name: Invalid value: \"1a\": a DNS-1035 label"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn sizes_have_limits() {
    let (code, _, message) =
        refused::<Secret>(json!({"metadata": {"name": "s"}, "stringData": {"k": "x".repeat((1 << 20) + 1)}})).await;
    assert_eq!(
        (code, message.as_str()),
        (422, "Secret \"s\" is invalid: data: Too long: may not be more than 1048576 bytes")
    );
    let fixture = Fixture::new();
    let argument = |size: usize| pod_with("p", step(json!({"args": ["x".repeat(size)]})));
    let create = |size: usize| {
        let (pods, pod) = (fixture.pods.clone(), argument(size));
        async move { pods.create(&PostParams::default(), &pod).await }
    };
    assert_eq!(refusal(create(1_600_000).await), (500, String::new(), "etcdserver: request is too large".into()));
    assert!(refusal(create(2_200_000).await).2.starts_with("rpc error: code = ResourceExhausted"));
    assert_eq!(
        refusal(create(3_200_000).await),
        (413, "RequestEntityTooLarge".into(), "Request entity too large: limit is 3145728".into())
    );
}

#[tokio::test(start_paused = true)]
async fn claims_secrets_and_shapes_are_checked() {
    let (_, _, message) = refused::<PersistentVolumeClaim>(json!({"metadata": {"name": "c"}, "spec": {}})).await;
    assert_eq!(
        message,
        "PersistentVolumeClaim \"c\" is invalid: [spec.accessModes: Required value: at least 1 access mode is \
         required, spec.resources[storage]: Required value]"
    );
    let storage = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10 G"}}});
    let (code, reason, message) =
        refused::<PersistentVolumeClaim>(json!({"metadata": {"name": "c"}, "spec": storage})).await;
    assert_eq!((code, reason.as_str()), (400, "BadRequest"));
    assert!(message.contains("quantities must match the regular expression"), "{message}");
    let (_, _, message) =
        refused::<Secret>(json!({"metadata": {"name": "s"}, "type": "kubernetes.io/dockerconfigjson"})).await;
    assert_eq!(message, "Secret \"s\" is invalid: data[.dockerconfigjson]: Required value");
    let (code, _, message) = {
        let fixture = Fixture::new();
        let pod = pod_with("p", json!({"serviceAccountName": "deployer"}));
        refusal(fixture.pods.create(&PostParams::default(), &pod).await)
    };
    assert_eq!(
        (code, message.as_str()),
        (
            403,
            "pods \"p\" is forbidden: error looking up service account ci/deployer: serviceaccount \"deployer\" not \
             found"
        )
    );
}

/// No body, whatever it is, breaks the server: it is refused, or it is an object.
#[tokio::test(start_paused = true)]
async fn nonsense_is_refused() {
    let fixture = Fixture::new();
    let client = fixture.cluster.client();
    let bodies: Vec<Vec<u8>> = [
        "",
        "null",
        "[]",
        "\"x\"",
        "1",
        "{",
        "{}",
        r#"{"metadata": "x"}"#,
        r#"{"metadata": []}"#,
        r#"{"metadata": {"name": 1}}"#,
        r#"{"metadata": {"name": "x", "labels": []}}"#,
        r#"{"metadata": {"name": "x", "finalizers": "y"}}"#,
        r#"{"metadata": {"name": "x"}, "spec": []}"#,
        r#"{"metadata": {"name": "x"}, "spec": {"containers": {}}}"#,
        r#"{"kind": "Table", "metadata": {"name": "x"}}"#,
        r#"{"metadata": {"name": "x"}, "spec": {"containers": [null]}}"#,
        r#"{"metadata": {"name": "x"}, "data": 1}"#,
        r#"{"metadata": {"name": "x"}, "status": "gone", "spec": {"holderIdentity": 1}}"#,
        r#"[{"op": "replace", "path": "", "value": null}]"#,
        r#"[{"op": "remove", "path": "/metadata"}]"#,
    ]
    .map(|body| body.as_bytes().to_vec())
    .into_iter()
    .chain([b"\xff\xfe".to_vec()])
    .collect();
    let collections = [
        "/api/v1/namespaces/ci/configmaps",
        "/api/v1/namespaces/ci/secrets",
        "/api/v1/namespaces/ci/pods",
        "/api/v1/namespaces/ci/services",
        "/api/v1/namespaces/ci/persistentvolumeclaims",
        "/api/v1/namespaces/ci/events",
        "/api/v1/namespaces/ci/serviceaccounts",
        "/api/v1/nodes",
        "/api/v1/namespaces",
        "/apis/coordination.k8s.io/v1/namespaces/ci/leases",
    ];
    fixture.create(&pod_with("p", json!({}))).await;
    let mut targets = Vec::new();
    for collection in collections {
        targets.push(("POST", collection.to_owned(), "application/json"));
        for kind in ["application/json", "application/merge-patch+json", "application/json-patch+json"] {
            let method = if kind == "application/json" { "PUT" } else { "PATCH" };
            let name = if collection.ends_with("/pods") { "p" } else { "kube-root-ca.crt" };
            targets.push((method, format!("{collection}/{name}"), kind));
        }
        targets.push(("DELETE", format!("{collection}/none"), "application/json"));
    }
    targets.push(("POST", "/api/v1/namespaces/ci/pods/p/eviction".to_owned(), "application/json"));
    for review in ["selfsubjectaccessreviews", "selfsubjectrulesreviews"] {
        targets.push(("POST", format!("/apis/authorization.k8s.io/v1/{review}"), "application/json"));
    }
    targets.push(("GET", "/api/v1/namespaces/ci/pods?limit=x&labelSelector=(&watch=maybe".to_owned(), ""));
    targets.push(("GET", "/api/v1/namespaces/ci/pods/p/log?tailLines=-1&sinceTime=yesterday".to_owned(), ""));
    for (method, uri, kind) in &targets {
        for body in &bodies {
            let request = http::Request::builder().method(*method).uri(uri).header("content-type", *kind);
            let request = request.body(body.clone().into()).expect("a request");
            let answer = client.send(request).await.expect("an answer");
            let said = String::from_utf8_lossy(body);
            assert!(answer.status().as_u16() < 500, "{method} {uri} {said}: {}", answer.status());
        }
    }
    fixture.pods.list(&ListParams::default()).await.expect("it still answers");
}
