//! Uids and name suffixes: random enough to differ, the same in every run with the same seed.

use uuid::{Builder, Uuid};

/// The letters that the API server uses for generated names: no vowels, so that no words come about.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A SplitMix64 sequence.
#[derive(Debug)]
pub(super) struct Entropy(u64);

impl Entropy {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn uid(&mut self) -> Uuid {
        let bytes = (u128::from(self.next()) << 64) | u128::from(self.next());
        Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }

    /// Five letters.
    pub(super) fn suffix(&mut self) -> String {
        (0..5).map(|_| char::from(LETTERS[usize::try_from(self.next() % 27).unwrap_or_default()])).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
