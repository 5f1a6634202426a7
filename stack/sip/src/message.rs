use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::address::NameAddr;
use crate::cseq::CSeq;
use crate::edit::Edit;
use crate::error::{HeaderError, ParseError};
use crate::header::Header;
use crate::limits::Limits;
use crate::method::Method;
use crate::parse;
use crate::text;
use crate::via::Via;

/// A SIP message: the buffer it came in and spans over it. Cloning it costs a reference count.
///
/// A message that [`Message::parse`] gave holds well-formed From, To, Call-ID, CSeq, Via, and, where present, Max-Forwards and
/// Content-Length; the other headers are checked when they are asked for, or all at once by [`Message::check_all`].
#[derive(Clone)]
pub struct Message {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) bytes: Bytes,
    pub(crate) start: StartLine,
    pub(crate) method: Method,
    pub(crate) fields: Fields,
    pub(crate) body: Span,
}

pub(crate) type Span = Range<usize>;
pub(crate) type Fields = SmallVec<[Field; 16]>;

#[derive(Clone, Debug)]
pub(crate) enum StartLine {
    Request { uri: Span, end: usize },
    Response { status: u16, reason: Span, end: usize },
}

/// One header field: where it stands in the buffer.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) id: Header,
    pub(crate) name: Span,
    /// The value, trimmed, folding included.
    pub(crate) value: Span,
    /// The whole line or lines, the last CR LF included.
    pub(crate) line: Span,
    /// The value with folding undone, for the few that are folded.
    pub(crate) unfolded: Option<Box<str>>,
}

impl Message {
    /// Reads one datagram. A body longer than Content-Length is cut, a shorter one is an error (RFC 3261 §18.3); without
    /// Content-Length the body is the rest.
    ///
    /// # Errors
    /// [`ParseError`], which also knows whether and how the message can be answered.
    pub fn parse(bytes: Bytes) -> Result<Message, ParseError> {
        parse::datagram(bytes, &Limits::DEFAULT)
    }

    /// As [`Message::parse`], with limits of the caller's.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn parse_with(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
        parse::datagram(bytes, limits)
    }

    pub(crate) fn from_inner(inner: Inner) -> Message {
        Message { inner: Arc::new(inner) }
    }

    /// The same message with the method that its CSeq has now.
    pub(crate) fn with_method(self, method: Method) -> Message {
        let Inner { bytes, start, fields, body, .. } = &*self.inner;
        let inner =
            Inner { bytes: bytes.clone(), start: start.clone(), method, fields: fields.clone(), body: body.clone() };
        Message::from_inner(inner)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The message as it goes over the wire.
    pub fn as_bytes(&self) -> &Bytes {
        &self.inner.bytes
    }

    /// Whether this is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.inner.start, StartLine::Request { .. })
    }

    /// A request's method; a response's is that of its CSeq.
    pub fn method(&self) -> Method {
        self.inner.method.clone()
    }

    /// The Request-URI; empty for a response.
    pub fn request_uri(&self) -> &str {
        match &self.inner.start {
            StartLine::Request { uri, .. } => self.inner.text(uri),
            StartLine::Response { .. } => "",
        }
    }

    /// A response's status code, 100 to 699; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        match self.inner.start {
            StartLine::Response { status, .. } => Some(status),
            StartLine::Request { .. } => None,
        }
    }

    /// A response's reason phrase; empty for a request.
    pub fn reason(&self) -> &str {
        match &self.inner.start {
            StartLine::Response { reason, .. } => self.inner.text(reason),
            StartLine::Request { .. } => "",
        }
    }

    /// The whole value of the first header field of a name, trimmed and unfolded; commas are not split (see
    /// [`Message::values`]). `Header::Other` finds nothing: use [`Message::header_by_name`].
    pub fn header(&self, name: Header) -> Option<&str> {
        let field = self.inner.fields.iter().find(|field| field.id == name && name != Header::Other)?;
        Some(self.inner.value(field))
    }

    /// As [`Message::header`], for any name, in any case, long or compact.
    pub fn header_by_name(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields_by_name(name);
        fields.next()
    }

    /// The whole value of every header field of a name, in order; commas are not split.
    pub fn fields_by_name<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let id = Header::from_name(name);
        self.inner
            .fields
            .iter()
            .filter(move |field| {
                field.id == id && (id != Header::Other || self.inner.text(&field.name).eq_ignore_ascii_case(name))
            })
            .map(|field| self.inner.value(field))
    }

    /// Every header field in order: its known name, its name as it stands, and its value.
    pub fn fields(&self) -> impl Iterator<Item = (Header, &str, &str)> {
        self.inner.fields.iter().map(|field| (field.id, self.inner.text(&field.name), self.inner.value(field)))
    }

    /// Every value of a header in order: the comma lists of list headers are split (outside quotes and angle brackets), others
    /// are given whole. Values are trimmed; an empty field has none.
    pub fn values(&self, name: Header) -> Values<'_> {
        Values { message: self, name, field: 0, rest: None }
    }

    /// Whether a list header (Supported, Require, Allow …) holds a token, in any case.
    pub fn lists(&self, name: Header, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token))
    }

    /// The topmost Via value.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        self.vias().next().ok_or(HeaderError::Missing)?
    }

    /// Every Via value, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.values(Header::Via).map(Via::parse)
    }

    /// From.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        NameAddr::parse(self.header(Header::From).ok_or(HeaderError::Missing)?)
    }

    /// To.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        NameAddr::parse(self.header(Header::To).ok_or(HeaderError::Missing)?)
    }

    /// Every Contact value; `*` has itself as URI.
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.values(Header::Contact).map(NameAddr::parse_contact)
    }

    /// Every Route value, topmost first.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(Header::Route)
    }

    /// Every Record-Route value, topmost first.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.addresses(Header::RecordRoute)
    }

    /// Every value of a header whose values are addresses (Path, P-Asserted-Identity, Refer-To …).
    pub fn addresses(&self, name: Header) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.values(name).map(NameAddr::parse)
    }

    /// Call-ID.
    pub fn call_id(&self) -> Option<&str> {
        self.header(Header::CallId)
    }

    /// CSeq.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        CSeq::parse(self.header(Header::CSeq).ok_or(HeaderError::Missing)?)
    }

    /// Max-Forwards, 0 to 255; `None` when it is missing, which a proxy mends (RFC 3261 §16.3).
    ///
    /// # Errors
    /// [`HeaderError::Number`].
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        let Some(value) = self.header(Header::MaxForwards) else { return Ok(None) };
        let number = text::number(value, u64::from(u8::MAX)).ok_or(HeaderError::Number)?;
        u8::try_from(number).map(Some).map_err(|_| HeaderError::Number)
    }

    /// Expires in seconds; `None` when it is missing or no number below 2^32.
    pub fn expires(&self) -> Option<u32> {
        u32::try_from(text::number(self.header(Header::Expires)?, u64::from(u32::MAX))?).ok()
    }

    /// The body's octets.
    pub fn body(&self) -> &[u8] {
        self.inner.bytes.get(self.inner.body.clone()).unwrap_or_default()
    }

    /// Content-Type, parameters included.
    pub fn content_type(&self) -> Option<&str> {
        self.header(Header::ContentType)
    }

    /// Whether the body is of a media type, in any case and whatever its parameters (`application/sdp`).
    pub fn has_body_of(&self, media_type: &str) -> bool {
        let essence = self.content_type().and_then(|value| value.split(';').next()).map(text::trim);
        !self.body().is_empty() && essence.is_some_and(|essence| essence.eq_ignore_ascii_case(media_type))
    }

    /// Checks the headers that [`Message::parse`] leaves alone: Contact, Route, Record-Route, Expires, Min-Expires, Date.
    /// A registrar or user agent wants them right; a proxy forwards them as they are (RFC 3261 §16.3 step 1).
    ///
    /// # Errors
    /// The first header that is wrong, and how.
    pub fn check_all(&self) -> Result<(), (Header, HeaderError)> {
        parse::check_all(self)
    }

    /// Starts an edit.
    pub fn edit(&self) -> Edit {
        Edit::new(self.clone())
    }
}

