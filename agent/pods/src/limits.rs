//! What fits: limits of the kernel, the API server and etcd, checked before anything is created.

use k8s_openapi::api::core::v1::{Pod, Secret};
use piculet_core::workload::Problem;
use serde_json::Value;

use crate::object::Object;

/// One `NAME=value` of an environment, or one argument, with the NUL byte at its end: `MAX_ARG_STRLEN` of the kernel.
pub const STRING: usize = 128 * 1024;
/// The script of one step, as it is encoded in its pod: most of what etcd takes, with room for everything else.
pub const SCRIPT: usize = 1024 * 1024;
/// The values of one Secret together.
pub const SECRET: usize = 1024 * 1024;
/// The annotations of one object together, keys and values.
pub const ANNOTATIONS: usize = 256 * 1024;
/// One object in etcd, by its default settings.
pub const OBJECT: usize = 1536 * 1024;
/// What the API server itself adds to an object: status, bookkeeping of fields, conversions.
pub const OBJECT_RESERVE: usize = 64 * 1024;
/// Name servers of one pod.
pub const NAME_SERVERS: usize = 3;
/// Search domains of one pod.
pub const SEARCH_DOMAINS: usize = 32;
/// The search domains of one pod together, with a blank between each two.
pub const SEARCH_CHARACTERS: usize = 2048;

/// Whether one variable fits; `bytes` is the length of its value.
pub(crate) fn variable(field: &str, name: &str, bytes: usize) -> Option<Problem> {
    let size = name.len() + 1 + bytes + 1;
    (size > STRING).then(|| Problem {
        code: "variable-too-large",
        field: field.to_owned(),
        message: format!(
            "the variable '{name}' needs {size} bytes, and Linux takes {STRING} (128 KiB) for one with its name; put the value into a file"
        ),
    })
}

/// Whether one word of a command fits.
pub(crate) fn argument(field: &str, text: &str) -> Option<Problem> {
    let size = text.len() + 1;
    (size > STRING).then(|| Problem {
        code: "argument-too-large",
        field: field.to_owned(),
        message: format!("it has {size} bytes, and Linux takes {STRING} (128 KiB) for one argument"),
    })
}

/// Whether the values of a Secret fit.
pub(crate) fn secret(field: &str, secret: &Secret) -> Option<Problem> {
    let size: usize = secret.data.iter().flatten().map(|(_, value)| value.0.len()).sum();
    (size > SECRET).then(|| Problem {
        code: "secret-too-large",
        field: field.to_owned(),
        message: format!(
            "the secret values have {size} bytes together, and Kubernetes takes {SECRET} (1 MiB) for one Secret"
        ),
    })
}

/// Whether an object fits into etcd, and its annotations into the object; `field` is what makes it large.
pub(crate) fn object(field: &str, object: &Object) -> Vec<Problem> {
    let mut problems = Vec::new();
    let kind = object.kind();
    let annotations = object.metadata().annotations.iter().flatten();
    let size: usize = annotations.map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATIONS {
        problems.push(Problem {
            code: "annotations-too-large",
            field: "annotations".to_owned(),
            message: format!(
                "the annotations of the {kind} have {size} bytes, and Kubernetes takes {ANNOTATIONS} (256 KiB)"
            ),
        });
    }
    let size = json_size(&object.to_value()) + managed_fields(object) + OBJECT_RESERVE;
    if size > OBJECT {
        problems.push(Problem {
            code: "object-too-large",
            field: field.to_owned(),
            message: format!(
                "the {kind} needs some {size} bytes, and etcd takes {OBJECT} (1.5 MiB) for one object; make its environment smaller"
            ),
        });
    }
    problems
}

/// The size of the value as JSON, which is slightly more than that of the form in etcd.
fn json_size(value: &Value) -> usize {
    value.to_string().len()
}

/// What the API server's list of managed fields needs for the entries of a pod that there may be thousands of.
fn managed_fields(object: &Object) -> usize {
    /// `"k:{\"name\":\"\"}":{".":{},"f:name":{},"f:valueFrom":{".":{},"f:secretKeyRef":{}}},`
    const ENTRY: usize = 88;
    let variables = |pod: &Pod| {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        containers.flat_map(|container| container.env.iter().flatten()).map(|env| env.name.len() + ENTRY).sum()
    };
    match object {
        Object::Pod(pod) => variables(pod),
        Object::ConfigMap(_)
        | Object::Secret(_)
        | Object::Service(_)
        | Object::NetworkPolicy(_)
        | Object::PersistentVolumeClaim(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, PodSpec, Secret};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::{ANNOTATIONS, OBJECT, OBJECT_RESERVE, SECRET, STRING, argument, object, secret, variable};
    use crate::object::Object;

    #[test]
    fn a_variable_counts_with_its_name_and_its_end() {
        assert_eq!(variable("f", "AB", STRING - 4), None);
        let problem = variable("f", "AB", STRING - 3).expect("one byte too many");
        assert_eq!((problem.code, problem.field.as_str()), ("variable-too-large", "f"));
        assert!(problem.message.contains("131073 bytes"), "{}", problem.message);
        assert_eq!(argument("f", &"x".repeat(STRING - 1)), None);
        assert!(argument("f", &"x".repeat(STRING)).is_some());
    }

    #[test]
    fn a_secret_counts_by_its_values() {
        let of = |size| Secret {
            data: Some(BTreeMap::from([("A".to_owned(), ByteString(vec![0; size]))])),
            ..Secret::default()
        };
        assert_eq!(secret("f", &of(SECRET)), None);
        assert_eq!(secret("f", &of(SECRET + 1)).map(|problem| problem.code), Some("secret-too-large"));
    }

    #[test]
    fn an_object_counts_as_a_whole() {
        let of = |size| {
            Object::from(ConfigMap {
                data: Some(BTreeMap::from([("a".to_owned(), "x".repeat(size))])),
                ..ConfigMap::default()
            })
        };
        assert_eq!(object("f", &of(OBJECT - OBJECT_RESERVE - 200)), []);
        let problems = object("f", &of(OBJECT - OBJECT_RESERVE));
        assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["object-too-large"]);
    }

    #[test]
    fn annotations_have_a_limit_of_their_own() {
        let metadata = ObjectMeta {
            annotations: Some(BTreeMap::from([("a".to_owned(), "x".repeat(ANNOTATIONS))])),
            ..ObjectMeta::default()
        };
        let problems = object("f", &Object::from(Secret { metadata, ..Secret::default() }));
        assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["annotations-too-large"]);
    }

    #[test]
    fn many_small_variables_count_with_the_servers_bookkeeping() {
        let env = |i: usize| EnvVar { name: format!("VARIABLE_{i:05}"), value: Some("x".repeat(40)), value_from: None };
        let pod = |count| {
            let container = Container { env: Some((0..count).map(env).collect()), ..Container::default() };
            let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
            Object::from(Pod { spec: Some(spec), ..Pod::default() })
        };
        // 12,000 of them are 1 MiB of JSON, and as much again in the list of managed fields.
        assert_eq!(object("f", &pod(7_000)), []);
        assert_eq!(object("f", &pod(12_000)).len(), 1);
    }
}
