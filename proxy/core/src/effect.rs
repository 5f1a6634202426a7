//! What the core asks of other drivers, and what they answer.

use std::net::SocketAddr;

use bytes::Bytes;
use strowger_clock::Timestamp;

use crate::Config;

/// Names a call between the core and its drivers; also the COPS handle of the call. Never reused.
pub type CallNumber = u64;

/// Which decision of a call is asked for (the call's several decisions go over one handle).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// The INVITE has come.
    Setup,
    /// A response with the SDP answer has come.
    Answer,
    /// A re-INVITE or UPDATE with a new offer has come; its answer is asked for as [`Phase::Answer`].
    Modify,
    /// A BYE has come, or the call has failed after an Install.
    Teardown,
}

/// The policy server's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on: what the decision installs is confirmed.
    Install,
    /// Refused, with the policy server's words.
    Remove {
        /// Why.
        reason: String,
    },
    /// No policy server answered in time.
    Unavailable,
}

/// What the clearinghouse is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizationQuery {
    /// The Call-ID of the INVITE.
    pub call_id: String,
    /// Calling number: E.164 digits without plus, or the user name of a caller that has no number.
    pub calling: String,
    /// Whether `calling` is digits.
    pub calling_is_number: bool,
    /// Called number, E.164 digits without plus.
    pub called: String,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// At most this many destinations.
    pub destinations_max: u32,
}

/// One ranked destination with its token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Calling number to present.
    pub calling: String,
    /// Called number to use; the clearinghouse may have translated it.
    pub called: String,
    /// Gateway's SIP address.
    pub address: SocketAddr,
    /// Authorization token, base64 as the header carries it.
    pub token_base64: String,
    /// Seconds granted.
    pub granted_seconds: u32,
}

/// The clearinghouse's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authorization {
    /// The clearinghouse's number of the transaction.
    pub transaction_id: u64,
    /// In rank order; not empty.
    pub destinations: Vec<Destination>,
}

/// Why there are no destinations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClearingRefusal {
    /// The clearinghouse said no: OSP status code and description (TS 101 321).
    Refused {
        /// OSP status code.
        code: u16,
        /// Its words.
        description: String,
    },
    /// No clearinghouse answered.
    Unavailable,
}

/// Why an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Q.850 cause value.
    Q850(u8),
    /// SIP status code.
    Sip(u16),
}

/// Who ended the call.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum ReleaseSource {
    /// The caller's side.
    Source,
    /// The called side.
    Destination,
    /// The proxy or a time limit.
    Intermediate,
}

/// One attempt to carry a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Where to.
    pub destination: Destination,
    /// INVITE sent.
    pub start: Timestamp,
    /// First 180 or 183.
    pub alert: Option<Timestamp>,
    /// 2xx received, unless it was refused to the caller.
    pub connect: Option<Timestamp>,
    /// Ended.
    pub end: Timestamp,
    /// Why it ended.
    pub cause: Cause,
    /// Who ended it.
    pub release: ReleaseSource,
}

impl Attempt {
    /// Seconds from connect to end, rounded up to whole seconds; 0 when never connected.
    pub fn duration_seconds(&self) -> u64 {
        let Some(connect) = self.connect else { return 0 };
        self.end.unix_nanos().saturating_sub(connect.unix_nanos()).div_ceil(1_000_000_000)
    }
}

/// The proxy's account of a call, one report per attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallUsage {
    /// From the authorization.
    pub transaction_id: u64,
    /// The Call-ID.
    pub call_id: String,
    /// In the order tried.
    pub attempts: Vec<Attempt>,
}

/// What the core asks of other drivers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Ask the policy server; answered by [`Input::Admission`], exactly once. The questions about one call reach the policy
    /// server in this order.
    Admission {
        /// The call.
        call: CallNumber,
        /// Which decision.
        phase: Phase,
        /// The SIP message that asks for it.
        sip: Bytes,
    },
    /// Tell the policy server that its decision was carried out, or could not be.
    AdmissionReport {
        /// The call.
        call: CallNumber,
        /// Whether it was.
        installed: bool,
    },
    /// The call's state at the policy server is no longer needed: the last word about a call that it was asked about.
    /// Nothing answers this.
    AdmissionDelete {
        /// The call.
        call: CallNumber,
    },
    /// Ask the clearinghouse; answered by [`Input::Authorization`], exactly once.
    Authorize {
        /// The call.
        call: CallNumber,
        /// The question.
        query: AuthorizationQuery,
    },
    /// Report usage to the clearinghouse, until it is confirmed.
    Usage {
        /// The call.
        call: CallNumber,
        /// What to report.
        usage: CallUsage,
    },
    /// A call has changed its state: for consoles and logs.
    Call(crate::CallSummary),
}

/// What other drivers tell the core.
#[derive(Debug)]
pub enum Input {
    /// The policy server's answer.
    Admission {
        /// The call.
        call: CallNumber,
        /// Which question it answers.
        phase: Phase,
        /// The answer.
        verdict: Verdict,
    },
    /// The clearinghouse's answer.
    Authorization {
        /// The call.
        call: CallNumber,
        /// The answer.
        outcome: Result<Authorization, ClearingRefusal>,
    },
    /// A new configuration; running calls go on.
    Reload(Box<Config>),
    /// Take no new calls and registrations; running calls go on.
    Drain,
    /// The process ends: every call is closed in the books now, because its BYE will find nobody who knows it.
    Close,
}