impl Inner {
    /// The text of a span. The part before the body was checked to be UTF-8 when the message was made.
    pub(crate) fn text(&self, span: &Span) -> &str {
        self.bytes.get(span.clone()).and_then(|octets| std::str::from_utf8(octets).ok()).unwrap_or_default()
    }

    pub(crate) fn value<'a>(&'a self, field: &'a Field) -> &'a str {
        match &field.unfolded {
            Some(unfolded) => unfolded,
            None => self.text(&field.value),
        }
    }

    pub(crate) fn start_end(&self) -> usize {
        match self.start {
            StartLine::Request { end, .. } | StartLine::Response { end, .. } => end,
        }
    }
}

/// The values of one header ([`Message::values`]).
#[derive(Clone)]
pub struct Values<'a> {
    message: &'a Message,
    name: Header,
    field: usize,
    rest: Option<&'a str>,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let inner = &self.message.inner;
        loop {
            if let Some(list) = self.rest.take() {
                let (value, rest) = text::split_comma(list);
                self.rest = rest;
                return Some(value);
            }
            let field = inner.fields.get(self.field)?;
            self.field += 1;
            if field.id != self.name || self.name == Header::Other {
                continue;
            }
            let value = inner.value(field);
            if !self.name.is_list() {
                return Some(value);
            }
            // a field without a value (`Supported:`) lists nothing
            self.rest = (!value.is_empty()).then_some(value);
        }
    }
}

impl fmt::Debug for Message {
    /// Start line and Call-ID only: bodies and credentials do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status() {
            Some(status) => write!(f, "{status} to {}", self.inner.method)?,
            None => write!(f, "{} {}", self.inner.method, self.request_uri())?,
        }
        write!(f, ", Call-ID {}, {} octets", self.call_id().unwrap_or("-"), self.inner.bytes.len())
    }
}

impl PartialEq for Message {
    /// Octet by octet.
    fn eq(&self, other: &Message) -> bool {
        self.inner.bytes == other.inner.bytes
    }
}

impl Eq for Message {}
