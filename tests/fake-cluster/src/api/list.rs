//! Lists: whole or in pages, of now or of an earlier revision.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::params::Params;
use super::{Api, Asked};
use crate::body::{self, Body};
use crate::failure::{Failure, FieldError};
use crate::kind::Kind;
use crate::object::Object;
use crate::selector::Selector;
use crate::store::Store;

/// How long a request waits for a revision of the future.
const FRESHNESS_WAIT: Duration = Duration::from_secs(3);

/// Where a paged list goes on.
struct Continue {
    revision: u64,
    after: (String, String),
}

impl Api {
    pub(super) async fn list(&self, asked: &Asked) -> Result<Response<Body>, Failure> {
        let params = &asked.params;
        check_options(params)?;
        let kind = asked.resource.kind;
        let selector = Selector::parse(kind, &params.label_selector, &params.field_selector)?;
        let limit = params.limit()?;
        let token = Continue::read(&params.token)?;
        let (revision, objects) = match &token {
            Some(token) => {
                let objects = self.store.list_at(kind, asked.namespace(), token.revision).map_err(|_| {
                    Failure::expired(
                        "The provided continue parameter is too old to display a consistent list result. You must \
                         start a new list without the continue parameter.",
                    )
                })?;
                (token.revision, objects)
            }
            None => self.at_asked_revision(asked).await?,
        };
        let after = token.map(|token| token.after);
        let beyond = |object: &Arc<Object>| {
            after.as_ref().is_none_or(|(namespace, name)| (object.namespace(), object.name()) > (namespace, name))
        };
        let mut rest = objects.into_iter().filter(beyond).filter(|object| selector.matches(object)).peekable();
        let page: Vec<_> = rest.by_ref().take(if limit == 0 { usize::MAX } else { limit }).collect();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let (Some(last), true) = (page.last(), rest.peek().is_some()) {
            metadata["continue"] = Continue::write(revision, last).into();
            if params.label_selector.is_empty() && params.field_selector.is_empty() {
                metadata["remainingItemCount"] = rest.count().into();
            }
        }
        Ok(body::whole(StatusCode::OK, "application/json", render(kind, &metadata, &page)))
    }

    async fn at_asked_revision(&self, asked: &Asked) -> Result<(u64, Vec<Arc<Object>>), Failure> {
        let asked_revision = parse_revision(&asked.params.resource_version)?;
        self.store.wait_for(asked_revision).await?;
        let kind = asked.resource.kind;
        if asked.params.resource_version_match == "Exact" {
            let then = self.store.list_at(kind, asked.namespace(), asked_revision);
            let expired = |_| Failure::expired("The resourceVersion for the provided list is too old.");
            return then.map(|objects| (asked_revision, objects)).map_err(expired);
        }
        Ok(self.store.list_now(kind, asked.namespace()))
    }
}

impl Store {
    /// Waits, for a short while, until the store has reached a revision.
    async fn wait_for(&self, revision: u64) -> Result<(), Failure> {
        let mut written = self.feed(&Kind::ALL);
        let reached = async {
            while self.current_revision() < revision && written.changed().await {
                written.mark();
            }
        };
        if tokio::time::timeout(FRESHNESS_WAIT, reached).await.is_ok() {
            return Ok(());
        }
        let message = format!("Too large resource version: {revision}, current: {}", self.current_revision());
        Err(Failure::timeout(&message)
            .with_cause("ResourceVersionTooLarge", "Too large resource version")
            .retry_after(1))
    }
}

impl Continue {
    fn read(token: &str) -> Result<Option<Self>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        let parse = || {
            let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
            let (namespace, name) = value["start"].as_str()?.split_once('/')?;
            Some(Self { revision: value["rv"].as_u64()?, after: (namespace.to_owned(), name.to_owned()) })
        };
        parse().map(Some).ok_or_else(|| Failure::bad_request("continue key is not valid"))
    }

    fn write(revision: u64, last: &Object) -> String {
        let start = format!("{}/{}", last.namespace(), last.name());
        URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string())
    }
}

/// A resourceVersion as a number; zero stands for any.
pub(super) fn parse_revision(text: &str) -> Result<u64, Failure> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        Failure::bad_request(format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: invalid syntax"))
    })
}

pub(super) fn invalid_options(error: FieldError) -> Failure {
    Failure::invalid("ListOptions", "meta.k8s.io", "", &[error])
}

fn check_options(params: &Params) -> Result<(), Failure> {
    let forbidden = |field: &str, why: &str| Err(invalid_options(FieldError::forbidden(field, why)));
    if params.send_initial_events.is_some() {
        return forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    let field = "resourceVersionMatch";
    match params.resource_version_match.as_str() {
        "" => Ok(()),
        _ if params.resource_version.is_empty() => {
            forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
        }
        _ if !params.token.is_empty() => {
            forbidden(field, "resourceVersionMatch is forbidden when continue is provided")
        }
        "Exact" if params.resource_version == "0" => {
            forbidden(field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        "Exact" | "NotOlderThan" => Ok(()),
        other => Err(invalid_options(FieldError::not_supported(field, other, &["Exact", "NotOlderThan", ""]))),
    }
}

/// A list object of a kind.
pub(super) fn render(kind: Kind, metadata: &Value, items: &[Arc<Object>]) -> Vec<u8> {
    let head = format!(
        r#"{{"kind":"{}List","apiVersion":"{}","metadata":{metadata},"items":["#,
        kind.name(),
        kind.api_version()
    );
    let mut content = head.into_bytes();
    for (index, object) in items.iter().enumerate() {
        if index > 0 {
            content.push(b',');
        }
        object.write_item(&mut content);
    }
    content.extend_from_slice(b"]}");
    content
}
