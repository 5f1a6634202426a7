//! A softphone without a window: it registers, calls, answers, plays and records, and says what came of it.
//!
//! **What comes in:** a [`PhoneConfig`], numbers to call with [`CallOptions`], sound from WAV files, tones or the caller's own
//! echo.
//!
//! **What goes out:** SIP and RTP packets; WAV recordings; a [`CallOutcome`] for every call, which serialises to JSON.
//!
//! **What it never does:** it knows no proxy, gateway or account but by their addresses; it keeps nothing between runs.
//!
//! **Which sections:** SIP by `strowger-dialog` (RFC 3261) and SDP by `strowger-sdp` (RFC 3264); RTP packets are built and read
//! with the `rtp` and `webrtc-util` crates (RFC 3550 §5.1, RFC 3551 §4.5.14); DTMF by RFC 4733. No RTCP is sent yet.

mod audio;
mod call;
mod config;
mod media;
mod outcome;
mod phone;
mod session;
mod user;

pub use audio::{AudioError, AudioSource, read_wav, write_wav};
pub use config::{AnswerOptions, CallOptions, CallProgress, PhoneConfig, PhoneError};
pub use outcome::{CallOutcome, EndedBy, RtpStatistics};
pub use phone::{Phone, PhoneGauge};
