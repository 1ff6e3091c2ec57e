//! Who takes spans out of the queue and brings them to the collector.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::outlet::Tally;
use super::settings::Settings;

/// The queue's other end.
#[derive(Debug)]
pub(super) struct Worker {
    spans: mpsc::Receiver<SpanData>,
    delay: Duration,
    batch: usize,
    collector: String,
    tally: Arc<Tally>,
    /// The collector took the last batch.
    delivers: bool,
    /// What had been dropped when that was last said.
    told: u64,
}

/// Until when spans are still sent; `None`: nobody wants to close.
type Deadline = Option<Instant>;

impl Worker {
    pub(super) fn new(spans: mpsc::Receiver<SpanData>, settings: &Settings, tally: Arc<Tally>) -> Self {
        Self {
            spans,
            delay: settings.batches.delay,
            batch: settings.batches.size,
            collector: settings.endpoint.to_string(),
            tally,
            delivers: true,
            told: 0,
        }
    }

    /// Sends batches until it is told to close, and then what is left.
    pub(super) async fn run<E: SpanExporter>(mut self, exporter: E, mut closing: oneshot::Receiver<Instant>) {
        let mut deadline: Deadline = None;
        loop {
            let mut batch = Vec::new();
            if deadline.is_none() {
                deadline = self.fill(&mut batch, &mut closing).await;
                if deadline.is_some() {
                    self.spans.close();
                }
            }
            while batch.len() < self.batch
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                break;
            }
            let count = batch.len() as u64;
            let sent = exporter.export(batch);
            tokio::pin!(sent);
            let result = loop {
                tokio::select! {
                    biased;
                    // The library keeps to the configured timeout.
                    result = &mut sent => break result.map_err(|error| error.to_string()),
                    () = passed(deadline) => break Err("the agent ends".to_owned()),
                    close = &mut closing, if deadline.is_none() => {
                        deadline = Some(close.unwrap_or_else(|_| Instant::now()));
                        self.spans.close();
                    }
                }
            };
            self.note(count, result);
        }
        self.tell_of_drops();
        // It has no connection to end but the one that goes with it.
        let _already = exporter.shutdown();
    }

    /// Waits for a span, and then a while for others. Gives the deadline if it was told to close meanwhile.
    async fn fill(&mut self, batch: &mut Vec<SpanData>, closing: &mut oneshot::Receiver<Instant>) -> Deadline {
        // Whoever is gone without a word wants nothing more to be sent.
        let close =
            |close: Result<Instant, _>| Some(close.unwrap_or_else(|_: oneshot::error::RecvError| Instant::now()));
        tokio::select! {
            biased;
            told = &mut *closing => return close(told),
            // Outlets may all be gone, and come no more.
            span = self.spans.recv() => match span {
                Some(span) => batch.push(span),
                None => return close(closing.await),
            },
        }
        let due = Instant::now() + self.delay;
        while batch.len() < self.batch {
            tokio::select! {
                biased;
                told = &mut *closing => return close(told),
                span = timeout_at(due, self.spans.recv()) => match span {
                    Ok(Some(span)) => batch.push(span),
                    Ok(None) | Err(_) => break,
                },
            }
        }
        None
    }

    fn note(&mut self, count: u64, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.tally.exported.fetch_add(count, Ordering::Relaxed);
                if !self.delivers {
                    let lost = self.tally.failed();
                    tracing::info!(collector = self.collector, lost, "the collector takes traces again");
                }
                self.delivers = true;
                self.tell_of_drops();
            }
            Err(error) => {
                self.tally.failed.fetch_add(count, Ordering::Relaxed);
                if self.delivers {
                    let collector = &self.collector;
                    tracing::warn!(collector, error, "the collector takes no traces; they are dropped until it does");
                }
                self.delivers = false;
            }
        }
    }

    /// During an outage the queue runs over anyway: that is said once it is over.
    fn tell_of_drops(&mut self) {
        let dropped = self.tally.dropped();
        if dropped > self.told {
            let spans = dropped - self.told;
            tracing::warn!(
                collector = self.collector,
                spans,
                "spans were dropped: they came faster than they were sent"
            );
            self.told = dropped;
        }
    }
}

async fn passed(deadline: Deadline) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
