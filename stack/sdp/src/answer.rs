use std::net::IpAddr;

use crate::description::{AddressType, Connection, Direction, Line, Media, Origin, SessionDescription};
use crate::payload::{Codec, Payload};

/// What we can do on one audio stream, and the session it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Where we receive.
    pub address: IpAddr,
    /// The RTP port we receive on.
    pub port: u16,
    /// Codecs, best first.
    pub codecs: Vec<Codec>,
    /// Whether we take named telephone events.
    pub telephone_event: bool,
    /// The ways we want media to flow.
    pub direction: Direction,
    /// Milliseconds of media in a packet, where we have a wish.
    pub ptime_ms: Option<u16>,
    /// An answer lists codecs in our order; otherwise in the offer's, as RFC 3264 §6.1 recommends.
    pub own_order: bool,
    /// The number that makes our session unique.
    pub session_id: u64,
    /// The version of our next description ([`SessionDescription::following`] counts it up).
    pub version: u64,
}

impl Capabilities {
    /// G.711 in both laws and telephone events, both ways, 20 ms.
    pub fn g711(address: IpAddr, port: u16, session_id: u64) -> Capabilities {
        Capabilities {
            address,
            port,
            codecs: vec![Codec::pcma(), Codec::pcmu()],
            telephone_event: true,
            direction: Direction::SendRecv,
            ptime_ms: Some(20),
            own_order: false,
            session_id,
            version: 1,
        }
    }
}

/// No stream of the offer can be accepted: answer 488 (RFC 3261 §21.4.26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no media line of the offer has a codec in common with us")]
pub struct NoCommonCodec;

/// The first payload type for codecs that have no fixed one.
const FIRST_DYNAMIC: u8 = 96;

/// The events 0 to 15: digits, `*`, `#`, A to D (RFC 4733 §3.2).
const DTMF_EVENTS: &str = "0-15";

fn description(capabilities: &Capabilities, media: Vec<Media>) -> SessionDescription {
    let address = capabilities.address;
    SessionDescription {
        origin: Origin {
            username: "-".into(),
            session_id: capabilities.session_id.to_string(),
            version: capabilities.version,
            address_type: AddressType::of(address),
            address: address.to_string(),
        },
        name: "-".into(),
        connection: Some(Connection::new(address)),
        lines: vec![Line { letter: 't', value: "0 0".into() }],
        media,
    }
}

fn audio_line(capabilities: &Capabilities, protocol: &str, payloads: &[Payload], direction: Direction) -> Media {
    let mut lines = Vec::new();
    for payload in payloads {
        let number = payload.payload_type;
        lines.push(Line::attribute("rtpmap", Some(&format!("{number} {}", payload.codec.rtpmap()))));
        if let Some(fmtp) = &payload.fmtp {
            lines.push(Line::attribute("fmtp", Some(&format!("{number} {fmtp}"))));
        }
    }
    if let Some(ptime_ms) = capabilities.ptime_ms {
        lines.push(Line::attribute("ptime", Some(&ptime_ms.to_string())));
    }
    lines.push(Line::attribute(direction.as_str(), None));
    Media {
        kind: "audio".into(),
        port: capabilities.port,
        port_count: None,
        protocol: protocol.to_owned(),
        formats: payloads.iter().map(|payload| payload.payload_type.to_string()).collect(),
        connection: None,
        lines,
    }
}

/// Our offer: one audio stream with all our codecs (RFC 3264 §5). Codecs beyond the dynamic payload types are left out.
pub fn offer(capabilities: &Capabilities) -> SessionDescription {
    let mut next = FIRST_DYNAMIC;
    let mut payloads: Vec<Payload> = Vec::new();
    for codec in &capabilities.codecs {
        let payload_type = codec.static_type().unwrap_or(next);
        next += u8::from(codec.static_type().is_none());
        if next >= 127 {
            break;
        }
        payloads.push(Payload { payload_type, codec: codec.clone(), fmtp: None });
    }
    if capabilities.telephone_event {
        // 101 is what everybody uses; a peer that ignores rtpmap then still guesses right
        let payload_type = next.max(101);
        payloads.push(Payload { payload_type, codec: Codec::telephone_event(), fmtp: Some(DTMF_EVENTS.into()) });
    }
    description(capabilities, vec![audio_line(capabilities, "RTP/AVP", &payloads, capabilities.direction)])
}

