//! What one session still has to be told. Letters coalesce, so a mailbox never holds more than one acknowledgement, one
//! assignment and one cancel per run, however slow the agent reads: nobody has to wait for it, and nothing is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use piculet_core::id::{RunKey, Sequence};
use piculet_link::message::Welcome;
use serde::{Deserialize, Serialize};
use tonic::Status;

/// Something to tell an agent.
#[derive(Debug)]
pub enum Letter {
    /// Opens the session.
    Welcome(Welcome),
    /// Reports up to this sequence are stored.
    Ack(RunKey, Sequence),
    /// A workflow for the agent; its workload is looked up when the letter is taken.
    Assign(RunKey),
    /// A workflow that has to be stopped.
    Cancel(RunKey, Stop),
    /// Take no more work, or take work again.
    Intake(Intake),
    /// Say something.
    Ping,
    /// The session is over. The last letter; `None` ends the call without an error.
    Close(Option<Status>),
}

/// Why and how a workflow is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Who or what asked for it, for people.
    pub reason: String,
    /// Time between SIGTERM and SIGKILL; `None` leaves it to the agent.
    pub grace: Option<Duration>,
}

impl Stop {
    /// What there is to say when somebody asks again: the first reason counts, and the grace never grows.
    pub fn again(self, later: Self) -> Self {
        let grace = match (self.grace, later.grace) {
            (Some(first), Some(later)) => Some(first.min(later)),
            (first, later) => first.or(later),
        };
        Self { reason: self.reason, grace }
    }
}

/// Whether an agent shall take work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// It may.
    Open,
    /// It shall finish what it has.
    Closed,
}

/// The letters of one session.
#[derive(Debug)]
pub struct Mailbox {
    welcome: Option<Welcome>,
    acks: BTreeMap<RunKey, Sequence>,
    assigns: VecDeque<RunKey>,
    cancels: BTreeMap<RunKey, Stop>,
    intake: Option<Intake>,
    ping: bool,
    close: Option<Option<Status>>,
    acking: bool,
    is_over: bool,
}

impl Mailbox {
    /// One whose first letter is the welcome.
    pub fn new(welcome: Welcome) -> Self {
        Self {
            welcome: Some(welcome),
            acks: BTreeMap::new(),
            assigns: VecDeque::new(),
            cancels: BTreeMap::new(),
            intake: None,
            ping: false,
            close: None,
            acking: true,
            is_over: false,
        }
    }

    /// Acknowledges; replaces what was to be acknowledged of the same run.
    pub fn ack(&mut self, run: RunKey, sequence: Sequence) {
        let last = self.acks.entry(run).or_default();
        *last = sequence.max(*last);
    }

    /// Hands out a workflow.
    pub fn assign(&mut self, run: RunKey) {
        self.assigns.push_back(run);
    }

    /// Stops a workflow. One that was not handed out yet is not handed out at all; then this is false.
    pub fn cancel(&mut self, run: RunKey, stop: Stop) -> bool {
        if let Some(at) = self.assigns.iter().position(|assign| *assign == run) {
            self.assigns.remove(at);
            return false;
        }
        self.cancels.insert(run, stop);
        true
    }

    /// Opens or closes the agent's intake; the last word counts.
    pub fn intake(&mut self, intake: Intake) {
        self.intake = Some(intake);
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self) {
        self.ping = true;
    }

    /// Ends the session: nothing but this is said any more. The first reason stays.
    pub fn close(&mut self, status: Option<Status>) {
        if !self.is_over {
            self.close.get_or_insert(status);
        }
    }

    /// Stops or starts the giving out of acknowledgements; those held back are kept.
    pub fn set_acking(&mut self, acking: bool) {
        self.acking = acking;
    }

