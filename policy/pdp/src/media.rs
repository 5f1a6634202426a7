//! From an offer and its answer to the flows they mean, and how much each may send (RFC 3264, RFC 3551).
//!
//! Only what admission needs is read from a session description: addresses, ports, formats, packet time, bandwidth, direction.

use std::net::IpAddr;

use strowger_pib::flow::{Excess, MediaFlow, PROTOCOL_UDP};
use strowger_sdp::{Codec, Direction, Line, SessionDescription};

/// Most media lines that count; a session with more is refused.
pub const STREAMS_MAX: usize = 16;
/// IPv4, UDP and RTP headers.
const HEADER_OCTETS_V4: u32 = 20 + 8 + 12;
/// IPv6, UDP and RTP headers.
const HEADER_OCTETS_V6: u32 = 40 + 8 + 12;

/// How flows and rates are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowSettings {
    /// Added to the computed rate, in percent: clocks drift, comfort noise and events come on top.
    pub slack_percent: u32,
    /// Packets a flow may send at once after a pause in the network before it, or after a softphone was late: 10 are 200 ms of G.711.
    pub burst_packets: u32,
    /// Codec rate of a format we do not know, in kbit/s.
    pub unknown_codec_kbps: u32,
    /// Whether a sender's port is its receiving port (a full 5-tuple). Otherwise any source port matches.
    pub symmetric_ports: bool,
    /// What happens beyond the rate.
    pub excess: Excess,
}

impl Default for FlowSettings {
    fn default() -> Self {
        FlowSettings {
            slack_percent: 10,
            burst_packets: 10,
            unknown_codec_kbps: 128,
            symmetric_ports: true,
            excess: Excess::Bleach,
        }
    }
}

/// A session description that no flow can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Not SDP, or a line without its meaning.
    #[error("the session description cannot be read")]
    Malformed,
    /// [`STREAMS_MAX`].
    #[error("the session description is too large")]
    TooLarge,
    /// A stream's address is a name, or missing.
    #[error("a stream has no IP address")]
    Address,
    /// One side speaks IPv4, the other IPv6.
    #[error("the two sides have different address families")]
    Family,
    /// The answer has other streams than the offer (RFC 3264 §6).
    #[error("the answer does not fit the offer")]
    Mismatch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    kbps: u32,
    default_ptime_ms: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stream {
    kind: String,
    port: u16,
    address: Option<IpAddr>,
    formats: Vec<Format>,
    ptime_ms: Option<u32>,
    bandwidth_kbps: Option<u32>,
    sends: bool,
    receives: bool,
}

/// What one side said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    streams: Vec<Stream>,
}

impl Session {
    /// Reads a session description (RFC 8866).
    pub fn parse(body: &[u8]) -> Result<Session, MediaError> {
        let text = std::str::from_utf8(body).map_err(|_| MediaError::Malformed)?;
        let description = SessionDescription::parse(text).map_err(|_| MediaError::Malformed)?;
        if description.media.len() > STREAMS_MAX {
            return Err(MediaError::TooLarge);
        }
        let streams = description.media.iter().enumerate().map(|(index, media)| {
            let direction = description.direction(index);
            let mut formats: Vec<Format> = media.payloads().iter().map(|payload| rate_of(&payload.codec)).collect();
            if formats.is_empty() {
                // Not RTP, or nothing but formats without a name: counted as something unknown, not as nothing.
                formats.push(Format { kbps: 0, default_ptime_ms: 20 });
            }
            Stream {
                kind: media.kind.clone(),
                port: media.port,
                // A name, or a multicast address with a TTL, is no address of a filter: it fails when a flow needs it.
                address: description.connection_of(index).and_then(|connection| connection.ip()),
                formats,
                ptime_ms: media.ptime_ms().map(u32::from),
                bandwidth_kbps: media.lines.iter().rev().find_map(bandwidth),
                sends: matches!(direction, Direction::SendRecv | Direction::SendOnly),
                receives: matches!(direction, Direction::SendRecv | Direction::RecvOnly),
            }
        });
        Ok(Session { streams: streams.collect() })
    }

    /// The largest rate one direction of all streams could need, in kbit/s of IP: what admission reserves for an offer.
    pub fn kbps(&self, settings: &FlowSettings) -> u32 {
        let live = self.streams.iter().filter(|stream| stream.port != 0);
        live.map(|stream| {
            let v6 = stream.address.is_some_and(|address| address.is_ipv6());
            stream_rate(&stream.formats, stream.ptime_ms, stream.bandwidth_kbps, v6, settings).0
        })
        .fold(0, u32::saturating_add)
    }
}

