//! Everything that an agent has said and no server has acknowledged: the one owner of it, for all its workflows.
//!
//! Reports and log chunks leave as [`Envelope`]s. Each is numbered when it first leaves, kept until it is acknowledged,
//! and given out again under the same number after a reconnect: so it arrives at least once, and a server that drops
//! the numbers it knows takes it exactly once.
//!
//! ```text
//!  report() ──▶ waiting ───────────┐            next()                     acknowledge()
//!  log()    ──▶ spool of the step ─┴──▶ numbered and kept ──▶ the server ──────────────▶ forgotten
//!                                              ▲    disconnected(), resume()    │
//!                                              └────────────────────────────────┘
//! ```
//!
//! State reports go first, whatever the logs have waiting, and no limit stops them; only a step's final state can be made
//! to wait for its own log, see [`Limits::finals_after_logs`]. Log chunks take turns, step by
//! step, and only so many bytes of them may be unacknowledged. Within one workflow the numbers keep their order, also
//! when they are sent again. [`Report::Finished`] is always the last.
//!
//! Everything is bounded: unacknowledged chunks and spools in bytes, see [`Limits`] and [`Outbox::set_disk`]. A
//! workflow's state reports are bounded by its shape: it has one `Accepted`, one `Finished`, and a few for each attempt
//! at each step. Should a workflow have [`Limits::waiting_reports`] that were never sent, a newer one takes the place of
//! those about the same step, so that no more than this and one for each step wait.

mod disk;
mod jobs;
mod run;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::id::{RunKey, Sequence, StepId};
use crate::logs::spool::{Batch, Bounds, Chunk, Spool};
use crate::report::{LogLine, LogTotal, Report};
use disk::{Disk, Division};
pub use disk::{Done, Job};
use run::Run;

/// How many times the free room a step's spool may have, in memory and on disk. With 4, a single flood gets 4/5 of the
/// whole, and a quiet step beside it still has room: a fixed bound would let the loudest step take it all.
const SHARE: u64 = 4;

/// What an outbox may keep, and when it lets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Line data of one chunk, in bytes. The stream's protocol allows 32 KiB.
    pub chunk_bytes: usize,
    /// Lines of one chunk.
    pub chunk_lines: usize,
    /// How long a line waits at most for others to share a chunk with.
    pub batch_period: Duration,
    /// Memory of log chunks that were sent and not acknowledged, in bytes, over all workflows. At least one full
    /// chunk is always allowed.
    pub unacknowledged_log_bytes: usize,
    /// Memory of log lines that were not sent yet, in bytes, over all workflows. What fits neither here nor on the disk
    /// is lost, and the log says so.
    pub spool_bytes: usize,
    /// From how many reports of one workflow on, that were not sent yet, only each step's newest is kept.
    pub waiting_reports: usize,
    /// A step's final state waits until its log has left to the end, for servers that close a step's log with it.
    /// Without this no state waits for logs, but [`Report::Finished`].
    pub finals_after_logs: bool,
}

impl Default for Limits {
    /// Chunks of 32 KiB or 512 lines, each quarter of a second; 1 MiB of them unacknowledged; 64 MiB of spool; 1024
    /// reports.
    fn default() -> Self {
        let Batch { bytes, lines, period } = Batch::default();
        Self {
            chunk_bytes: bytes,
            chunk_lines: lines,
            batch_period: period,
            unacknowledged_log_bytes: 1024 * 1024,
            spool_bytes: 64 * 1024 * 1024,
            waiting_reports: 1024,
            finals_after_logs: false,
        }
    }
}

impl Limits {
    fn batch(&self) -> Batch {
        Batch { bytes: self.chunk_bytes, lines: self.chunk_lines, period: self.batch_period }
    }
}

/// A report on its way to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The workflow that it is about.
    pub key: RunKey,
    /// Its place among all that was said about the workflow.
    pub sequence: Sequence,
    /// What is said.
    pub body: Body,
}

/// What an envelope holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A state.
    Report(Report),
    /// A part of a step's log.
    Chunk {
        /// The step.
        step: StepId,
        /// The part.
        chunk: Chunk,
    },
}

/// News in an acknowledgement: what somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// The server has stored [`Report::Accepted`]: the workflow is the agent's, and pods may be created.
    Accepted,
    /// The server has stored [`Report::Refused`]: the workflow is none of the agent's business any more.
    Refused,
    /// The server has stored [`Report::Finished`], and with it all that was said before.
    Finished,
}

/// What an outbox holds now, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Memory of log lines that were not sent yet, in bytes.
    pub spooled: usize,
    /// Disk of log lines that were not sent yet, in bytes.
    pub on_disk: u64,
    /// Memory of log chunks that were sent and not acknowledged, in bytes.
    pub unacknowledged: usize,
    /// Log lines that had to be dropped, since the outbox exists.
    pub lost_lines: u64,
}

