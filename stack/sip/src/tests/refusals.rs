//! What `parse` refuses and how it says so; each limit just inside and just outside.

use super::{INVITE, invite, read, with};
use crate::{Header, HeaderError, Limits, Message, Method, ParseErrorKind as Kind, UriError};

#[test]
fn a_request_is_taken_apart() {
    let invite = invite();
    assert!(invite.is_request());
    assert_eq!(invite.method(), Method::Invite);
    assert_eq!(invite.request_uri(), "sip:+12125550100@example.test");
    assert_eq!(invite.status(), None);
    assert_eq!(invite.call_id(), Some("a84b4c76e66710@pc33.example.test"));
    assert_eq!(invite.header_by_name("x-unknown"), Some("as  it   stands"));
    assert!(invite.lists(Header::Supported, "100REL"));
    assert_eq!(invite.values(Header::Supported).collect::<Vec<_>>(), ["timer", "100rel"]);
    assert_eq!(invite.body(), b"v=0\n");
    assert!(invite.has_body_of("Application/SDP"));
    assert_eq!(invite.header(Header::Other), None);
    assert!(!format!("{invite:?}").contains("v=0"));
}

#[test]
fn mandatory_headers() {
    for (name, header) in [
        ("Via", Header::Via),
        ("From", Header::From),
        ("To", Header::To),
        ("Call-ID", Header::CallId),
        ("CSeq", Header::CSeq),
    ] {
        assert_eq!(read(with(name, "")), Err(Kind::Missing(header)));
    }
    assert_eq!(read(with("Max-Forwards", "")).unwrap().max_forwards(), Ok(None), "tolerated: §16.3 step 3");
    assert!(read(with("Content-Length", "")).is_ok(), "a datagram ends by itself");
}

#[test]
fn singletons_stand_once() {
    for header in Header::KNOWN.iter().filter(|header| header.is_single()) {
        let line = |value: &str| format!("Subject: x\r\n{header}: {value}\r\n{header}: {value}");
        if matches!(header, Header::From | Header::To | Header::CallId | Header::CSeq | Header::ContentLength) {
            continue;
        }
        let text = with("Contact", &line("1")).replace("Subject: x\r\n", "").replacen("Max-Forwards: 70\r\n", "", 1);
        let text = text.replacen("Content-Type: application/sdp\r\n", "", 1);
        assert_eq!(read(text), Err(Kind::Duplicate(*header)), "{header}");
    }
    for (name, value) in [("f", "<sip:a@b>"), ("t", "<sip:a@b>"), ("i", "x"), ("CSeq", "1 INVITE"), ("l", "4")] {
        let error = read(with("Contact", &format!("{name}: {value}"))).unwrap_err();
        assert_eq!(error, Kind::Duplicate(Header::from_name(name)));
    }
}

#[test]
fn start_lines() {
    let start = |line: &str| read(INVITE.replacen("INVITE sip:+12125550100@example.test SIP/2.0", line, 1));
    for (line, kind) in [
        ("INVITE sip:a@b SIP/3.0", Kind::Version),
        ("INVITE sip:a@b SIP/7.0", Kind::Version),
        ("INVITE sip:a@b HTTP/1.1", Kind::StartLine),
        ("INVITE sip:a@b", Kind::StartLine),
        ("INVITE", Kind::StartLine),
        ("", Kind::StartLine),
        ("IN VITE sip:a@b SIP/2.0", Kind::RequestUri(UriError::Character)),
        ("INV{TE sip:a@b SIP/2.0", Kind::StartLine),
        ("INVITE a@b SIP/2.0", Kind::RequestUri(UriError::Scheme)),
        ("INVITE sip:a@b SIP/2.0 ", Kind::StartLine),
        ("INVITE sip:a@b?h=v SIP/2.0", Kind::RequestUri(UriError::HeadersNotAllowed)),
        ("BYE sip:a@b SIP/2.0", Kind::MethodMismatch),
        ("invite sip:a@b SIP/2.0", Kind::MethodMismatch),
        ("SIP/2.0 99 Low", Kind::Status),
        ("SIP/2.0 700 High", Kind::Status),
        ("SIP/2.0 0200 OK", Kind::Status),
        ("SIP/2.0 +20 OK", Kind::Status),
        ("SIP/2.0 200", Kind::StartLine),
        ("SIP/1.0 200 OK", Kind::Version),
    ] {
        // an empty first line is a line end before the message, so the next line is taken for the start line
        assert_eq!(start(line), Err(kind), "{line}");
    }
    assert!(start("INVITE sip:a@b sip/2.0").is_ok(), "§7.1: case does not matter");
    assert!(start("INVITE urn:service:sos SIP/2.0").is_ok());
    assert_eq!(start("SIP/2.0 699 Odd").unwrap().status(), Some(699));
    assert_eq!(start("SIP/2.0 100 ").unwrap().reason(), "");
    assert_eq!(start("SIP/2.0 200 OK").unwrap().method(), Method::Invite);
}

