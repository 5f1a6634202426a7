//! Reads captures, follows a call through every protocol, draws its ladder.
//!
//! - **What comes in:** the octets of a pcap or pcapng file over [`std::io::Read`], and the caller's [`Names`] for addresses.
//! - **What goes out:** [`Call`]s with the SIP, COPS, OSP, ISUP and RTP of each in order of time, [`Stream`]s with what RFC 3550
//!   says of their reception, and a drawing of a call as text ([`render`]). All of it serialises.
//! - **What it never does:** open files, capture, read clocks, decrypt, or stop at what it cannot read: that is counted with its
//!   offset ([`Summary::troubles`]). No packet is kept; every table has a maximum ([`Limits`]).
//! - **Which sections:** draft-ietf-opsawg-pcapng and the classic file format; RFC 791 and RFC 8200 §4.5 (fragments), RFC 9293
//!   §3.4 (sequence numbers), RFC 9112 §6 (HTTP bodies); RFC 3261, 4566/8866, 2748, 3084, TS 101 321, Q.763 through this
//!   project's own crates; RFC 3550 A.3 and A.8 (loss, jitter), G.107 (MOS).
//!
//! # How messages become one call
//! | protocol | key |
//! |---|---|
//! | SIP | Call-ID; another Call-ID is a further leg when an element that just received an INVITE sends one to the same number |
//! | COPS, SIP client type | the SIP message inside ClientSI carries the Call-ID, the handle carries it on |
//! | COPS-PR | the addresses in the installed filters are the call's SDP addresses; instances carry removals; else the one call that waits at that PDP |
//! | OSP | CallId is the Call-ID; the answer by its messageId; TransactionId carries it on |
//! | ISUP | the called number within [`Limits::trunk_seconds`] of the INVITE; circuit and point codes carry it on until RLC |
//! | RTP | the media addresses of the SDP |
//!
//! A message that several interfaces saw is one message: its n-th sight at one interface (and direction) is its n-th sending,
//! and the earliest sight counts. Streams are kept for each interface, so that marks and loss before and after a router show.
//!
//! # Use
//! ```
//! use strowger_ladder::{Capture, Names, Style, render};
//! # let file: &[u8] = &[0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 101];
//! let names = Names::new()
//!     .host("10.1.0.2".parse()?, "phone alice")
//!     .socket("10.2.0.2:5060".parse()?, "proxy")
//!     .point_code(2002, "exchange")
//!     .interface("edge", "router") // edge/left, edge/right
//!     .pep("edge", "router");
//! let capture = Capture::read(file, &names)?;
//! for call in capture.calls() {
//!     println!("{}", render(call, &Style::default()));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod capture;
mod correlate;
mod dissect;
mod file;
mod fragment;
mod http;
mod label;
mod layout;
mod link;
mod media;
mod model;
mod names;
mod parties;
mod render;
mod sighting;
mod stream;
mod tcp;

pub use capture::{Capture, Limits};
pub use file::{Packet, ReadError, Reader, Trouble};
pub use link::link_type;
pub use model::{Call, Event, Media, MediaPoint, Outcome, Party, Protocol, Role, Summary};
pub use names::Names;
pub use render::{Style, render, render_media};
pub use stream::Stream;
