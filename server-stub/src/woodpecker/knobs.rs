//! What a test can make the server do wrong.

use std::time::Duration;

use piculet_proto::woodpecker as pb;
use tonic::Status;

use super::faults::Loss;
use super::journal::Method;
use super::server::Server;

impl Server {
    /// The next calls of a method end with this status, and nothing else happens. Adds up.
    pub fn refuse(&self, method: Method, status: &Status, times: usize) {
        self.change(|state, _| state.faults.refuse(method, status, times));
    }

    /// The next calls of a method are done, and their answers are lost. Adds up.
    pub fn lose_answers(&self, method: Method, loss: &Loss, times: usize) {
        self.change(|state, _| state.faults.lose(method, loss, times));
    }

    /// All calls of a method that come from now on take this long before anything else happens; zero: no longer than they
    /// need.
    pub fn delay(&self, method: Method, delay: Duration) {
        self.change(|state, _| state.faults.delay(method, delay));
    }

    /// The next polls that are given a task are gone in that moment, so that the task is lost until its lease is over.
    /// Their calls end with UNAVAILABLE.
    pub fn lose_assignments(&self, times: usize) {
        self.change(|state, _| state.faults.lose_assignments(times));
    }

    /// The oldest call of `Next`, or else the next one to come, is answered with this, whatever it is.
    pub fn answer_next(&self, answer: Option<pb::Workflow>) {
        self.change(|state, _| {
            state.faults.answer_next(answer);
            state.model.queue.kick_first();
        });
    }

    /// Takes back what was set up to go wrong.
    pub fn behave(&self) {
        self.change(|state, _| state.faults.clear());
    }

    /// Takes no access token that was issued before.
    pub fn invalidate_tokens(&self) {
        self.change(|state, _| state.model.access.invalidate());
    }

    /// Forgets what runs, as a restart does, without one: who waits for it hears of a good end.
    pub fn forget_running(&self) {
        self.change(|state, _| state.model.queue.forget_running());
    }

    /// Hands a workflow out once more, although an agent may have it.
    pub fn hand_out_again(&self, workflow: i64) {
        self.change(|state, _| state.model.queue.push_again(workflow));
    }

    /// Ends a workflow's lease. False if it has none.
    pub fn expire_lease(&self, workflow: i64) -> bool {
        self.change(|state, _| state.model.queue.expire(workflow))
    }

    /// The protocol that the server says that it speaks, and asks for, from now on.
    pub fn claim_protocol(&self, version: i32) {
        self.change(|state, _| state.model.protocol = version);
    }

    /// Deletes an agent's row, as an administrator may. Its polls end with nothing.
    pub fn delete_agent(&self, agent: i64) {
        self.change(|state, _| {
            state.model.agents.delete(agent);
            state.model.queue.kick(agent);
        });
    }

    /// Breaks all connections, and does nothing else.
    pub fn break_connections(&self) {
        self.change(|state, _| state.break_connections());
    }
}
