//! A call as the proxy knows it: what was decided, what was tried, when things happened.

use strowger_clock::{Moment, TimerId};
use strowger_sip::{Message, Uri};
use strowger_transaction::Target;

use crate::effect::{Attempt, Authorization, Cause, Destination, ReleaseSource};

/// How far a call has come.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum CallState {
    /// The policy server has been asked whether it may be set up.
    Admission,
    /// The clearinghouse has been asked who may carry it.
    Clearing,
    /// INVITEs are out.
    Calling,
    /// A 2xx has passed.
    Answered,
    /// Over; what is still awaited is an answer to be thrown away.
    Ended,
}

/// A call, for consoles and logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallSummary {
    /// Number of the call in this process.
    pub number: u64,
    /// Call-ID.
    pub call_id: String,
    /// Caller: user name or number.
    pub calling: String,
    /// Called: user name or number.
    pub called: String,
    /// State.
    pub state: CallState,
    /// The clearinghouse's transaction, once there is one.
    pub transaction_id: Option<u64>,
    /// Gateway in use.
    pub destination: Option<std::net::SocketAddr>,
}

/// Media decisions of a call.
#[derive(Default, Debug)]
pub(crate) struct Media {
    /// The SDP that the policy server has been asked about last.
    pub asked: Option<Vec<u8>>,
    /// An Answer decision is awaited, and this is what it was asked for.
    pub pending: Option<Asked>,
    /// Responses that wait for it, oldest first.
    pub held: Vec<Held>,
}

/// What an Answer decision is asked for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// The response that is held first.
    Response,
    /// The answer in an ACK, which is not held.
    Ack,
}

/// A response that waits for a decision.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Response context it came to: the INVITE's, or that of a re-INVITE, UPDATE or PRACK.
    pub context: u64,
    /// Branch it came by.
    pub branch: usize,
    pub message: Message,
}

/// A dialog's remote target and how it is reached: over the flow that it spoke from, where its own address is none.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub contact: String,
    pub target: Target,
}

impl Peer {
    pub(crate) fn is_at(&self, uri: &Uri<'_>) -> bool {
        Uri::parse(&self.contact).is_ok_and(|contact| contact.equivalent(uri))
    }
}

/// One attempt that is still running or has ended.
#[derive(Debug)]
pub(crate) struct Trial {
    pub destination: Destination,
    pub start: Moment,
    pub alert: Option<Moment>,
    pub connect: Option<Moment>,
    pub end: Option<(Moment, Cause, ReleaseSource)>,
}

pub(crate) struct Call {
    pub number: u64,
    pub call_id: String,
    pub caller_tag: String,
    /// Of the answered leg.
    pub callee_tag: Option<String>,
    pub calling: String,
    pub called: String,
    /// Where requests for the caller's and the callee's contact go.
    pub caller: Option<Peer>,
    pub callee: Option<Peer>,
    /// Tag of the called side of an early dialog that was hung up before its 2xx passed (RFC 3261 §15).
    pub early_bye: Option<String>,
    pub state: CallState,
    /// Response context of the INVITE while it runs.
    pub context: Option<u64>,
    /// The policy server has been asked: its state for the call is deleted when the call is forgotten.
    pub has_handle: bool,
    /// The policy server has admitted the call and is asked about its media and its end.
    pub at_policy: bool,
    /// Questions to the policy server and the clearinghouse that have no answer yet. The entry lives as long.
    pub outstanding: u32,
    pub media: Media,
    /// A telephone number, cleared by the clearinghouse.
    pub to_number: bool,
    pub authorization: Option<Authorization>,
    pub trials: Vec<Trial>,
    pub limit: Option<TimerId>,
    pub usage_sent: bool,
}

impl Call {
    pub(crate) fn summary(&self) -> CallSummary {
        CallSummary {
            number: self.number,
            call_id: self.call_id.clone(),
            calling: self.calling.clone(),
            called: self.called.clone(),
            state: self.state,
            transaction_id: self.authorization.as_ref().map(|authorization| authorization.transaction_id),
            destination: self.trials.last().map(|trial| trial.destination.address),
        }
    }

    /// Seconds that the clearinghouse granted to the attempt that was answered.
    pub(crate) fn granted_seconds(&self) -> Option<u32> {
        self.trials.iter().rev().find(|trial| trial.connect.is_some()).map(|trial| trial.destination.granted_seconds)
    }

    /// Attempts with an end each, for the report. A call that was authorized but never tried reports its first destination.
    pub(crate) fn attempts(
        &self,
        now: Moment,
        cause: &Cause,
        release: ReleaseSource,
        timestamp: impl Fn(Moment) -> strowger_clock::Timestamp,
    ) -> Vec<Attempt> {
        let mut attempts: Vec<Attempt> = self
            .trials
            .iter()
            .map(|trial| {
                let (end, cause, release) = trial.end.clone().unwrap_or((now, cause.clone(), release));
                Attempt {
                    destination: trial.destination.clone(),
                    start: timestamp(trial.start),
                    alert: trial.alert.map(&timestamp),
                    connect: trial.connect.map(&timestamp),
                    end: timestamp(end),
                    cause,
                    release,
                }
            })
            .collect();
        if attempts.is_empty()
            && let Some(first) =
                self.authorization.as_ref().and_then(|authorization| authorization.destinations.first())
        {
            attempts.push(Attempt {
                destination: first.clone(),
                start: timestamp(now),
                alert: None,
                connect: None,
                end: timestamp(now),
                cause: cause.clone(),
                release,
            });
        }
        attempts
    }
}
