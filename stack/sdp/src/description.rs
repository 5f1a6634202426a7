use std::fmt;
use std::net::IpAddr;

use crate::payload::{self, Payload};

/// A session description. `Display` writes it with CR LF line ends, in the order RFC 8866 §5 wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDescription {
    /// `o=`
    pub origin: Origin,
    /// `s=`
    pub name: String,
    /// `c=` of the session, for media lines that have none.
    pub connection: Option<Connection>,
    /// The session's other lines in the order they stood (`i u e p b t r z k a` and unknown ones).
    pub lines: Vec<Line>,
    /// `m=` and what belongs to it.
    pub media: Vec<Media>,
}

/// `o=`: who made the description, and which version of it this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// User name, `-` where there is none.
    pub username: String,
    /// Digits that make the session unique; longer than any integer in some peers.
    pub session_id: String,
    /// Grows with every change (RFC 3264 §8).
    pub version: u64,
    /// IP4 or IP6.
    pub address_type: AddressType,
    /// Address or host name.
    pub address: String,
}

/// The address family's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AddressType {
    Ip4,
    Ip6,
}

impl AddressType {
    pub(crate) fn of(address: IpAddr) -> AddressType {
        if address.is_ipv4() { AddressType::Ip4 } else { AddressType::Ip6 }
    }
}

/// `c=`: where media go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// IP4 or IP6.
    pub address_type: AddressType,
    /// Address or host name; of a multicast address also what follows the slash.
    pub address: String,
}

impl Connection {
    /// From an address.
    pub fn new(address: IpAddr) -> Connection {
        Connection { address_type: AddressType::of(address), address: address.to_string() }
    }

    /// The address; `None` for a host name, or an address of the other family.
    pub fn ip(&self) -> Option<IpAddr> {
        let plain = self.address.split('/').next().unwrap_or_default();
        plain.parse::<IpAddr>().ok().filter(|address| AddressType::of(*address) == self.address_type)
    }
}

/// Any line: its letter and what follows `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The letter.
    pub letter: char,
    /// The text.
    pub value: String,
}

impl Line {
    /// `a=` with a value, or a flag.
    pub fn attribute(name: &str, value: Option<&str>) -> Line {
        let value = value.map_or_else(|| name.to_owned(), |value| format!("{name}:{value}"));
        Line { letter: 'a', value }
    }

    /// Name and value of an attribute.
    fn as_attribute(&self) -> Option<(&str, Option<&str>)> {
        if self.letter != 'a' {
            return None;
        }
        Some(self.value.split_once(':').map_or((self.value.as_str(), None), |(name, value)| (name, Some(value))))
    }
}

/// `m=` and its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`, `image` …
    pub kind: String,
    /// The port; 0 is a stream that is refused or ended.
    pub port: u16,
    /// How many ports, if that is written.
    pub port_count: Option<u16>,
    /// `RTP/AVP`, `RTP/SAVP`, `udptl` …
    pub protocol: String,
    /// Formats; of RTP, payload types in the order of preference.
    pub formats: Vec<String>,
    /// `c=` of this line.
    pub connection: Option<Connection>,
    /// The other lines in the order they stood.
    pub lines: Vec<Line>,
}

/// Which way media flow, seen from the one who says it (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    const ALL: [Direction; 4] = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];

    /// The attribute's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// Whether the one who says it sends.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the one who says it receives.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// From its two halves.
    pub const fn of(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// The same flow seen from the other side (RFC 3264 §6.1).
    pub const fn reversed(self) -> Direction {
        Direction::of(self.receives(), self.sends())
    }

    /// What both allow.
    pub const fn and(self, other: Direction) -> Direction {
        Direction::of(self.sends() && other.sends(), self.receives() && other.receives())
    }

    pub(crate) fn parse(name: &str) -> Option<Direction> {
        Direction::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

fn find_attribute<'a>(lines: &'a [Line], name: &str) -> Option<&'a str> {
    lines
        .iter()
        .filter_map(Line::as_attribute)
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.unwrap_or_default())
}

fn find_direction(lines: &[Line]) -> Option<Direction> {
    lines
        .iter()
        .filter_map(Line::as_attribute)
        .find_map(|(name, value)| Direction::parse(name).filter(|_| value.is_none()))
}

