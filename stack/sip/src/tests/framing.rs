//! Streams: any cut gives the same frames; nothing a peer sends makes the buffer grow without end.

use super::{INVITE, with};
use crate::stream::{Frame, Framer, FramingError};
use crate::{Header, HeaderError, Limits, ParseErrorKind as Kind};

fn frames(framer: &mut Framer, octets: &[u8]) -> Result<Vec<Frame>, FramingError> {
    framer.push(octets);
    std::iter::from_fn(|| framer.next().transpose()).collect()
}

#[test]
fn any_cut_gives_the_same_frames() {
    let stream = format!("\r\n{INVITE}{INVITE}\r\n\r\n\r\n{}", with("Content-Length", "l:\r\n 4"));
    let whole = frames(&mut Framer::new(Limits::DEFAULT), stream.as_bytes()).unwrap();
    assert!(matches!(whole[..], [Frame::Message(_), Frame::Message(_), Frame::KeepAlive, Frame::Message(_)]));
    for size in [1, 2, 3, 7, 100, 469] {
        let mut framer = Framer::new(Limits::DEFAULT);
        let mut all = Vec::new();
        for chunk in stream.as_bytes().chunks(size) {
            all.extend(frames(&mut framer, chunk).unwrap());
        }
        assert_eq!(all, whole, "{size}");
        assert_eq!(framer.pending(), 0);
    }
}

#[test]
fn a_stream_needs_content_length() {
    for (line, kind) in [
        ("", Kind::Missing(Header::ContentLength)),
        ("l: 4\r\nContent-Length: 4", Kind::Duplicate(Header::ContentLength)),
        ("l: -1", Kind::Header(Header::ContentLength, HeaderError::Number)),
        ("l: 99999999999999999999999", Kind::Header(Header::ContentLength, HeaderError::Number)),
        ("l: 4294967295", Kind::MessageTooLong(65_535)),
    ] {
        let mut framer = Framer::new(Limits::DEFAULT);
        let error = frames(&mut framer, with("Content-Length", line).as_bytes()).unwrap_err();
        assert!(error.is_fatal());
        assert_eq!(error.error().kind(), kind, "{line}");
        assert!(error.error().answerable().is_some(), "{line}");
        assert_eq!(frames(&mut framer, INVITE.as_bytes()).unwrap(), [], "nothing after it");
        assert_eq!(framer.pending(), 0);
    }
}

#[test]
fn a_wrong_message_does_not_end_the_stream() {
    let mut framer = Framer::new(Limits::DEFAULT);
    framer.push(format!("{}{INVITE}", with("Max-Forwards", "Max-Forwards: 256")).as_bytes());
    let error = framer.next().unwrap_err();
    assert!(!error.is_fatal() && error.error().answerable().is_some());
    assert!(matches!(framer.next(), Ok(Some(Frame::Message(_)))));
    assert!(matches!(framer.next(), Ok(None)));
}

#[test]
fn limits_inside_and_outside() {
    let head = INVITE.len() - 4;
    for (limits, good) in [
        (Limits { head_octets: head, ..Limits::DEFAULT }, true),
        (Limits { head_octets: head - 1, ..Limits::DEFAULT }, false),
        (Limits { message_octets: head + 4, ..Limits::DEFAULT }, true),
        (Limits { message_octets: head + 3, ..Limits::DEFAULT }, false),
    ] {
        assert_eq!(frames(&mut Framer::new(limits), INVITE.as_bytes()).is_ok(), good, "{limits:?}");
    }
    // a header that never ends
    let mut framer = Framer::new(Limits { head_octets: 1000, ..Limits::DEFAULT });
    let mut pushed = 0;
    while frames(&mut framer, b"INVITE ").is_ok() {
        pushed += 7;
        assert!(pushed <= 1000);
    }
    assert_eq!(pushed, 994);
}
