//! Letters leave the mailboxes as messages.

use piculet_core::id::RunKey;
use piculet_link::message::{Cancel, Welcome};
use piculet_link::wire::server as wire;
use piculet_proto::v1 as pb;
use piculet_proto::v1::server_message::Message;
use tonic::Status;

use super::{Dispatcher, SessionId};
use crate::mailbox::{Intake, Letter};

/// What a session's call does next.
#[derive(Debug)]
pub enum Post {
    /// Say this.
    Message(Box<pb::ServerMessage>),
    /// End; `None` ends without an error.
    End(Option<Status>),
    /// Wait until the session is touched again.
    Nothing,
}

impl Dispatcher {
    /// The next thing to say in a session.
    pub fn post(&mut self, id: SessionId) -> Post {
        loop {
            let Some(session) = self.sessions.get_mut(&id) else { return Post::End(None) };
            let message = match session.mailbox.take() {
                None => return Post::Nothing,
                Some(Letter::Close(status)) => return Post::End(status),
                Some(Letter::Welcome(welcome)) => self.welcome(welcome),
                Some(Letter::Ack(run, sequence)) => {
                    self.told_of_acceptance(&run);
                    wire::ack(&run, sequence)
                }
                Some(Letter::Assign(run)) => match self.assignment(&run) {
                    Some(assign) => assign,
                    None => continue,
                },
                Some(Letter::Cancel(key, stop)) => wire::cancel(Cancel { key, reason: stop.reason, grace: stop.grace }),
                Some(Letter::Intake(Intake::Closed)) => wire::drain(),
                Some(Letter::Intake(Intake::Open)) => wire::resume(),
                Some(Letter::Ping) => wire::ping(),
            };
            return Post::Message(Box::new(message));
        }
    }

    fn welcome(&self, welcome: Welcome) -> pb::ServerMessage {
        let mut message = wire::welcome(welcome);
        if let Some(Message::Welcome(welcome)) = &mut message.message {
            welcome.protocol = self.policy.protocol;
        }
        message
    }

    /// From here on the agent may know that its acceptance is stored, and start pods. That is to be stored once: what
    /// every acknowledgement changed, every acknowledgement would have to wait for.
    fn told_of_acceptance(&mut self, run: &RunKey) {
        let workflow = self.workflows.get_mut(&run.workflow).filter(|workflow| workflow.run() == *run);
        if workflow.is_some_and(|workflow| workflow.assignment.acknowledged()) {
            self.touched.workflows.insert(run.workflow.clone());
        }
    }

    fn assignment(&self, run: &RunKey) -> Option<pb::ServerMessage> {
        let workflow = self.workflows.get(&run.workflow).filter(|workflow| workflow.run() == *run)?;
        Some(wire::assign(run, workflow.spec.as_deref()?, self.context_of(workflow)))
    }
}
