//! Watches: what was written, as it is written.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::list::{invalid_options, parse_revision};
use super::params::Params;
use super::{Api, Asked};
use crate::body::{self, Body, broken};
use crate::clock::until;
use crate::counters::OpenWatch;
use crate::failure::{Failure, FieldError};
use crate::faults::Cut;
use crate::kind::Kind;
use crate::latest;
use crate::object::Object;
use crate::selector::Selector;
use crate::store::{Change, Feed, Store, What};

/// How often a quiet watch is told how far the server has come.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// A watch that ends by its own time gets a last bookmark this much earlier.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// Without `timeoutSeconds` a watch lasts between this long and twice as long.
const SHORTEST_WATCH: u64 = 1800;
/// How many events are taken out of the history at a time.
const BATCH: usize = 64;

/// One open watch.
struct Watch {
    store: Arc<Store>,
    kind: Kind,
    namespace: Option<String>,
    selector: Selector,
    /// Everything up to here was read.
    revision: u64,
    ready: VecDeque<Frame>,
    written: Feed,
    cuts: latest::Receiver<u64>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    cut_at: Option<Instant>,
    cut_cleanly: bool,
    events_left: Option<u32>,
    ended: bool,
    /// Held only for its drop: the watch counts as open as long as this lives.
    _open: OpenWatch,
}

enum Frame {
    Event(Bytes),
    Bookmark(Bytes),
}

impl Api {
    pub(super) fn watch(&self, asked: &Asked, cut: Cut) -> Result<Response<Body>, Failure> {
        let params = &asked.params;
        check_options(params)?;
        let kind = asked.resource.kind;
        let selector = Selector::parse(kind, &params.label_selector, &params.field_selector)?;
        let asked_revision = parse_revision(&params.resource_version)?;
        let open = self.counters.open_watch(kind.plural());
        let seconds = params.timeout_seconds()?.filter(|seconds| *seconds > 0);
        // Spread, so that watches that began together do not end together.
        let spread = asked_revision.wrapping_mul(7919) % SHORTEST_WATCH;
        let now = Instant::now();
        let mut watch = Watch {
            written: self.store.feed(&[kind]),
            store: Arc::clone(&self.store),
            kind,
            namespace: asked.namespace().map(str::to_owned),
            selector,
            revision: asked_revision,
            ready: VecDeque::new(),
            cuts: self.faults.cuts(),
            bookmarks: params.bookmarks(),
            next_bookmark: now + BOOKMARK_PERIOD,
            deadline: now + Duration::from_secs(seconds.unwrap_or(SHORTEST_WATCH + spread)),
            cut_at: cut.after.map(|after| now + after),
            cut_cleanly: cut.clean,
            events_left: cut.events,
            ended: false,
            _open: open,
        };
        let initial = params.send_initial_events.as_deref();
        if initial == Some("true") || (initial.is_none() && asked_revision == 0) {
            watch.begin_with_all(initial.is_some());
        } else if asked_revision == 0 {
            watch.revision = self.store.current_revision();
        }
        watch.plan_bookmark();
        let frames = stream::unfold(watch, |mut watch| async move {
            let frame = watch.next().await?;
            Some((frame, watch))
        });
        Ok(body::streamed("application/json", frames))
    }
}

