//! Counts lines by their second, for the last seconds that have any.

use std::collections::VecDeque;

use jiff::Timestamp;

/// How many seconds are counted. More than one is needed when clocks were set back.
const SECONDS: usize = 128;

/// How many lines each of the last seconds has.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// In the order in which they came.
    seconds: VecDeque<(i64, u64)>,
    /// Nothing is known of this second and those before.
    forgotten: Option<i64>,
}

impl Tally {
    /// Counts lines from this second on.
    pub(super) fn starting(second: i64) -> Self {
        Self { seconds: VecDeque::new(), forgotten: Some(second - 1) }
    }

    /// Counts a line.
    pub(super) fn add(&mut self, time: Timestamp) {
        let second = second_of(time);
        if let Some((_, lines)) = self.seconds.iter_mut().rev().find(|(of, _)| *of == second) {
            *lines += 1;
            return;
        }
        if self.seconds.len() == SECONDS {
            let oldest = self.seconds.pop_front().map(|(second, _)| second);
            self.forgotten = self.forgotten.max(oldest);
        }
        self.seconds.push_back((second, 1));
    }

    /// How many lines were counted from this second on; `None` if that is no longer known.
    pub(super) fn since(&self, second: i64) -> Option<u64> {
        if self.forgotten.is_some_and(|forgotten| forgotten >= second) {
            return None;
        }
        Some(self.seconds.iter().filter(|(of, _)| *of >= second).map(|(_, lines)| lines).sum())
    }
}

/// The whole second that a time lies in, also before 1970.
pub(super) fn second_of(time: Timestamp) -> i64 {
    time.as_second() - i64::from(time.subsec_nanosecond() < 0)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{SECONDS, Tally, second_of};

    fn tally(milliseconds: impl IntoIterator<Item = i64>) -> Tally {
        let mut tally = Tally::default();
        for time in milliseconds {
            tally.add(Timestamp::from_millisecond(time).unwrap());
        }
        tally
    }

    #[test]
    fn lines_count_for_their_second() {
        let tally = tally([1000, 1999, 2000, 1500, 3000]);
        assert_eq!([0, 1, 2, 3, 4].map(|second| tally.since(second)), [5, 5, 2, 1, 0].map(Some));
    }

    #[test]
    fn forgotten_seconds_are_not_guessed() {
        let tally = tally((0..=SECONDS as i64).map(|second| second * 1000));
        assert_eq!(tally.since(0), None);
        assert_eq!(tally.since(1), Some(SECONDS as u64));
        assert_eq!(Tally::starting(7).since(6), None);
        assert_eq!(Tally::starting(7).since(7), Some(0));
    }

    #[test]
    fn a_second_is_rounded_down() {
        assert_eq!(second_of(Timestamp::from_millisecond(1999).unwrap()), 1);
        assert_eq!(second_of(Timestamp::from_millisecond(-1).unwrap()), -1);
        assert_eq!(second_of(Timestamp::from_millisecond(-1000).unwrap()), -1);
    }
}
