//! The seam between the transaction layer and what stands above it.

use strowger_clock::Moment;

use crate::{Event, Layer};

/// A transaction user (RFC 3261 §5): the pure machine above the layer, such as a proxy core, a gateway core or a user agent.
///
/// A driver owns one layer and one user. It hands the user every [`Event`] of the layer, every input of other drivers
/// and the time; the user acts by calling the layer and by effects, which the driver drains after each call. The
/// deadline of both is then waited for.
pub trait TransactionUser: Send + 'static {
    /// What comes in from other drivers: answers of a clearinghouse, decisions of a policy server, trunk events, commands.
    type Input: Send + 'static;
    /// What it asks of other drivers.
    type Effect: Send + 'static;

    /// The layer has something to tell.
    fn event(&mut self, now: Moment, event: Event, layer: &mut Layer);
    /// Another driver has something to tell.
    fn input(&mut self, now: Moment, input: Self::Input, layer: &mut Layer);
    /// A deadline of the user's own has passed.
    fn timeout(&mut self, now: Moment, layer: &mut Layer);
    /// When to call [`TransactionUser::timeout`] next.
    fn next_deadline(&self) -> Option<Moment>;
    /// The next effect. Call until `None`.
    fn poll_effect(&mut self) -> Option<Self::Effect>;
}
