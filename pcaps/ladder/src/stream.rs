//! One RTP stream at one place, as a value.

use std::net::SocketAddr;

use serde::Serialize;
use strowger_rtp::emodel::{self, CodecImpairment};

/// One RTP stream as one interface saw it, in one direction of that interface.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stream {
    /// Synchronization source.
    pub ssrc: u32,
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Name of the interface; empty in files that name none.
    pub interface: String,
    /// Index of the interface in the file.
    pub interface_index: u32,
    /// Whether the interface sent it; `None` when the file does not say.
    pub outbound: Option<bool>,
    /// Encoding of the most used payload type: from the SDP, or what RFC 3551 fixes.
    pub codec: String,
    /// Payload types in the order they appeared.
    pub payload_types: Vec<u8>,
    /// RTP clock, Hz; 8000 where it is not known.
    pub clock_rate_hz: u32,
    /// Packets, duplicates not counted.
    pub packets: u64,
    /// Payload octets.
    pub octets: u64,
    /// Packets missing between the lowest and the highest sequence number.
    pub lost: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came behind a newer one.
    pub reordered: u64,
    /// Interarrival jitter at the last packet, ms (RFC 3550 A.8).
    pub jitter_ms: f64,
    /// Its mean over the packets, ms (tshark's "Mean Jitter").
    pub jitter_mean_ms: f64,
    /// Its highest value, ms (tshark's "Max Jitter").
    pub jitter_max_ms: f64,
    /// The DSCP that most packets had.
    pub dscp: u8,
    /// Every DSCP seen, ascending.
    pub dscp_seen: Vec<u8>,
    /// IP time to live of the first packet.
    pub ttl: u8,
    /// Mean opinion score 1.0..=4.5 by the E-model: loss and codec; for delay, one packet and twice the mean jitter, because the
    /// way's own delay cannot be seen from one place.
    pub mos: f64,
    /// First packet, nanoseconds since 1970 (UTC).
    pub started_unix_nanos: u64,
    /// Last packet.
    pub ended_unix_nanos: u64,
    /// The first Call-ID of its call, when one was found.
    pub call_id: Option<String>,
}

/// Delay of one packet of 20 ms.
const PACKET_MS: f64 = 20.0;

pub(crate) fn mean_opinion_score(codec: &str, loss_ratio: f64, jitter_mean_ms: f64) -> f64 {
    // Ie and Bpl of G.113 appendix I
    let impairment = match codec.to_ascii_uppercase().as_str() {
        "G729" => CodecImpairment { equipment: 11.0, loss_robustness: 19.0 },
        "G723" => CodecImpairment { equipment: 15.0, loss_robustness: 16.1 },
        "GSM" => CodecImpairment { equipment: 20.0, loss_robustness: 10.0 },
        _ => emodel::G711_WITH_CONCEALMENT,
    };
    emodel::mean_opinion_score(emodel::rating(impairment, PACKET_MS + 2.0 * jitter_mean_ms, loss_ratio))
}