/// The outbox of one agent.
#[derive(Debug)]
pub struct Outbox {
    limits: Limits,
    runs: BTreeMap<RunKey, Run>,
    /// Every step whose log has not left to its end, in the order in which they take turns.
    turns: VecDeque<(RunKey, StepId)>,
    /// Memory of what was pushed and is neither on disk nor on the way to it, in bytes.
    kept: usize,
    /// Memory of what came back from the disk, in bytes.
    ahead: usize,
    /// Memory of log chunks that were sent and not acknowledged, in bytes.
    unacknowledged: usize,
    lost_lines: u64,
    disk: Disk,
}

impl Outbox {
    /// An empty outbox, without a disk.
    pub fn new(limits: Limits) -> Self {
        let unacknowledged_log_bytes = limits.unacknowledged_log_bytes.max(limits.batch().max_cost());
        let limits = Limits { unacknowledged_log_bytes, ..limits };
        Self {
            limits,
            runs: BTreeMap::new(),
            turns: VecDeque::new(),
            kept: 0,
            ahead: 0,
            unacknowledged: 0,
            lost_lines: 0,
            disk: Disk::new(0),
        }
    }

    /// Has a disk for this many bytes of logs that memory is too small for. To be called before anything is said; who
    /// calls it does what [`Outbox::next_job`] asks for.
    pub fn set_disk(&mut self, bytes: u64) {
        self.disk = Disk::new(bytes);
    }

    /// Begins to take what is said about a workflow. Does nothing if it is known already.
    pub fn open(&mut self, key: RunKey) {
        self.runs.entry(key).or_default();
    }

    /// Drops everything about a workflow: the server doesn't want it any more. What is said about it from now on, or
    /// about any workflow that is not known, is ignored.
    pub fn close(&mut self, key: &RunKey) {
        if let Some(run) = self.runs.remove(key) {
            self.unacknowledged -= run.unacknowledged();
            self.turns.retain(|(other, _)| other != key);
            for spool in run.spools() {
                self.kept -= spool.kept();
                self.ahead -= spool.ahead();
                spool.on_disk().for_each(|(id, length)| self.disk.forget(id, length));
            }
        }
    }

    /// Takes a state. Nothing is taken after [`Report::Refused`] or [`Report::Finished`].
    ///
    /// `Finished` waits until everything else of its workflow has left, so the log of each step that has one must be
    /// ended, or it waits for ever.
    pub fn report(&mut self, key: &RunKey, report: Report) {
        if let Some(run) = self.runs.get_mut(key) {
            run.report(report, self.limits.waiting_reports);
        }
    }

    /// Takes the next lines of a step's log, in the order of their numbers. Nothing is taken after
    /// [`Outbox::end_log`].
    pub fn log(&mut self, key: &RunKey, step: &StepId, lines: Vec<LogLine>, now: Instant) {
        let memory = self.division().pushed;
        let block = disk::block_size(self.limits.spool_bytes);
        self.add_spool(key, step);
        let Self { runs, disk, kept, lost_lines, .. } = self;
        let Some(spool) = runs.get_mut(key).and_then(|run| run.open_spool(step)) else { return };
        for line in lines {
            let used = spool.kept();
            let free = memory.saturating_sub(*kept + disk.writing());
            let room = share(free as u64, used as u64);
            let room = usize::try_from(room).unwrap_or(free);
            if !spool.push(&line, now, room, disk.why(spool, block, now)) {
                *lost_lines += 1;
            }
            *kept = *kept - used + spool.kept();
        }
    }

    /// A step's log is over. Only the first call counts; a step that never logged may be ended too.
    pub fn end_log(&mut self, key: &RunKey, step: &StepId, total: LogTotal, now: Instant) {
        self.add_spool(key, step);
        if let Some(spool) = self.runs.get_mut(key).and_then(|run| run.open_spool(step)) {
            spool.end(total, now);
        }
    }

    /// Ends every log of a workflow that was not ended, with what was handed in: whoever should have done it is gone.
    pub fn end_logs(&mut self, key: &RunKey, now: Instant) {
        if let Some(run) = self.runs.get_mut(key) {
            run.abandon_logs(now);
        }
    }

    /// The next envelope to send, if there is one. To be asked until there is none; then again after anything was
    /// handed in, acknowledged or resumed, and at [`Outbox::due`].
    ///
    /// Each call numbers what it gives out, so only a connected link may ask.
    pub fn next(&mut self, now: Instant) -> Option<Envelope> {
        self.next_report().or_else(|| self.next_repeated()).or_else(|| self.next_chunk(now))
    }

    /// When [`Outbox::next`] has something that it doesn't have now, if nothing else happens until then.
    pub fn due(&self) -> Option<Instant> {
        if !self.has_room() {
            return None;
        }
        let taking_turns = self.turns.iter().filter_map(|(key, step)| self.runs.get(key)?.log_due(step));
        taking_turns.min()
    }

