//! Lists of workflows: which, in which order, and page by page.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use piculet_core::id::WorkflowId;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use utoipa::{IntoParams, ToSchema};

use super::WorkflowList;
use super::error::ApiError;
use crate::dispatch::{Dispatcher, State, Workflow};
use crate::server::Server;
use crate::view::WorkflowView;

/// The most workflows of one page.
const MAX_LIMIT: usize = 1000;
/// Workflows of a page where the caller doesn't say how many.
const LIMIT: usize = 100;

/// Which workflows are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    states: Vec<State>,
    name: String,
    labels: BTreeMap<String, String>,
    order: Order,
    before: Option<u64>,
    after: Option<u64>,
    limit: usize,
}

/// How a list is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    /// By number.
    Oldest,
    /// By number, downwards.
    Newest,
}

/// The same as it is described.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, style = Form)]
#[expect(
    dead_code,
    reason = "it only describes; `Listing` is parsed by hand, since serde knows no repeated keys there"
)]
pub(super) struct ListText {
    /// Only workflows in this state; may be given several times.
    state: Option<Vec<State>>,
    /// Only workflows whose name contains this, in upper or lower case.
    name: Option<String>,
    /// Only workflows with this label, as `key=value`; may be given several times.
    label: Option<Vec<String>>,
    /// `oldest` unless told.
    order: Option<Order>,
    /// Only workflows with a smaller number.
    before: Option<u64>,
    /// Only workflows with a larger number.
    after: Option<u64>,
    /// How many at most: 100 unless told, 1000 at most.
    limit: Option<usize>,
}

impl Listing {
    /// Reads the query of a call.
    pub(super) fn parse(query: &str) -> Result<Self, ApiError> {
        let invalid = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "query-invalid", message);
        let number = |key: &str, value: &str| {
            value.parse::<u64>().map_err(|_| invalid(format!("'{key}' has to be a number, and '{value}' is none")))
        };
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(query).map_err(|error| invalid(error.to_string()))?;
        let mut listing = Self {
            states: Vec::new(),
            name: String::new(),
            labels: BTreeMap::new(),
            order: Order::Oldest,
            before: None,
            after: None,
            limit: LIMIT,
        };
        for (key, value) in pairs {
            match key.as_str() {
                "state" => listing.states.push(word(&value).map_err(|error| invalid(error.to_string()))?),
                "order" => listing.order = word(&value).map_err(|error| invalid(error.to_string()))?,
                "name" => listing.name = value.to_lowercase(),
                "label" => match value.split_once('=') {
                    Some((name, value)) => listing.labels.extend([(name.to_owned(), value.to_owned())]),
                    None => return Err(invalid(format!("'label' looks like 'key=value', and '{value}' doesn't"))),
                },
                "before" => listing.before = Some(number(&key, &value)?),
                "after" => listing.after = Some(number(&key, &value)?),
                "limit" => {
                    let limit = usize::try_from(number(&key, &value)?).unwrap_or(MAX_LIMIT);
                    listing.limit = limit.clamp(1, MAX_LIMIT);
                }
                _ => return Err(invalid(format!("'{key}' says nothing about a list of workflows"))),
            }
        }
        Ok(listing)
    }

    /// The page that it asks for.
    pub(super) fn list(&self, server: &Server) -> WorkflowList {
        let mut found: Vec<(u64, WorkflowId)> = server.look(|dispatcher| {
            let matching = dispatcher.workflows().filter(|workflow| self.matches(workflow));
            matching.map(|workflow| (workflow.number, workflow.id.clone())).collect()
        });
        if self.order == Order::Newest {
            found.reverse();
        }
        let goes_on = found.len() > self.limit;
        found.truncate(self.limit);
        let next = found.last().map(|(number, _)| *number).filter(|_| goes_on);
        // One by one: why a workflow waits takes a look at every agent, and agents should not wait for a long list.
        let view = |(_, id): &(u64, WorkflowId)| {
            server.look(|dispatcher| Some(WorkflowView::of(dispatcher, dispatcher.workflow(id)?)))
        };
        WorkflowList { workflows: found.iter().filter_map(view).collect(), next }
    }

    /// Waits until what a page tells of is stored: the workflows that are in it, and, where only some states are asked for,
    /// all that could be. One that isn't there has another state, and that is told, too.
    pub(super) async fn settled(&self, server: &Server, page: &WorkflowList) {
        let listed: BTreeSet<_> = page.workflows.iter().map(|workflow| workflow.id.as_str()).collect();
        let could_be = |workflow: &Workflow| !self.states.is_empty() && self.matches_in_any_state(workflow);
        let is_told = |dispatcher: &Dispatcher, id: &WorkflowId| {
            listed.contains(id.as_str()) || dispatcher.workflow(id).is_some_and(could_be)
        };
        server.settled_for_those(is_told).await;
    }

    fn matches(&self, workflow: &Workflow) -> bool {
        (self.states.is_empty() || self.states.contains(&workflow.state())) && self.matches_in_any_state(workflow)
    }

    /// What this looks at never changes.
    fn matches_in_any_state(&self, workflow: &Workflow) -> bool {
        self.before.is_none_or(|before| workflow.number < before)
            && self.after.is_none_or(|after| workflow.number > after)
            && workflow.name.to_lowercase().contains(&self.name)
            && self.labels.iter().all(|(key, value)| workflow.labels.get(key) == Some(value))
    }
}

/// Reads a word of a closed set; the error says which there are.
fn word<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    let text: StrDeserializer<'de, Error> = text.into_deserializer();
    T::deserialize(text)
}

#[cfg(test)]
mod tests {
    use super::{Listing, Order};
    use crate::dispatch::State;

    #[test]
    fn a_query_says_which_workflows() {
        let listing =
            Listing::parse("state=pending&state=running&name=De%20ploy&label=a=b=c&label=d=&before=7&limit=0")
                .expect("it is valid");
        assert_eq!(listing.states, [State::Pending, State::Running]);
        assert_eq!((listing.name.as_str(), listing.before, listing.after), ("de ploy", Some(7), None));
        assert_eq!((listing.labels["a"].as_str(), listing.labels["d"].as_str()), ("b=c", ""));
        assert_eq!((listing.order, listing.limit), (Order::Oldest, 1));
        assert_eq!(Listing::parse("order=newest&limit=5000").map(|listing| listing.limit).ok(), Some(1000));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (query, words) in [
            ("state=gone", "unknown variant `gone`, expected one of `pending`"),
            ("order=random", "expected `oldest` or `newest`"),
            ("limit=many", "'limit' has to be a number, and 'many' is none"),
            ("label=alone", "'label' looks like 'key=value', and 'alone' doesn't"),
            ("names=x", "'names' says nothing"),
        ] {
            let error = Listing::parse(query).expect_err(query);
            assert!(error.view.message.contains(words), "{query}: {}", error.view.message);
        }
    }
}
