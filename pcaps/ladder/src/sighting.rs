//! A signalling message as it was seen: what a ladder shows of it, and what tells to which call it belongs.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use strowger_cops::{Command, Op};

use crate::model::Protocol;

/// One end of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    Socket(SocketAddr),
    PointCode(u16),
}

impl Endpoint {
    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            Endpoint::Socket(address) => Some(address.ip()),
            Endpoint::PointCode(_) => None,
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Socket(address) => address.fmt(f),
            Endpoint::PointCode(code) => write!(f, "point code {code}"),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub at: u64,
    pub frame: u64,
    pub interface: u32,
    pub source: Endpoint,
    pub destination: Endpoint,
    pub label: String,
    pub detail: String,
    pub retransmission: bool,
    pub facts: Facts,
}

#[derive(Clone, Debug)]
pub(crate) enum Facts {
    Sip(SipFacts),
    Cops(CopsFacts),
    Osp(OspFacts),
    Isup(IsupFacts),
}

impl Facts {
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Facts::Sip(_) => Protocol::Sip,
            Facts::Cops(_) => Protocol::Cops,
            Facts::Osp(_) => Protocol::Osp,
            Facts::Isup(_) => Protocol::Isup,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SipFacts {
    pub call_id: String,
    /// Of the CSeq.
    pub method: strowger_sip::Method,
    /// `None` for requests.
    pub status: Option<u16>,
    pub reason: String,
    /// No To tag: it makes a dialog.
    pub initial: bool,
    /// Request-URI.
    pub uri: String,
    /// From URI.
    pub from: String,
    /// Digits or user part that is called.
    pub called: String,
    pub token: bool,
    /// Media addresses in its SDP.
    pub media: Vec<SocketAddr>,
    /// Of the top Via of a request, when it is an address.
    pub sent_by: Option<SocketAddr>,
}

/// One side of a TCP connection; a number of ours.
pub(crate) type ConnectionId = u64;

#[derive(Clone, Debug)]
pub(crate) struct CopsFacts {
    pub connection: ConnectionId,
    pub op: Op,
    pub client_type: u16,
    pub handle: Bytes,
    /// Of the SIP message inside.
    pub call_id: Option<String>,
    pub command: Option<Command>,
    /// Media addresses of installed filters: where the flow goes, and where it comes from.
    pub flows: Vec<SocketAddr>,
    /// Instances named by installs and removals.
    pub instances: Vec<u32>,
    pub accounting: bool,
    pub pep_id: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct OspFacts {
    pub connection: ConnectionId,
    /// Empty for an HTTP answer that holds no OSP.
    pub message_id: String,
    pub answer: bool,
    pub call_ids: Vec<String>,
    pub transaction_id: Option<u64>,
    /// The device stands at the far end of the call.
    pub destination_side: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct IsupFacts {
    pub cic: u16,
    pub origin: u16,
    pub destination: u16,
    pub acronym: &'static str,
    pub called: Option<String>,
    pub calling: Option<String>,
    /// Q.850, of a REL.
    pub cause: Option<u8>,
}
