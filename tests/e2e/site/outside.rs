//! What a scenario makes outside of its namespace, under the namespace's name, so that it can be found and removed.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::RealSite;
use crate::world::skipped;

/// For a policy's or a webhook's rules.
pub(crate) fn new_pods() -> Value {
    json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]})
}

/// A value in the language of policies, where the values of one map are of one type unless it is said that they aren't.
fn expression(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields = map.iter().map(|(key, value)| format!("{}: dyn({})", json!(key), expression(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => {
            format!("[{}]", list.iter().map(expression).collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}

impl RealSite {
    /// The namespace, as policies and webhooks select it.
    pub(crate) fn selector(&self) -> Value {
        json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace}})
    }

    /// Makes an object of the whole cluster; it goes with the scenario.
    pub(crate) async fn everywhere<K>(&self, object: Value)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        assert_eq!(object.name_any(), self.namespace, "only that is found again");
        Api::<K>::all(self.client.clone()).create(&PostParams::default(), &object).await.unwrap();
    }

    /// From now on each new pod of the namespace is changed by this JSON patch. Whether the cluster has policies that can.
    pub(crate) async fn change_new_pods(&self, patch: Value) -> bool {
        let operation = |operation: &Value| {
            let [op, path, value] = ["op", "path", "value"].map(|field| expression(&operation[field]));
            format!("JSONPatch{{op: {op}, path: {path}, value: {value}}}")
        };
        let mark = json!({"op": "add", "path": "/metadata/labels/changed", "value": "yes"});
        let operations: Vec<_> = patch.as_array().unwrap().iter().chain([&mark]).map(operation).collect();
        let change =
            json!({"patchType": "JSONPatch", "jsonPatch": {"expression": format!("[{}]", operations.join(", "))}});
        let policy = json!({
            "reinvocationPolicy": "Never", "matchConstraints": {"resourceRules": [new_pods()]}, "mutations": [change],
        });
        let binding = json!({"policyName": self.namespace, "matchResources": {"namespaceSelector": self.selector()}});
        for (api, spec) in self.mutating().into_iter().zip([policy, binding]) {
            let object = serde_json::from_value(json!({"metadata": {"name": self.namespace}, "spec": spec})).unwrap();
            match api.create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    skipped("this cluster has no policies that change pods");
                    return false;
                }
                created => drop(created.unwrap()),
            }
        }
        // It takes a moment to count.
        let pod = json!({
            "metadata": {"generateName": "trial-", "labels": {"trial": "yes"}},
            "spec": {
                "containers": [{"name": "c", "image": "busybox:stable", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let trial = PostParams { dry_run: true, ..PostParams::default() };
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        while !pods.create(&trial, &pod).await.unwrap().labels().contains_key("changed") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        true
    }

    /// Policies that change objects, and their bindings.
    fn mutating(&self) -> [Api<DynamicObject>; 2] {
        ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"].map(|kind| {
            let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1beta1", kind);
            Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind))
        })
    }

    /// Removes what there is of the scenario outside of its namespace.
    pub(super) async fn take_back(&self) {
        self.nowhere::<ValidatingWebhookConfiguration>().await;
        self.nowhere::<ValidatingAdmissionPolicyBinding>().await;
        self.nowhere::<ValidatingAdmissionPolicy>().await;
        self.nowhere::<PriorityClass>().await;
        for api in self.mutating().into_iter().rev() {
            let _none = api.delete(&self.namespace, &DeleteParams::default()).await;
        }
    }

    /// Removes it again.
    pub(crate) async fn nowhere<K>(&self)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let _none = Api::<K>::all(self.client.clone()).delete(&self.namespace, &DeleteParams::default()).await;
    }
}