#[test]
fn header_lines() {
    for (line, kind) in [
        ("No colon here", Kind::HeaderLine),
        (": no name", Kind::HeaderLine),
        ("Bad name: x", Kind::HeaderLine),
        ("Bare: line\nfeed: x", Kind::HeaderLine),
        ("Bare: carriage\rreturn", Kind::HeaderLine),
    ] {
        assert_eq!(read(with("X-Unknown", line)), Err(kind), "{line}");
    }
    let folded_first = INVITE.replacen("\r\nVia: ", "\r\n Via: ", 1);
    assert_eq!(read(folded_first), Err(Kind::HeaderLine));
    let mut latin1 = INVITE.as_bytes().to_vec();
    latin1[INVITE.find("as  it").unwrap()] = 0xe4;
    assert_eq!(Message::parse(latin1.into()).unwrap_err().kind(), Kind::NotUtf8);
    assert_eq!(read(""), Err(Kind::Empty));
    assert_eq!(read("\r\n\r\n"), Err(Kind::Empty));
    assert!(read(format!("\r\n\r\n{INVITE}")).is_ok());
    let unfinished = &INVITE[..INVITE.find("\r\n\r\n").unwrap() + 2];
    assert_eq!(read(unfinished), Err(Kind::Unfinished));
}

#[test]
fn values_every_element_needs() {
    for (name, line, header, error) in [
        ("CSeq", "CSeq: 2147483648 INVITE", Header::CSeq, HeaderError::Number),
        ("CSeq", "CSeq: -1 INVITE", Header::CSeq, HeaderError::Number),
        ("CSeq", "CSeq: 1", Header::CSeq, HeaderError::Syntax),
        ("CSeq", "CSeq: 1 IN,VITE", Header::CSeq, HeaderError::Method),
        ("Max-Forwards", "Max-Forwards: 256", Header::MaxForwards, HeaderError::Number),
        ("Max-Forwards", "Max-Forwards:", Header::MaxForwards, HeaderError::Number),
        ("Call-ID", "Call-ID: a b", Header::CallId, HeaderError::Syntax),
        ("Call-ID", "Call-ID: a@b@c", Header::CallId, HeaderError::Syntax),
        ("Call-ID", "Call-ID:", Header::CallId, HeaderError::Syntax),
        ("Content-Length", "Content-Length: 4 4", Header::ContentLength, HeaderError::Number),
        ("Content-Length", "Content-Length: 4294967296", Header::ContentLength, HeaderError::Number),
        ("Via", "Via: SIP/2.0/UDP", Header::Via, HeaderError::Via),
        ("Via", "Via: SIP/2.0/UDP host:65536", Header::Via, HeaderError::Via),
        ("Via", "Via: SIP/2.0/UDP host, SIP/2.0/UDP", Header::Via, HeaderError::Via),
        ("From", "From: <sip:a@b", Header::From, HeaderError::Address),
        ("From", "From: sip:a@b?x=y", Header::From, HeaderError::Brackets),
    ] {
        assert_eq!(read(with(name, line)), Err(Kind::Header(header, error)), "{line}");
    }
    assert_eq!(read(with("CSeq", "CSeq: 2147483647 INVITE")).unwrap().cseq().unwrap().number, 2_147_483_647);
    assert_eq!(read(with("Max-Forwards", "Max-Forwards: 255")).unwrap().max_forwards(), Ok(Some(255)));
}

#[test]
fn bodies_of_other_lengths() {
    assert_eq!(read(with("Content-Length", "Content-Length: 5")), Err(Kind::BodyTooShort { announced: 5, found: 4 }));
    let cut = read(with("Content-Length", "l: 3")).unwrap();
    assert_eq!(cut.body(), b"v=0");
    assert!(cut.as_bytes().ends_with(b"\r\n\r\nv=0"));
    assert_eq!(read(with("Content-Length", "")).unwrap().body(), b"v=0\n");
}

