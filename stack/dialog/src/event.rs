//! What the user agent tells its owner.

use bytes::Bytes;
use strowger_sip::Message;
use strowger_transaction::Flow;

/// Names a call of one user agent; never reused while the agent lives (until 2^32 calls).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId32(pub u32);

/// Names a registration of one user agent.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegistrationId(pub u32);

/// Why a command was not carried out. Nothing was sent and nothing changed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The maximum of calls or registrations is reached.
    TooMany,
    /// The transaction layer is full.
    LayerFull,
    /// There is no such call or registration (any more).
    Unknown,
    /// The call is not in a state in which this can be done.
    WrongState,
    /// Another offer is under way (RFC 3261 §14.1); wait for its end.
    OfferPending,
}

/// Why a call is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// We hung up.
    Local,
    /// The peer hung up; its Reason header (RFC 3326), if any.
    Remote(Option<String>),
    /// The caller cancelled before the answer; its Reason header, if any.
    Cancelled(Option<String>),
    /// Our 2xx was never acknowledged (RFC 3261 §13.3.1.4).
    NotAcknowledged,
    /// The peer does not know the dialog any more, or does not answer (RFC 3261 §12.2.1.2): the status, 408 for silence.
    DialogLost(u16),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum UserAgentEvent {
    /// The registrar took the registration for so many seconds. Told again after every refresh.
    Registered {
        /// Which.
        registration: RegistrationId,
        /// Granted.
        expires_seconds: u32,
    },
    /// The registration was taken back.
    Unregistered {
        /// Which; the id means nothing any more.
        registration: RegistrationId,
    },
    /// The registrar refused (408: did not answer; 503: could not be reached).
    RegistrationFailed {
        /// Which.
        registration: RegistrationId,
        /// Status.
        status: u16,
        /// Reason phrase.
        reason: String,
        /// Whether the agent goes on trying by itself (a refresh failed); otherwise the id means nothing any more.
        retrying: bool,
    },
    /// A [`crate::Command::Invite`] became this call.
    Dialing {
        /// The command's reference.
        reference: u64,
        /// The call.
        call: CallId32,
    },
    /// A [`crate::Command`] could not be carried out.
    CommandRefused {
        /// The command's reference, 0 for commands without.
        reference: u64,
        /// The call it was for.
        call: Option<CallId32>,
        /// Why.
        why: Refused,
    },
    /// Somebody calls. Owed: ring, answer or reject.
    IncomingCall {
        /// The call.
        call: CallId32,
        /// The INVITE.
        request: Message,
        /// What it came by.
        flow: Flow,
        /// The offer, if the INVITE has one; otherwise the 200 must have one.
        sdp: Option<Bytes>,
    },
    /// A provisional response above 100.
    Progress {
        /// The call.
        call: CallId32,
        /// 101 to 199.
        status: u16,
        /// A session description for early media.
        sdp: Option<Bytes>,
        /// The response.
        response: Message,
    },
    /// The callee answered. The ACK has been sent, unless `answer_owed`.
    Answered {
        /// The call.
        call: CallId32,
        /// The answer, or the offer if the INVITE had none.
        sdp: Option<Bytes>,
        /// The 2xx brought an offer: [`crate::UserAgent::acknowledge`] must give the answer.
        answer_owed: bool,
        /// The response.
        response: Message,
    },
    /// The caller acknowledged our 2xx: the call is up.
    Confirmed {
        /// The call.
        call: CallId32,
        /// The answer to the offer of our 2xx, if that had one.
        sdp: Option<Bytes>,
    },
    /// The callee redirects (3xx). The call is over; whoever follows makes a new one (RFC 3261 §8.1.3.4).
    Redirected {
        /// The call.
        call: CallId32,
        /// 300 to 399.
        status: u16,
        /// Contact URIs, best first.
        contacts: Vec<String>,
        /// The response.
        response: Message,
    },
    /// The callee or the network refused. The call is over. 408: nobody answered; 503: could not be sent; 487: cancelled by us.
    Rejected {
        /// The call.
        call: CallId32,
        /// 400 to 699.
        status: u16,
        /// Reason phrase.
        reason: String,
        /// The response, if there was one.
        response: Option<Message>,
    },
    /// The call is over, after having been answered or (incoming) before.
    Ended {
        /// The call.
        call: CallId32,
        /// Why.
        reason: EndReason,
    },
    /// The peer changes the session (re-INVITE or UPDATE). Owed: [`crate::UserAgent::answer_reoffer`] or
    /// [`crate::UserAgent::reject_reoffer`].
    Reoffer {
        /// The call.
        call: CallId32,
        /// The offer; without one, the answer must be an offer of ours.
        sdp: Option<Bytes>,
        /// The request.
        request: Message,
    },
    /// The session was changed: our re-INVITE was accepted, or the offer in our answer to theirs was.
    Reanswered {
        /// The call.
        call: CallId32,
        /// The answer; the peer's offer if our re-INVITE had none.
        sdp: Option<Bytes>,
        /// [`crate::UserAgent::acknowledge`] must give the answer.
        answer_owed: bool,
    },
    /// Our re-INVITE was refused; the session stays as it was (RFC 3261 §14.1).
    ReofferRefused {
        /// The call.
        call: CallId32,
        /// 300 to 699.
        status: u16,
    },
    /// An INFO of the peer (answered 200).
    Info {
        /// The call.
        call: CallId32,
        /// The request.
        request: Message,
    },
    /// Our INFO was answered (408: was not).
    InfoDone {
        /// The call.
        call: CallId32,
        /// 200 to 699.
        status: u16,
    },
}

/// How full the agent is. Every number returns to zero when calls and registrations are over.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Gauge {
    /// Calls that are not over.
    pub calls: usize,
    /// Records of calls, those included whose last transactions still run out.
    pub records: usize,
    /// Registrations.
    pub registrations: usize,
    /// Requests under way.
    pub requests: usize,
    /// Timers running.
    pub timers: usize,
}
