//! What an error means for trying again, and how long to wait before.
//!
//! Whoever knows the errors (a link, the cluster) turns them into a [`Verdict`]; the loop that tries again knows
//! verdicts only.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// What an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may go well another time.
    Retry {
        /// Not before this has passed, as the other side asked for.
        after: Option<Duration>,
    },
    /// The credentials are not valid any more: get new ones, then try again.
    Reauthenticate,
    /// Trying again can't help.
    Fatal,
}

impl Verdict {
    /// Try again, when the backoff says so.
    pub const RETRY: Self = Self::Retry { after: None };

    /// How long to wait before the next try; `None` if there is none.
    pub fn delay(self, backoff: &mut Backoff) -> Option<Duration> {
        match self {
            Self::Retry { after } => Some(backoff.next().max(after.unwrap_or_default())),
            Self::Reauthenticate => Some(backoff.next()),
            Self::Fatal => None,
        }
    }
}

/// How delays grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// The first delay at most.
    pub initial: Duration,
    /// How much longer each delay is than the one before. Less than 1, or no number, means 1.
    pub factor: f32,
    /// No delay is longer.
    pub cap: Duration,
}

impl Default for Growth {
    /// From half a second, doubling, to half a minute.
    fn default() -> Self {
        Self { initial: Duration::from_millis(500), factor: 2.0, cap: Duration::from_secs(30) }
    }
}

/// Delays between tries: each lies, at random, between a half and the whole of what [`Growth`] gives. They go on
/// without an end; who has a deadline looks at a clock.
#[derive(Debug)]
pub struct Backoff {
    growth: Growth,
    seed: u64,
    delays: ExponentialBackoff,
}

impl Backoff {
    /// Delays that depend on the seed only. Agents with different seeds don't come back all at once.
    pub fn new(growth: Growth, seed: u64) -> Self {
        Self { growth, seed, delays: delays(growth, seed) }
    }

    /// The next delay.
    #[expect(clippy::should_implement_trait, reason = "it has no end, so an iterator's Option would be a lie")]
    pub fn next(&mut self) -> Duration {
        // The builder's own maximum holds before the jitter is added, and not for the first delay.
        self.delays.next().unwrap_or(self.growth.cap).min(self.growth.cap)
    }

    /// It went well: the next delay is an initial one.
    pub fn reset(&mut self) {
        // Another seed, or each outage would have the same delays.
        self.seed = self.seed.wrapping_add(1);
        self.delays = delays(self.growth, self.seed);
    }
}

fn delays(growth: Growth, seed: u64) -> ExponentialBackoff {
    // The jitter adds up to as much again.
    ExponentialBuilder::new()
        .with_jitter()
        .with_jitter_seed(seed)
        .with_min_delay(growth.initial.min(growth.cap) / 2)
        .with_factor(growth.factor.max(1.0))
        .with_max_delay(growth.cap / 2)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Backoff, Growth, Verdict};

    const GROWTH: Growth = Growth { initial: Duration::from_secs(1), factor: 3.0, cap: Duration::from_secs(20) };

    #[test]
    fn delays_grow_to_the_cap_and_keep_their_jitter_there() {
        let mut backoff = Backoff::new(GROWTH, 7);
        for whole in [1.0, 3.0, 9.0, 20.0, 20.0, 20.0] {
            let delay = backoff.next().as_secs_f64();
            assert!(delay >= whole / 2.0 && delay <= whole, "{delay} is not between {} and {whole}", whole / 2.0);
        }
        assert_ne!(backoff.next(), backoff.next());
    }

    #[test]
    fn the_seed_alone_decides() {
        let delays = |seed| {
            let mut backoff = Backoff::new(GROWTH, seed);
            [(); 5].map(|()| backoff.next())
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }

    #[test]
    fn a_success_starts_anew_with_other_delays() {
        let mut backoff = Backoff::new(GROWTH, 7);
        let first = backoff.next();
        backoff.next();
        backoff.reset();
        let again = backoff.next();
        assert!(again <= GROWTH.initial);
        assert_ne!(again, first);
    }

    #[test]
    fn a_verdict_decides_whether_and_when() {
        let mut backoff = Backoff::new(GROWTH, 7);
        assert_eq!(Verdict::Fatal.delay(&mut backoff), None);
        let hour = Duration::from_secs(3600);
        assert_eq!(Verdict::Retry { after: Some(hour) }.delay(&mut backoff), Some(hour));
        assert!(Verdict::RETRY.delay(&mut backoff).is_some_and(|delay| delay <= GROWTH.cap));
        assert!(Verdict::Reauthenticate.delay(&mut backoff).is_some_and(|delay| delay <= GROWTH.cap));
    }

    proptest! {
        #[test]
        fn no_growth_is_too_odd(
            initial: u64, factor: f32, cap: u64, seed: u64, tries in 1usize..50,
        ) {
            let cap = Duration::from_millis(cap);
            let mut backoff = Backoff::new(Growth { initial: Duration::from_millis(initial), factor, cap }, seed);
            for _ in 0..tries {
                prop_assert!(backoff.next() <= cap);
            }
        }
    }
}
