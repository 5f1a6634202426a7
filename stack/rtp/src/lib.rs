//! RTP and RTCP as views over received octets, the receiver's statistics, and the audio work of an 8 kHz telephone channel.
//!
//! - **What comes in:** datagrams as octets, linear or G.711 samples at 8 kHz, and [`strowger_clock::Moment`]s of arrival.
//! - **What goes out:** fields read in place, headers written into buffers of the caller, samples, report blocks, scores.
//! - **What it never does:** open sockets, read clocks, start threads, or allocate for a packet. A jitter buffer, a
//!   detector or a generator has a fixed size for its whole life.
//! - **Which sections:** RFC 3550 §5.1 (RTP), §5.3.1 (extension), §6.4–6.6 (SR, RR, SDES, BYE), A.1, A.3 and A.8
//!   (reception statistics); RFC 5761 §4 (RTP beside RTCP); RFC 3551 §6 (payload types); RFC 4733 §2 (telephone-event);
//!   ITU-T G.711; Q.23/Q.24 (DTMF); E.180 (tones); G.107 (E-model, with the usual default values).
//!
//! The parts do not know each other: the driver of a call wires them (`gateway/server`, `phone`).

pub mod dtmf;
pub mod emodel;
pub mod g711;
mod jitter_buffer;
mod packet;
mod reception;
pub mod rtcp;
pub mod telephone_event;
pub mod tone;

pub use jitter_buffer::{JitterBuffer, JitterBufferConfig, JitterBufferCounters, Played, Pushed};
pub use packet::{HEADER_LENGTH, Header, Packet, PacketMut, RtpError, is_rtcp};
pub use reception::{Arrival, Reception};

/// Sampling rate of every audio part of this crate, and the clock rate of PCMU, PCMA and telephone-event here.
pub const SAMPLE_RATE_HERTZ: u32 = 8_000;
/// Samples in the usual packet of 20 ms.
pub const FRAME_SAMPLES: usize = 160;
/// Static payload type of PCMU (RFC 3551 §6).
pub const PAYLOAD_TYPE_PCMU: u8 = 0;
/// Static payload type of PCMA (RFC 3551 §6).
pub const PAYLOAD_TYPE_PCMA: u8 = 8;
/// The dynamic payload type most peers use for telephone-event; what counts is what SDP negotiated.
pub const PAYLOAD_TYPE_TELEPHONE_EVENT_USUAL: u8 = 101;
