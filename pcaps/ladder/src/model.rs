//! What is found in a capture, as plain values.

use serde::Serialize;

use crate::file::Trouble;

/// The protocols that a ladder shows.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// RFC 3261.
    Sip,
    /// RFC 2748, RFC 3084.
    Cops,
    /// ETSI TS 101 321.
    Osp,
    /// ITU-T Q.763.
    Isup,
    /// RFC 3550.
    Rtp,
}

impl Protocol {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Sip => "SIP",
            Protocol::Cops => "COPS",
            Protocol::Osp => "OSP",
            Protocol::Isup => "ISUP",
            Protocol::Rtp => "RTP",
        }
    }
}

/// What a party does in a call, in the order of a ladder's columns from left to right.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sent the first INVITE.
    Caller,
    /// Forwards media; a COPS-PR client.
    Router,
    /// Passes SIP on.
    Proxy,
    /// Answers COPS requests.
    Policy,
    /// Answers OSP requests.
    Clearinghouse,
    /// Between SIP and the telephone network.
    Gateway,
    /// Behind the trunk.
    Exchange,
    /// Received the last INVITE.
    Callee,
    /// Anything else.
    Other,
}

impl Role {
    /// The word for a party that has no other name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Caller => "caller",
            Role::Router => "router",
            Role::Proxy => "proxy",
            Role::Policy => "policy",
            Role::Clearinghouse => "clearinghouse",
            Role::Gateway => "gateway",
            Role::Exchange => "exchange",
            Role::Callee => "callee",
            Role::Other => "host",
        }
    }
}

/// One column of a ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// From [`crate::Names`], else made of its role.
    pub name: String,
    /// What it does in this call.
    pub role: Role,
    /// Its addresses in this call: `ip:port`, `ip`, or `point code n`.
    pub addresses: Vec<String>,
}

/// One message of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When it was first seen, nanoseconds since 1970 (UTC).
    pub at_unix_nanos: u64,
    /// Number of the packet that completed it, from 1, as tshark's `frame.number`.
    pub frame: u64,
    /// Name of the interface that saw it first; empty in files that name none.
    pub interface: String,
    /// Index of the sender in [`Call::parties`].
    pub from: usize,
    /// Index of the receiver in [`Call::parties`].
    pub to: usize,
    /// Sender's address.
    pub source: String,
    /// Receiver's address.
    pub destination: String,
    /// Protocol.
    pub protocol: Protocol,
    /// What it says, in a few words.
    pub label: String,
    /// More of it, in a line.
    pub detail: String,
    /// The same message again.
    pub retransmission: bool,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Outcome {
    /// Neither answered nor refused in this capture.
    Unfinished,
    /// Answered and not ended in this capture.
    Answered,
    /// Answered and ended.
    Completed {
        /// From answer to BYE or REL, ms.
        talked_ms: u64,
        /// Index in [`Call::parties`] of who hung up.
        ended_by: usize,
    },
    /// Given up by the caller.
    Cancelled,
    /// Refused.
    Failed {
        /// The caller's final answer, 0 for a call that has only ISUP.
        status: u16,
        /// Its reason phrase, or the cause.
        reason: String,
    },
}

/// One place where a stream was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MediaPoint {
    /// Interface, as in the file.
    pub interface: String,
    /// IP time to live: falls by one at each router.
    pub ttl: u8,
    /// The mark that most packets had here.
    pub dscp: u8,
    /// Every mark seen here, ascending.
    pub dscp_seen: Vec<u8>,
    /// Packets, duplicates not counted.
    pub packets: u64,
    /// Packets that did not come here.
    pub lost: u64,
    /// Interarrival jitter at the last packet, ms (RFC 3550 A.8).
    pub jitter_ms: f64,
    /// 1.0..=4.5, by the E-model.
    pub mos: f64,
}

/// One direction of a call's media, from its sender's side to its receiver's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Media {
    /// Synchronization source.
    pub ssrc: u32,
    /// Encoding, from the SDP or the static payload type.
    pub codec: String,
    /// Sender: index in [`Call::parties`].
    pub from: usize,
    /// Receiver: index in [`Call::parties`].
    pub to: usize,
    /// Routers crossed: indices in [`Call::parties`], in order.
    pub routers: Vec<usize>,
    /// `ip:port` of the sender.
    pub source: String,
    /// `ip:port` of the receiver.
    pub destination: String,
    /// First packet, nanoseconds since 1970 (UTC).
    pub started_unix_nanos: u64,
    /// Last packet.
    pub ended_unix_nanos: u64,
    /// Where it was seen, in the order of its path; at least one.
    pub points: Vec<MediaPoint>,
}

/// One call, with everything in the capture that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// The Call-IDs of its legs, the caller's first; empty for a call that was seen on a trunk only.
    pub call_ids: Vec<String>,
    /// Who calls: URI or number.
    pub from: String,
    /// Who is called: Request-URI or number.
    pub to: String,
    /// First message, nanoseconds since 1970 (UTC).
    pub started_unix_nanos: u64,
    /// Last message or media packet.
    pub ended_unix_nanos: u64,
    /// First INVITE (or IAM) to 200 (or ANM), ms.
    pub answered_after_ms: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// The clearinghouse's numbers of it.
    pub transaction_ids: Vec<u64>,
    /// Its circuits on trunks.
    pub circuits: Vec<u16>,
    /// The columns, from left to right.
    pub parties: Vec<Party>,
    /// In order of time.
    pub events: Vec<Event>,
    /// In order of time.
    pub media: Vec<Media>,
    /// Events beyond [`crate::Limits::events_per_call`].
    pub events_dropped: u64,
}

/// What was read, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// `pcap` or `pcapng`.
    pub format: String,
    /// Interfaces, by their names in the file.
    pub interfaces: Vec<String>,
    /// Packet records.
    pub packets: u64,
    /// Octets of packets, as captured.
    pub octets: u64,
    /// Octets of the file that were read.
    pub file_octets: u64,
    /// First packet, nanoseconds since 1970 (UTC).
    pub first_unix_nanos: Option<u64>,
    /// Last packet in order of time.
    pub last_unix_nanos: Option<u64>,
    /// SIP messages, copies of one message on several interfaces counted once.
    pub sip: u64,
    /// COPS messages.
    pub cops: u64,
    /// OSP components.
    pub osp: u64,
    /// ISUP messages.
    pub isup: u64,
    /// RTP packets in streams, every interface counted.
    pub rtp: u64,
    /// RTCP packets.
    pub rtcp: u64,
    /// Packets of other protocols.
    pub other: u64,
    /// Messages, streams and buffers that found their table full ([`crate::Limits`]).
    pub over_limits: u64,
    /// How many times something was not understood.
    pub trouble_count: u64,
    /// The first of them, at most [`crate::Limits::troubles`].
    pub troubles: Vec<Trouble>,
}
