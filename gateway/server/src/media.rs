//! The media engine: RTP of every call to and from the timeslots of the trunk, paced at 20 ms on a thread of its own.
//!
//! - **What comes in:** commands through a [`MediaHandle`] (open, update, close), RTP and RTCP datagrams, message signal
//!   units for the exchange, A-law blocks of the span.
//! - **What goes out:** RTP (PCMA, PCMU), RTCP reports every 5 s, the exchange's message signal units through the
//!   function given at start, [`Statistics`].
//! - **What it never does:** decide about a call; wait for anything but its clock and its sockets; allocate for a packet.
//! - **Which sections:** RFC 3550 §5, §6.4, A; RFC 3551 §6; RFC 4733 (received events become tones in the bearer);
//!   RFC 4961 (symmetric RTP); RFC 5761 §4 (RTCP on either port).
//!
//! One thread owns the sockets, the jitter buffers and the span. Ports are bound by the caller of `open`, so a port
//! that is taken is an error there and not here.

mod engine;
mod leg;
mod ports;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;
use strowger_rtp::JitterBufferConfig;
use strowger_rtp::g711::Law;
use strowger_trunk::{Circuit, NoCircuit};
use thiserror::Error;

pub use engine::{MediaEngine, MediaGauge, MediaHandle};
pub use leg::{Drops, Statistics};

/// Most calls of one engine: the circuits of its span.
pub const MAX_CALLS: usize = strowger_trunk::CIRCUITS;
/// Commands and message signal units that may wait for the engine's thread.
pub const MAX_COMMANDS: usize = 1024;

/// What an engine is told at its start.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// RTP takes the even ports, RTCP the odd one after each.
    pub ports: RangeInclusive<u16>,
    /// DSCP of the datagrams sent, 0..=63; `None` leaves them unmarked. The network's policy may mark them anyway.
    pub dscp: Option<u8>,
    /// Between two RTCP reports.
    pub report_interval: Duration,
    /// Bounds of each call's jitter buffer.
    pub jitter: JitterBufferConfig,
    /// CNAME of the RTCP source descriptions; says nothing about persons (RFC 7022).
    pub cname: String,
    /// Seed of SSRCs and first sequence numbers.
    pub seed: u64,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            ports: 20_000..=29_999,
            dscp: None,
            report_interval: Duration::from_secs(5),
            jitter: JitterBufferConfig::default(),
            cname: "gateway".to_owned(),
            seed: 0,
        }
    }
}

/// What the two ends agreed to send.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PayloadTypes {
    /// Law of the audio.
    pub law: Law,
    /// Payload type of the audio: usually 8 for A-law, 0 for µ-law.
    pub audio: u8,
    /// Payload type of telephone-event, when agreed.
    pub telephone_event: Option<u8>,
}

impl PayloadTypes {
    /// PCMA, static payload type.
    pub const PCMA: Self = Self { law: Law::A, audio: 8, telephone_event: None };
    /// PCMU, static payload type.
    pub const PCMU: Self = Self { law: Law::Mu, audio: 0, telephone_event: None };
}

/// A call to open.
#[derive(Clone, Debug)]
pub struct OpenCall {
    /// The gateway's name for the call.
    pub call: u64,
    /// Address to bind.
    pub local: IpAddr,
    /// Payload types.
    pub payload_types: PayloadTypes,
    /// Where SDP says the peer listens; `None` while it is not known.
    pub remote: Option<SocketAddr>,
    /// Timeslot; `None` while it is not known: nothing is heard then.
    pub circuit: Option<Circuit>,
}

/// What changes in an open call; `None` leaves a part as it is.
#[derive(Copy, Clone, Debug, Default)]
pub struct Update {
    /// Where the peer listens from now on; the source lock is lifted when it differs.
    pub remote: Option<SocketAddr>,
    /// Payload types.
    pub payload_types: Option<PayloadTypes>,
    /// Timeslot (the trunk moved the call).
    pub circuit: Option<Circuit>,
    /// Whether audio is sent to the peer (false while it holds us).
    pub sending: Option<bool>,
}

/// The RTP port of an opened call; RTCP is the next one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LocalPort(pub u16);

/// Why a command was not carried out.
#[derive(Debug, Error)]
pub enum MediaError {
    /// Every even port of the range is taken by this engine.
    #[error("all RTP ports of {0}-{1} are in use; widen [gateway] rtp_ports")]
    NoPort(u16, u16),
    /// The address cannot be bound, or no port of the range can.
    #[error("cannot bind an RTP port on {0}: {1}")]
    Bind(IpAddr, io::Error),
    /// [`MAX_CALLS`] are open.
    #[error("all {MAX_CALLS} calls of the span are in use")]
    TooManyCalls,
    /// The call is not open.
    #[error("media of this call is not open")]
    UnknownCall,
    /// A call of this name is open already.
    #[error("media of this call is open already")]
    AlreadyOpen,
    /// [`MAX_COMMANDS`] wait, or the engine's thread has ended.
    #[error("the media engine does not take commands now")]
    Unavailable,
    /// An originated call found no circuit.
    #[error(transparent)]
    NoCircuit(#[from] NoCircuit),
}
