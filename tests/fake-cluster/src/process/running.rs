//! A container's life between its command's beginning and its end.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::proc;
use super::sandbox::tool;
use crate::runtime::{Exit, Wish};

/// How much output is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// How long after its end a container may be silent before nothing more is expected of its output. All of its processes
/// are dead then, but one of them may have given its end of the pipe to somebody else.
const SILENCE: Duration = Duration::from_millis(300);

/// How often a container that was asked to end is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How many looks in a row must find a process that nothing will end, before it is ended.
const LOOKS_IN_VAIN: u32 = 4;

/// How many looks the bringer of a signal has time for.
const MESSENGER_LOOKS: u32 = 20;

/// A container whose command has begun.
#[derive(Debug)]
pub(super) struct Running {
    /// Ends with the status of the command.
    pub(super) child: Child,
    pub(super) output: pipe::Receiver,
    /// What was read of the output already.
    pub(super) read: BytesMut,
    pub(super) members: Members,
    /// Where `unshare`, which waits for the command, writes what goes wrong with that.
    pub(super) complaints: Option<PathBuf>,
}

/// The processes of a container.
#[derive(Debug, Clone, Copy)]
pub(super) enum Members {
    /// All of a PID namespace, whose first process is the command. They don't outlive it.
    Namespace {
        /// As the host's PID namespace has it.
        first: Pid,
        /// They are in a user namespace too.
        user: bool,
    },
    /// A process group; a process may leave it.
    Group(Pid),
}

impl Running {
    /// Hands out the output and does what is wished, until the command has ended and all of its output was sent.
    ///
    /// # Errors
    /// The kernel does not tell how the command ended.
    pub(super) async fn attend(
        mut self,
        output: &mpsc::Sender<Bytes>,
        wish: watch::Receiver<Wish>,
        gone: &CancellationToken,
    ) -> io::Result<Exit> {
        let ended = CancellationToken::new();
        let mut forward = pin!(forward(&mut self.output, self.read, output, &ended));
        let mut is_forwarded = false;
        let mut steer = pin!(steer(&mut self.child, self.members, self.complaints, wish, gone));
        let exit = loop {
            tokio::select! {
                biased;
                exit = &mut steer => break exit,
                () = &mut forward, if !is_forwarded => is_forwarded = true,
            }
        };
        ended.cancel();
        if !is_forwarded {
            forward.await;
        }
        exit
    }
}

/// Sends what is read, as fast as it is taken; a full queue holds up the reading, and so the process.
async fn forward(from: &mut pipe::Receiver, mut read: BytesMut, to: &mpsc::Sender<Bytes>, ended: &CancellationToken) {
    loop {
        // Where nobody listens any more, reading goes on: the process is not to wait for that.
        if !read.is_empty() && to.send(read.split().freeze()).await.is_err() {
            tracing::debug!("a container writes and nobody reads it");
        }
        read.reserve(CHUNK);
        let silence = async {
            ended.cancelled().await;
            tokio::time::sleep(SILENCE).await;
        };
        tokio::select! {
            biased;
            count = from.read_buf(&mut read) => if !matches!(count, Ok(1..)) { return },
            () = silence => return,
        }
    }
}

/// Waits for the command's end, and passes on what is wished meanwhile.
async fn steer(
    child: &mut Child,
    members: Members,
    complaints: Option<PathBuf>,
    mut wish: watch::Receiver<Wish>,
    gone: &CancellationToken,
) -> io::Result<Exit> {
    let mut done = Wish::Run;
    let mut ending = Ending::default();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            status = child.wait() => {
                if let Members::Group(group) = members {
                    send(kill_process_group(group, Signal::KILL));
                }
                let exit = of_status(status?, complaints.as_deref());
                return Ok(if ending.is_in_vain() { Exit::Signal(Signal::TERM.as_raw()) } else { exit });
            }
            next = next(&mut wish, done, gone), if done < Wish::Kill => {
                done = next;
                ending.messenger = None;
                if next == Wish::Kill {
                    members.kill();
                } else {
                    ending.messenger = members.terminate();
                }
            }
            _ = look.tick(), if done == Wish::Terminate && !ending.is_in_vain() => {
                ending.look(members);
                if ending.is_in_vain() {
                    members.kill();
                }
            }
        }
    }
}

