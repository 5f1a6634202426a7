//! Nonces that carry their own proof, and the count of their uses.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use strowger_clock::Timestamp;
use subtle::ConstantTimeEq;

const BLOCK_OCTETS: usize = 64;
const PROOF_DIGITS: usize = 32;
const NONCE_DIGITS: usize = 16 + 16 + PROOF_DIGITS;

/// The secret a server makes its nonces with: no table of issued nonces is needed, and every node that shares the key accepts
/// the nonces of the others.
#[derive(Clone)]
pub struct NonceKey([u8; 32]);

/// A nonce that was ours: when it was issued, and the salt that tells nonces of one instant apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce {
    /// When it was issued.
    pub issued: Timestamp,
    /// Random.
    pub salt: u64,
}

/// What a nonce that came back is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceState {
    /// Ours and fresh.
    Fresh(Nonce),
    /// Ours, but older than its validity (or from a clock ahead of ours): challenge again with `stale=true`.
    Stale,
    /// Not ours.
    Foreign,
}

impl NonceKey {
    /// A key of random octets.
    pub fn new(key: [u8; 32]) -> NonceKey {
        NonceKey(key)
    }

    /// A nonce of 64 hexadecimal digits: the time, the salt (random, so that two clients of one instant differ) and the first
    /// half of HMAC-SHA-256 over both.
    pub fn issue(&self, now: Timestamp, salt: u64) -> String {
        let time = now.unix_nanos();
        format!("{time:016x}{salt:016x}{}", self.proof(time, salt))
    }

    /// Tells what a nonce is; compared in constant time.
    pub fn check(&self, nonce: &str, now: Timestamp, validity: Duration) -> NonceState {
        let digits_good = nonce.len() == NONCE_DIGITS && nonce.bytes().all(|octet| octet.is_ascii_hexdigit());
        if !digits_good {
            return NonceState::Foreign;
        }
        let number =
            |span: std::ops::Range<usize>| nonce.get(span).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let (Some(time), Some(salt)) = (number(0..16), number(16..32)) else { return NonceState::Foreign };
        let proof = nonce.get(32..).unwrap_or_default();
        if !bool::from(self.proof(time, salt).as_bytes().ct_eq(proof.as_bytes())) {
            return NonceState::Foreign;
        }
        match now.unix_nanos().checked_sub(time) {
            Some(age) if u128::from(age) <= validity.as_nanos() => {
                NonceState::Fresh(Nonce { issued: Timestamp::from_unix_nanos(time), salt })
            }
            _ => NonceState::Stale,
        }
    }

    fn proof(&self, time: u64, salt: u64) -> String {
        let mut digits = hex::encode(hmac_sha256(&self.0, &[&time.to_be_bytes(), &salt.to_be_bytes()]));
        digits.truncate(PROOF_DIGITS);
        digits
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(secret)")
    }
}

/// HMAC-SHA-256 (RFC 2104) over parts one after the other, for a key that fits one block.
pub fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; BLOCK_OCTETS];
        block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
        block
    };
    let mut inner = Sha256::new();
    inner.update(pad(0x36));
    parts.iter().for_each(|part| inner.update(part));
    let mut outer = Sha256::new();
    outer.update(pad(0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// What a nonce count is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Not seen before: go on.
    New,
    /// Seen before, or so far behind that it may have been: somebody repeats an old message.
    Repeated,
    /// The window no longer knows this nonce's uses: challenge again with `stale=true`.
    Forgotten,
}

/// Which counts of which nonces have been used (RFC 7616 §3.4.6), for a bounded number of nonces. When it is full the oldest
/// nonce is forgotten, and with it every nonce not younger, so that forgetting never lets an old message in again.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    maximum: usize,
    uses: BTreeMap<Nonce, Uses>,
    forgotten: Option<Nonce>,
}

/// The highest count used and, as bits below it, the 64 before; out of order is normal on UDP.
#[derive(Clone, Copy, Debug)]
struct Uses {
    highest: u32,
    before: u64,
}

impl ReplayWindow {
    /// A window over at most `maximum` nonces (at least one).
    pub fn new(maximum: usize) -> ReplayWindow {
        ReplayWindow { maximum: maximum.max(1), uses: BTreeMap::new(), forgotten: None }
    }

    /// Takes note of a use. Call it only after the credentials were verified, so that nobody else can fill the window.
    pub fn accept(&mut self, nonce: Nonce, count: u32) -> Replay {
        if let Some(uses) = self.uses.get_mut(&nonce) {
            return uses.accept(count);
        }
        if self.forgotten.is_some_and(|forgotten| nonce <= forgotten) {
            return Replay::Forgotten;
        }
        if count == 0 {
            return Replay::Repeated;
        }
        if self.uses.len() == self.maximum {
            match self.uses.first_key_value().map(|(oldest, _)| *oldest) {
                // the newcomer is the oldest: it is the one not to be remembered
                Some(oldest) if nonce < oldest => return Replay::Forgotten,
                Some(oldest) => {
                    self.uses.remove(&oldest);
                    self.forgotten = Some(oldest);
                }
                None => {}
            }
        }
        self.uses.insert(nonce, Uses { highest: count, before: 0 });
        Replay::New
    }

    /// Forgets nonces issued before a time; they are stale by then.
    pub fn expire(&mut self, issued_before: Timestamp) {
        while let Some((oldest, _)) = self.uses.first_key_value().filter(|(nonce, _)| nonce.issued < issued_before) {
            let oldest = *oldest;
            self.uses.remove(&oldest);
            self.forgotten = Some(oldest);
        }
    }

    /// Nonces known.
    pub fn len(&self) -> usize {
        self.uses.len()
    }

    /// Whether no nonce is known.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }
}

impl Uses {
    fn accept(&mut self, count: u32) -> Replay {
        if count > self.highest {
            let step = count - self.highest;
            // the former highest becomes the bit `step - 1`
            self.before = match step {
                1..=63 => (self.before << step) | (1 << (step - 1)),
                64 => 1 << 63,
                _ => 0,
            };
            self.highest = count;
            return Replay::New;
        }
        let behind = self.highest - count;
        if count == 0 || behind == 0 || behind > 64 {
            return Replay::Repeated;
        }
        let bit = 1 << (behind - 1);
        if self.before & bit != 0 {
            return Replay::Repeated;
        }
        self.before |= bit;
        Replay::New
    }
}
