//! What the core is told at its making, and again on reload.

use std::net::IpAddr;
use std::time::Duration;

use strowger_clock::{Moment, Timestamp};
use strowger_dialog::LocalAddress;
use strowger_token::Verifier;
use strowger_transaction::Timing;

/// Maxima. Reaching one is answered, never silent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Calls at a time; one more is answered 503, circuits or not.
    pub calls: usize,
    /// Used tokens remembered against replay; a token more is answered 503.
    pub tokens: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { calls: 4096, tokens: strowger_token::MAX_REMEMBERED_TOKENS }
    }
}

/// Configuration of the core.
#[derive(Clone, Debug)]
pub struct Config {
    /// Identifier of this gateway at the clearinghouse: the `s=` of tokens that it takes.
    pub gateway: String,
    /// Our SIP addresses as peers reach them; not empty.
    pub local: Vec<LocalAddress>,
    /// Where callers send media to; the port is the media driver's choice.
    pub media_address: IpAddr,
    /// Whose tokens are believed. Without it no call is taken: 503.
    pub authorities: Option<Verifier>,
    /// Longest ringing.
    pub no_answer: Duration,
    /// Longest wait for the media driver to open or close a port.
    pub media_timeout: Duration,
    /// A fault switch for tests: every INVITE is answered with this status.
    pub refuse_all: Option<u16>,
    /// Base timers, the same as the transaction layer's.
    pub timing: Timing,
    /// One moment as both clocks show it: moments are turned into timestamps by it.
    pub wall: (Moment, Timestamp),
    /// Maxima.
    pub limits: Limits,
}

impl Config {
    /// With the usual times and maxima.
    pub fn new(
        gateway: impl Into<String>,
        local: Vec<LocalAddress>,
        media_address: IpAddr,
        wall: (Moment, Timestamp),
    ) -> Config {
        Config {
            gateway: gateway.into(),
            local,
            media_address,
            authorities: None,
            no_answer: Duration::from_secs(120),
            media_timeout: Duration::from_secs(2),
            refuse_all: None,
            timing: Timing::default(),
            wall,
            limits: Limits::default(),
        }
    }

    /// Wall-clock time of a moment.
    pub fn timestamp(&self, moment: Moment) -> Timestamp {
        let (then, wall) = self.wall;
        match moment.checked_since(then) {
            Some(after) => wall + after,
            None => Timestamp::from_unix_nanos(
                wall.unix_nanos().saturating_sub(then.as_nanos().saturating_sub(moment.as_nanos())),
            ),
        }
    }
}
