//! Tests of the crate as a whole; each file says what it would catch.

mod addresses;
mod edits;
mod framing;
mod properties;
mod refusals;
mod uris;

use bytes::Bytes;

use crate::Message;

/// A request as phones send it.
pub(crate) const INVITE: &str = "INVITE sip:+12125550100@example.test SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK776asdhds;rport\r\n\
    Max-Forwards: 70\r\n\
    To: <sip:+12125550100@example.test>\r\n\
    From: \"Alice, A.\" <sip:alice@example.test>;tag=1928301774\r\n\
    Call-ID: a84b4c76e66710@pc33.example.test\r\n\
    CSeq: 314159 INVITE\r\n\
    Contact: <sip:alice@192.0.2.1:5062>\r\n\
    Supported: timer, 100rel\r\n\
    X-Unknown: as  it   stands\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 4\r\n\
    \r\n\
    v=0\n";

pub(crate) fn read(text: impl Into<String>) -> Result<Message, crate::ParseErrorKind> {
    Message::parse(Bytes::from(text.into())).map_err(|error| error.kind())
}

pub(crate) fn invite() -> Message {
    read(INVITE).unwrap()
}

/// The INVITE with one line replaced (or removed, with an empty `line`).
pub(crate) fn with(name: &str, line: &str) -> String {
    let start = INVITE.find(&format!("\r\n{name}:")).unwrap() + 2;
    let end = start + INVITE[start..].find("\r\n").unwrap() + 2;
    let line = if line.is_empty() { String::new() } else { format!("{line}\r\n") };
    format!("{}{line}{}", &INVITE[..start], &INVITE[end..])
}
