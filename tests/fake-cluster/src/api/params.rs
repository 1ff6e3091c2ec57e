//! The query string of a request.

use jiff::Timestamp;
use serde::Deserialize;

use crate::failure::Failure;

/// Every parameter that any request may bring; each request looks at its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Params {
    pub(super) label_selector: String,
    pub(super) field_selector: String,
    pub(super) limit: Option<String>,
    #[serde(rename = "continue")]
    pub(super) token: String,
    pub(super) resource_version: String,
    pub(super) resource_version_match: String,
    watch: Option<String>,
    allow_watch_bookmarks: Option<String>,
    pub(super) send_initial_events: Option<String>,
    timeout_seconds: Option<String>,
    dry_run: String,
    grace_period_seconds: Option<String>,
    pub(super) propagation_policy: Option<String>,
    // of logs
    pub(super) container: String,
    follow: Option<String>,
    previous: Option<String>,
    timestamps: Option<String>,
    since_seconds: Option<String>,
    since_time: Option<String>,
    tail_lines: Option<String>,
    limit_bytes: Option<String>,
}

impl Params {
    pub(super) fn parse(query: &str) -> Result<Self, Failure> {
        serde_urlencoded::from_str(query).map_err(|error| Failure::bad_request(error.to_string()))
    }

    pub(super) fn watch(&self) -> bool {
        truth(self.watch.as_deref())
    }

    pub(super) fn bookmarks(&self) -> bool {
        truth(self.allow_watch_bookmarks.as_deref())
    }

    pub(super) fn follow(&self) -> bool {
        truth(self.follow.as_deref())
    }

    pub(super) fn previous(&self) -> bool {
        truth(self.previous.as_deref())
    }

    pub(super) fn timestamps(&self) -> bool {
        truth(self.timestamps.as_deref())
    }

    pub(super) fn limit(&self) -> Result<usize, Failure> {
        Ok(number("limit", self.limit.as_deref())?.unwrap_or(0))
    }

    pub(super) fn timeout_seconds(&self) -> Result<Option<u64>, Failure> {
        number("timeoutSeconds", self.timeout_seconds.as_deref())
    }

    pub(super) fn grace(&self) -> Result<Option<i64>, Failure> {
        number("gracePeriodSeconds", self.grace_period_seconds.as_deref())
    }

    pub(super) fn since_seconds(&self) -> Result<Option<i64>, Failure> {
        number("sinceSeconds", self.since_seconds.as_deref())
    }

    pub(super) fn tail_lines(&self) -> Result<Option<usize>, Failure> {
        number("tailLines", self.tail_lines.as_deref())
    }

    pub(super) fn limit_bytes(&self) -> Result<Option<usize>, Failure> {
        number("limitBytes", self.limit_bytes.as_deref())
    }

    pub(super) fn since_time(&self) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.since_time.as_deref() else { return Ok(None) };
        let parsed = text.parse();
        parsed.map(Some).map_err(|_| Failure::bad_request(format!("parsing time {text:?}: not in RFC 3339")))
    }

    /// Whether the write is only tried. The one value that the API knows is `All`.
    pub(super) fn dry_run(&self) -> Result<bool, Failure> {
        match self.dry_run.as_str() {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                Err(Failure::bad_request(format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"")))
            }
        }
    }
}

/// A flag that is there without a value counts as set.
fn truth(value: Option<&str>) -> bool {
    value.is_some_and(|value| !matches!(value, "0" | "false" | "False" | "FALSE" | "f"))
}

fn number<T: std::str::FromStr>(name: &str, value: Option<&str>) -> Result<Option<T>, Failure> {
    match value {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax (parameter {name})"))
        }),
    }
}