    /// The server has stored everything about a workflow up to this number. Old news and numbers that were never
    /// given out are ignored.
    ///
    /// After [`Acknowledged::Refused`] or [`Acknowledged::Finished`] the workflow is not known any more.
    pub fn acknowledge(&mut self, key: &RunKey, sequence: Sequence) -> Vec<Acknowledged> {
        let Some(run) = self.runs.get_mut(key) else { return Vec::new() };
        let mut news = Vec::new();
        for sent in run.acknowledge(sequence) {
            self.unacknowledged -= sent.cost;
            news.extend(match sent.body {
                Body::Report(Report::Accepted) => Some(Acknowledged::Accepted),
                Body::Report(Report::Refused { .. }) => Some(Acknowledged::Refused),
                Body::Report(Report::Finished(_)) => Some(Acknowledged::Finished),
                Body::Report(Report::Step(_)) | Body::Chunk { .. } => None,
            });
        }
        if news.iter().any(|news| *news != Acknowledged::Accepted) {
            self.close(key);
        }
        news
    }

    /// The connection is gone: nothing leaves about the workflows that are known now until [`Outbox::resume`].
    pub fn disconnected(&mut self) {
        self.runs.values_mut().for_each(Run::pause);
    }

    /// A new connection stands, and this is the last number that the server has of a workflow. What comes after it is
    /// given out again, under the numbers that it had.
    pub fn resume(&mut self, key: &RunKey, acknowledged: Sequence) -> Vec<Acknowledged> {
        let news = self.acknowledge(key, acknowledged);
        if let Some(run) = self.runs.get_mut(key) {
            run.resume();
        }
        news
    }

    /// Every workflow that is known, with the last number that was acknowledged; 0 if none was.
    pub fn held(&self) -> impl Iterator<Item = (&RunKey, Sequence)> {
        self.runs.iter().map(|(key, run)| (key, run.acknowledged()))
    }

    /// Whether all that was handed in has been acknowledged.
    pub fn flushed(&self) -> bool {
        self.runs.values().all(Run::is_flushed)
    }

    /// What is held now.
    pub fn usage(&self) -> Usage {
        Usage {
            spooled: self.kept + self.ahead + self.disk.writing() + self.disk.fetching(),
            on_disk: self.disk.used(),
            unacknowledged: self.unacknowledged,
            lost_lines: self.lost_lines,
        }
    }

    fn division(&self) -> Division {
        Division::of(self.limits.spool_bytes, self.disk.bytes() > 0)
    }

    /// Makes sure that a step has a spool, if anything is still taken about it.
    fn add_spool(&mut self, key: &RunKey, step: &StepId) {
        let memory = self.limits.spool_bytes;
        let (block, largest) = (disk::block_size(memory), self.division().largest);
        let bounds = Bounds { memory, disk: self.disk.bytes(), block, largest };
        let batch = self.limits.batch();
        if let Some(run) = self.runs.get_mut(key)
            && run.add_spool(step, || Spool::new(batch, bounds))
        {
            self.turns.push_back((key.clone(), step.clone()));
        }
    }

    fn next_report(&mut self) -> Option<Envelope> {
        let after_logs = self.limits.finals_after_logs;
        self.runs.iter_mut().find_map(|(key, run)| {
            let (sequence, body) = run.next_report(after_logs)?;
            Some(Envelope { key: key.clone(), sequence, body })
        })
    }

    /// A chunk that was sent before the connection broke. It counts as unacknowledged already.
    fn next_repeated(&mut self) -> Option<Envelope> {
        self.runs.iter_mut().find_map(|(key, run)| {
            let (sequence, body) = run.next_repeated()?;
            Some(Envelope { key: key.clone(), sequence, body })
        })
    }

    fn next_chunk(&mut self, now: Instant) -> Option<Envelope> {
        if !self.has_room() {
            return None;
        }
        for _ in 0..self.turns.len() {
            let (key, step) = self.turns.pop_front()?;
            let Some(run) = self.runs.get_mut(&key) else { continue };
            let Some(spool) = run.ready_spool(&step) else {
                self.turns.push_back((key, step));
                continue;
            };
            let (kept, ahead) = (spool.kept(), spool.ahead());
            let chunk = spool.take(now);
            self.kept = self.kept - kept + spool.kept();
            self.ahead = self.ahead - ahead + spool.ahead();
            if !spool.is_over() {
                self.turns.push_back((key.clone(), step.clone()));
            }
            if let Some(chunk) = chunk {
                let cost = chunk.cost();
                self.unacknowledged += cost;
                let (sequence, body) = run.send(Body::Chunk { step, chunk }, cost);
                return Some(Envelope { key, sequence, body });
            }
        }
        None
    }

    /// Whether one more chunk may be unacknowledged, however large it is.
    fn has_room(&self) -> bool {
        self.unacknowledged + self.limits.batch().max_cost() <= self.limits.unacknowledged_log_bytes
    }
}

/// How much more a step may have that has `used` while this much is free.
fn share(free: u64, used: u64) -> u64 {
    free.min((free * SHARE).saturating_sub(used))
}

#[cfg(test)]
mod tests;
