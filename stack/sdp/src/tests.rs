//! Descriptions read and written; offers answered; each limit just inside and just outside.

use std::net::IpAddr;

use proptest::prelude::*;

use crate::*;

const OFFER: &str = "v=0\r\n\
    o=alice 2890844526 2890844526 IN IP4 host.example.test\r\n\
    s=\r\n\
    c=IN IP4 192.0.2.1\r\n\
    b=AS:80\r\n\
    t=0 0\r\n\
    a=tool:phone\r\n\
    m=audio 49170 RTP/AVP 8 0 96 101 18\r\n\
    a=rtpmap:96 opus/48000/2\r\n\
    a=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\n\
    a=fmtp:18 annexb=no\r\n\
    a=ptime:20\r\n\
    a=sendrecv\r\n\
    m=video 51372 RTP/AVP 31\r\n\
    c=IN IP6 2001:db8::1\r\n\
    a=x-unknown:kept\r\n";

fn read(text: &str) -> SessionDescription {
    SessionDescription::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn us() -> Capabilities {
    Capabilities::g711(IpAddr::from([198, 51, 100, 7]), 20_000, 42)
}

fn audio(lines: &str) -> SessionDescription {
    read(&format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{lines}"))
}

#[test]
fn a_description_is_read_and_written_as_it_was() {
    let offer = read(OFFER);
    assert_eq!(offer.to_string(), OFFER);
    assert_eq!(read(&OFFER.replace("\r\n", "\n")), offer);
    assert_eq!(read(&format!("{OFFER}\r\n")), offer);
    assert_eq!(offer.origin.version, 2_890_844_526);
    assert_eq!(offer.attribute("tool"), Some("phone"));
    assert_eq!(offer.media_address(0), Some(("192.0.2.1".parse().unwrap(), 49_170)));
    assert_eq!(offer.media_address(1), Some(("2001:db8::1".parse().unwrap(), 51_372)));
    assert_eq!(offer.media_address(2), None);
    assert_eq!(offer.media[0].ptime_ms(), Some(20));
    assert_eq!(offer.audio(), Some(0));
    let payloads = offer.media[0].payloads();
    let named: Vec<_> =
        payloads.iter().map(|payload| (payload.payload_type, payload.codec.encoding.as_str())).collect();
    assert_eq!(named, [(8, "PCMA"), (0, "PCMU"), (96, "opus"), (101, "telephone-event"), (18, "G729")]);
    assert_eq!((payloads[2].codec.clock_rate_hz, payloads[2].codec.channels), (48_000, 2));
    assert_eq!(payloads[3].fmtp.as_deref(), Some("0-16"));
    assert_eq!(payloads[4].fmtp.as_deref(), Some("annexb=no"));
}

#[test]
fn static_payload_types_need_no_rtpmap() {
    let all = audio("m=audio 1 RTP/AVP 0 8 9 13 18 97 200 x\r\n").media[0].payloads();
    let named: Vec<_> = all.iter().map(|payload| (payload.payload_type, payload.codec.encoding.as_str())).collect();
    assert_eq!(named, [(0, "PCMU"), (8, "PCMA"), (9, "G722"), (13, "CN"), (18, "G729")]);
    assert_eq!(audio("m=image 1 udptl t38\r\n").media[0].payloads(), []);
    // an rtpmap that cannot be read names no codec, not the static one
    assert_eq!(audio("m=audio 1 RTP/AVP 0\r\na=rtpmap:0 PCMU\r\n").media[0].payloads(), []);
}

#[test]
fn ill_formed_descriptions() {
    let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n";
    for (text, error) in [
        ("", SdpError::Version),
        ("v=1\r\n", SdpError::Version),
        ("o=- 1 1 IN IP4 a\r\nv=0\r\n", SdpError::Version),
        ("v=0\r\ns=-\r\nt=0 0\r\n", SdpError::Missing('o')),
        ("v=0\r\no=- 1 1 IN IP4 a\r\nt=0 0\r\n", SdpError::Missing('s')),
        (head, SdpError::Missing('t')),
        ("v=0\r\no=- 1 IN IP4 a\r\n", SdpError::Origin),
        ("v=0\r\no=- x 1 IN IP4 a\r\n", SdpError::Origin),
        ("v=0\r\no=- 1 18446744073709551616 IN IP4 a\r\n", SdpError::Origin),
        ("v=0\r\no=- 1 1 ATM IP4 a\r\n", SdpError::Origin),
        ("v=0\r\no=- 1 1 IN IP4 a b\r\n", SdpError::Origin),
        ("v=0\r\nv=0\r\n", SdpError::Duplicate('v')),
        ("v=0\r\ns=a\r\ns=b\r\n", SdpError::Duplicate('s')),
        ("v=0\r\nc=IN IP4 a.b\r\nc=IN IP4 a.b\r\n", SdpError::Duplicate('c')),
        ("v=0\r\nc=IN IP4 2001:db8::1\r\n", SdpError::Connection),
        ("v=0\r\nc=IN IP6 192.0.2.1\r\n", SdpError::Connection),
        ("v=0\r\nc=IN IP4\r\n", SdpError::Connection),
        ("v=0\r\nc=IN IP4 1.2.3.400\r\n", SdpError::Connection),
        ("v=0\r\nm=audio 65536 RTP/AVP 0\r\n", SdpError::Media),
        ("v=0\r\nm=audio -1 RTP/AVP 0\r\n", SdpError::Media),
        ("v=0\r\nm=audio 1 RTP/AVP\r\n", SdpError::Media),
        ("v=0\r\n\r\ns=-\r\n", SdpError::Line(2)),
        ("v=0\r\nnonsense\r\n", SdpError::Line(2)),
        ("v=0\r\nA=x\r\n", SdpError::Line(2)),
        ("v=0\r\ns=a\rb\r\n", SdpError::Line(2)),
    ] {
        assert_eq!(SessionDescription::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn limits_inside_and_outside() {
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::DEFAULT;
        change(&mut limits);
        SessionDescription::parse_with(OFFER, &limits).map(|_| ())
    };
    assert_eq!(OFFER.len(), 341, "the numbers below count on it");
    assert_eq!(with(|limits| limits.octets = 341), Ok(()));
    assert_eq!(with(|limits| limits.octets = 340), Err(SdpError::TooLong(340)));
    assert_eq!(with(|limits| limits.lines = 17), Ok(()));
    assert_eq!(with(|limits| limits.lines = 16), Err(SdpError::TooManyLines(16)));
    assert_eq!(with(|limits| limits.media = 2), Ok(()));
    assert_eq!(with(|limits| limits.media = 1), Err(SdpError::TooManyMedia(1)));
    assert_eq!(with(|limits| limits.formats = 5), Ok(()));
    assert_eq!(with(|limits| limits.formats = 4), Err(SdpError::TooManyFormats(4)));
}

#[test]
fn an_offer_is_answered() {
    let answer = answer(&read(OFFER), &us()).unwrap();
    assert_eq!(
        answer.to_string(),
        "v=0\r\no=- 42 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
         m=audio 20000 RTP/AVP 8 0 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
         a=ptime:20\r\na=sendrecv\r\n\
         m=video 0 RTP/AVP 31\r\n"
    );
    assert_eq!(read(&answer.to_string()), answer);
    let mut picky = us();
    picky.codecs = vec![Codec::pcmu(), Codec::pcma()];
    picky.telephone_event = false;
    assert_eq!(crate::answer(&read(OFFER), &picky).unwrap().media[0].formats, ["8", "0"], "the offer's order");
    picky.own_order = true;
    assert_eq!(crate::answer(&read(OFFER), &picky).unwrap().media[0].formats, ["0", "8"]);
    let six = Capabilities::g711("2001:db8::7".parse().unwrap(), 2, 1);
    assert!(crate::answer(&read(OFFER), &six).unwrap().to_string().contains("c=IN IP6 2001:db8::7\r\n"));
}

#[test]
fn what_cannot_be_accepted_is_refused() {
    for lines in [
        "m=audio 1 RTP/AVP 3\r\n",
        "m=audio 1 RTP/SAVP 0 8\r\n",
        "m=video 1 RTP/AVP 0\r\n",
        "m=audio 1 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n",
        "m=image 1 udptl t38\r\n",
    ] {
        assert_eq!(answer(&audio(lines), &us()), Err(NoCommonCodec), "{lines}");
    }
    let two = answer(&audio("m=audio 1 RTP/SAVP 8\r\nm=audio 2 RTP/AVP 8\r\nm=audio 3 RTP/AVP 8\r\n"), &us()).unwrap();
    assert_eq!(two.media.iter().map(|media| media.port).collect::<Vec<_>>(), [0, 20_000, 0]);
    assert_eq!(two.audio(), Some(1));
    // nothing is asked for: nothing is refused
    assert_eq!(answer(&audio("m=audio 0 RTP/AVP 8\r\n"), &us()).unwrap().media[0].port, 0);
    assert_eq!(answer(&audio(""), &us()).unwrap().media, []);
    // events on another clock than the codec's are left out
    let fast = audio("m=audio 1 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/48000\r\n");
    assert_eq!(answer(&fast, &us()).unwrap().media[0].formats, ["8"]);
}

#[test]
fn directions_are_reversed() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    for (offered, ours, answered) in [
        (SendRecv, SendRecv, SendRecv),
        (SendOnly, SendRecv, RecvOnly),
        (RecvOnly, SendRecv, SendOnly),
        (Inactive, SendRecv, Inactive),
        (SendRecv, RecvOnly, RecvOnly),
        (SendOnly, SendOnly, Inactive),
        (RecvOnly, SendOnly, SendOnly),
    ] {
        let mut offer = audio("m=audio 1 RTP/AVP 8\r\n");
        offer.set_direction(0, offered);
        let answer = answer(&offer, &Capabilities { direction: ours, ..us() }).unwrap();
        assert_eq!(answer.direction(0), answered, "{offered:?} {ours:?}");
    }
    let session = read(&OFFER.replace("a=tool:phone", "a=inactive").replace("a=sendrecv\r\n", ""));
    assert_eq!(session.direction(0), Inactive, "the session's, where the line has none");
    assert_eq!(session.direction(9), Inactive);
}

#[test]
fn holds() {
    for (lines, hold) in [
        ("m=audio 1 RTP/AVP 8\r\n", false),
        ("m=audio 1 RTP/AVP 8\r\na=sendonly\r\n", true),
        ("m=audio 1 RTP/AVP 8\r\na=inactive\r\n", true),
        ("m=audio 1 RTP/AVP 8\r\na=recvonly\r\n", false),
        ("m=audio 1 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n", true),
        ("m=audio 0 RTP/AVP 8\r\na=sendonly\r\n", false),
    ] {
        assert_eq!(audio(lines).is_hold(0), hold, "{lines}");
    }
    let old = audio("m=audio 1 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n");
    assert_eq!(old.media_address(0), None, "nothing may be sent there");
    assert_eq!(answer(&old, &us()).unwrap().direction(0), Direction::RecvOnly);
}

#[test]
fn both_sides_agree_on_what_was_negotiated() {
    let mut caller = us();
    caller.codecs = vec![Codec { channels: 2, ..Codec::new("opus", 48_000) }, Codec::pcmu(), Codec::pcma()];
    let offer = offer(&caller);
    assert_eq!(offer.media[0].formats, ["96", "0", "8", "101"]);
    // a peer may answer with numbers of its own
    let answer = read(&answer(&offer, &us()).unwrap().to_string().replace("101", "110"));
    let at_caller = negotiated(&offer, &answer, 0, false);
    let at_callee = negotiated(&answer, &offer, 0, true);
    let numbers = |list: &[Negotiated]| list.iter().map(|each| (each.send_type, each.receive_type)).collect::<Vec<_>>();
    assert_eq!(numbers(&at_caller), [(0, 0), (8, 8), (110, 101)]);
    assert_eq!(numbers(&at_callee), [(0, 0), (8, 8), (101, 110)]);
    assert!(at_caller[2].codec.is_telephone_event());
    let refused = audio("m=audio 0 RTP/AVP 0\r\n");
    assert_eq!(negotiated(&offer, &refused, 0, false), []);
    assert_eq!(negotiated(&offer, &answer, 1, false), []);
}

#[test]
fn an_offer_never_runs_out_of_numbers() {
    let mut many = us();
    many.codecs = (0..60).map(|index| Codec::new(&format!("x{index}"), 8000)).collect();
    let payloads = offer(&many).media[0].payloads();
    let mut numbers: Vec<u8> = payloads.iter().map(|payload| payload.payload_type).collect();
    assert!(payloads.last().unwrap().codec.is_telephone_event());
    assert!(numbers.iter().all(|number| (96..128).contains(number)));
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
}

#[test]
fn versions_count_changes() {
    let first = offer(&us());
    assert_eq!(offer(&Capabilities { session_id: 7, ..us() }).following(&first), first, "no change, no new version");
    let mut held = offer(&us());
    held.set_direction(0, Direction::SendOnly);
    let held = held.following(&first);
    assert_eq!((held.origin.version, held.origin.session_id.as_str()), (2, "42"));
    assert_eq!(offer(&us()).following(&held).origin.version, 3);
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "v=0\r\n",
        "o=- 1 1 IN IP4 192.0.2.1\r\n",
        "s=-\r\n",
        "t=0 0\r\n",
        "c=IN IP4 192.0.2.1\r\n",
        "c=IN IP6 ::\r\n",
        "\n",
        "\r",
        "m=audio 1 RTP/AVP 0 8 101\r\n",
        "m=audio 0/2 RTP/AVP 96\r\n",
        "m=",
        "a=",
        "rtpmap:101 telephone-event/8000\r\n",
        "rtpmap:0 /\r\n",
        "fmtp:101 0-15\r\n",
        "sendonly\r\n",
        "ptime:20.5\r\n",
        "x=y\r\n",
        "b=AS:1\r\n",
        "i=info\r\n",
        "=",
        " ",
        "\u{e4}",
        "\0",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn exercise(text: &str) {
    let Ok(description) = SessionDescription::parse(text) else { return };
    let written = description.to_string();
    let again = read(&written);
    assert_eq!(again.to_string(), written, "what is written reads as what was written");
    for index in 0..=description.media.len() {
        let _ = (description.media_address(index), description.direction(index), description.is_hold(index));
        let _ = negotiated(&description, &again, index, true);
    }
    if let Ok(answer) = answer(&description, &us()) {
        assert_eq!(answer.media.len(), description.media.len());
        assert_eq!(read(&answer.to_string()), answer);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text(text in any::<String>(), pieces in pieces()) {
        exercise(&text);
        exercise(&pieces);
        exercise(&format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{pieces}"));
    }

    #[test]
    fn mutated_offers(at in any::<prop::sample::Index>(), length in 0usize..20, with in pieces()) {
        let at = at.index(OFFER.len());
        let end = (at + length).min(OFFER.len());
        exercise(&format!("{}{with}{}", &OFFER[..at], &OFFER[end..]));
    }
}
