//! SDP (RFC 8866) and offer/answer (RFC 3264), what telephony needs of them.
//!
//! **What comes in:** the body of a SIP message ([`SessionDescription::parse`]), and what we can do ([`Capabilities`]).
//!
//! **What goes out:** sessions, media lines, payload types, addresses; an offer ([`offer`]), an answer ([`answer`]), what the two
//! have in common ([`negotiated`]).
//!
//! **What it never does:** it resolves no names, opens no ports, keeps no state between descriptions, and never panics over
//! what a peer sent. Lines it does not know are kept where they stood.
//!
//! **Which sections:** RFC 8866 §5, §6.6 (rtpmap), §6.7 (direction), §6.15 (fmtp); RFC 3264 §5, §6, §8; RFC 3551 §6 (static
//! payload types); RFC 4733 §2.4 (telephone-event).

mod answer;
mod description;
mod parse;
mod payload;

#[cfg(test)]
mod tests;

pub use answer::{Capabilities, Negotiated, NoCommonCodec, answer, negotiated, offer};
pub use description::{AddressType, Connection, Direction, Line, Media, Origin, SessionDescription};
pub use parse::{Limits, SdpError};
pub use payload::{Codec, Payload};
