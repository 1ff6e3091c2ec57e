//! Whether an agent takes a workflow, judged by labels: the rules that Woodpecker's users know.
//!
//! 1. An agent label `!key` is required: the workflow must have `key` with the identical value.
//! 2. Labels below `woodpecker-ci.org` and labels without a value are not looked at.
//! 3. Every other label of the workflow must stand on the agent, as `key` or `!key`. The agent's value `*` matches
//!    anything and scores 1, an equal value scores 10, another value is no match.
//! 4. `platform` is also matched, with 10, by the platforms of the agent's nodes.
//! 5. Labels that only the agent has don't matter.
//!
//! Unlike Woodpecker, a workflow without labels goes anywhere: there every workflow has its repository as a label,
//! here it may come from a bare file.

use std::collections::BTreeMap;
use std::fmt;

const WILDCARD: &str = "*";
const WILDCARD_SCORE: u32 = 1;
const EXACT_SCORE: u32 = 10;
const INTERNAL: &str = "woodpecker-ci.org";
const PLATFORM: &str = "platform";

/// What an agent offers to workflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// A key with a leading `!` is required of the workflow; the value `*` matches any.
    pub labels: &'a BTreeMap<String, String>,
    /// Platforms of the cluster's nodes, for example `linux/amd64`. Empty: unknown.
    pub platforms: &'a [String],
}

/// Why an agent doesn't take a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// The agent takes only workflows that have this label.
    Required {
        /// Without the `!`.
        key: String,
        /// What the agent asks for.
        value: String,
    },
    /// The agent doesn't have a label of the workflow.
    Missing {
        /// The label's key.
        key: String,
        /// What the workflow asks for.
        wanted: String,
    },
    /// The agent has another value.
    Differs {
        /// The label's key.
        key: String,
        /// What the workflow asks for.
        wanted: String,
        /// What the agent has.
        has: String,
    },
    /// No node of the agent's cluster has the platform.
    Platform {
        /// What the workflow asks for.
        wanted: String,
        /// What the cluster has; empty: unknown.
        has: Vec<String>,
    },
}

/// How well the agent fits: more is better, 0 is the fit of a workflow that asks for nothing.
///
/// # Errors
/// The first label that doesn't fit.
pub fn score(wanted: &BTreeMap<String, String>, offer: Offer<'_>) -> Result<u32, Mismatch> {
    for (key, value) in offer.labels {
        let Some(required) = key.strip_prefix('!') else { continue };
        if wanted.get(required) != Some(value) {
            return Err(Mismatch::Required { key: required.to_owned(), value: value.clone() });
        }
    }
    let mut sum = 0;
    for (key, value) in wanted.iter().filter(|(key, value)| !key.starts_with(INTERNAL) && !value.is_empty()) {
        sum += score_label(key, value, offer)?;
    }
    Ok(sum)
}

fn score_label(key: &str, wanted: &str, offer: Offer<'_>) -> Result<u32, Mismatch> {
    let has = offer.labels.get(key).or_else(|| offer.labels.get(&format!("!{key}")));
    match has.map(String::as_str) {
        Some(has) if has == wanted => return Ok(EXACT_SCORE),
        Some(WILDCARD) => return Ok(WILDCARD_SCORE),
        _ => {}
    }
    if key == PLATFORM {
        if offer.platforms.iter().any(|platform| platform == wanted) {
            return Ok(EXACT_SCORE);
        }
        if has.is_none() {
            return Err(Mismatch::Platform { wanted: wanted.to_owned(), has: offer.platforms.to_vec() });
        }
    }
    Err(match has {
        Some(has) => Mismatch::Differs { key: key.to_owned(), wanted: wanted.to_owned(), has: has.clone() },
        None => Mismatch::Missing { key: key.to_owned(), wanted: wanted.to_owned() },
    })
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required { key, value } => {
                write!(f, "it takes only workflows with the label {key}={value}")
            }
            Self::Missing { key, wanted } => write!(f, "it has no label '{key}'; the workflow asks for {key}={wanted}"),
            Self::Differs { key, wanted, has } => {
                write!(f, "its label is {key}={has}; the workflow asks for {key}={wanted}")
            }
            Self::Platform { wanted, has } if has.is_empty() => {
                write!(f, "the platforms of its nodes are not known; the workflow asks for {wanted}")
            }
            Self::Platform { wanted, has } => {
                write!(f, "its nodes are {}; the workflow asks for {wanted}", has.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mismatch, Offer, score};
    use std::collections::BTreeMap;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .map(|pair| pair.split_once('=').expect("tests write key=value"))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn scored(workflow: &str, agent: &str, platforms: &[&str]) -> Result<u32, Mismatch> {
        let platforms: Vec<_> = platforms.iter().map(|&platform| platform.to_owned()).collect();
        score(&labels(workflow), Offer { labels: &labels(agent), platforms: &platforms })
    }

    #[test]
    fn scores_as_a_table() {
        for (workflow, agent, platforms, expected) in [
            ("", "", &[][..], Some(0)),
            ("", "region=eu", &[], Some(0)),
            ("region=eu", "region=eu", &[], Some(10)),
            ("region=eu", "region=*", &[], Some(1)),
            ("region=eu gpu=yes", "region=* gpu=yes", &[], Some(11)),
            ("region=eu", "region=us", &[], None),
            ("region=eu", "", &[], None),
            ("region=", "", &[], Some(0)),
            ("region=*", "region=eu", &[], None),
            ("region=EU", "region=eu", &[], None),
            ("region=eu", "!region=eu", &[], Some(10)),
            ("region=us", "!region=eu", &[], None),
            ("", "!region=eu", &[], None),
            ("region=eu", "!region=*", &[], None),
            ("gpu=yes region=eu", "!gpu=yes region=*", &[], Some(11)),
            ("woodpecker-ci.org/forge-id=7", "", &[], Some(0)),
            ("platform=linux/arm64", "", &["linux/amd64", "linux/arm64"], Some(10)),
            ("platform=linux/arm64", "", &["linux/amd64"], None),
            ("platform=linux/arm64", "", &[], None),
            ("platform=linux/arm64", "platform=*", &[], Some(1)),
            ("platform=linux/arm64", "platform=linux/amd64", &["linux/arm64"], Some(10)),
            ("platform=linux/arm64", "platform=linux/amd64", &[], None),
        ] {
            let scored = scored(workflow, agent, platforms);
            assert_eq!(scored.as_ref().ok().copied(), expected, "{workflow:?} on {agent:?} {platforms:?}: {scored:?}");
        }
    }

    #[test]
    fn says_what_does_not_fit() {
        let mismatch = scored("platform=linux/arm64", "", &["linux/amd64"]).expect_err("the platform is another");
        assert_eq!(mismatch.to_string(), "its nodes are linux/amd64; the workflow asks for linux/arm64");
        let mismatch = scored("gpu=a100", "gpu=h100", &[]).expect_err("the value is another");
        assert_eq!(mismatch.to_string(), "its label is gpu=h100; the workflow asks for gpu=a100");
        let mismatch = scored("", "!team=x", &[]).expect_err("the label is required");
        assert_eq!(mismatch, Mismatch::Required { key: "team".into(), value: "x".into() });
    }
}
