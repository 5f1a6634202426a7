//! What the core asks of other drivers, and what they answer.

use std::net::SocketAddr;

use strowger_clock::Timestamp;
use strowger_isup::{Cause, Charge};
use strowger_sdp::Direction;
use strowger_trunk::Circuit;

use crate::call::CallSummary;
use crate::config::{Config, Limits};
use crate::refusal::RefusedCall;

/// Names a call between the core and its drivers. Never reused.
pub type CallNumber = u64;

/// Which G.711 law the caller's packets have (the bearer is A-law).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Law {
    /// PCMA.
    A,
    /// PCMU.
    Mu,
}

/// The RTP stream that offer and answer agreed on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    /// Where to send; `None`: nowhere (port 0 or an unusable address).
    pub remote: Option<SocketAddr>,
    /// Payload type of speech, both ways.
    pub payload_type: u8,
    /// Which law it stands for.
    pub law: Law,
    /// Payload type of telephone events, when agreed.
    pub telephone_event: Option<u8>,
    /// Seen from us: `SendOnly` and `Inactive` when the caller holds us.
    pub direction: Direction,
}

/// What the media driver counted over a call, seen from the gateway.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct MediaStatistics {
    /// RTP packets sent to the caller.
    pub packets_sent: u64,
    /// Payload octets sent.
    pub octets_sent: u64,
    /// RTP packets received from the caller.
    pub packets_received: u64,
    /// Payload octets received.
    pub octets_received: u64,
    /// Lost on the way to us.
    pub packets_lost: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1), milliseconds.
    pub jitter_ms: f64,
    /// Round trip, milliseconds, if RTCP told.
    pub round_trip_ms: Option<f64>,
    /// Mean opinion score of what we received (ITU-T G.107); 0 when nothing was.
    pub mos: f64,
    /// Share of what we sent that was lost, by the caller's last report, 0.0 to 1.0.
    pub remote_loss: Option<f64>,
}

/// Who ended the call.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum ReleaseSource {
    /// The caller's side, by SIP.
    Source,
    /// The called side: the telephone network.
    Destination,
    /// This gateway: a limit, a time-out, an operator.
    Gateway,
}

/// The gateway's account of a call whose token was good, answered or not. One for each call, at its end.
#[derive(Clone, PartialEq, Debug)]
pub struct CallUsage {
    /// From the token.
    pub transaction_id: u64,
    /// The Call-ID.
    pub call_id: String,
    /// Calling number, from the token.
    pub calling: String,
    /// Called number, from the token.
    pub called: String,
    /// Who sent us the INVITE.
    pub peer: SocketAddr,
    /// The INVITE came.
    pub start: Timestamp,
    /// The telephone network said that it rings.
    pub alert: Option<Timestamp>,
    /// It answered.
    pub connect: Option<Timestamp>,
    /// The call ended.
    pub end: Timestamp,
    /// Why (Q.850).
    pub cause: Cause,
    /// Who ended it.
    pub release: ReleaseSource,
    /// Codec of the caller's side.
    pub law: Option<Law>,
    /// What the media driver counted; `None` when no port was opened, or the driver did not say in time.
    pub media: Option<MediaStatistics>,
}

impl CallUsage {
    /// Seconds from answer to end, rounded up to whole seconds; 0 when never answered.
    pub fn duration_seconds(&self) -> u64 {
        let Some(connect) = self.connect else { return 0 };
        self.end.unix_nanos().saturating_sub(connect.unix_nanos()).div_ceil(1_000_000_000)
    }
}

/// What the core asks of other drivers.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Open a port for a call; answered by [`Input::MediaOpened`] or [`Input::MediaFailed`].
    OpenMedia {
        /// The call.
        call: CallNumber,
    },
    /// Bridge the port and a circuit; asked again whenever something changes. Before the answer, too: tones and announcements.
    BridgeMedia {
        /// The call.
        call: CallNumber,
        /// Whose bearer.
        circuit: Circuit,
        /// The agreed stream; `None` while the caller's description is not known.
        stream: Option<Stream>,
        /// Whether the call is answered: only then the caller's speech goes into the circuit and silence counts as idle.
        answered: bool,
    },
    /// Close the port; answered by [`Input::MediaClosed`].
    CloseMedia {
        /// The call.
        call: CallNumber,
    },
    /// Send a message signal unit to the exchange.
    Msu(Vec<u8>),
    /// The telephone network told what the call costs.
    Charge {
        /// The call.
        call: CallNumber,
        /// Of the token.
        transaction_id: u64,
        /// What it said.
        charge: Charge,
    },
    /// Charging of a call begins: it was answered.
    ChargeStart {
        /// The call.
        call: CallNumber,
        /// Of the token.
        transaction_id: u64,
    },
    /// Charging of an answered call ends.
    ChargeStop {
        /// The call.
        call: CallNumber,
        /// Of the token.
        transaction_id: u64,
    },
    /// Report usage to the clearinghouse, until it is confirmed.
    Usage {
        /// The call.
        call: CallNumber,
        /// What to report.
        usage: Box<CallUsage>,
    },
    /// A call was refused before it used anything: for consoles and logs.
    Refused(Box<RefusedCall>),
    /// A call has changed its state: for consoles and logs.
    Call(Box<CallSummary>),
    /// Told once after [`Input::Drain`]: no call is left.
    Drained,
}

/// What other drivers tell the core.
#[derive(Debug)]
pub enum Input {
    /// A port is open.
    MediaOpened {
        /// The call.
        call: CallNumber,
        /// UDP port at our media address.
        port: u16,
    },
    /// No port could be opened.
    MediaFailed {
        /// The call.
        call: CallNumber,
    },
    /// The caller has sent nothing for too long.
    MediaIdle {
        /// The call.
        call: CallNumber,
    },
    /// The port is closed.
    MediaClosed {
        /// The call.
        call: CallNumber,
        /// What was counted.
        statistics: Option<MediaStatistics>,
    },
    /// A message signal unit came from the exchange.
    Msu(Vec<u8>),
    /// Hang up a call by operator's order.
    HangUp {
        /// The call.
        call: CallNumber,
    },
    /// Another configuration; running calls go on.
    Reload(Box<Config>),
    /// The authority's keys are known now, or changed.
    Authorities(strowger_token::Verifier),
    /// Other maxima.
    Limits(Limits),
    /// The fault switch: answer every INVITE with this status.
    RefuseAll(Option<u16>),
    /// Take no new calls; running ones go on. [`Effect::Drained`] tells when none is left.
    Drain,
    /// Hang up every call.
    HangUpAll,
}
