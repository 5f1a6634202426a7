//! What a user agent can be told to do when it runs in a task of its own.

use bytes::Bytes;
use strowger_transaction::Target;

use crate::config::Login;
use crate::event::{CallId32, RegistrationId};

/// A call to make.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Request-URI.
    pub uri: String,
    /// To, without tag; the Request-URI if not given.
    pub to: Option<String>,
    /// From, without tag: `"Alice" <sip:alice@example.test>`.
    pub from: String,
    /// The first hop.
    pub target: Target,
    /// Route values set beforehand (RFC 3261 §8.1.2).
    pub route: Vec<String>,
    /// The offer; without one, the callee makes the offer and [`crate::UserAgent::acknowledge`] the answer.
    pub sdp: Option<Bytes>,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// For challenges.
    pub login: Option<Login>,
    /// Call-ID; a random one if not given.
    pub call_id: Option<String>,
}

/// A registration to make and keep.
#[derive(Clone, Debug)]
pub struct Register {
    /// Request-URI: the registrar's domain, `sip:example.test`.
    pub registrar: String,
    /// To and From: the address of record.
    pub aor: String,
    /// The first hop.
    pub target: Target,
    /// Asked for.
    pub expires_seconds: u32,
    /// For challenges.
    pub login: Option<Login>,
}

/// The methods of [`crate::UserAgent`] as values.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Command {
    Register {
        reference: u64,
        register: Register,
    },
    Unregister {
        registration: RegistrationId,
    },
    /// Answered by [`crate::UserAgentEvent::Dialing`] with the same reference.
    Invite {
        reference: u64,
        invite: Invite,
    },
    Ring {
        call: CallId32,
        status: u16,
        sdp: Option<Bytes>,
    },
    Answer {
        call: CallId32,
        sdp: Option<Bytes>,
    },
    Acknowledge {
        call: CallId32,
        sdp: Option<Bytes>,
    },
    Reject {
        call: CallId32,
        status: u16,
        reason: Option<String>,
        headers: Vec<(String, String)>,
    },
    HangUp {
        call: CallId32,
        reason: Option<String>,
    },
    Reinvite {
        call: CallId32,
        sdp: Option<Bytes>,
    },
    AnswerReoffer {
        call: CallId32,
        sdp: Option<Bytes>,
    },
    RejectReoffer {
        call: CallId32,
        status: u16,
    },
    SendInfo {
        call: CallId32,
        content_type: String,
        body: Bytes,
    },
}
