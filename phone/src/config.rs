use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use strowger_net::{BindError, ListenAddress, Tap};
use strowger_transaction::Timing;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::audio::AudioSource;
use crate::outcome::CallOutcome;

/// What a phone is.
#[derive(Clone)]
pub struct PhoneConfig {
    /// Where it listens; port 0 takes a free one. Calls go out by the same transport.
    pub listen: ListenAddress,
    /// Address of record: `sip:alice@example.test`.
    pub aor: String,
    /// Shown to who is called.
    pub display_name: Option<String>,
    /// User name for digest; the user of `aor` if not given.
    pub username: Option<String>,
    /// Password for digest; without one, challenges are final.
    pub password: Option<String>,
    /// Registrar and outbound proxy. Without one, calls go to the address in the called URI.
    pub proxy: Option<ListenAddress>,
    /// Registration asked for.
    pub expires_seconds: u32,
    /// Address for RTP; that of `listen` if not given.
    pub rtp_address: Option<IpAddr>,
    /// First and last RTP port; free ports if not given.
    pub rtp_ports: Option<(u16, u16)>,
    /// Codecs offered and accepted, best first.
    pub codecs: Vec<strowger_rtp::g711::Law>,
    /// How incoming calls are answered; without it they are refused (480).
    pub answer: Option<AnswerOptions>,
    /// Calls at a time.
    pub calls_max: usize,
    /// SIP timers.
    pub timing: Timing,
    /// Sees every SIP message.
    pub tap: Option<Tap>,
}

impl PhoneConfig {
    /// A phone that listens on an address, has an address of record, and the usual values for the rest.
    pub fn new(listen: ListenAddress, aor: impl Into<String>) -> PhoneConfig {
        PhoneConfig {
            listen,
            aor: aor.into(),
            display_name: None,
            username: None,
            password: None,
            proxy: None,
            expires_seconds: 600,
            rtp_address: None,
            rtp_ports: None,
            codecs: vec![strowger_rtp::g711::Law::A, strowger_rtp::g711::Law::Mu],
            answer: None,
            calls_max: 64,
            timing: Timing::default(),
            tap: None,
        }
    }
}

/// What happens during a call, for who wants to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallProgress {
    /// A provisional response.
    Provisional(u16),
    /// The call was answered; RTP flows between these addresses.
    Answered {
        /// Our RTP address.
        local_rtp: std::net::SocketAddr,
        /// The peer's.
        remote_rtp: Option<std::net::SocketAddr>,
    },
    /// A digit came.
    Digit(char),
}

/// How to make a call.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// What the other side hears.
    pub source: AudioSource,
    /// Where to write what we hear (WAV, 8 kHz, 16 bit, mono).
    pub record: Option<PathBuf>,
    /// Hang up so long after the answer.
    pub max_duration: Duration,
    /// Give up when nobody answers so long.
    pub ring_timeout: Duration,
    /// Digits to send by RFC 4733 once the call is up.
    pub digits: String,
    /// How long after the answer the digits begin.
    pub digits_after: Duration,
    /// Hangs up when cancelled.
    pub hang_up: CancellationToken,
    /// Told what happens; a full channel misses it.
    pub progress: Option<mpsc::Sender<CallProgress>>,
    /// Further header fields of the INVITE.
    pub headers: Vec<(String, String)>,
    /// Call-ID, where something outside of the call names it beforehand (a token is for one call); a random one if not given.
    pub call_id: Option<String>,
}

impl Default for CallOptions {
    fn default() -> CallOptions {
        CallOptions {
            source: AudioSource::Silence,
            record: None,
            max_duration: Duration::from_secs(10),
            ring_timeout: Duration::from_secs(60),
            digits: String::new(),
            digits_after: Duration::from_millis(500),
            hang_up: CancellationToken::new(),
            progress: None,
            headers: Vec::new(),
            call_id: None,
        }
    }
}

/// How to answer calls.
#[derive(Clone, Debug)]
pub struct AnswerOptions {
    /// Ring so long before answering.
    pub ring: Duration,
    /// What the caller hears.
    pub source: AudioSource,
    /// Where to write what the caller says; with several calls, the last one stays.
    pub record: Option<PathBuf>,
    /// Hang up so long after the answer.
    pub max_duration: Duration,
    /// Refuse with this status instead of answering.
    pub refuse: Option<u16>,
}

impl Default for AnswerOptions {
    fn default() -> AnswerOptions {
        AnswerOptions {
            ring: Duration::from_millis(500),
            source: AudioSource::Echo,
            record: None,
            max_duration: Duration::from_secs(3600),
            refuse: None,
        }
    }
}

/// Why a phone could not do something.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// Its address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system refused randomness or sockets.
    #[error("the phone cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The address of record is no SIP URI.
    #[error("`{0}` is not an address of record: write it as sip:alice@example.test")]
    AddressOfRecord(String),
    /// There is no registrar.
    #[error("no registrar is configured: give the phone a proxy such as udp://127.0.0.1:5060")]
    NoRegistrar,
    /// The registrar refused, or is not there.
    #[error("the registrar answered {status} {reason}")]
    Registration {
        /// 408: no answer; 503: could not be reached.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// The phone was stopped.
    #[error("the phone has been stopped")]
    Stopped,
    /// A call did not succeed, for callers that want that as an error.
    #[error("the call ended with {} {}", .0.status, .0.reason)]
    Call(Box<CallOutcome>),
}
