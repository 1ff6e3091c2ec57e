//! What goes wrong, and when: a plan of faults per verb and resource.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::Verb;
use crate::failure::Failure;
use crate::latest;

/// One fault: which requests it meets, how many of them, and what happens to them.
///
/// A new fault meets the next request of any kind, once.
#[derive(Debug, Clone)]
pub struct Fault {
    verb: Option<Verb>,
    resource: Option<String>,
    name: Option<String>,
    skip: u32,
    /// How many requests it still meets; `None` is all of them.
    left: Option<u32>,
    effect: Effect,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Fail(Failure),
    /// Plain text and a header, as the server's own flow control answers.
    TooManyRequests {
        retry_after: u32,
    },
    Delay(Duration),
    /// The connection breaks before the request was read.
    DropConnection,
    /// The request is carried out; the connection breaks before the answer.
    LoseResponse,
    Cut(Cut),
}

/// When and how the stream of a watch or of a log ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// After so many events of a watch.
    pub(crate) events: Option<u32>,
    /// After so many bytes of a log.
    pub(crate) bytes: Option<usize>,
    pub(crate) after: Option<Duration>,
    /// As if all had been said.
    pub(crate) clean: bool,
}

impl Fault {
    /// The request is refused with this HTTP status code and the `Status` that goes with it.
    #[must_use]
    pub fn fail(code: u16) -> Self {
        Self::new(Effect::Fail(Failure::of_code(code)))
    }

    /// The request is refused with this answer.
    #[must_use]
    pub fn fail_with(failure: Failure) -> Self {
        Self::new(Effect::Fail(failure))
    }

    /// The server's flow control refuses the request: 429, with `Retry-After` in seconds.
    #[must_use]
    pub fn too_many_requests(retry_after: u32) -> Self {
        Self::new(Effect::TooManyRequests { retry_after })
    }

    /// The request is answered later. What else the plan has for it still happens.
    #[must_use]
    pub fn delay(by: Duration) -> Self {
        Self::new(Effect::Delay(by))
    }

    /// The connection breaks before the request was read.
    #[must_use]
    pub fn drop_connection() -> Self {
        Self::new(Effect::DropConnection)
    }

    /// The request is carried out, but the connection breaks before the answer.
    #[must_use]
    pub fn lose_response() -> Self {
        Self::new(Effect::LoseResponse)
    }

    /// A watch breaks after so many events.
    #[must_use]
    pub fn cut_watch_after_events(events: u32) -> Self {
        Self::new(Effect::Cut(Cut { events: Some(events), ..Cut::default() })).on(Verb::Watch)
    }

    /// A watch breaks after a while.
    #[must_use]
    pub fn cut_watch_after(time: Duration) -> Self {
        Self::new(Effect::Cut(Cut { after: Some(time), ..Cut::default() })).on(Verb::Watch)
    }

    /// The stream of a log breaks after so many bytes.
    #[must_use]
    pub fn cut_log_after_bytes(bytes: usize) -> Self {
        Self::new(Effect::Cut(Cut { bytes: Some(bytes), ..Cut::default() })).on(Verb::Get).of("pods/log")
    }

    /// The stream of a log breaks after a while.
    #[must_use]
    pub fn cut_log_after(time: Duration) -> Self {
        Self::new(Effect::Cut(Cut { after: Some(time), ..Cut::default() })).on(Verb::Get).of("pods/log")
    }

    /// What is cut ends without an error, as if all had been said: so ends a stream whose server closes it.
    #[must_use]
    pub fn cleanly(mut self) -> Self {
        if let Effect::Cut(cut) = &mut self.effect {
            cut.clean = true;
        }
        self
    }

    /// Only requests with this verb.
    #[must_use]
    pub fn on(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Only requests for this resource, for example `pods` or `pods/log`.
    #[must_use]
    pub fn of(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only requests for the object of this name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The first so many matching requests pass unharmed.
    #[must_use]
    pub fn skip(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// So many requests, not one.
    #[must_use]
    pub fn times(mut self, requests: u32) -> Self {
        self.left = Some(requests);
        self
    }

    /// Every request, until the plan is cleared.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.left = None;
        self
    }

    fn new(effect: Effect) -> Self {
        Self { verb: None, resource: None, name: None, skip: 0, left: Some(1), effect }
    }

    /// Whether the fault meets this request; counts it.
    fn meets(&mut self, verb: Verb, resource: &str, name: &str) -> bool {
        let matches = self.verb.is_none_or(|wanted| wanted == verb)
            && self.resource.as_deref().is_none_or(|wanted| wanted == resource)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self.left != Some(0);
        if matches && self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if matches && let Some(left) = &mut self.left {
            *left -= 1;
        }
        matches
    }
}

/// The plan of a cluster.
#[derive(Debug)]
pub struct Faults {
    plan: Mutex<Vec<Fault>>,
    cuts: latest::Sender<u64>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self { plan: Mutex::new(Vec::new()), cuts: latest::Sender::new(0) }
    }

    /// Adds a fault. Faults are tried in the order in which they were added.
    pub fn inject(&self, fault: Fault) {
        self.lock().push(fault);
    }

    /// Ends the plan: what was not met by a request is forgotten.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// How many faults still wait for a request.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lock().len()
    }

    /// Breaks every watch and every log stream that is open now.
    pub fn cut_streams(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// What the plan has for a request: any number of delays, then at most one other effect.
    pub(crate) fn meet(&self, verb: Verb, resource: &str, name: &str) -> (Duration, Option<Effect>) {
        let mut plan = self.lock();
        let mut delay = Duration::ZERO;
        let mut met = None;
        for fault in plan.iter_mut() {
            if fault.meets(verb, resource, name) {
                match &fault.effect {
                    Effect::Delay(more) => delay += *more,
                    other => {
                        met = Some(other.clone());
                        break;
                    }
                }
            }
        }
        plan.retain(|fault| fault.left != Some(0));
        (delay, met)
    }

    pub(crate) fn cuts(&self) -> latest::Receiver<u64> {
        self.cuts.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_what_it_names_as_often_as_it_says() {
        let faults = Faults::new();
        faults.inject(Fault::fail(503).on(Verb::Create).of("pods").skip(1).times(2));
        let met = |verb, resource| faults.meet(verb, resource, "").1.is_some();
        assert!(!met(Verb::Get, "pods"));
        assert!(!met(Verb::Create, "secrets"));
        assert!(!met(Verb::Create, "pods"), "the first is skipped");
        assert!(met(Verb::Create, "pods"));
        assert!(met(Verb::Create, "pods"));
        assert!(!met(Verb::Create, "pods"), "twice was asked");
        assert_eq!(faults.pending(), 0);
    }

    #[test]
    fn delays_add_up_before_the_effect() {
        let faults = Faults::new();
        faults.inject(Fault::delay(Duration::from_secs(1)).always());
        faults.inject(Fault::delay(Duration::from_secs(2)));
        faults.inject(Fault::drop_connection());
        assert_eq!(faults.meet(Verb::Get, "pods", ""), (Duration::from_secs(3), Some(Effect::DropConnection)));
        assert_eq!(faults.meet(Verb::Get, "pods", ""), (Duration::from_secs(1), None));
    }
}
