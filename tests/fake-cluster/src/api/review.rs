//! Access reviews: what may I do?

use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::access::{Access, Attempt, Rule};
use crate::body::{self, Body};
use crate::failure::Failure;

/// `SelfSubjectAccessReview`: may I do this?
pub(super) fn access(access: &Access, user: &str, content: &[u8]) -> Result<Response<Body>, Failure> {
    let mut review = read(content, "SelfSubjectAccessReview")?;
    let wanted = &review["spec"]["resourceAttributes"];
    let text = |field: &str| wanted[field].as_str().unwrap_or_default();
    let resource = match text("subresource") {
        "" => text("resource").to_owned(),
        part => format!("{}/{part}", text("resource")),
    };
    let attempt = Attempt {
        verb: text("verb"),
        group: text("group"),
        resource: &resource,
        namespace: text("namespace"),
        name: text("name"),
    };
    review["status"] = json!({"allowed": access.allows(user, &attempt)});
    Ok(body::json(StatusCode::CREATED, &review))
}

/// `SelfSubjectRulesReview`: what may I do in this namespace?
pub(super) fn rules(access: &Access, user: &str, content: &[u8]) -> Result<Response<Body>, Failure> {
    let mut review = read(content, "SelfSubjectRulesReview")?;
    let namespace = review["spec"]["namespace"].as_str().unwrap_or_default().to_owned();
    if namespace.is_empty() {
        return Err(Failure::bad_request("no namespace on request"));
    }
    let holds = |rule: &Rule| rule.namespace.as_deref().is_none_or(|only| only == namespace);
    let rules: Vec<Value> = access
        .rules_of(user)
        .into_iter()
        .filter(holds)
        .map(|rule| {
            let mut shown = json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources});
            if !rule.names.is_empty() {
                shown["resourceNames"] = json!(rule.names);
            }
            shown
        })
        .collect();
    review["status"] = json!({"resourceRules": rules, "nonResourceRules": [], "incomplete": false});
    Ok(body::json(StatusCode::CREATED, &review))
}

fn read(content: &[u8], kind: &str) -> Result<Value, Failure> {
    let mut review: Value = serde_json::from_slice(content)
        .map_err(|error| Failure::bad_request(format!("the object provided is unrecognized: {error}")))?;
    if !review.is_object() {
        return Err(Failure::bad_request("the object provided is unrecognized: not an object"));
    }
    review["kind"] = kind.into();
    review["apiVersion"] = "authorization.k8s.io/v1".into();
    Ok(review)
}
