//! Points in time: nanoseconds since the Unix epoch.

use jiff::Timestamp;

/// For the wire. What lies outside of the years 1677 to 2262 becomes the nearest that fits.
pub fn encode(time: Timestamp) -> i64 {
    let nanoseconds = time.as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

/// From the wire.
pub fn decode(nanoseconds: i64) -> Timestamp {
    // Every i64 lies within the range of a timestamp; the default only spares a panic that can't happen.
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{decode, encode};

    #[test]
    fn every_number_is_a_time_and_comes_back() {
        for nanoseconds in [i64::MIN, -1, 0, 1, 1_700_000_000_123_456_789, i64::MAX] {
            assert_eq!(encode(decode(nanoseconds)), nanoseconds);
        }
    }

    #[test]
    fn times_that_do_not_fit_become_the_nearest() {
        assert_eq!((encode(Timestamp::MIN), encode(Timestamp::MAX)), (i64::MIN, i64::MAX));
    }
}
