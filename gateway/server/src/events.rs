//! What a gateway tells consoles, demos and logs.

use strowger_gateway_core::{CallNumber, CallSummary, CallUsage, RefusedCall};
use strowger_isup::Charge;

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayEvent {
    /// A call has changed its state.
    Call(Box<CallSummary>),
    /// An INVITE was refused by the gateway itself.
    Refused(Box<RefusedCall>),
    /// The telephone network told what a call costs.
    Charge {
        /// The call.
        call: CallNumber,
        /// The clearinghouse's transaction.
        transaction_id: u64,
        /// What it said.
        charge: Charge,
    },
    /// A call is over; with its cause and media statistics.
    Usage {
        /// The call.
        call: CallNumber,
        /// The report for the clearinghouse.
        usage: Box<CallUsage>,
    },
    /// The clearinghouse's key is known: calls are taken from now on.
    AuthorityKnown,
    /// Draining, and no call is left.
    Drained,
}
