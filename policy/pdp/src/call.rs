//! One call's record.

use std::collections::VecDeque;

use bytes::Bytes;
use strowger_clock::Moment;
use strowger_cops::sip::Phase;
use strowger_pib::flow::MediaFlow;

use crate::event::{CallName, CallUsage, FlowUsage};
use crate::media::Session;
use crate::pdp::ConnectionId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub(crate) u64);

/// A handle is unique for one PEP (RFC 2748 §2.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CallKey {
    pub(crate) pep_id: String,
    pub(crate) handle: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// May be made; nothing is on the routers.
    Admitted,
    /// Rows are out, reports are due; the proxy waits.
    Installing,
    /// Rows are on the routers (or would be, if there were one).
    Marked,
    /// Removal is out; the proxy waits.
    Removing,
    /// Refused or revoked; only the handle is left.
    Refused,
    /// Torn down and confirmed; only the handle is left.
    Ended,
}

/// The offer/answer exchange (RFC 3264): who offered last, and what is agreed.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// An offer without an answer; `true` when it came in a request.
    pub(crate) offer: Option<(Session, bool)>,
}

/// A flow of a call under its instance number, with what routers counted.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    pub(crate) instance: u32,
    pub(crate) flow: MediaFlow,
    pub(crate) packets: u64,
    pub(crate) octets: u64,
}

/// The request that the proxy waits on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) phase: Phase,
    pub(crate) at: Moment,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) key: CallKey,
    pub(crate) name: CallName,
    /// `None` while the proxy is gone.
    pub(crate) connection: Option<ConnectionId>,
    /// When it is given up, while the proxy is gone.
    pub(crate) orphaned_until: Option<Moment>,
    pub(crate) state: State,
    pub(crate) exchange: Exchange,
    /// Share of the budget; `None` when it has none.
    pub(crate) reserved_kbps: Option<u32>,
    pub(crate) admitted: Moment,
    pub(crate) started: Option<Moment>,
    /// Flows that are meant to be on the routers.
    pub(crate) flows: Vec<Counted>,
    /// Flows on their way out: their last counters may still come.
    pub(crate) leaving: Vec<Counted>,
    /// Flows that are gone, for the usage record.
    pub(crate) past: Vec<FlowUsage>,
    pub(crate) asked: Option<Asked>,
    /// Requests that came while another one was open.
    pub(crate) waiting: VecDeque<(Phase, Bytes)>,
    /// Why its handle was deleted.
    pub(crate) deleted: Option<String>,
}

/// Past flows kept for the usage record; a call that renegotiates more often loses the oldest.
const PAST_FLOWS_MAX: usize = 64;

impl Call {
    pub(crate) fn count(&mut self, instance: u32, packets: u64, octets: u64) {
        for counted in self.flows.iter_mut().chain(&mut self.leaving) {
            if counted.instance == instance {
                counted.packets = counted.packets.max(packets);
                counted.octets = counted.octets.max(octets);
            }
        }
    }

    pub(crate) fn media(&self) -> Vec<MediaFlow> {
        self.flows.iter().map(|counted| counted.flow).collect()
    }

    /// Files what has left; gives the instance numbers back.
    pub(crate) fn settle(&mut self) -> Vec<u32> {
        let mut freed = Vec::with_capacity(self.leaving.len());
        for Counted { instance, flow, packets, octets } in self.leaving.drain(..) {
            freed.push(instance);
            if self.past.len() < PAST_FLOWS_MAX {
                self.past.push(FlowUsage { flow, packets, octets });
            }
        }
        freed
    }

    pub(crate) fn usage(&self, now: Moment, reason: &str) -> CallUsage {
        CallUsage {
            call: self.name.clone(),
            admitted: self.admitted,
            started: self.started,
            stopped: now,
            flows: self.past.clone(),
            reason: reason.to_owned(),
        }
    }
}
