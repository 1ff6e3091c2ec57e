use serde_json::{Value, json};

use super::{Compiled, Job};
use crate::woodpecker::FailureMode;

fn compiled() -> Compiled {
    Compiled::new("build")
        .label("gpu", "yes")
        .secret("other", "unused but masked")
        .then([Job::clone_repo()])
        .then([])
        .then([Job::service("db", "postgres:16").with("ports", json!([{ "number": 5432 }]))])
        .then([
            Job::commands("unit tests", "rust:1.90", ["cargo test"]).secret("API_KEY", "api_key", "s3cr3t"),
            Job::plugin("lint", "lint")
                .uuid("01K3CZ8W5TV1W3X5Y7Z9A2B4C6")
                .failure(FailureMode::Ignore)
                .when(false, true),
        ])
}

fn read(compiled: &Compiled) -> Value {
    serde_json::from_slice(&compiled.to_json()).expect("it is JSON")
}

#[test]
fn looks_like_what_the_real_server_makes() {
    let compiled = compiled();
    let payload = read(&compiled);
    let volume = format!("{}_default", compiled.prefix());
    assert!(volume.starts_with("wp_01k3cz8w5t") && volume.ends_with("_0_default") && volume.len() == 39, "{volume}");
    assert_eq!((&payload["volume"], &payload["network"]), (&json!(volume), &json!(volume)));
    let secrets = json!([{ "name": "api_key", "value": "s3cr3t" }, { "name": "other", "value": "unused but masked" }]);
    assert_eq!(payload["secrets"], secrets);
    assert_eq!(payload["pipeline"][1], json!({}), "an empty stage has no steps at all");

    let clone = &payload["pipeline"][0]["steps"][0];
    assert_eq!((&clone["type"], &clone["on_success"]), (&json!("clone"), &json!(true)));
    assert_eq!((clone.get("on_failure"), clone.get("secret_mapping")), (None, None));
    assert_eq!(clone["auth_config"], json!({}));
    let service = &payload["pipeline"][2]["steps"][0];
    assert_eq!((&service["detach"], &service["failure"]), (&json!(true), &json!("ignore")));
    let test = &payload["pipeline"][3]["steps"][0];
    assert_eq!(test["environment"]["API_KEY"], json!("s3cr3t"));
    assert_eq!(test["secret_mapping"], json!({ "API_KEY": "s3cr3t" }));
    assert_eq!(test["volumes"], json!([format!("{volume}:/woodpecker")]));
    assert_eq!(test["networks"], json!([{ "name": volume, "aliases": ["unit tests"] }]));
    assert_eq!(test["workflow_labels"]["woodpecker-ci.org/repo-full-name"], json!("acme/shop"));
    assert_eq!(test["workflow_labels"]["gpu"], json!("yes"));
    let lint = &payload["pipeline"][3]["steps"][1];
    assert_eq!((lint.get("on_success"), &lint["on_failure"]), (None, &json!(true)));
    assert_eq!(lint["uuid"], json!("01K3CZ8W5TV1W3X5Y7Z9A2B4C6"));
}

#[test]
fn ids_are_the_same_for_the_same_names() {
    let uuids: Vec<_> = ["clone", "db", "unit tests", "lint"].iter().map(|step| compiled().uuid(step)).collect();
    let payload = read(&compiled());
    let stages = payload["pipeline"].as_array().expect("it has stages");
    let steps = stages.iter().filter_map(|stage| stage["steps"].as_array()).flatten();
    let written: Vec<_> = steps.map(|step| step["uuid"].as_str().expect("it has an id").to_owned()).collect();
    assert_eq!(uuids, written);
    assert!(uuids.iter().all(|uuid| uuid.len() == 26 && uuid.to_uppercase() == *uuid));
    assert_ne!(uuids[0], uuids[1]);
    assert_ne!(compiled().prefix(), Compiled::new("other").prefix());
}
