//! Does what the outbox asks of the disk, on threads that may block: the supervisor never waits for a disk.

mod news;

use std::collections::BTreeMap;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use piculet_core::logs::spool::BlockId;
use piculet_core::outbox::{Done, Job};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::log_folder::LogFolder;
use news::{News, Said, remedy};

/// Jobs at the same time.
const JOBS: usize = 4;
/// How long a job may take. What is not there after that is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The disk of an outbox.
#[derive(Debug)]
pub(super) struct Disk {
    folder: Arc<LogFolder>,
    /// A job that was given up keeps its thread as long as the disk keeps it.
    threads: Arc<Semaphore>,
    running: JoinSet<(Done, Option<Failure>)>,
    /// What was given up and still has its thread. Nothing else is tried with these blocks: each has one thread at most.
    hanging: BTreeMap<BlockId, AbortHandle>,
    said: Said,
}

/// A job that was not done.
#[derive(Debug)]
struct Failure {
    id: BlockId,
    path: PathBuf,
    trouble: Trouble,
}

/// Why a job was not done.
#[derive(Debug)]
enum Trouble {
    /// The disk says so.
    Error(io::Error),
    /// Others had all threads.
    Untried,
    /// There is no answer: since now, if this has the thread that waits for one.
    Hangs(Option<AbortHandle>),
}

impl Disk {
    pub(super) fn new(folder: LogFolder) -> Self {
        let threads = Arc::new(Semaphore::new(JOBS));
        Self {
            folder: Arc::new(folder),
            threads,
            running: JoinSet::new(),
            hanging: BTreeMap::new(),
            said: Said::default(),
        }
    }

    /// Whether one more job may begin.
    pub(super) fn has_room(&self) -> bool {
        self.running.len() < JOBS
    }

    /// Begins a job.
    pub(super) fn begin(&mut self, job: Job) {
        let folder = Arc::clone(&self.folder);
        let threads = Arc::clone(&self.threads);
        let (id, failed) = match job {
            Job::Write { id, .. } => (id, Done::Wrote { id, success: false }),
            Job::Fetch { id, .. } => (id, Done::Unread { id, gone: false }),
            Job::Remove { id } => (id, Done::Removed { id, success: false }),
        };
        self.hanging.retain(|_, thread| !thread.is_finished());
        let hangs = self.hanging.contains_key(&id);
        self.running.spawn(async move {
            let path = folder.block(id);
            let done = if hangs { Err(Trouble::Hangs(None)) } else { perform(threads, folder, job).await };
            match done {
                Ok(done) => (done, None),
                Err(trouble) => (trouble.told(failed), Some(Failure { id, path, trouble })),
            }
        });
    }

    /// What became of a job, if one is over.
    pub(super) fn try_done(&mut self) -> Option<Done> {
        let over = self.running.try_join_next()?.ok()?;
        Some(self.over(over))
    }

    /// Waits for the end of a job.
    pub(super) async fn done(&mut self) -> Done {
        match self.running.join_next().await {
            Some(Ok(over)) => self.over(over),
            // Only a runtime that ends stops a job.
            Some(Err(_)) | None => pending().await,
        }
    }

    /// A job is over: its thread may not be.
    fn over(&mut self, (done, mut failure): (Done, Option<Failure>)) -> Done {
        if let Some(Failure { id, trouble: Trouble::Hangs(thread), .. }) = &mut failure {
            self.hanging.extend(thread.take().map(|thread| (*id, thread)));
        }
        self.tell(&done, failure);
        done
    }

    /// Tells people once when something begins to fail, and once when it works again.
    fn tell(&mut self, done: &Done, failure: Option<Failure>) {
        match (self.said.news(done), failure) {
            (Some(News::Fails(what)), Some(Failure { path, trouble, .. })) => {
                let error = trouble.error();
                warn!(path = %path.display(), %error, "{what}: {}", remedy(error.kind()));
            }
            (Some(News::Works(what)), _) => info!("{what}"),
            _ => {}
        }
    }
}

impl Trouble {
    /// What the outbox is told of a job that `failed`.
    fn told(&self, failed: Done) -> Done {
        match (self, failed) {
            (Self::Error(error), Done::Unread { id, .. }) => {
                Done::Unread { id, gone: error.kind() == ErrorKind::NotFound }
            }
            (Self::Untried, Done::Unread { id, .. }) => Done::Untried { id },
            (_, failed) => failed,
        }
    }

    /// What people are told.
    fn error(self) -> io::Error {
        match self {
            Self::Error(error) => error,
            Self::Untried | Self::Hangs(_) => io::Error::new(ErrorKind::TimedOut, "the disk does not answer"),
        }
    }
}

/// Does a job on a thread of its own, as soon as there is one.
async fn perform(threads: Arc<Semaphore>, folder: Arc<LogFolder>, job: Job) -> Result<Done, Trouble> {
    let Ok(Ok(thread)) = timeout(PATIENCE, threads.acquire_owned()).await else { return Err(Trouble::Untried) };
    let settled = Arc::new(AtomicBool::new(false));
    let mut work = spawn_blocking({
        let settled = Arc::clone(&settled);
        move || {
            let done = work(&folder, job);
            let is_abandoned = settled.swap(true, Ordering::AcqRel);
            if let Ok(Done::Wrote { id, .. }) = done
                && is_abandoned
                && let Err(error) = folder.remove(id)
            {
                warn!(path = %folder.block(id).display(), %error, "log lines that nobody needs stay until the agent ends");
            }
            drop(thread);
            done
        }
    });
    let done = match timeout(PATIENCE, &mut work).await {
        // Whoever is second here knows of the other.
        Err(_) if !settled.swap(true, Ordering::AcqRel) => return Err(Trouble::Hangs(Some(work.abort_handle()))),
        Err(_) => work.await,
        Ok(done) => done,
    };
    done.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(Trouble::Error)
}

fn work(folder: &LogFolder, job: Job) -> io::Result<Done> {
    Ok(match job {
        Job::Write { id, bytes } => {
            folder.write(id, &bytes)?;
            Done::Wrote { id, success: true }
        }
        Job::Fetch { id, length } => Done::Fetched { id, bytes: folder.fetch(id, length)? },
        Job::Remove { id } => {
            folder.remove(id)?;
            Done::Removed { id, success: true }
        }
    })
}
