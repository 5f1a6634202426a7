//! Why an INVITE is refused before a circuit is taken, and how SIP says so.

use std::net::SocketAddr;

use strowger_isup::Cause;

/// Every reason for which the gateway itself refuses an INVITE.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RefusalReason {
    /// No P-OSP-Auth-Token header.
    TokenMissing,
    /// Not base64, not a token, or not readable.
    TokenUnreadable,
    /// Not signed by an authority that is trusted here.
    TokenForged,
    /// Its time is over.
    TokenExpired,
    /// Its time has not come.
    TokenNotYetValid,
    /// It has been used.
    TokenReplayed,
    /// It is for another gateway.
    TokenForeignGateway,
    /// It is for another called number.
    TokenWrongNumber,
    /// It is for another call.
    TokenWrongCall,
    /// More tokens in use than can be remembered.
    TokensFull,
    /// The authority's key is not known yet.
    NoAuthority,
    /// The Request-URI is not a telephone number.
    NotANumber,
    /// No codec in common, or the description cannot be read.
    NoCodec,
    /// Every circuit is taken or blocked.
    NoCircuit,
    /// No media port.
    NoMedia,
    /// The maximum of calls.
    TooManyCalls,
    /// Draining.
    Draining,
    /// The fault switch.
    FaultSwitch,
}

impl RefusalReason {
    /// All of them, in the order of checking.
    pub const ALL: [RefusalReason; 18] = [
        RefusalReason::FaultSwitch,
        RefusalReason::Draining,
        RefusalReason::TooManyCalls,
        RefusalReason::NoAuthority,
        RefusalReason::NotANumber,
        RefusalReason::TokenMissing,
        RefusalReason::TokenUnreadable,
        RefusalReason::TokenForged,
        RefusalReason::TokenForeignGateway,
        RefusalReason::TokenNotYetValid,
        RefusalReason::TokenExpired,
        RefusalReason::TokenWrongNumber,
        RefusalReason::TokenWrongCall,
        RefusalReason::TokenReplayed,
        RefusalReason::TokensFull,
        RefusalReason::NoCodec,
        RefusalReason::NoCircuit,
        RefusalReason::NoMedia,
    ];

    /// The SIP status.
    pub const fn status(self) -> u16 {
        match self {
            RefusalReason::TokenMissing
            | RefusalReason::TokenUnreadable
            | RefusalReason::TokenForged
            | RefusalReason::TokenExpired
            | RefusalReason::TokenNotYetValid
            | RefusalReason::TokenReplayed
            | RefusalReason::TokenForeignGateway
            | RefusalReason::TokenWrongNumber
            | RefusalReason::TokenWrongCall => 403,
            RefusalReason::NotANumber => 484,
            RefusalReason::NoCodec => 488,
            RefusalReason::TokensFull
            | RefusalReason::NoAuthority
            | RefusalReason::NoCircuit
            | RefusalReason::NoMedia
            | RefusalReason::TooManyCalls
            | RefusalReason::Draining
            | RefusalReason::FaultSwitch => 503,
        }
    }

    /// For people: the text of the Warning (RFC 3261 §20.43) and of logs.
    pub const fn text(self) -> &'static str {
        match self {
            RefusalReason::TokenMissing => "authorization token missing",
            RefusalReason::TokenUnreadable => "authorization token unreadable",
            RefusalReason::TokenForged => "authorization token not signed by a trusted authority",
            RefusalReason::TokenExpired => "authorization token expired",
            RefusalReason::TokenNotYetValid => "authorization token not yet valid",
            RefusalReason::TokenReplayed => "authorization token used before",
            RefusalReason::TokenForeignGateway => "authorization token is for another gateway",
            RefusalReason::TokenWrongNumber => "authorization token is for another called number",
            RefusalReason::TokenWrongCall => "authorization token is for another call",
            RefusalReason::TokensFull => "too many authorization tokens in use",
            RefusalReason::NoAuthority => "authority of tokens not known yet",
            RefusalReason::NotANumber => "called address is not a telephone number",
            RefusalReason::NoCodec => "no codec in common",
            RefusalReason::NoCircuit => "no circuit available",
            RefusalReason::NoMedia => "no media port available",
            RefusalReason::TooManyCalls => "too many calls",
            RefusalReason::Draining => "gateway is going out of service",
            RefusalReason::FaultSwitch => "refused by the fault switch",
        }
    }

    /// The Q.850 cause that the Reason header and the usage report give.
    pub const fn cause(self) -> Cause {
        match self {
            RefusalReason::NotANumber => Cause::INVALID_NUMBER_FORMAT,
            RefusalReason::NoCodec => Cause::BEARER_NOT_IMPLEMENTED,
            RefusalReason::NoCircuit => Cause::NO_CIRCUIT,
            RefusalReason::TokensFull | RefusalReason::NoMedia | RefusalReason::TooManyCalls => {
                Cause::RESOURCE_UNAVAILABLE
            }
            RefusalReason::NoAuthority | RefusalReason::Draining | RefusalReason::FaultSwitch => {
                Cause::TEMPORARY_FAILURE
            }
            _ => Cause::CALL_REJECTED,
        }
    }

    /// The place of a reason among the counters.
    pub(crate) fn index(self) -> usize {
        Self::ALL.iter().position(|reason| *reason == self).unwrap_or(0)
    }
}

/// A call that was refused before it used anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedCall {
    /// Call-ID.
    pub call_id: String,
    /// The Request-URI.
    pub uri: String,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Answered with.
    pub status: u16,
    /// Why.
    pub reason: RefusalReason,
}