/// `b=TIAS:` is bit/s without lower layers, `b=AS:` kbit/s with IP, UDP and RTP.
fn bandwidth(line: &Line) -> Option<u32> {
    let (kind, value) = if line.letter == 'b' { line.value.split_once(':')? } else { return None };
    let value: u32 = value.trim().parse().ok().filter(|value| *value > 0)?;
    match kind {
        "AS" => Some(value),
        "TIAS" => Some(value.div_ceil(1000)),
        _ => None,
    }
}

/// Codec rate in kbit/s (0: not known here) and the packet time it uses when none is named, in ms (RFC 3551 §4.5).
fn rate_of(codec: &Codec) -> Format {
    let (kbps, default_ptime_ms) = match codec.encoding.to_ascii_uppercase().as_str() {
        "PCMU" | "PCMA" | "G722" => (64, 20),
        "G729" => (8, 20),
        "G728" => (16, 20),
        "G723" => (7, 30),
        "GSM" => (14, 20),
        "GSM-EFR" => (13, 20),
        "ILBC" => (16, 20),
        "SPEEX" => (28, 20),
        "AMR" => (13, 20),
        "AMR-WB" => (24, 20),
        "OPUS" => (64, 20),
        "L16" => (codec.clock_rate_hz.min(192_000) * u32::from(codec.channels.clamp(1, 8)) * 16 / 1000, 20),
        // Events and comfort noise travel in place of speech, never on top of it.
        "TELEPHONE-EVENT" | "CN" => (1, 20),
        _ => (0, 20),
    };
    Format { kbps, default_ptime_ms }
}

/// Rate of IP in kbit/s and octets of the largest packet, for the hungriest of these formats.
fn stream_rate(
    formats: &[Format],
    ptime_ms: Option<u32>,
    bandwidth_kbps: Option<u32>,
    v6: bool,
    settings: &FlowSettings,
) -> (u32, u32) {
    let headers = if v6 { HEADER_OCTETS_V6 } else { HEADER_OCTETS_V4 };
    let (mut rate, mut packet) = (1, headers);
    for format in formats {
        let known = format.kbps > 0;
        let codec_kbps = match (known, bandwidth_kbps) {
            (true, _) => format.kbps,
            (false, Some(kbps)) => kbps,
            (false, None) => settings.unknown_codec_kbps,
        };
        let ptime_ms = ptime_ms.unwrap_or(format.default_ptime_ms).max(1);
        // kbit/s times ms is bits. A video frame is split at the path's MTU.
        let payload = codec_kbps.saturating_mul(ptime_ms).div_ceil(8);
        let packets = payload.div_ceil(1400).max(1);
        let octets = payload.saturating_add(packets.saturating_mul(headers));
        rate = rate.max(octets.saturating_mul(8).div_ceil(ptime_ms));
        packet = packet.max(octets.div_ceil(packets));
    }
    let with_slack = u64::from(rate) * u64::from(100 + settings.slack_percent);
    (u32::try_from(with_slack.div_ceil(100)).unwrap_or(u32::MAX), packet)
}

/// What an offer and its answer agree on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agreed {
    /// For each stream that the answer keeps, one flow in each direction that is used.
    pub flows: Vec<MediaFlow>,
    /// What the call takes of the budget: the larger of its two directions, in kbit/s of IP.
    pub kbps: u32,
}

