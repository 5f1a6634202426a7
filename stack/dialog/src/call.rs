//! What the agent keeps of one call.

use bytes::Bytes;
use strowger_clock::{Moment, TimerId};
use strowger_sip::Message;
use strowger_transaction::{ClientKey, Flow, ServerKey, Target};

use crate::config::Login;
use crate::dialog::Dialog;

/// Where a call stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// INVITE sent, no final response.
    Calling,
    /// We gave up calling and wait for the INVITE's final response.
    Cancelling,
    /// A 2xx came whose ACK waits for the owner's answer.
    AckOwed,
    /// An INVITE came; the owner owes an answer.
    Incoming,
    /// We sent a 2xx that is not acknowledged.
    Accepted,
    /// Both sides know of the answer.
    Up,
    /// Our BYE is under way.
    Leaving,
    /// Over; the record waits for its last transactions.
    Over,
}

/// A 2xx of ours to an INVITE, sent again until its ACK comes (RFC 3261 §13.3.1.4).
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    pub(crate) key: ServerKey,
    pub(crate) response: Message,
    pub(crate) sequence: u32,
    /// The 2xx holds an offer: the ACK holds the answer.
    pub(crate) offered: bool,
    pub(crate) interval: std::time::Duration,
    pub(crate) retransmit: TimerId,
    pub(crate) give_up: TimerId,
}

/// An offer under way within a confirmed dialog.
#[derive(Debug)]
pub(crate) enum Offer {
    /// Our re-INVITE.
    Ours { sdp: Option<Bytes>, tries: u8 },
    /// The peer's re-INVITE or UPDATE, which the owner has to answer.
    Theirs { key: ServerKey, request: Message },
}

/// A re-INVITE of ours that met one of the peer's (491) and waits to be sent again (§14.1).
#[derive(Debug)]
pub(crate) struct Postponed {
    pub(crate) sdp: Option<Bytes>,
    pub(crate) tries: u8,
    pub(crate) timer: TimerId,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) state: State,
    pub(crate) local_tag: String,
    /// The dialog of the call; for a caller, once a 2xx came.
    pub(crate) dialog: Option<Dialog>,
    /// A caller's early dialogs, and those of further 2xx that are being ended.
    pub(crate) forks: Vec<Dialog>,
    pub(crate) login: Option<Login>,
    /// A caller's INVITE that is under way.
    pub(crate) inviting: Option<ClientKey>,
    /// A callee's INVITE that is not answered.
    pub(crate) incoming: Option<(ServerKey, Message, Flow)>,
    pub(crate) unacknowledged: Option<Unacknowledged>,
    pub(crate) offer: Option<Offer>,
    pub(crate) postponed: Option<Postponed>,
    /// The owner hung up before our 2xx was acknowledged: BYE follows (§15.1.1). Its Reason header.
    pub(crate) leave_later: Option<Option<String>>,
    /// Transactions whose events name this call.
    pub(crate) transactions: usize,
    /// Whether the call began with an INVITE of ours: who backs off longer after a 491 (§14.1).
    pub(crate) caller: bool,
}

impl Call {
    pub(crate) fn new(state: State, local_tag: String) -> Call {
        Call {
            state,
            local_tag,
            dialog: None,
            forks: Vec::new(),
            login: None,
            inviting: None,
            incoming: None,
            unacknowledged: None,
            offer: None,
            postponed: None,
            leave_later: None,
            transactions: 0,
            caller: state == State::Calling,
        }
    }

    /// The dialog that a request of the peer belongs to.
    pub(crate) fn dialog_of(&mut self, request: &Message) -> Option<&mut Dialog> {
        self.dialog.iter_mut().chain(self.forks.iter_mut()).find(|dialog| dialog.matches(request))
    }
}

/// What a request of ours is for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Invite(crate::CallId32),
    Reinvite(crate::CallId32),
    Bye(crate::CallId32),
    Info(crate::CallId32),
    Register(crate::RegistrationId),
}

impl Purpose {
    pub(crate) fn call(self) -> Option<crate::CallId32> {
        match self {
            Purpose::Invite(call) | Purpose::Reinvite(call) | Purpose::Bye(call) | Purpose::Info(call) => Some(call),
            Purpose::Register(_) => None,
        }
    }
}

/// A request of ours whose transaction lives.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) purpose: Purpose,
    pub(crate) request: Message,
    pub(crate) target: Target,
    pub(crate) login: Option<Login>,
    /// Challenges answered so far, and the statuses (401, 407) that they came with.
    pub(crate) challenges: u8,
    pub(crate) answered: Vec<u16>,
    pub(crate) stale_seen: bool,
    /// ACKs sent for 2xx, by To tag: sent again for each 2xx that comes again (§13.2.2.4).
    pub(crate) acks: Vec<(String, Message, Target)>,
    /// A final response has been dealt with.
    pub(crate) done: bool,
}

/// A deadline of the agent's own.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    Retransmit(crate::CallId32),
    GiveUp(crate::CallId32),
    Glare(crate::CallId32),
    Refresh(crate::RegistrationId),
}

/// `now` plus a wait.
pub(crate) fn after(now: Moment, wait: std::time::Duration) -> Moment {
    now + wait
}
