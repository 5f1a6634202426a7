//! Randomness that a seed reproduces.

use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// A stream of random values. The same seed gives the same stream on every machine.
///
/// Drivers key it with 32 bytes from the system ([`Random::from_key`]), so that branches, tags and nonces cannot be
/// guessed; tests seed it with a number that they print.
#[derive(Clone)]
pub struct Random(ChaCha20Rng);

impl Random {
    /// For tests and simulations: a stream reproduced by one number.
    pub fn from_seed(seed: u64) -> Self {
        Random(ChaCha20Rng::seed_from_u64(seed))
    }

    /// For drivers: a stream keyed with 32 bytes of the system's randomness.
    pub fn from_key(key: [u8; 32]) -> Self {
        Random(ChaCha20Rng::from_seed(key))
    }

    /// Any 32-bit value.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Any 64-bit value.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A value in `0..bound`, all equally likely; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // the values above the last whole multiple of `bound` would favour small results: draw again
        let tail = (u64::MAX % bound + 1) % bound;
        loop {
            let value = self.0.next_u64();
            if value <= u64::MAX - tail {
                return value % bound;
            }
        }
    }

    /// True with the given probability (0.0 never, 1.0 always).
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits: what the fraction of an f64 holds
        let unit = (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        unit < probability
    }

    /// Fills `bytes` with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// `length` characters of `a-z0-9`: tags, branches, Call-IDs (RFC 3261 §19.3 wants 32 random bits: seven characters).
    pub fn alphanumeric(&mut self, length: usize) -> String {
        (0..length)
            .map(|_| match self.below(36) as u8 {
                digit @ 0..10 => char::from(b'0' + digit),
                letter => char::from(b'a' + (letter - 10)),
            })
            .collect()
    }

    /// A second stream, independent of this one from here on.
    pub fn fork(&mut self) -> Random {
        let mut key = [0; 32];
        self.0.fill_bytes(&mut key);
        Random::from_key(key)
    }
}

/// The state is a secret (nonces and tags come from it): not shown.
impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_reproduces() {
        let (mut a, mut b) = (Random::from_seed(7), Random::from_seed(7));
        assert_eq!(a.alphanumeric(40), b.alphanumeric(40));
        assert_eq!(a.fork().next_u64(), b.fork().next_u64());
        assert_ne!(Random::from_seed(7).next_u64(), Random::from_seed(8).next_u64());
    }

    #[test]
    fn bounds() {
        let mut random = Random::from_seed(1);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
        assert!((0..1_000).all(|_| random.below(10) < 10));
        assert!((0..100).all(|_| !random.chance(0.0)));
        assert!((0..100).all(|_| random.chance(1.0)));
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
    }
}