    /// The next letter, if there is one.
    pub fn take(&mut self) -> Option<Letter> {
        if self.is_over {
            return None;
        }
        if let Some(status) = self.close.take() {
            self.is_over = true;
            return Some(Letter::Close(status));
        }
        if let Some(welcome) = self.welcome.take() {
            return Some(Letter::Welcome(welcome));
        }
        if let Some(intake) = self.intake.take() {
            return Some(Letter::Intake(intake));
        }
        if self.acking
            && let Some((run, sequence)) = self.acks.pop_first()
        {
            return Some(Letter::Ack(run, sequence));
        }
        if let Some((run, stop)) = self.cancels.pop_first() {
            return Some(Letter::Cancel(run, stop));
        }
        if let Some(run) = self.assigns.pop_front() {
            return Some(Letter::Assign(run));
        }
        std::mem::take(&mut self.ping).then_some(Letter::Ping)
    }
}

#[cfg(test)]
mod tests {
    use super::{Intake, Letter, Mailbox, Stop};
    use piculet_core::id::ServerId;
    use piculet_core::id::{Epoch, RunKey, Sequence, WorkflowId};
    use piculet_link::message::Welcome;
    use std::time::Duration;
    use tonic::Status;

    fn run(name: &str) -> RunKey {
        RunKey { workflow: WorkflowId::new(name), epoch: Epoch(1) }
    }

    fn stop() -> Stop {
        Stop { reason: "asked".into(), grace: None }
    }

    fn open() -> Mailbox {
        let mut mailbox = Mailbox::new(Welcome {
            agent_id: "a".into(),
            session_id: "s".into(),
            server: ServerId::new("server"),
            heartbeat: Duration::from_secs(10),
            lease: Duration::from_secs(30),
            held: Vec::new(),
        });
        assert!(matches!(mailbox.take(), Some(Letter::Welcome(_))));
        mailbox
    }

    #[test]
    fn letters_coalesce() {
        let mut mailbox = open();
        for sequence in [1, 3, 2] {
            mailbox.ack(run("a"), Sequence(sequence));
        }
        mailbox.ping();
        mailbox.ping();
        mailbox.intake(Intake::Closed);
        mailbox.intake(Intake::Open);
        assert!(matches!(mailbox.take(), Some(Letter::Intake(Intake::Open))), "before all that it may change");
        assert!(matches!(mailbox.take(), Some(Letter::Ack(_, Sequence(3)))));
        assert!(matches!(mailbox.take(), Some(Letter::Ping)));
        assert!(mailbox.take().is_none());
    }

    #[test]
    fn asked_again_the_first_reason_counts_and_the_grace_never_grows() {
        let stop =
            |reason: &str, grace: Option<u64>| Stop { reason: reason.into(), grace: grace.map(Duration::from_secs) };
        for (first, later, expected) in [
            (Some(9), Some(5), Some(5)),
            (Some(5), Some(9), Some(5)),
            (Some(5), None, Some(5)),
            (None, Some(9), Some(9)),
            (None, None, None),
        ] {
            assert_eq!(
                stop("first", first).again(stop("later", later)),
                stop("first", expected),
                "{first:?}, {later:?}"
            );
        }
    }

    #[test]
    fn a_cancelled_assignment_is_never_handed_out() {
        let mut mailbox = open();
        mailbox.assign(run("a"));
        assert!(!mailbox.cancel(run("a"), stop()));
        assert!(mailbox.take().is_none());
        mailbox.assign(run("b"));
        assert!(matches!(mailbox.take(), Some(Letter::Assign(_))));
        assert!(mailbox.cancel(run("b"), stop()));
        assert!(matches!(mailbox.take(), Some(Letter::Cancel(..))));
    }

    #[test]
    fn acknowledgements_wait_while_they_are_held_back() {
        let mut mailbox = open();
        mailbox.set_acking(false);
        mailbox.ack(run("a"), Sequence(1));
        assert!(mailbox.take().is_none());
        mailbox.set_acking(true);
        assert!(matches!(mailbox.take(), Some(Letter::Ack(_, Sequence(1)))));
    }

    #[test]
    fn nothing_follows_the_close() {
        let mut mailbox = open();
        mailbox.ack(run("a"), Sequence(1));
        mailbox.close(Some(Status::aborted("replaced")));
        mailbox.close(None);
        let Some(Letter::Close(Some(status))) = mailbox.take() else { panic!("the first reason stays") };
        assert_eq!(status.message(), "replaced");
        mailbox.close(None);
        assert!(mailbox.take().is_none());
    }
}