impl Watch {
    /// First every object as it is now; where it was asked for, a bookmark says that these were all.
    fn begin_with_all(&mut self, announce: bool) {
        let (revision, objects) = self.store.list_now(self.kind, self.namespace.as_deref());
        self.revision = revision;
        let wanted = objects.iter().filter(|object| self.selector.matches(object));
        self.ready = wanted.map(|object| Frame::Event(frame("ADDED", object))).collect();
        if announce && self.bookmarks {
            self.ready.push_back(Frame::Bookmark(bookmark(self.kind, revision, true)));
        }
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if self.ended {
                return None;
            }
            if self.events_left == Some(0) || self.cuts.has_changed().unwrap_or(true) {
                return self.break_off();
            }
            match self.ready.pop_front() {
                Some(Frame::Event(bytes)) => {
                    self.events_left = self.events_left.map(|left| left - 1);
                    return Some(Ok(bytes));
                }
                Some(Frame::Bookmark(bytes)) => return Some(Ok(bytes)),
                None => {}
            }
            self.written.mark();
            if let Err(failure) = self.read() {
                self.ended = true;
                let line = format!("{}\n", json!({"type": "ERROR", "object": failure.to_status()}));
                return Some(Ok(line.into()));
            }
            if self.ready.is_empty() {
                match self.wait().await {
                    Woken::Written => {}
                    Woken::Cut => return self.break_off(),
                    Woken::Over => return None,
                    Woken::Bookmark => {
                        self.ready.push_back(Frame::Bookmark(bookmark(self.kind, self.revision, false)));
                        self.plan_bookmark();
                    }
                }
            }
        }
    }

    fn break_off(&mut self) -> Option<io::Result<Bytes>> {
        self.ended = true;
        if self.cut_cleanly { None } else { Some(Err(broken())) }
    }

    async fn wait(&mut self) -> Woken {
        let cut = until(self.cut_at);
        tokio::select! {
            biased;
            there = self.written.changed() => if there { Woken::Written } else { Woken::Over },
            _ = self.cuts.changed() => Woken::Cut,
            () = cut => Woken::Cut,
            () = tokio::time::sleep_until(self.deadline) => Woken::Over,
            () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => Woken::Bookmark,
        }
    }

    /// Takes the next changes out of the history.
    fn read(&mut self) -> Result<(), Failure> {
        let concerns = |change: &Change| {
            let object = &change.object;
            object.kind() == self.kind && self.namespace.as_deref().is_none_or(|wanted| wanted == object.namespace())
        };
        let (revision, changes) = self.store.changes(self.revision, BATCH, concerns).map_err(|expired| {
            Failure::expired(format!("too old resource version: {} ({})", expired.asked, expired.oldest))
        })?;
        self.revision = revision;
        let events = changes.iter().filter_map(|change| event(&self.selector, change));
        self.ready.extend(events.map(Frame::Event));
        Ok(())
    }

    fn plan_bookmark(&mut self) {
        let now = Instant::now();
        let last = self.deadline - LAST_BOOKMARK.min(self.deadline - now);
        let next = now + BOOKMARK_PERIOD;
        self.next_bookmark = if now < last { next.min(last) } else { next };
    }
}

enum Woken {
    Written,
    Cut,
    Over,
    Bookmark,
}

/// What a change is to a watch with a selector: an object that begins to match is added, one that ceases is deleted.
fn event(selector: &Selector, change: &Change) -> Option<Bytes> {
    let matched = change.before.as_ref().is_some_and(|before| selector.matches(before));
    let matches = change.what != What::Deleted && selector.matches(&change.object);
    match (matched, matches) {
        (false, false) => None,
        (false, true) => Some(frame("ADDED", &change.object)),
        (true, true) => Some(frame("MODIFIED", &change.object)),
        (true, false) if change.what == What::Deleted => Some(frame("DELETED", &change.object)),
        (true, false) => {
            let mut last = change.before.as_ref()?.value().clone();
            last["metadata"]["resourceVersion"] = change.revision.to_string().into();
            Some(frame("DELETED", &Object::new(change.object.kind(), last)))
        }
    }
}

fn frame(what: &str, object: &Object) -> Bytes {
    let mut line = format!(r#"{{"type":"{what}","object":"#).into_bytes();
    object.write_whole(&mut line);
    line.extend_from_slice(b"}\n");
    line.into()
}

fn bookmark(kind: Kind, revision: u64, initial_end: bool) -> Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": Value::Null});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let object = json!({"kind": kind.name(), "apiVersion": kind.api_version(), "metadata": metadata});
    format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into()
}

fn check_options(params: &Params) -> Result<(), Failure> {
    let field = "resourceVersionMatch";
    let matching = params.resource_version_match.as_str();
    let error = match params.send_initial_events {
        Some(_) if matching != "NotOlderThan" => {
            FieldError::forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        }
        None if !matching.is_empty() => FieldError::forbidden(
            field,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        _ if !matching.is_empty() && !params.token.is_empty() => {
            FieldError::forbidden(field, "resourceVersionMatch is forbidden when continue is provided")
        }
        _ => return Ok(()),
    };
    Err(invalid_options(error))
}