/// The flows of a call.
pub fn flows(offer: &Session, answer: &Session, settings: &FlowSettings) -> Result<Agreed, MediaError> {
    // RFC 3264 §6: the same number of m-lines, in the same order.
    if offer.streams.len() != answer.streams.len() {
        return Err(MediaError::Mismatch);
    }
    let mut flows = Vec::new();
    let mut kbps = [0u32; 2];
    for (offered, answered) in offer.streams.iter().zip(&answer.streams) {
        if offered.kind != answered.kind {
            return Err(MediaError::Mismatch);
        }
        if offered.port == 0 || answered.port == 0 {
            continue;
        }
        let (Some(offerer), Some(answerer)) = (offered.address, answered.address) else {
            return Err(MediaError::Address);
        };
        if offerer.is_ipv4() != answerer.is_ipv4() {
            return Err(MediaError::Family);
        }
        // What goes is what the answer lists; what it leaves out was declined.
        let formats = &answered.formats;
        let sides = [
            (offerer, offered, answerer, answered, offered.sends && answered.receives),
            (answerer, answered, offerer, offered, answered.sends && offered.receives),
        ];
        for ((source, sender, destination, receiver, used), kbps) in sides.into_iter().zip(&mut kbps) {
            // An unspecified address is the old way to say hold (RFC 3264 §8.4).
            if !used || destination.is_unspecified() || source.is_unspecified() {
                continue;
            }
            // ptime and bandwidth are the receiver's wish of what it gets.
            let (rate_kbps, packet) =
                stream_rate(formats, receiver.ptime_ms, receiver.bandwidth_kbps, source.is_ipv6(), settings);
            *kbps = kbps.saturating_add(rate_kbps);
            flows.push(MediaFlow {
                source,
                destination,
                source_port: settings.symmetric_ports.then_some(sender.port),
                destination_port: receiver.port,
                protocol: PROTOCOL_UDP,
                rate_kbps,
                burst_octets: packet.saturating_mul(settings.burst_packets.max(1)),
                excess: settings.excess,
            });
        }
    }
    let [there, back] = kbps;
    Ok(Agreed { flows, kbps: there.max(back) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(media: &str) -> Session {
        let text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}");
        Session::parse(text.as_bytes()).unwrap()
    }

    fn rates(offer: &str, answer: &str) -> Vec<u32> {
        let agreed = flows(&session(offer), &session(answer), &FlowSettings::default()).unwrap();
        agreed.flows.iter().map(|flow| flow.rate_kbps).collect()
    }

    #[test]
    fn rates_count_headers_packet_time_and_slack() {
        let plain = "m=audio 4000 RTP/AVP 0\r\n";
        // 200 octets 50 times a second and a tenth; in 10 ms packets the headers weigh twice.
        assert_eq!(rates(plain, plain), [88, 88]);
        assert_eq!(rates(plain, "m=audio 5000 RTP/AVP 0\r\na=ptime:10\r\n"), [106, 88]);
        assert_eq!(rates(plain, "m=audio 5000 RTP/AVP 18\r\n"), [27, 27]);
        // An IPv6 header is 20 octets longer.
        let v6 = "m=audio 5000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\n";
        assert_eq!(rates(v6, v6), [97, 97]);
        // Unknown codecs go by their stated bandwidth, or by the policy.
        let video = "m=video 6000 RTP/AVP 96\r\nb=AS:500\r\na=rtpmap:96 VP8/90000\r\n";
        assert!(rates(video, video)[0] > 550);
    }

    #[test]
    fn only_used_directions_and_streams_have_flows() {
        let plain = "m=audio 4000 RTP/AVP 0\r\n";
        assert_eq!(rates(plain, "m=audio 5000 RTP/AVP 0\r\na=recvonly\r\n").len(), 1);
        assert_eq!(rates("m=audio 4000 RTP/AVP 0\r\na=inactive\r\n", plain).len(), 0);
        assert_eq!(rates(plain, "m=audio 0 RTP/AVP 0\r\n").len(), 0);
        assert_eq!(rates(plain, "m=audio 5000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n").len(), 0);
    }

    #[test]
    fn answers_that_do_not_fit_are_named() {
        let audio = session("m=audio 4000 RTP/AVP 0\r\n");
        let fail = |answer: &str| flows(&audio, &session(answer), &FlowSettings::default()).unwrap_err();
        assert_eq!(fail(""), MediaError::Mismatch);
        assert_eq!(fail("m=video 4000 RTP/AVP 96\r\n"), MediaError::Mismatch);
        assert_eq!(fail("m=audio 4000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\n"), MediaError::Family);
        assert_eq!(fail("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 media.example.test\r\n"), MediaError::Address);
    }

    #[test]
    fn streams_just_inside_and_just_outside() {
        let text = |count| {
            format!(
                "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{}",
                "m=audio 4000 RTP/AVP 0\r\n".repeat(count)
            )
        };
        assert!(Session::parse(text(STREAMS_MAX).as_bytes()).is_ok());
        assert!(Session::parse(text(STREAMS_MAX + 1).as_bytes()).is_err());
    }
}
