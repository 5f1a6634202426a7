//! A call as the gateway knows it.

use std::net::SocketAddr;

use strowger_isup::Cause;

/// How far a call has come.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum CallState {
    /// The token is good; the media driver has been asked for a port.
    OpeningMedia,
    /// IAM is out; the exchange has not said anything.
    AwaitingAddressComplete,
    /// ACM has come, and nobody is alerted yet (or the exchange does not say).
    Proceeding,
    /// The called telephone rings.
    Alerting,
    /// ANM or CON has come and the 200 is out, not acknowledged.
    Accepted,
    /// The ACK has come: both sides are connected.
    Connected,
    /// Over for the caller; the circuit waits for RLC, the media port for its last numbers.
    Releasing,
    /// Over.
    Ended,
}

/// A call, for consoles and logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallSummary {
    /// Number of the call in this process.
    pub number: u64,
    /// Call-ID.
    pub call_id: String,
    /// Calling number, from the token.
    pub calling: String,
    /// Called number, from the token.
    pub called: String,
    /// Who sent the INVITE.
    pub peer: SocketAddr,
    /// State.
    pub state: CallState,
    /// The clearinghouse's transaction.
    pub transaction_id: u64,
    /// Circuit identification code, once one is seized.
    pub circuit: Option<u16>,
    /// Our media port, once it is open.
    pub media_port: Option<u16>,
    /// Why it ended, once it has.
    pub cause: Option<Cause>,
}
