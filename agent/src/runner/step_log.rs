//! One step's log: its only owner numbers the lines, whoever they come from.
//!
//! Lines come from the pods of the step's attempts, one after the other, and from the agent itself (why the step
//! waits, what went wrong). The owner ends when it was told to close, or when the runner is gone.

use piculet_cluster::{Cluster, Gap, Opening, PodWatch, TailEnd, TailTarget, Tailed};
use piculet_core::id::{RunKey, StepId, StepIndex};
use piculet_core::logs::denied::is_denial;
use piculet_core::logs::lines::LineReader;
use piculet_core::logs::mask::Mask;
use piculet_core::report::{LogLine, LogTotal};
use piculet_core::run::Event;
use piculet_link::supervisor::Reporter;
use tokio::sync::{mpsc, oneshot};

use super::work::Answer;
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// What the log's owner is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Read a pod's log from its start to its end, then say [`Event::LogEnded`].
    Follow(TailTarget, Opening),
    /// Put a line of the agent's own into the log.
    Say(String),
    /// No more lines come.
    Close(Closing),
}

/// How a step's log ends.
#[derive(Debug)]
pub(super) struct Closing {
    /// What is to be said at its end if a line of the step says that something was denied to it.
    pub(super) if_denied: Option<String>,
    /// Answered when everything was handed to the reporter.
    pub(super) done: oneshot::Sender<()>,
}

/// Where a step's lines go.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) key: RunKey,
    pub(super) index: StepIndex,
    pub(super) step: StepId,
    pub(super) reporter: Reporter,
    pub(super) answers: mpsc::Sender<Answer>,
}

/// The owner of a step's log.
#[derive(Debug)]
pub(super) struct StepLog {
    destination: Destination,
    cluster: Cluster,
    watch: PodWatch,
    clock: Clock,
    metrics: Metrics,
    reader: LineReader,
    lines: Vec<LogLine>,
    /// A line of the step said that something was denied to it.
    was_denied: bool,
}

/// A log that is read no more, and how it is to end, if anybody said so.
type Closed = Option<Closing>;

impl StepLog {
    pub(super) fn new(
        destination: Destination,
        cluster: Cluster,
        watch: PodWatch,
        clock: Clock,
        metrics: Metrics,
        mask: Mask,
    ) -> Self {
        let (reader, lines) = (LineReader::new(mask), Vec::new());
        Self { destination, cluster, watch, clock, metrics, reader, lines, was_denied: false }
    }

    /// Serves orders until the log is closed.
    pub(super) async fn keep(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            let closed = match order {
                Order::Follow(mut target, mut opening) => loop {
                    match self.follow(target, opening, &mut orders).await {
                        Ok(next) => (target, opening) = next,
                        Err(done) => break done,
                    }
                },
                Order::Say(text) => {
                    self.say(&text).await;
                    None
                }
                Order::Close(closing) => Some(closing),
            };
            if let Some(Closing { if_denied, done }) = closed {
                if let Some(text) = if_denied.filter(|_| self.was_denied) {
                    self.say(&text).await;
                }
                self.close().await;
                // A runner that is gone needs no answer.
                let _gone = done.send(());
                return;
            }
        }
    }

    /// Reads one pod's log. An order to close ends it early and is given back, and so does one to read the pod of a
    /// further attempt: the machine has given this one up.
    async fn follow(
        &mut self,
        target: TailTarget,
        opening: Opening,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<(TailTarget, Opening), Closed> {
        let uid = target.uid.clone();
        let mut tail = self.cluster.tail(target, &self.watch, opening);
        let end = loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Say(text)) => self.say(&text).await,
                    Some(Order::Close(closing)) => return Err(Some(closing)),
                    Some(Order::Follow(target, opening)) => {
                        self.reader.flush(&mut self.lines);
                        return Ok((target, opening));
                    }
                    None => return Err(None),
                },
                tailed = tail.next() => match tailed {
                    Some(Tailed::Pieces(pieces)) => {
                        for piece in pieces {
                            self.reader.push(piece.time, &piece.bytes, &mut self.lines);
                        }
                        self.was_denied = self.was_denied || self.lines.iter().any(|line| is_denial(&line.bytes));
                        self.hand_over().await;
                    }
                    Some(Tailed::Gap(gap)) => {
                        // The line that was begun ends here too.
                        self.reader.flush(&mut self.lines);
                        self.say(&gap_text(gap)).await;
                    }
                    Some(Tailed::End(end)) => break Some(end),
                    None => break None,
                },
            }
        };
        self.reader.flush(&mut self.lines);
        if let Some(text) = end.as_ref().and_then(end_text) {
            self.say(&text).await;
        }
        self.hand_over().await;
        let answers = self.destination.answers.clone();
        let ended = Answer::Happened(Event::LogEnded { step: self.destination.index, uid }).send(&answers);
        tokio::pin!(ended);
        // The runner may be waiting for this log to close, and take no answer before it is.
        loop {
            tokio::select! {
                biased;
                () = &mut ended => return Err(None),
                order = orders.recv() => match order {
                    Some(Order::Say(text)) => self.say(&text).await,
                    Some(Order::Close(closing)) => return Err(Some(closing)),
                    Some(Order::Follow(target, opening)) => return Ok((target, opening)),
                    None => return Err(None),
                },
            }
        }
    }

    async fn say(&mut self, text: &str) {
        self.reader.say(&format!("[piculet] {text}"), self.clock.now(), &mut self.lines);
        self.hand_over().await;
    }

    async fn hand_over(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        self.metrics.log_lines.inc_by(lines.len() as u64);
        self.metrics.log_bytes.inc_by(lines.iter().map(|line| line.bytes.len() as u64).sum());
        let Destination { key, step, reporter, .. } = &self.destination;
        if reporter.lines(key, step, lines).await.is_err() {
            tracing::error!(workflow = %key.workflow, %step, "nobody takes log lines any more");
        }
    }

    async fn close(mut self) {
        let total: LogTotal = self.reader.finish(&mut self.lines);
        // The reader is used up; what is left to do needs the lines and the way to go alone.
        let Destination { key, step, reporter, .. } = &self.destination;
        self.metrics.log_lines.inc_by(self.lines.len() as u64);
        let handed = match self.lines.is_empty() {
            true => Ok(()),
            false => reporter.lines(key, step, self.lines).await,
        };
        if handed.is_err() || reporter.end_log(key, step, total).await.is_err() {
            tracing::error!(workflow = %key.workflow, %step, "nobody takes log lines any more");
        }
    }
}

fn gap_text(gap: Gap) -> String {
    let where_from = gap.after.map_or_else(|| "before".to_owned(), |after| format!("between {after} and"));
    format!("Lines {where_from} {} may be missing: the node threw them away before they could be read.", gap.until)
}

/// What the log has to say about its own end; nothing if it is whole.
fn end_text(end: &TailEnd) -> Option<String> {
    match end {
        TailEnd::Complete => None,
        TailEnd::Unconfirmed { since: Some(time), why } => {
            Some(format!("Whether more was written after {time} could not be checked: {why}."))
        }
        TailEnd::Unconfirmed { since: None, why } => {
            Some(format!("Whether this is all that was written could not be checked: {why}."))
        }
        TailEnd::Lost { since: Some(time) } => {
            Some(format!("The pod is gone; what was written after {time} and not read before is lost."))
        }
        TailEnd::Lost { since: None } => Some("The pod is gone, and what the step wrote is lost.".to_owned()),
    }
}
