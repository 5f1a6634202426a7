use crate::description::Media;

/// One RTP payload type of a media line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The number, 0 to 127.
    pub payload_type: u8,
    /// What it stands for.
    pub codec: Codec,
    /// Its fmtp, as it stands.
    pub fmtp: Option<String>,
}

/// An encoding as rtpmap names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// `PCMU`, `PCMA`, `telephone-event` …; compare it without regard to case.
    pub encoding: String,
    /// RTP clock rate in Hz.
    pub clock_rate_hz: u32,
    /// Channels, 1 unless stated.
    pub channels: u8,
}

impl Codec {
    /// One channel of an encoding.
    pub fn new(encoding: &str, clock_rate_hz: u32) -> Codec {
        Codec { encoding: encoding.to_owned(), clock_rate_hz, channels: 1 }
    }

    /// G.711 µ-law.
    pub fn pcmu() -> Codec {
        Codec::new("PCMU", 8000)
    }

    /// G.711 A-law.
    pub fn pcma() -> Codec {
        Codec::new("PCMA", 8000)
    }

    /// Named telephone events (RFC 4733) on the 8 kHz clock.
    pub fn telephone_event() -> Codec {
        Codec::new("telephone-event", 8000)
    }

    /// Whether two name the same encoding.
    pub fn is_same(&self, other: &Codec) -> bool {
        self.encoding.eq_ignore_ascii_case(&other.encoding)
            && self.clock_rate_hz == other.clock_rate_hz
            && self.channels == other.channels
    }

    /// Whether this is named telephone events.
    pub fn is_telephone_event(&self) -> bool {
        self.encoding.eq_ignore_ascii_case("telephone-event")
    }

    /// The payload type that RFC 3551 §6 fixes for it.
    pub fn static_type(&self) -> Option<u8> {
        STATIC
            .iter()
            .find(|(_, encoding, rate)| self.is_same(&Codec::new(encoding, *rate)))
            .map(|(number, _, _)| *number)
    }

    /// The value of rtpmap behind the number.
    pub(crate) fn rtpmap(&self) -> String {
        match self.channels {
            1 => format!("{}/{}", self.encoding, self.clock_rate_hz),
            channels => format!("{}/{}/{channels}", self.encoding, self.clock_rate_hz),
        }
    }
}

/// The audio types of RFC 3551 §6 with one channel. G722 is written with 8000 though it samples at 16 kHz (§4.5.2).
const STATIC: [(u8, &str, u32); 14] = [
    (0, "PCMU", 8000),
    (3, "GSM", 8000),
    (4, "G723", 8000),
    (5, "DVI4", 8000),
    (6, "DVI4", 16_000),
    (7, "LPC", 8000),
    (8, "PCMA", 8000),
    (9, "G722", 8000),
    (11, "L16", 44_100),
    (12, "QCELP", 8000),
    (13, "CN", 8000),
    (14, "MPA", 90_000),
    (15, "G728", 8000),
    (18, "G729", 8000),
];

/// The payload a format of a media line stands for.
pub(crate) fn of(media: &Media, format: &str) -> Option<Payload> {
    let payload_type: u8 = format.parse().ok().filter(|number| *number < 128)?;
    let codec = match media.attributes("rtpmap").find_map(|value| value_for(value, format)) {
        Some(mapping) => parse_rtpmap(mapping)?,
        None => STATIC
            .iter()
            .find(|(number, _, _)| *number == payload_type)
            .map(|(_, encoding, rate)| Codec::new(encoding, *rate))?,
    };
    let fmtp = media.attributes("fmtp").find_map(|value| value_for(value, format)).map(str::to_owned);
    Some(Payload { payload_type, codec, fmtp })
}

/// What follows the format and white space, when the value is for that format.
fn value_for<'a>(value: &'a str, format: &str) -> Option<&'a str> {
    let (number, rest) = value.trim().split_once([' ', '\t'])?;
    (number == format).then(|| rest.trim())
}

fn parse_rtpmap(mapping: &str) -> Option<Codec> {
    let mut parts = mapping.split('/');
    let encoding = parts.next().filter(|encoding| !encoding.is_empty())?;
    let clock_rate_hz = parts.next()?.parse().ok().filter(|rate| *rate > 0)?;
    let channels = parts.next().map_or(Some(1), |channels| channels.parse().ok())?;
    Some(Codec { encoding: encoding.to_owned(), clock_rate_hz, channels })
}
