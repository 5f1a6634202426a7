//! What happens, as it happens: for the console and the demo.

use serde::Serialize;
use strowger_cdr::CdrState;
use strowger_ledger::Money;
use strowger_store::Outcome;

/// How many events a slow reader may be behind before it loses the oldest.
pub const EVENTS_BUFFERED: usize = 1024;

/// Something that happened and is durable.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A call was authorized, and money for it reserved.
    Authorized {
        /// The call's number.
        transaction: u64,
        /// Who pays.
        customer: String,
        /// The called number.
        called: String,
        /// The gateways, best first.
        devices: Vec<String>,
        /// Seconds granted.
        granted_seconds: u32,
        /// Money reserved.
        reserved: Money,
    },
    /// A request was refused.
    Refused {
        /// Who asked, as it said.
        customer: String,
        /// The OSP status.
        status: u16,
        /// The sentence.
        description: String,
    },
    /// More time was granted.
    Extended {
        /// The call's number.
        transaction: u64,
        /// Seconds granted altogether.
        granted_seconds: u32,
        /// Money reserved altogether.
        reserved: Money,
    },
    /// A device reported usage.
    UsageReported {
        /// The call's number.
        transaction: u64,
        /// The device.
        device: String,
        /// `source`, `destination`, `other`.
        role: &'static str,
        /// `start`, `interim`, `stop`.
        state: &'static str,
        /// Seconds of conversation.
        seconds: u64,
        /// Q.850 cause.
        cause: Option<u32>,
    },
    /// A call detail record was closed.
    CdrClosed {
        /// The call's number.
        transaction: u64,
        /// How much is known.
        state: CdrState,
        /// Seconds to be paid for.
        rated_seconds: u64,
        /// Whether the two ends disagree.
        disagreement: bool,
    },
    /// The call was settled: what was paid, what the gateway's customer got, and how.
    Settled {
        /// The call's number.
        transaction: u64,
        /// Posted, voided, ….
        outcome: Outcome,
        /// By the caller's customer to the house.
        sell: Money,
        /// By the house to the gateway's customer.
        cost: Money,
    },
    /// Reserved money was released because its time was over.
    TimedOut {
        /// The call's number.
        transaction: u64,
        /// The money.
        amount: Money,
    },
    /// What a running call costs so far, by the charge messages of the gateway.
    Charge {
        /// The call's number.
        transaction: u64,
        /// The bill so far.
        total: Money,
    },
}
