//! From octets to a message: one pass over the head that finds lines and names, then the checks every element must make.

use bytes::Bytes;

use crate::address::NameAddr;
use crate::builder::Builder;
use crate::cseq::CSeq;
use crate::error::{HeaderError, ParseError, ParseErrorKind as Kind};
use crate::header::Header;
use crate::limits::Limits;
use crate::message::{Field, Fields, Inner, Message, Span, StartLine};
use crate::method::Method;
use crate::text;
use crate::uri::{Scheme, Uri, UriError};
use crate::via::Via;

/// Where the head (everything before the body, the empty line included) ends; `None` if it does not.
pub(crate) fn head_end(octets: &[u8]) -> Option<usize> {
    find(octets, b"\r\n\r\n").map(|at| at + 4)
}

pub(crate) fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(octets, wanted)
}

/// Reads a datagram: [`Message::parse_with`].
pub(crate) fn datagram(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
    let leading = bytes.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
    let bytes = bytes.slice(leading..);
    if bytes.is_empty() {
        return Err(ParseError::new(Kind::Empty, None));
    }
    let mut reader = Reader::new(bytes, limits);
    match reader.read() {
        Ok(body) => reader.finish(body),
        Err(kind) => Err(reader.fail(kind)),
    }
}

/// Refuses what a stream brought, for a reason its framing found; the answer is made from what can be read of it.
pub(crate) fn refuse(bytes: Bytes, limits: &Limits, kind: Kind) -> ParseError {
    let mut reader = Reader::new(bytes, limits);
    // whatever this says, the reason is the framing's
    let _ = reader.read();
    reader.fail(kind)
}

struct Reader<'l> {
    bytes: Bytes,
    limits: &'l Limits,
    start: Option<StartLine>,
    /// The request line's method.
    method: Option<Method>,
    fields: Fields,
    version_wrong: bool,
}

impl<'l> Reader<'l> {
    fn new(bytes: Bytes, limits: &'l Limits) -> Self {
        Reader { bytes, limits, start: None, method: None, fields: Fields::new(), version_wrong: false }
    }

    /// Everything; gives the body's span. An error leaves what was read so far, for the answer.
    fn read(&mut self) -> Result<Span, Kind> {
        let over = self.bytes.len() > self.limits.message_octets;
        let end = head_end(&self.bytes);
        let head = end.unwrap_or(self.bytes.len());
        if head > self.limits.head_octets {
            return Err(if over {
                Kind::MessageTooLong(self.limits.message_octets)
            } else {
                Kind::HeadTooLong(self.limits.head_octets)
            });
        }
        // a message cut off in its headers is still read as far as it goes, so that it can be answered
        let head_bytes = self.bytes.slice(..head);
        let text = std::str::from_utf8(&head_bytes).map_err(|_| Kind::NotUtf8)?;
        let start_end = find(text.as_bytes(), b"\r\n").ok_or(Kind::StartLine)?;
        let start_line = text.get(..start_end).unwrap_or_default();
        let start_result = self.read_start(start_line);
        let lines_result = self.read_lines(text, start_end + 2);
        start_result?;
        if self.version_wrong {
            return Err(Kind::Version);
        }
        if over {
            return Err(Kind::MessageTooLong(self.limits.message_octets));
        }
        lines_result?;
        if end.is_none() {
            return Err(Kind::Unfinished);
        }
        self.check(text)?;
        self.body(text, head)
    }