#[test]
fn answers_to_refused_requests() {
    let refused = |text: String| Message::parse(text.into()).unwrap_err();
    let error = refused(with("Max-Forwards", "Max-Forwards: 256"));
    let (status, builder) = error.answerable().unwrap();
    assert_eq!(status, 400);
    let answer = builder.to_tag("x y\r\n").build();
    let text = String::from_utf8(answer.as_bytes().to_vec()).unwrap();
    assert_eq!(
        text,
        "SIP/2.0 400 Bad Request\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK776asdhds;rport\r\n\
         From: \"Alice, A.\" <sip:alice@example.test>;tag=1928301774\r\n\
         To: <sip:+12125550100@example.test>;tag=xy\r\n\
         Call-ID: a84b4c76e66710@pc33.example.test\r\n\
         CSeq: 314159 INVITE\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert!(error.phrase().starts_with("Bad Request ("));
    assert_eq!(refused(INVITE.replacen("SIP/2.0", "SIP/3.0", 1)).answerable().unwrap().0, 505);
    // nothing to answer: an ACK, a response, no way back, nothing to match by
    let ack = with("Max-Forwards", "Max-Forwards: 256").replacen("INVITE sip", "ACK sip", 1).replacen(
        "314159 INVITE",
        "314159 ACK",
        1,
    );
    assert!(refused(ack).answerable().is_none());
    assert!(
        refused(with("Max-Forwards", "Max-Forwards: x").replacen(
            "INVITE sip:+12125550100@example.test SIP/2.0",
            "SIP/2.0 200 OK",
            1
        ))
        .answerable()
        .is_none()
    );
    assert!(refused(with("Via", "")).answerable().is_none());
    assert!(refused(with("Via", "Via: nonsense")).answerable().is_none());
    assert!(refused(with("CSeq", "")).answerable().is_none());
}

#[test]
fn limits_inside_and_outside() {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::DEFAULT;
        change(&mut limits);
        Message::parse_with(INVITE.into(), &limits).map(|_| ()).map_err(|error| error.kind())
    };
    let octets = INVITE.len();
    assert_eq!(octets, 434, "the numbers below count on it");
    assert_eq!(limits(|limits| limits.message_octets = 434), Ok(()));
    assert_eq!(limits(|limits| limits.message_octets = 433), Err(Kind::MessageTooLong(433)));
    assert_eq!(limits(|limits| limits.head_octets = 430), Ok(()));
    assert_eq!(limits(|limits| limits.head_octets = 429), Err(Kind::HeadTooLong(429)));
    assert_eq!(limits(|limits| limits.headers = 11), Ok(()));
    assert_eq!(limits(|limits| limits.headers = 10), Err(Kind::TooManyHeaders(10)));
    assert_eq!(limits(|limits| limits.header_octets = 63), Ok(()));
    assert_eq!(limits(|limits| limits.header_octets = 62), Err(Kind::HeaderTooLong(62)));
    assert_eq!(limits(|limits| limits.uri_octets = 29), Ok(()));
    assert_eq!(limits(|limits| limits.uri_octets = 28), Err(Kind::UriTooLong(28)));
    let vias = |count: usize| {
        let line = format!("Via: {}", vec!["SIP/2.0/UDP a"; count].join(","));
        read(with("Via", &line)).map(|_| ())
    };
    assert_eq!(vias(128), Ok(()));
    assert_eq!(vias(129), Err(Kind::TooManyVias(128)));
    let big = |body: usize| {
        let head = with("Content-Length", &format!("Content-Length: {body}"));
        read(format!("{}{}", head.trim_end_matches("v=0\n"), "x".repeat(body))).map(|_| ())
    };
    let head = with("Content-Length", "Content-Length: 12345").len() - 4;
    assert_eq!(big(65_535 - head), Ok(()));
    assert_eq!(big(65_536 - head), Err(Kind::MessageTooLong(65_535)));
    let error = Message::parse_with(INVITE.into(), &Limits { uri_octets: 1, ..Limits::DEFAULT }).unwrap_err();
    assert_eq!(error.answerable().unwrap().0, 414);
}
