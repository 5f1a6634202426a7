//! What came of a call.

use std::path::PathBuf;

use serde::Serialize;

/// Who ended a call.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// This phone.
    Us,
    /// The other side.
    Peer,
    /// Nobody: it never was up, or the network failed.
    Nobody,
}

/// RTP of a call, both ways.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RtpStatistics {
    /// Packets sent.
    pub sent: u64,
    /// Packets received, without duplicates.
    pub received: u64,
    /// Packets that should have come and did not.
    pub lost: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after later ones.
    pub reordered: u64,
    /// Datagrams on the RTP port that were no RTP packets of the call.
    pub strange: u64,
    /// Interarrival jitter at the end (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
    /// Its maximum.
    pub jitter_max_ms: f64,
    /// Codec of the packets sent: `PCMA` or `PCMU`; empty before media was agreed on.
    pub codec: String,
    /// Mean opinion score of what was heard (ITU-T G.107), from loss and delay; 0 when nothing was received.
    pub mos: f64,
}

/// One call from beginning to end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallOutcome {
    /// Whether this phone called.
    pub outgoing: bool,
    /// The other side's URI.
    pub peer: String,
    /// SIP Call-ID; empty when nothing was sent.
    pub call_id: String,
    /// The final status of the INVITE: 200, 486, …; 408 nobody answered, 487 cancelled, 503 could not be sent.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
    /// The last Reason header seen (`Q.850;cause=16;text="…"`), from a refusal, CANCEL or BYE.
    pub cause: Option<String>,
    /// 180 came.
    pub ringback_seen: bool,
    /// Media were received before the answer.
    pub early_media: bool,
    /// The call was answered.
    pub answered: bool,
    /// From INVITE to the final response, in milliseconds.
    pub setup_ms: u64,
    /// From the answer to the end, in milliseconds.
    pub duration_ms: u64,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// RTP.
    pub rtp: RtpStatistics,
    /// Digits received by RFC 4733.
    pub digits: String,
    /// The recording, if one was asked for and written.
    pub recorded: Option<PathBuf>,
    /// What went wrong on our side: no RTP port, a file that cannot be read.
    pub error: Option<String>,
}

impl CallOutcome {
    pub(crate) fn new(outgoing: bool, peer: &str) -> CallOutcome {
        CallOutcome {
            outgoing,
            peer: peer.to_owned(),
            call_id: String::new(),
            status: 0,
            reason: String::new(),
            cause: None,
            ringback_seen: false,
            early_media: false,
            answered: false,
            setup_ms: 0,
            duration_ms: 0,
            ended_by: EndedBy::Nobody,
            rtp: RtpStatistics::default(),
            digits: String::new(),
            recorded: None,
            error: None,
        }
    }
}