    fn read_start(&mut self, line: &str) -> Result<(), Kind> {
        let end = line.len() + 2;
        if line.contains(['\r', '\n']) {
            return Err(Kind::StartLine);
        }
        if let Some((version, rest)) = line.split_once(' ').filter(|(first, _)| is_version(first)) {
            // recorded first: a response is never answered, whatever else is wrong with it
            self.start = Some(StartLine::Response { status: 0, reason: 0..0, end });
            self.version_wrong = !version.eq_ignore_ascii_case("SIP/2.0");
            let (code, reason) = rest.split_once(' ').ok_or(Kind::StartLine)?;
            let status = text::number(code, 699).and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 100);
            let status = status.filter(|_| code.len() == 3).ok_or(Kind::Status)?;
            let reason = line.len() - reason.len()..line.len();
            self.start = Some(StartLine::Response { status, reason, end });
            return Ok(());
        }
        let (method, rest) = line.split_once(' ').ok_or(Kind::StartLine)?;
        self.method = Some(method.parse().map_err(|_| Kind::StartLine)?);
        let (uri, version) = rest.rsplit_once(' ').ok_or(Kind::StartLine)?;
        let uri_start = method.len() + 1;
        self.start = Some(StartLine::Request { uri: uri_start..uri_start + uri.len(), end });
        if !is_version(version) {
            return Err(Kind::StartLine);
        }
        self.version_wrong = !version.eq_ignore_ascii_case("SIP/2.0");
        if self.version_wrong {
            // another version's request line may hold what it likes
            return Ok(());
        }
        if uri.len() > self.limits.uri_octets {
            return Err(Kind::UriTooLong(self.limits.uri_octets));
        }
        let uri = Uri::parse(uri).map_err(Kind::RequestUri)?;
        match uri.scheme {
            Scheme::Sip | Scheme::Sips if uri.headers().is_some() => Err(Kind::RequestUri(UriError::HeadersNotAllowed)),
            _ => Ok(()),
        }
    }

    fn read_lines(&mut self, text: &str, mut at: usize) -> Result<(), Kind> {
        while text.get(at..).is_some_and(|rest| !rest.is_empty() && !rest.starts_with("\r\n")) {
            let (end, folded) = line_end(text, at)?;
            if end - at > self.limits.header_octets {
                return Err(Kind::HeaderTooLong(self.limits.header_octets));
            }
            if self.fields.len() == self.limits.headers {
                return Err(Kind::TooManyHeaders(self.limits.headers));
            }
            let line = text.get(at..end).unwrap_or_default();
            let (name, value) = line.split_once(':').ok_or(Kind::HeaderLine)?;
            let name = name.trim_end_matches([' ', '\t']);
            if !text::is_token(name) {
                return Err(Kind::HeaderLine);
            }
            let value_start = end - text::trim_start(value).len();
            let trimmed = text::trim(value);
            self.fields.push(Field {
                id: Header::from_name(name),
                name: at..at + name.len(),
                value: value_start..value_start + trimmed.len(),
                line: at..end,
                unfolded: folded.then(|| text::unfold(trimmed).into_owned().into_boxed_str()),
            });
            at = end;
        }
        Ok(())
    }

    fn values<'t>(&'t self, text: &'t str, name: Header) -> impl Iterator<Item = &'t str> {
        self.fields.iter().filter(move |field| field.id == name).map(move |field| match &field.unfolded {
            Some(unfolded) => unfolded,
            None => text.get(field.value.clone()).unwrap_or_default(),
        })
    }

    /// The checks of RFC 3261 §16.3 step 1 and §8.2: the headers every element uses.
    fn check(&mut self, text: &str) -> Result<(), Kind> {
        let mut seen = [false; Header::KNOWN.len() + 1];
        for field in &self.fields {
            if let Some(seen) = seen.get_mut(field.id as usize).filter(|_| field.id.is_single()) {
                if *seen {
                    return Err(Kind::Duplicate(field.id));
                }
                *seen = true;
            }
        }
        let wrong = |name: Header| move |error| Kind::Header(name, error);
        let mut vias = 0;
        for field in self.values(text, Header::Via) {
            let mut rest = Some(field);
            while let Some(list) = rest {
                let (value, after) = text::split_comma(list);
                vias += 1;
                if vias > self.limits.vias {
                    return Err(Kind::TooManyVias(self.limits.vias));
                }
                Via::parse(value).map_err(wrong(Header::Via))?;
                rest = after;
            }
        }
        if vias == 0 {
            return Err(Kind::Missing(Header::Via));
        }
        for name in [Header::From, Header::To] {
            let value = self.values(text, name).next().ok_or(Kind::Missing(name))?;
            NameAddr::parse(value).map_err(wrong(name))?;
        }
        let call_id = self.values(text, Header::CallId).next().ok_or(Kind::Missing(Header::CallId))?;
        check_call_id(call_id).map_err(wrong(Header::CallId))?;
        let cseq = self.values(text, Header::CSeq).next().ok_or(Kind::Missing(Header::CSeq))?;
        let cseq = CSeq::parse(cseq).map_err(wrong(Header::CSeq))?;
        if let Some(value) = self.values(text, Header::MaxForwards).next() {
            text::number(value, u64::from(u8::MAX)).ok_or(Kind::Header(Header::MaxForwards, HeaderError::Number))?;
        }
        match &self.method {
            Some(method) if *method != cseq.method => Err(Kind::MethodMismatch),
            Some(_) => Ok(()),
            None => {
                self.method = Some(cseq.method);
                Ok(())
            }
        }
    }

    fn body(&self, text: &str, head: usize) -> Result<Span, Kind> {
        let found = self.bytes.len() - head;
        let Some(value) = self.values(text, Header::ContentLength).next() else {
            return Ok(head..self.bytes.len());
        };
        let announced = text::number(value, u64::from(u32::MAX)).and_then(|length| usize::try_from(length).ok());
        let announced = announced.ok_or(Kind::Header(Header::ContentLength, HeaderError::Number))?;
        if announced > found {
            return Err(Kind::BodyTooShort { announced, found });
        }
        Ok(head..head + announced)
    }

    fn finish(self, body: Span) -> Result<Message, ParseError> {
        match (self.start, self.method) {
            (Some(start), Some(method)) => {
                // §18.3: octets beyond the announced body are discarded
                let bytes = self.bytes.slice(..body.end);
                Ok(Message::from_inner(Inner { bytes, start, method, fields: self.fields, body }))
            }
            _ => Err(ParseError::new(Kind::StartLine, None)),
        }
    }

    /// The error with the answer to it, where one can be given.
    fn fail(mut self, kind: Kind) -> ParseError {
        let request = matches!(self.start, Some(StartLine::Request { .. }));
        let method = self.method.take().filter(|method| request && *method != Method::Ack);
        let Some(method) = method else { return ParseError::new(kind, None) };
        let end = head_end(&self.bytes).unwrap_or(self.bytes.len());
        let head = self.bytes.slice(..end.min(self.limits.head_octets));
        let Ok(text) = std::str::from_utf8(&head) else { return ParseError::new(kind, None) };
        let Some(top) = self.values(text, Header::Via).next().and_then(|list| Via::salvage(text::split_comma(list).0))
        else {
            return ParseError::new(kind, None);
        };
        if self.values(text, Header::CSeq).next().is_none() {
            return ParseError::new(kind, None);
        }
        let mut answer = Builder::status_line(kind.status(), None, method).header(Header::Via, top);
        let mut below = 0;
        for list in self.values(text, Header::Via) {
            let mut rest = Some(list);
            while let Some(list) = rest.filter(|_| below <= self.limits.vias) {
                let (value, after) = text::split_comma(list);
                if below > 0 && Via::parse(value).is_ok() {
                    answer = answer.header(Header::Via, value);
                }
                below += 1;
                rest = after;
            }
        }
        for name in [Header::From, Header::To, Header::CallId, Header::CSeq] {
            // of a header that stands twice, the first is as good as the second
            if let Some(value) = self.values(text, name).next() {
                answer = answer.header(name, value);
            }
        }
        ParseError::new(kind, Some(answer))
    }
}