/// The answer to an offer (RFC 3264 §6): the first audio line with a codec in common is accepted, with the offer's payload
/// numbers; every other line is refused with port 0. Directions are seen from our side. An offer whose lines are all refused
/// already is answered in kind.
///
/// # Errors
/// [`NoCommonCodec`] when the offer has an active line and none can be accepted.
pub fn answer(offer: &SessionDescription, capabilities: &Capabilities) -> Result<SessionDescription, NoCommonCodec> {
    let mut accepted = false;
    let mut media = Vec::with_capacity(offer.media.len());
    for (index, offered) in offer.media.iter().enumerate() {
        let payloads = if accepted { Vec::new() } else { common(offered, capabilities) };
        if payloads.is_empty() {
            media.push(refused(offered));
            continue;
        }
        accepted = true;
        let direction = offer.direction(index).reversed().and(capabilities.direction);
        media.push(audio_line(capabilities, &offered.protocol, &payloads, direction));
    }
    if !accepted && offer.media.iter().any(|offered| offered.port != 0) {
        return Err(NoCommonCodec);
    }
    Ok(description(capabilities, media))
}

/// A refused line repeats kind, protocol and formats (RFC 3264 §6).
fn refused(offered: &Media) -> Media {
    Media { port: 0, port_count: None, connection: None, lines: Vec::new(), ..offered.clone() }
}

/// The payloads of an offered line that we can use; empty when the line cannot be accepted.
fn common(offered: &Media, capabilities: &Capabilities) -> Vec<Payload> {
    if offered.kind != "audio" || offered.port == 0 || !offered.is_plain_rtp() {
        return Vec::new();
    }
    let rank = |payload: &Payload| capabilities.codecs.iter().position(|codec| codec.is_same(&payload.codec));
    let offered = offered.payloads();
    let mut payloads: Vec<Payload> = offered.iter().filter(|payload| rank(payload).is_some()).cloned().collect();
    if capabilities.own_order {
        payloads.sort_by_key(rank);
    }
    // without a codec to talk in, events alone are no stream; their clock is the codec's (RFC 4733 §2.1)
    let Some(clock_rate_hz) = payloads.first().map(|payload| payload.codec.clock_rate_hz) else { return Vec::new() };
    let events =
        |payload: &&Payload| payload.codec.is_telephone_event() && payload.codec.clock_rate_hz == clock_rate_hz;
    if let Some(events) = offered.iter().find(events).filter(|_| capabilities.telephone_event) {
        payloads.push(Payload { fmtp: Some(DTMF_EVENTS.into()), ..events.clone() });
    }
    payloads
}

/// One format that both sides of a stream know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The encoding.
    pub codec: Codec,
    /// The payload type to send with: the peer's number (RFC 3264 §5.1).
    pub send_type: u8,
    /// The payload type to expect: our number.
    pub receive_type: u8,
    /// The peer's fmtp.
    pub fmtp: Option<String>,
}

/// What both descriptions of a stream have in common, in the order of the answer: the first that is not telephone-event is the
/// codec to send. Empty when either refuses the line.
pub fn negotiated(
    ours: &SessionDescription,
    theirs: &SessionDescription,
    index: usize,
    we_answered: bool,
) -> Vec<Negotiated> {
    let payloads = |description: &SessionDescription| {
        let media = description.media.get(index).filter(|media| media.port != 0);
        media.map(Media::payloads).unwrap_or_default()
    };
    let (ours, theirs) = (payloads(ours), payloads(theirs));
    let pair = |mine: &Payload, peers: &Payload| Negotiated {
        codec: mine.codec.clone(),
        send_type: peers.payload_type,
        receive_type: mine.payload_type,
        fmtp: peers.fmtp.clone(),
    };
    let twin = |list: &[Payload], codec: &Codec| list.iter().find(|payload| payload.codec.is_same(codec)).cloned();
    if we_answered {
        ours.iter().filter_map(|mine| twin(&theirs, &mine.codec).map(|peers| pair(mine, &peers))).collect()
    } else {
        theirs.iter().filter_map(|peers| twin(&ours, &peers.codec).map(|mine| pair(&mine, peers))).collect()
    }
}
