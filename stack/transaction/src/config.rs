//! Timing and limits.

use std::time::Duration;

/// The base timers of RFC 3261 (table 4 of its appendix A); all others derive from them.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Round-trip estimate: the first retransmission interval.
    pub t1: Duration,
    /// Longest retransmission interval of non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// Longest time that a message stays in the network.
    pub t4: Duration,
    /// Timer D on unreliable transports; RFC 3261 §17.1.1.2 wants at least 32 s whatever T1 is, because the server's
    /// T1 is not known.
    pub timer_d: Duration,
    /// After how long an INVITE that the user has not answered yet is answered 100 (RFC 3261 §17.2.1).
    pub trying_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            timer_d: Duration::from_secs(32),
            trying_after: Duration::from_millis(200),
        }
    }
}

impl Timing {
    /// 64*T1: timers B, F, H, J, L and M.
    pub fn give_up_after(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

/// What a [`crate::Layer`] is told at its making.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Base timers.
    pub timing: Timing,
    /// The shard this layer is: written into every branch, so that a response can be handed to the right one.
    pub shard: u8,
    /// Most client transactions at a time; beyond it [`crate::Layer::request`] returns [`crate::Full`].
    pub client_transactions_max: u32,
    /// Most server transactions at a time; a new request beyond it is answered 503 without state.
    pub server_transactions_max: u32,
    /// Places above `server_transactions_max` kept for requests inside a dialog (To tag), which are never shed first.
    pub in_dialog_reserve: u32,
    /// Retry-After of that 503.
    pub retry_after_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            timing: Timing::default(),
            shard: 0,
            client_transactions_max: 200_000,
            server_transactions_max: 200_000,
            in_dialog_reserve: 20_000,
            retry_after_seconds: 5,
        }
    }
}