/// `SIP/` digits `.` digits, in any case.
fn is_version(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit());
    text.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("SIP/"))
        && text
            .get(4..)
            .and_then(|rest| rest.split_once('.'))
            .is_some_and(|(major, minor)| digits(major) && digits(minor))
}

/// The end of the header field that starts at `at`, its last CR LF included, and whether it is folded.
fn line_end(text: &str, at: usize) -> Result<(usize, bool), Kind> {
    let octets = text.as_bytes();
    let mut from = at;
    let mut folded = false;
    loop {
        let rest = octets.get(from..).unwrap_or_default();
        // a CR or LF alone ends no line here and one elsewhere: two elements would read two messages
        let end = memchr::memchr2(b'\r', b'\n', rest).ok_or(Kind::Unfinished)?;
        if !rest.get(end..).unwrap_or_default().starts_with(b"\r\n") {
            return Err(Kind::HeaderLine);
        }
        let next = from + end + 2;
        match octets.get(next) {
            Some(b' ' | b'\t') => {
                folded = true;
                from = next;
            }
            _ => return Ok((next, folded)),
        }
    }
}

/// word [ "@" word ] (RFC 3261 §25.1).
fn check_call_id(value: &str) -> Result<(), HeaderError> {
    let word = |part: &str| !part.is_empty() && part.bytes().all(text::is_word_octet);
    let good = match value.split_once('@') {
        Some((local, host)) => word(local) && word(host),
        None => word(value),
    };
    if good { Ok(()) } else { Err(HeaderError::Syntax) }
}

/// [`Message::check_all`].
pub(crate) fn check_all(message: &Message) -> Result<(), (Header, HeaderError)> {
    for contact in message.contacts() {
        let contact = contact.map_err(|error| (Header::Contact, error))?;
        if contact.params.has("expires") && contact.expires().is_none() {
            return Err((Header::Contact, HeaderError::Number));
        }
        if contact.params.has("q") && contact.q_thousandths().is_none() {
            return Err((Header::Contact, HeaderError::Number));
        }
    }
    for name in [Header::Route, Header::RecordRoute] {
        for address in message.addresses(name) {
            address.map_err(|error| (name, error))?;
        }
    }
    for name in [Header::Expires, Header::MinExpires] {
        if message.header(name).is_some_and(|value| text::number(value, u64::from(u32::MAX)).is_none()) {
            return Err((name, HeaderError::Number));
        }
    }
    // §20.17: only GMT is a time zone here
    if message.header(Header::Date).is_some_and(|value| !value.ends_with("GMT")) {
        return Err((Header::Date, HeaderError::Syntax));
    }
    Ok(())
}