impl SessionDescription {
    /// A session attribute's value; the empty string for a flag.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        find_attribute(&self.lines, name)
    }

    /// Where the media of a line go: its own `c=` or the session's, and its port. `None` for a line that is not there, a refused
    /// one (port 0), a host name, or the unspecified address of a hold in the manner of RFC 2543.
    pub fn media_address(&self, index: usize) -> Option<(IpAddr, u16)> {
        let media = self.media.get(index)?;
        let address = self.connection_of(index)?.ip()?;
        (media.port != 0 && !address.is_unspecified()).then_some((address, media.port))
    }

    /// The `c=` that is in force for a media line.
    pub fn connection_of(&self, index: usize) -> Option<&Connection> {
        self.media.get(index)?.connection.as_ref().or(self.connection.as_ref())
    }

    /// The first audio line over RTP that is not refused.
    pub fn audio(&self) -> Option<usize> {
        self.media.iter().position(|media| media.kind == "audio" && media.port != 0 && media.is_rtp())
    }

    /// The direction of a line: its own, else the session's, else both ways. `c=0.0.0.0` takes the receiving half away
    /// (RFC 3264 §8.4). A refused or missing line is inactive.
    pub fn direction(&self, index: usize) -> Direction {
        let Some(media) = self.media.get(index).filter(|media| media.port != 0) else { return Direction::Inactive };
        let said = find_direction(&media.lines).or_else(|| find_direction(&self.lines)).unwrap_or_default();
        let unreachable =
            self.connection_of(index).and_then(Connection::ip).is_some_and(|address| address.is_unspecified());
        if unreachable { Direction::of(said.sends(), false) } else { said }
    }

    /// Whether whoever made this description holds the other side on a line: it does not want to receive.
    pub fn is_hold(&self, index: usize) -> bool {
        self.media.get(index).is_some_and(|media| media.port != 0) && !self.direction(index).receives()
    }

    /// Sets the direction of a line.
    pub fn set_direction(&mut self, index: usize, direction: Direction) {
        if let Some(media) = self.media.get_mut(index) {
            media.lines.retain(|line| line.letter != 'a' || Direction::parse(&line.value).is_none());
            media.lines.push(Line::attribute(direction.as_str(), None));
        }
    }

    /// This description as the successor of one already sent in the same session: the origin is kept and the version is one
    /// more, or the same when nothing else has changed (RFC 3264 §8).
    #[must_use]
    pub fn following(mut self, previous: &SessionDescription) -> SessionDescription {
        self.origin = previous.origin.clone();
        if self != *previous {
            self.origin.version = previous.origin.version.saturating_add(1);
        }
        self
    }
}

impl Media {
    /// The first attribute of a name: its value, the empty string for a flag.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        find_attribute(&self.lines, name)
    }

    /// Every value of an attribute.
    pub fn attributes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter_map(Line::as_attribute)
            .filter(move |(known, _)| *known == name)
            .map(|(_, value)| value.unwrap_or_default())
    }

    /// Whether the formats are RTP payload types.
    pub fn is_rtp(&self) -> bool {
        self.protocol.starts_with("RTP/") || self.protocol.contains("/RTP/")
    }

    /// Whether this is RTP without encryption or feedback profile, which we can answer.
    pub fn is_plain_rtp(&self) -> bool {
        self.protocol == "RTP/AVP"
    }

    /// The payload types in the line's order, each with its rtpmap (or what RFC 3551 fixes for it) and fmtp. Formats that are
    /// no payload type, or a dynamic one without rtpmap, are left out.
    pub fn payloads(&self) -> Vec<Payload> {
        if !self.is_rtp() {
            return Vec::new();
        }
        self.formats.iter().filter_map(|format| payload::of(self, format)).collect()
    }

    /// Milliseconds of media in a packet, if a wish is stated.
    pub fn ptime_ms(&self) -> Option<u16> {
        // some write a fraction; whole milliseconds are what packets are cut by
        let value = self.attribute("ptime")?.trim();
        value.split('.').next()?.parse().ok().filter(|milliseconds| *milliseconds > 0)
    }
}

impl fmt::Display for AddressType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressType::Ip4 => "IP4",
            AddressType::Ip6 => "IP6",
        })
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, lines: &[Line], wanted: impl Fn(char) -> bool) -> fmt::Result {
    lines.iter().filter(|line| wanted(line.letter)).try_for_each(|line| write!(f, "{}={}\r\n", line.letter, line.value))
}

fn write_connection(f: &mut fmt::Formatter<'_>, connection: Option<&Connection>) -> fmt::Result {
    match connection {
        Some(connection) => write!(f, "c=IN {} {}\r\n", connection.address_type, connection.address),
        None => Ok(()),
    }
}

impl fmt::Display for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = &self.origin;
        write!(
            f,
            "v=0\r\no={} {} {} IN {} {}\r\ns={}\r\n",
            origin.username, origin.session_id, origin.version, origin.address_type, origin.address, self.name
        )?;
        // RFC 8866 §5: i, u, e and p stand before c, everything else after
        let early = |letter| matches!(letter, 'i' | 'u' | 'e' | 'p');
        write_lines(f, &self.lines, early)?;
        write_connection(f, self.connection.as_ref())?;
        write_lines(f, &self.lines, |letter| !early(letter))?;
        for media in &self.media {
            write!(f, "m={} {}", media.kind, media.port)?;
            if let Some(count) = media.port_count {
                write!(f, "/{count}")?;
            }
            write!(f, " {}", media.protocol)?;
            media.formats.iter().try_for_each(|format| write!(f, " {format}"))?;
            f.write_str("\r\n")?;
            write_lines(f, &media.lines, |letter| letter == 'i')?;
            write_connection(f, media.connection.as_ref())?;
            write_lines(f, &media.lines, |letter| letter != 'i')?;
        }
        Ok(())
    }
}
