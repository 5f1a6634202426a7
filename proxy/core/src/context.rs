//! Response contexts: the branches of one request and what has become of them (RFC 3261 §16.7).

use std::collections::VecDeque;

use strowger_clock::TimerId;
use strowger_sip::Message;
use strowger_transaction::{ClientKey, Flow, ServerKey, Target};

use crate::effect::Destination;

/// Where one branch goes.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    /// Request-URI of the branch.
    pub uri: String,
    /// Next hop.
    pub target: Target,
    /// The clearinghouse's destination, for a gateway.
    pub destination: Option<Destination>,
}

/// How far a branch has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum BranchState {
    /// No answer yet.
    Calling,
    /// A provisional has come.
    Proceeding,
    /// A final answer has come, or it has failed.
    Done,
}

pub(crate) struct Branch {
    pub key: ClientKey,
    pub state: BranchState,
    /// The other end is not waited for any more: whatever final comes is swallowed (a 2xx is hung up).
    pub abandoned: bool,
    /// It has brought a 2xx that counts.
    pub accepted: bool,
    pub timer_c: Option<TimerId>,
    pub silence: Option<TimerId>,
    /// Index in the call's trials.
    pub trial: Option<usize>,
    /// To tags of 2xx that were hung up: each again is acknowledged again, but sent one BYE only.
    pub hung_up: Vec<String>,
    /// The request as sent, without our Via.
    pub sent: Message,
    pub target: Target,
}

impl Branch {
    /// Whether the 2xx with this To tag was hung up.
    pub(crate) fn has_hung_up(&self, tag: Option<&str>) -> bool {
        self.hung_up.iter().any(|known| Some(known.as_str()) == tag)
    }
}

pub(crate) struct Context {
    pub key: ServerKey,
    /// As received.
    pub request: Message,
    pub flow: Flow,
    /// After §16.4: our Routes taken off, Max-Forwards counted down.
    pub forwardable: Message,
    pub branches: Vec<Branch>,
    /// Groups still to be tried, one after the other; the hops of a group at once.
    pub waiting: VecDeque<Vec<Hop>>,
    /// Final non-2xx responses so far, with what a failed branch became.
    pub finals: Vec<Message>,
    /// A final response has been sent.
    pub answered: bool,
    /// A 2xx has come by a branch that counts: it is the answer, even while it is held.
    pub accepted: bool,
    pub cancelled: bool,
    /// A branch could not be sent because the transaction layer is full.
    pub overloaded: bool,
    pub call: Option<u64>,
    /// Whether this is an INVITE outside a dialog: its failure can go to another destination, and ends the call.
    pub opens_call: bool,
    /// Whether the request can open a dialog, which then goes through us.
    pub opens_dialog: bool,
}

impl Context {
    /// Whether a branch can still bring a final response that matters.
    pub(crate) fn is_waiting(&self) -> bool {
        self.branches.iter().any(|branch| branch.state != BranchState::Done && !branch.abandoned)
    }

    /// §16.7 step 6: the best of the finals.
    pub(crate) fn best(&self) -> Option<&Message> {
        // among equals one that says more (a Q.850 cause), then the latest: of gateways tried in turn, the last one's word counts
        let key = |message: &&Message| {
            let (class, rank) = preference(message.status().unwrap_or(500));
            (class, rank, crate::response::q850_of(message).is_none())
        };
        self.finals.iter().rev().min_by_key(key)
    }
}

/// Lower is better: 6xx above all, then the lowest class; in 4xx those that let the caller do something about it; a 408 and a
/// 503 last in their class.
fn preference(status: u16) -> (u16, u16) {
    let class = status / 100;
    match status {
        600..=699 => (0, status),
        401 | 407 | 415 | 420 | 484 => (class, 0),
        408 | 503 => (class, 999),
        _ => (class, status),
    }
}
