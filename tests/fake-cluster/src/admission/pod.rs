//! What is added to a pod: the defaults of its specification, its service account, its class of service.

use serde_json::{Value, json};

use super::{each, or};
use crate::classes::Classes;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Key, list};
use crate::store::Store;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

pub(super) fn complete(store: &Store, classes: &Classes, namespace: &str, pod: &mut Value) -> Result<(), Failure> {
    let name = pod["metadata"]["name"].as_str().or_else(|| pod["metadata"]["generateName"].as_str());
    let name = name.unwrap_or_default().to_owned();
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        *spec = json!({});
    }
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("securityContext", json!({})),
        ("enableServiceLinks", json!(true)),
        ("serviceAccountName", json!("default")),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
        ("priority", json!(0)),
    ] {
        or(spec, field, || value);
    }
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    for kind in ["initContainers", "containers"] {
        each(spec, kind).for_each(complete_container);
    }
    each(spec, "volumes").for_each(complete_volume);
    add_tolerations(spec);
    apply_classes(classes, &name, spec)?;
    apply_service_account(store, namespace, &name, spec)?;
    let class = quality_of_service(spec);
    pod["status"] = json!({"phase": "Pending", "qosClass": class});
    Ok(())
}

fn complete_container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let policy = if always_pulled(image) { "Always" } else { "IfNotPresent" };
    or(container, "imagePullPolicy", || policy.into());
    or(container, "terminationMessagePath", || "/dev/termination-log".into());
    or(container, "terminationMessagePolicy", || "File".into());
    or(container, "resources", || json!({}));
    if let Value::Object(limits) = container["resources"]["limits"].clone() {
        for (resource, limit) in limits {
            or(&mut container["resources"]["requests"], &resource, || limit);
        }
    }
    for port in each(container, "ports") {
        or(port, "protocol", || "TCP".into());
    }
    for variable in each(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            or(field, "apiVersion", || "v1".into());
        }
    }
}

/// An image without a tag, or with the tag `latest`, is pulled always. One with a digest is not.
fn always_pulled(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    !image.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn complete_volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|volume| volume.len() == 1) {
        volume["emptyDir"] = json!({});
    }
    for source in ["secret", "configMap", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source) {
            or(source, "defaultMode", || json!(420));
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        or(path, "type", || "".into());
    }
}

/// For five minutes a pod stays on a node that is not ready.
fn add_tolerations(spec: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list(&spec["tolerations"]).any(|one| {
            let any = one["key"].as_str().unwrap_or_default();
            let effect = one["effect"].as_str().unwrap_or_default();
            (any == key || any.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            let added = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            match spec["tolerations"].as_array_mut() {
                Some(tolerations) => tolerations.push(added),
                None => spec["tolerations"] = json!([added]),
            }
        }
    }
}

/// The classes that a pod names must exist.
fn apply_classes(classes: &Classes, pod: &str, spec: &mut Value) -> Result<(), Failure> {
    if let Some(name) = spec["priorityClassName"].as_str().filter(|name| !name.is_empty()) {
        let found = classes.priority.iter().find(|(known, _)| known == name);
        let unknown = || Failure::forbidden(Kind::Pod, pod, format!("no PriorityClass with name {name} was found"));
        let value = found.ok_or_else(unknown)?.1;
        spec["priority"] = value.into();
    }
    match spec["runtimeClassName"].as_str() {
        Some(name) if !classes.runtime.iter().any(|known| known == name) => {
            Err(Failure::forbidden(Kind::Pod, pod, format!("pod rejected: RuntimeClass {name:?} not found")))
        }
        _ => Ok(()),
    }
}

/// The account must exist; its pull secrets and, unless somebody said no, its token go into the pod.
fn apply_service_account(store: &Store, namespace: &str, pod: &str, spec: &mut Value) -> Result<(), Failure> {
    let name = spec["serviceAccountName"].as_str().unwrap_or_default();
    let Some(account) = store.get(&Key::new(Kind::ServiceAccount, namespace, name)) else {
        if store.get(&Key::new(Kind::Namespace, "", namespace)).is_none() {
            return Err(Failure::not_found(Kind::Namespace, namespace));
        }
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(Failure::forbidden(Kind::Pod, pod, why));
    };
    if spec["imagePullSecrets"].is_null() && account.value()["imagePullSecrets"].is_array() {
        spec["imagePullSecrets"] = account.value()["imagePullSecrets"].clone();
    }
    let field = "automountServiceAccountToken";
    let wanted = spec[field].as_bool().or_else(|| account.value()[field].as_bool()).unwrap_or(true);
    if wanted {
        mount_token(spec, &format!("kube-api-access-{}", store.suffix()));
    }
    Ok(())
}

fn mount_token(spec: &mut Value, volume: &str) {
    let mut used = false;
    for kind in ["initContainers", "containers"] {
        for container in each(spec, kind) {
            if list(&container["volumeMounts"]).any(|mount| mount["mountPath"] == TOKEN_PATH) {
                continue;
            }
            used = true;
            let mount = json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH});
            match container["volumeMounts"].as_array_mut() {
                Some(mounts) => mounts.push(mount),
                None => container["volumeMounts"] = json!([mount]),
            }
        }
    }
    if !used {
        return;
    }
    let namespace = json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    let added = json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]}});
    match spec["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(added),
        None => spec["volumes"] = json!([added]),
    }
}

fn quality_of_service(spec: &Value) -> &'static str {
    let resources = || list(&spec["initContainers"]).chain(list(&spec["containers"])).map(|one| &one["resources"]);
    let compute = |resources: &Value, which: &str| {
        ["cpu", "memory"].into_iter().filter(|name| !resources[which][name].is_null()).count()
    };
    if resources().all(|one| compute(one, "requests") == 0 && compute(one, "limits") == 0) {
        "BestEffort"
    } else if resources().all(|one| compute(one, "limits") == 2 && one["limits"] == one["requests"]) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_a_fixed_version_are_always_pulled() {
        for image in ["alpine", "alpine:latest", "localhost:5000/alpine"] {
            assert!(always_pulled(image), "{image}");
        }
        for image in ["alpine:3", "localhost:5000/alpine:3", "alpine@sha256:00", "alpine:latest@sha256:00"] {
            assert!(!always_pulled(image), "{image}");
        }
    }

    #[test]
    fn the_class_of_service_follows_requests_and_limits() {
        let class = |resources: Value| quality_of_service(&json!({"containers": [{"resources": resources}]}));
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(json!({"requests": both, "limits": both})), "Guaranteed");
    }
}
