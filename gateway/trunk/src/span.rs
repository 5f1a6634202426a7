//! The span between gateway and exchange: blocks of samples each tick, message signal units both ways, and a tap.

use crate::circuit::Circuit;
use crate::exchange::Exchange;
use std::fmt;
use std::sync::Arc;
use strowger_clock::Moment;

/// Length of a tick in ms.
pub const BLOCK_MS: u64 = 20;
/// A-law samples of one timeslot in a tick.
pub const BLOCK_SAMPLES: usize = 160;

/// Which way a message signal unit goes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SignalDirection {
    /// From the gateway.
    ToExchange,
    /// From the exchange.
    ToGateway,
}

/// Sees every message signal unit (service information octet first: link type 141 of a capture). It must not wait.
pub type SignalTap = Arc<dyn Fn(SignalDirection, &[u8]) + Send + Sync>;

/// Drives an [`Exchange`] from outside: the media loop owns one and ticks it.
pub struct SpanDriver {
    exchange: Exchange,
    tap: Option<SignalTap>,
}

impl fmt::Debug for SpanDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanDriver").field("exchange", &self.exchange.counters()).finish_non_exhaustive()
    }
}

impl SpanDriver {
    /// A span to this exchange.
    pub fn new(exchange: Exchange, tap: Option<SignalTap>) -> Self {
        Self { exchange, tap }
    }

    /// Carries a unit of the gateway to the exchange.
    pub fn signal(&mut self, now: Moment, bytes: &[u8]) {
        if let Some(tap) = &self.tap {
            tap(SignalDirection::ToExchange, bytes);
        }
        self.exchange.received(now, bytes);
    }

    /// The next unit for the gateway.
    pub fn poll_signal(&mut self) -> Option<Vec<u8>> {
        let bytes = self.exchange.poll_transmit()?;
        if let Some(tap) = &self.tap {
            tap(SignalDirection::ToGateway, &bytes);
        }
        Some(bytes)
    }

    /// Lets the exchange's timers act if any is due; call each tick.
    pub fn timeout(&mut self, now: Moment) {
        if self.exchange.next_deadline().is_some_and(|at| at <= now) {
            self.exchange.timeout(now);
        }
    }

    /// When [`Self::timeout`] is due next.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.exchange.next_deadline()
    }

    /// One block of one active circuit, [`BLOCK_SAMPLES`] or fewer samples each way.
    pub fn bearer(&mut self, circuit: Circuit, to_exchange: &[u8], to_gateway: &mut [u8]) {
        self.exchange.bearer(circuit, to_exchange, to_gateway);
    }

    /// The exchange, to originate calls or look.
    pub fn exchange_mut(&mut self) -> &mut Exchange {
        &mut self.exchange
    }
}
