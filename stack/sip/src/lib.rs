//! SIP messages: bytes to values and back, lossless and lazy; URIs; digest.
//!
//! **What comes in:** one datagram ([`Message::parse`]) or a stream of octets ([`stream::Framer`]), and values to build messages
//! from ([`Builder`], [`Edit`]).
//!
//! **What goes out:** a [`Message`]: the received buffer plus spans over it. Header values are parsed when they are asked for;
//! an [`Edit`] replaces byte ranges and leaves every other octet as it came.
//!
//! **What it never does:** it opens no socket, reads no clock, keeps no state between messages, and never panics over what a
//! peer sent. It does not know transactions or dialogs.
//!
//! **Which sections:** RFC 3261 §7 (messages), §8.2.6 (responses' fixed headers), §18.3 (framing), §19.1 (URIs), §20 (headers),
//! §25 (grammar); RFC 3966 (tel); RFC 3581 (rport); RFC 7616, RFC 8760 and RFC 2069 (digest).

mod address;
mod builder;
mod cseq;
pub mod digest;
pub mod edge;
mod edit;
mod error;
mod header;
mod limits;
mod message;
mod method;
mod params;
mod parse;
mod status;
pub mod stream;
mod text;
mod uri;
mod via;

#[cfg(test)]
mod tests;

pub use address::NameAddr;
pub use builder::Builder;
pub use cseq::CSeq;
pub use edit::Edit;
pub use error::{HeaderError, ParseError, ParseErrorKind};
pub use header::Header;
pub use limits::Limits;
pub use message::{Message, Values};
pub use method::Method;
pub use params::{Param, Params};
pub use status::reason_phrase;
pub use text::{quote, unquote};
pub use uri::{Scheme, Uri, UriError};
pub use via::Via;