/// A container that was asked to end.
#[derive(Debug, Default)]
struct Ending {
    /// Brings the signal. A step can stop it, and its dead child, which it would not reap then, keeps the namespace.
    messenger: Option<Child>,
    looks: u32,
    looks_in_vain: u32,
}

impl Ending {
    fn look(&mut self, members: Members) {
        self.looks += 1;
        if self.looks == MESSENGER_LOOKS {
            self.messenger = None;
        }
        self.looks_in_vain = if members.waits_in_vain() { self.looks_in_vain + 1 } else { 0 };
    }

    /// Whether nothing that was asked for will end it.
    fn is_in_vain(&self) -> bool {
        self.looks_in_vain == LOOKS_IN_VAIN
    }
}

/// A wish that goes further than what was done already. Without a kubelet, nobody wishes the container to go on.
async fn next(wish: &mut watch::Receiver<Wish>, done: Wish, gone: &CancellationToken) -> Wish {
    tokio::select! {
        biased;
        wished = wish.wait_for(|wish| *wish > done) => wished.map_or(Wish::Kill, |wish| *wish),
        () = gone.cancelled() => Wish::Kill,
    }
}

/// `unshare` ends as its child ended, but can't repeat SIGKILL in its version 2.38: it complains and ends with 1.
fn of_status(status: ExitStatus, complaints: Option<&Path>) -> Exit {
    let has_complained = || complaints.is_some_and(|file| file.metadata().is_ok_and(|file| file.len() > 0));
    match (status.code(), status.signal()) {
        (Some(1), _) if has_complained() => Exit::Signal(Signal::KILL.as_raw()),
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

fn send(result: Result<(), rustix::io::Errno>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a signal found nobody");
    }
}

impl Members {
    /// Sends SIGTERM to every process, to the command first: a shell that stops at errors would else end by the death of
    /// what it waits for, before it could look at its own trap. Gives the process that does it, if it takes one.
    ///
    /// A kubelet sends it to the command alone. But a shell looks at it only when the program that it waits for has
    /// ended, so that a step would always use up its whole grace period.
    fn terminate(self) -> Option<Child> {
        match self {
            Self::Namespace { first, user } => {
                let target = first.as_raw_nonzero().to_string();
                let mut words = vec!["nsenter", "--target", &target, "--pid"];
                if user {
                    words.extend(["--user", "--preserve-credentials"]);
                }
                // It keeps every capability on purpose: a process of the container that had as many as this one could
                // trace it, and get out through it to the host's root.
                words.extend(["--", "/bin/sh", "-c", "kill -TERM 1; kill -TERM -1"]);
                let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
                let messenger = tool(&words).spawn();
                if let Err(error) = &messenger {
                    tracing::warn!(%error, "SIGTERM can't be sent into a container");
                }
                messenger.ok()
            }
            Self::Group(group) => {
                send(kill_process_group(group, Signal::TERM));
                None
            }
        }
    }

    fn kill(self) {
        match self {
            // The others die with the first one, and it is reaped only when they are dead. Its number is its own until
            // then, as its parent waits for it.
            Self::Namespace { first, .. } => send(kill_process(first, Signal::KILL)),
            Self::Group(group) => send(kill_process_group(group, Signal::KILL)),
        }
    }

    /// Whether the command will never end of the SIGTERM that it was sent: the first process of a namespace is spared
    /// the signals that it does not handle. Others would have ended, so this one is to end, too, unless it has
    /// children that may be cleaning up.
    fn waits_in_vain(self) -> bool {
        match self {
            Self::Namespace { first, .. } => {
                let pid = first.as_raw_nonzero().get();
                proc::handles(pid, Signal::TERM.as_raw()) == Some(false) && proc::has_live_children(pid) == Some(false)
            }
            Self::Group(_) => false,
        }
    }
}
