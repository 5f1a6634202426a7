//! What a trunk group is told at its start.

use std::time::Duration;
use strowger_isup::{Cic, NetworkIndicator, PointCode};
use thiserror::Error;

/// Circuits of one E1: timeslots 1–15 and 17–31; 0 is alignment, 16 carries the signalling link.
pub const CIRCUITS: usize = 30;

/// A configuration that cannot work.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Both ends have the same point code.
    #[error("own and peer point code are both {0}")]
    SamePointCode(u16),
    /// The span's circuit codes would pass 4095.
    #[error("span {0} is past the last of 128")]
    Span(u8),
    /// A point code of more than 14 bits.
    #[error("point code {0} is more than 14 bits")]
    PointCode(u16),
}

/// One trunk group of one E1 between two exchanges.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TrunkConfig {
    /// Our point code.
    pub own: PointCode,
    /// The other end's.
    pub peer: PointCode,
    /// Which network the codes are of.
    pub network: NetworkIndicator,
    /// Which E1: circuit codes are 32 × span + timeslot, as both ends must agree.
    pub span: u8,
    /// Timers.
    pub timers: Timers,
}

impl TrunkConfig {
    /// A national trunk with Q.764's timers.
    ///
    /// # Errors
    /// Codes that do not fit or are the same, a span past 127.
    pub fn new(own: u16, peer: u16, span: u8) -> Result<Self, ConfigError> {
        let code = |value| PointCode::new(value).map_err(|_| ConfigError::PointCode(value));
        if own == peer {
            return Err(ConfigError::SamePointCode(own));
        }
        if span > 127 {
            return Err(ConfigError::Span(span));
        }
        Ok(Self {
            own: code(own)?,
            peer: code(peer)?,
            network: NetworkIndicator::National,
            span,
            timers: Timers::default(),
        })
    }

    /// The same trunk as the other end sees it.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { own: self.peer, peer: self.own, ..self }
    }

    pub(crate) fn cic(&self, timeslot: u8) -> Cic {
        Cic::new(u16::from(self.span & 0x7f) * 32 + u16::from(timeslot & 31)).unwrap_or_default()
    }
}

/// Timers of Q.764 table A.1, with values from the middle of each range.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// REL is repeated (15–60 s).
    pub t1: Duration,
    /// No RLC in all this time: the circuit is reset, and at this pace from then on (5–15 min).
    pub t5: Duration,
    /// The called party is back on hook (network suspend): released after it (Q.118).
    pub t6: Duration,
    /// No ACM or CON for our IAM (20–30 s).
    pub t7: Duration,
    /// No answer (Q.118: 1.5–3 min).
    pub t9: Duration,
    /// Our side has no alerting yet: an early ACM keeps the other end's T7 quiet (15–20 s; RFC 3398 §8.2.8).
    pub t11: Duration,
    /// BLO, UBL are repeated (T12, T14: 15–60 s).
    pub t12: Duration,
    /// … and at this pace after it has passed once (T13, T15: 5–15 min).
    pub t13: Duration,
    /// RSC, GRS are repeated (T16, T22: 15–60 s).
    pub t16: Duration,
    /// … and at this pace after it has passed once (T17, T23: 5–15 min).
    pub t17: Duration,
    /// More digits are awaited (T35: 15–20 s).
    pub t35: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_secs(15),
            t5: Duration::from_secs(300),
            t6: Duration::from_secs(90),
            t7: Duration::from_secs(25),
            t9: Duration::from_secs(120),
            t11: Duration::from_secs(15),
            t12: Duration::from_secs(15),
            t13: Duration::from_secs(300),
            t16: Duration::from_secs(15),
            t17: Duration::from_secs(300),
            t35: Duration::from_secs(15),
        }
    }
}
