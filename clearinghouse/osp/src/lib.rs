//! OSP messages (ETSI TS 101 321, "Open Settlement Protocol"): bytes to values and back.
//!
//! - **In:** the body of an HTTP POST: an XML document, or a `multipart/signed` wrapper around one ([`multipart`]).
//! - **Out:** a [`Message`] of typed [`Component`]s, or an [`OspError`] with the status code that the protocol answers with;
//!   the other way, the XML text that OSP clients in the field accept.
//! - **Never:** sockets, clocks, signatures, or a decision about a call. It resolves no entities, reads no DTD, and keeps nothing
//!   of a message beyond the limits of [`limits`].
//! - **Source:** ETSI TS 101 321 clauses 5 and 6, and what OSP Toolkit 4.13 (the client inside Asterisk, FreeSWITCH, Kamailio and
//!   OpenSIPS) sends and accepts. Recorded requests of that client are the fixtures in `tests/data`.
//!
//! # What OSP Toolkit 4.13 insists on (measured)
//! - HTTP status exactly 200. Header *names* may be lower-case (`content-type:`, as hyper writes them) or title-case; one space
//!   after the colon; `Content-Type` exactly `text/plain`; `Content-Length` present, no chunking.
//! - The connection is kept alive between requests (`Connection: Keep-Alive` is sent) and may be closed by either side.
//! - One `AuthorizationRequest` carries up to eight `CallId`s, one for each destination it would accept: the answer gives each
//!   destination one of them (the same one for all is accepted, too). [`AuthorizationRequest::call_id_for`] picks it.
//! - `messageId` of a request is its component id with one digit more; both are echoed.
//! - Unknown elements in an answer are an error (13308) unless they say `critical="false"`; an `AuthorizationResponse` without `Status` crashes
//!   it. A refusal needs nothing else: no TransactionId, no destination. Any HTTP status but 200 is an error (14298) that hides the OSP status.
//! - `CapabilitiesIndication` names neither customer nor device; `UsageIndication` may lack the gateway's address and every time; the
//!   Token of its `ReauthorizationRequest` arrives garbled and its `messageId` is the word NULL: decide that exchange by TransactionId.
//! - `ServiceType` comes as text or as a `type` attribute; call ids may be padded with zeros to 256 octets.

pub mod limits;
mod message;
pub mod multipart;
mod record;
mod status;
mod tree;
mod types;
mod usage;

pub use message::{Body, Component, ComponentKind, Message, OspError};
pub use record::{Base64, Decimal, Directed, Flag, NotDecimal, NotFlag, Typed};
pub use status::Status;
pub use types::*;
pub use usage::*;
