use crate::description::{AddressType, Connection, Line, Media, Origin, SessionDescription};

/// Why a session description was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// More than [`Limits::octets`].
    #[error("session description longer than {0} octets")]
    TooLong(usize),
    /// More than [`Limits::lines`].
    #[error("more than {0} lines")]
    TooManyLines(usize),
    /// More than [`Limits::media`].
    #[error("more than {0} media lines")]
    TooManyMedia(usize),
    /// More than [`Limits::formats`].
    #[error("more than {0} formats on a media line")]
    TooManyFormats(usize),
    /// A line that is not a letter, `=` and text.
    #[error("line {0} is no line of a session description")]
    Line(usize),
    /// `v=0` does not come first.
    #[error("version missing or not 0")]
    Version,
    /// `o=`, `s=` or `t=` is missing.
    #[error("line {0}= missing")]
    Missing(char),
    /// A line that may stand once stands again.
    #[error("line {0}= more than once")]
    Duplicate(char),
    /// `o=` is ill-formed.
    #[error("ill-formed origin")]
    Origin,
    /// `c=` is ill-formed.
    #[error("ill-formed connection")]
    Connection,
    /// `m=` is ill-formed.
    #[error("ill-formed media line")]
    Media,
}

/// What one description may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets in all.
    pub octets: usize,
    /// Lines in all.
    pub lines: usize,
    /// Media lines.
    pub media: usize,
    /// Formats of one media line.
    pub formats: usize,
}

impl Limits {
    /// The limits that [`SessionDescription::parse`] applies.
    pub const DEFAULT: Limits = Limits { octets: 16_384, lines: 512, media: 32, formats: 64 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl SessionDescription {
    /// Reads a description. Lines may end with CR LF or LF; unknown letters and attributes are kept. `v=0` first, `o=`, `s=`
    /// and `t=` must be there; the order of the others is not insisted on.
    ///
    /// # Errors
    /// [`SdpError`].
    pub fn parse(text: &str) -> Result<SessionDescription, SdpError> {
        Self::parse_with(text, &Limits::DEFAULT)
    }

    /// As [`SessionDescription::parse`], with limits of the caller's.
    ///
    /// # Errors
    /// [`SdpError`].
    pub fn parse_with(text: &str, limits: &Limits) -> Result<SessionDescription, SdpError> {
        if text.len() > limits.octets {
            return Err(SdpError::TooLong(limits.octets));
        }
        // some end the description with an empty line
        let mut lines = text.trim_end_matches(['\r', '\n']).lines().enumerate();
        if lines.next().map(|(_, first)| first.trim_end()) != Some("v=0") {
            return Err(SdpError::Version);
        }
        let mut origin = None;
        let mut name = None;
        let mut timed = false;
        let mut connection = None;
        let mut session_lines = Vec::new();
        let mut media: Vec<Media> = Vec::new();
        for (index, line) in lines {
            if index >= limits.lines {
                return Err(SdpError::TooManyLines(limits.lines));
            }
            let (letter, value) = split(line).ok_or(SdpError::Line(index + 1))?;
            let media_count = media.len();
            match (letter, media.last_mut()) {
                ('v', _) => return Err(SdpError::Duplicate('v')),
                ('m', _) if media_count == limits.media => return Err(SdpError::TooManyMedia(limits.media)),
                ('m', _) => media.push(parse_media(value, limits)?),
                ('o', None) => fill(&mut origin, 'o', parse_origin(value)?)?,
                ('s', None) => fill(&mut name, 's', value.to_owned())?,
                ('c', None) => fill(&mut connection, 'c', parse_connection(value)?)?,
                // several c= of one media line are the layers of a multicast; the first stands for all
                ('c', Some(media)) if media.connection.is_none() => media.connection = Some(parse_connection(value)?),
                (_, Some(media)) => media.lines.push(Line { letter, value: value.to_owned() }),
                (_, None) => {
                    timed |= letter == 't';
                    session_lines.push(Line { letter, value: value.to_owned() });
                }
            }
        }
        let origin = origin.ok_or(SdpError::Missing('o'))?;
        let name = name.ok_or(SdpError::Missing('s'))?;
        if !timed {
            return Err(SdpError::Missing('t'));
        }
        Ok(SessionDescription { origin, name, connection, lines: session_lines, media })
    }
}

fn split(line: &str) -> Option<(char, &str)> {
    let (letter, value) = line.split_once('=')?;
    let mut letters = letter.chars();
    let letter = letters.next().filter(char::is_ascii_lowercase)?;
    // a CR alone would be a line end to some and text to others
    (letters.next().is_none() && !value.contains(['\r', '\0'])).then_some((letter, value))
}

fn fill<T>(place: &mut Option<T>, letter: char, value: T) -> Result<(), SdpError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(SdpError::Duplicate(letter)),
    }
}

fn address_type(name: &str) -> Option<AddressType> {
    match name {
        "IP4" => Some(AddressType::Ip4),
        "IP6" => Some(AddressType::Ip6),
        _ => None,
    }
}

fn parse_origin(value: &str) -> Result<Origin, SdpError> {
    let parts: Vec<&str> = value.split_ascii_whitespace().take(7).collect();
    let [username, session_id, version, "IN", family, address] = parts[..] else { return Err(SdpError::Origin) };
    if !session_id.bytes().all(|octet| octet.is_ascii_digit()) || !version.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(SdpError::Origin);
    }
    Ok(Origin {
        username: username.to_owned(),
        session_id: session_id.to_owned(),
        version: version.parse().map_err(|_| SdpError::Origin)?,
        address_type: address_type(family).ok_or(SdpError::Origin)?,
        address: address.to_owned(),
    })
}

fn parse_connection(value: &str) -> Result<Connection, SdpError> {
    let parts: Vec<&str> = value.split_ascii_whitespace().take(4).collect();
    let ["IN", family, address] = parts[..] else { return Err(SdpError::Connection) };
    let connection =
        Connection { address_type: address_type(family).ok_or(SdpError::Connection)?, address: address.to_owned() };
    // an address must be of the family that is named; anything else must look like a host name
    let plain = address.split('/').next().unwrap_or_default();
    let is_address = plain.parse::<std::net::IpAddr>().is_ok();
    let is_name = plain.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_'))
        && plain.bytes().any(|octet| octet.is_ascii_alphabetic());
    if (is_address && connection.ip().is_some()) || (!is_address && is_name) {
        Ok(connection)
    } else {
        Err(SdpError::Connection)
    }
}

fn parse_media(value: &str, limits: &Limits) -> Result<Media, SdpError> {
    let mut parts = value.split_ascii_whitespace();
    let kind = parts.next().ok_or(SdpError::Media)?;
    let port = parts.next().ok_or(SdpError::Media)?;
    let protocol = parts.next().ok_or(SdpError::Media)?;
    let formats: Vec<String> = parts.take(limits.formats + 1).map(str::to_owned).collect();
    if formats.is_empty() {
        return Err(SdpError::Media);
    }
    if formats.len() > limits.formats {
        return Err(SdpError::TooManyFormats(limits.formats));
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits).ok_or(SdpError::Media)
    };
    let (port, port_count) = match port.split_once('/') {
        Some((port, count)) => (number(port)?, Some(number(count)?)),
        None => (number(port)?, None),
    };
    Ok(Media {
        kind: kind.to_owned(),
        port,
        port_count,
        protocol: protocol.to_owned(),
        formats,
        connection: None,
        lines: Vec::new(),
    })
}
