use std::collections::{BTreeSet, HashSet};

use strowger_clock::Timestamp;

use crate::info::TokenInfo;

/// Used tokens that a gateway remembers until they expire.
pub const MAX_REMEMBERED_TOKENS: usize = 65_536;

/// Why a genuine token does not admit this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Its time is over.
    #[error("token has expired")]
    Expired,
    /// Its time has not come.
    #[error("token is not yet valid")]
    NotYetValid,
    /// It was given for another gateway.
    #[error("token is for another gateway")]
    WrongGateway,
    /// It was given for another called number.
    #[error("token is for another called number")]
    WrongNumber,
    /// It was given for another call.
    #[error("token is for another call")]
    WrongCall,
    /// It has been used.
    #[error("token has been used before")]
    Replayed,
    /// [`MAX_REMEMBERED_TOKENS`] unexpired tokens have been used: a replay could not be told from a first use.
    #[error("too many tokens in use")]
    TooMany,
}

type Use = (u64, String);

/// Decides whether a token admits a call at one gateway, and remembers the tokens that did.
#[derive(Clone, Debug)]
pub struct Check {
    gateway: String,
    capacity: usize,
    used: HashSet<Use>,
    expiry: BTreeSet<(Timestamp, Use)>,
}

impl Check {
    /// For the gateway with this identifier.
    pub fn new(gateway: impl Into<String>) -> Check {
        Check::with_capacity(gateway, MAX_REMEMBERED_TOKENS)
    }

    /// With a smaller memory.
    pub fn with_capacity(gateway: impl Into<String>, capacity: usize) -> Check {
        Check { gateway: gateway.into(), capacity, used: HashSet::new(), expiry: BTreeSet::new() }
    }

    /// Admits the call with this called number (with or without plus) and call id, once.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies; a refused token is not used up.
    pub fn check(&mut self, token: &TokenInfo, now: Timestamp, called: &str, call_id: &[u8]) -> Result<(), Refusal> {
        self.forget(now);
        if token.gateway != self.gateway {
            return Err(Refusal::WrongGateway);
        }
        if now < token.valid_after {
            return Err(Refusal::NotYetValid);
        }
        if now >= token.valid_until {
            return Err(Refusal::Expired);
        }
        if token.called.trim_start_matches('+') != called.trim_start_matches('+') {
            return Err(Refusal::WrongNumber);
        }
        // Exactly: a prefix of the call id, which other implementations take, is another call.
        if token.call_id != call_id {
            return Err(Refusal::WrongCall);
        }
        let this = (token.transaction_id, token.nonce.clone());
        if self.used.contains(&this) {
            return Err(Refusal::Replayed);
        }
        if self.used.len() >= self.capacity {
            return Err(Refusal::TooMany);
        }
        self.expiry.insert((token.valid_until, this.clone()));
        self.used.insert(this);
        Ok(())
    }

    /// How many used tokens are remembered.
    pub fn remembered(&self) -> usize {
        self.used.len()
    }

    /// Drops the tokens that are refused as expired anyway.
    fn forget(&mut self, now: Timestamp) {
        while let Some((expired, _)) = self.expiry.first() {
            if *expired > now {
                break;
            }
            if let Some((_, token)) = self.expiry.pop_first() {
                self.used.remove(&token);
            }
        }
    }
}
