//! Reads the log of a container, at full speed and to its end.
//!
//! ```text
//! kubelet ──frames──▶ Splitter (lines and their times) ──▶ Cursor (what is new) ──▶ Tail ──▶ runner
//!                                                            ▲
//!               Follower: opens streams, looks after the pod ┘
//! ```
//!
//! The reader waits for its consumer when a few frames are ready: whoever takes them has to do so at full speed, into
//! a spool. The kubelet keeps only its newest file readable, so a slow reader loses lines.

mod follow;
mod lines;
mod opening;
mod resume;

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use piculet_core::id::PodUid;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use self::follow::Follower;
pub use self::opening::Opening;
use crate::cluster::Cluster;
use crate::watch::PodWatch;

/// How many frames may wait to be taken. A frame has half a megabyte at most.
const READY: usize = 8;

/// Which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailTarget {
    /// The pod's name.
    pub pod: String,
    /// The pod. The log of another one of that name is never read.
    pub uid: PodUid,
    /// The container.
    pub container: String,
    /// The line that its log begins with, if that is known. Where another one comes first, the node threw the beginning
    /// away before it could be read: only so can that be noticed.
    pub first_line: Option<String>,
}

/// What is read of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tailed {
    /// The next bytes, in order. Together they are the log, byte by byte.
    Pieces(Vec<Piece>),
    /// Something may be missing here. A line that was begun ends here too.
    Gap(Gap),
    /// Nothing more comes.
    End(TailEnd),
}

/// Bytes of one line.
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    /// When the line was written, by the node's clock: the time of its first record. A line without a time has that of
    /// the line before it, or 1970.
    pub time: Timestamp,
    /// The bytes. The last piece of a line, and only that one, ends with a line feed.
    pub bytes: Bytes,
}

/// Lines between two times may be missing: the kubelet began a new file, and the end of the old one was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The time of the last line before; `None`: the beginning of the log is missing.
    pub after: Option<Timestamp>,
    /// The time of the first line behind.
    pub until: Timestamp,
}

/// How a log ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailEnd {
    /// The container is over, and reading once more brought nothing new.
    Complete,
    /// The stream ended as it does when a container is over, but what follows could not be checked.
    Unconfirmed {
        /// The time of the last line; `None` if there was none.
        since: Option<Timestamp>,
        /// Why.
        why: String,
    },
    /// The pod is gone, and what it wrote after this time with it.
    Lost {
        /// The time of the last line; `None` if there was none.
        since: Option<Timestamp>,
    },
}

/// A log that is being read. Dropping it ends that.
#[derive(Debug)]
pub struct Tail {
    ready: mpsc::Receiver<Tailed>,
    _reader: AbortOnDropHandle<()>,
}

impl Cluster {
    /// Begins to read a log, from its start to its end.
    ///
    /// It ends when the container ended, not when a connection did. A container that has not started yet is waited for.
    /// `watch` tells when that is; no question is asked meanwhile. `opening` hears of the stream.
    pub fn tail(&self, target: TailTarget, watch: &PodWatch, opening: Opening) -> Tail {
        let (ready_in, ready) = mpsc::channel(READY);
        let span = tracing::debug_span!("tail", pod = target.pod, container = target.container);
        let follower = Follower::new(self.clone(), target, watch, ready_in, opening);
        Tail { ready, _reader: AbortOnDropHandle::new(tokio::spawn(follower.run().instrument(span))) }
    }
}

impl Tail {
    /// What comes next; `None` after [`Tailed::End`]. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Tailed> {
        self.ready.recv().await
    }
}

impl fmt::Debug for Piece {
    /// Without the bytes: logs don't belong into the agent's own log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece").field("time", &self.time).field("bytes", &self.bytes.len()).finish()
    }
}
