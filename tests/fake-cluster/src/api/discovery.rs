//! What a client asks before it knows what the server has: version, health, groups and resources.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{self, Body};
use crate::failure::Failure;
use crate::kind::Kind;

/// The version that the fake claims to be: the one against which the same tests run for real.
const GIT_VERSION: &str = "v1.34.4";
const GROUPS: [&str; 3] = ["authorization.k8s.io", "coordination.k8s.io", "networking.k8s.io"];

pub(super) fn answer(method: &Method, path: &str) -> Response<Body> {
    if method != Method::GET {
        return body::failure(&Failure::method_not_allowed());
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let found = match parts.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => return body::whole(StatusCode::OK, "text/plain; charset=utf-8", "ok"),
        ["version"] => Some(json!({
            "major": "1", "minor": "34", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
        })),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let groups: Vec<Value> = GROUPS.iter().map(|group| api_group(group)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", group] if GROUPS.contains(group) => {
            let mut found = api_group(group);
            found["kind"] = "APIGroup".into();
            found["apiVersion"] = "v1".into();
            Some(found)
        }
        ["api", "v1"] => Some(resources("")),
        ["apis", group, "v1"] if GROUPS.contains(group) => Some(resources(group)),
        _ => None,
    };
    match found {
        Some(found) => body::json(StatusCode::OK, &found),
        None => body::whole(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
    }
}

fn api_group(group: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

fn resources(group: &str) -> Value {
    let mut found = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.group() == group) {
        found.push(json!({
            "name": kind.plural(), "singularName": kind.singular(), "namespaced": kind.namespaced(),
            "kind": kind.name(), "shortNames": kind.short(),
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        }));
        let mut part = |name: &str, of: &str, verbs: &[&str]| {
            let name = format!("{}/{name}", kind.plural());
            found.push(json!({
                "name": name, "singularName": "", "namespaced": kind.namespaced(), "kind": of, "verbs": verbs,
            }));
        };
        if kind.has_status() {
            part("status", kind.name(), &["get", "patch", "update"]);
        }
        if kind == Kind::Pod {
            part("log", "Pod", &["get"]);
            part("eviction", "Eviction", &["create"]);
        }
    }
    if group == "authorization.k8s.io" {
        for kind in ["SelfSubjectAccessReview", "SelfSubjectRulesReview"] {
            let name = format!("{}s", kind.to_lowercase());
            let verbs = ["create"];
            found.push(json!({"name": name, "singularName": "", "namespaced": false, "kind": kind, "verbs": verbs}));
        }
    }
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": found})
}
