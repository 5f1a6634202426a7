//! COPS messages (Common Open Policy Service): bytes to typed values and back.
//!
//! - **In:** the bytes of a COPS connection, in any pieces ([`Framer`]), or one whole message ([`Message::parse`]).
//! - **Out:** [`Message`] values with every object of the protocol typed, or a [`DecodeError`] that knows which Error object
//!   (and, where it could be read, which handle and client type) the answer has to carry; and encoded bytes with padding done.
//! - **Never:** opens a connection, keeps a timer, decides anything, reads past a message, or panics on a peer's bytes.
//! - **Sources:** RFC 2748 §2.1 (header), §2.2 (objects), §3 (message grammar), §4.1 (integrity, HMAC-MD5-96);
//!   [`sip`] is this project's own use of a private client type for outsourced SIP admission.

mod code;
mod decode;
mod encode;
mod framer;
mod grammar;
pub mod integrity;
mod message;
pub mod sip;

pub use code::{Command, ErrorCode, Op, ReasonCode, ReportType, RequestType};
pub use decode::{DecodeError, Fault};
pub use framer::{Framer, FramingError, MESSAGE_OCTETS_MAX};
pub use message::{ClientSi, Context, Decision, DecisionObject, ErrorObject, Interface, Message, Object, Reason};

/// TCP port a PDP listens on (RFC 2748 §2.3).
pub const COPS_PORT: u16 = 3288;
/// Octets of the common header (RFC 2748 §2.1).
pub const HEADER_OCTETS: usize = 8;
/// The client type of keep-alives and of security negotiation (RFC 2748 §2.1, §4.1).
pub const CLIENT_TYPE_CONNECTION: u16 = 0;
/// The client type of COPS-PR for the DiffServ PIB (RFC 3317 §8).
pub const CLIENT_TYPE_PROVISIONING: u16 = 2;
/// Our private client type for SIP calls whose admission is outsourced (see [`sip`]).
pub const CLIENT_TYPE_SIP: u16 = 0x4001;
/// Decision flag of RFC 2748 §2.2.6: send an error message to the signalling peer.
pub const DECISION_TRIGGER_ERROR: u16 = 0x01;
/// Decision flag of RFC 3084 §3.2: open or delete a request state.
pub const DECISION_REQUEST_STATE: u16 = 0x02;
