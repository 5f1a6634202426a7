use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::cseq::CSeq;
use crate::edit::write_field;
use crate::header::Header;
use crate::message::{Fields, Inner, Message, StartLine};
use crate::method::Method;
use crate::{reason_phrase, text};

/// Builds a message from values. Header fields stand in the order they were given; Content-Type and Content-Length come last,
/// and Content-Length always. Values are put on one line, as [`crate::Edit`] does.
#[derive(Clone, Debug)]
pub struct Builder {
    start: Start,
    method: Method,
    fields: Vec<(Header, Cow<'static, str>, String)>,
    content_type: Option<String>,
    body: Bytes,
}

#[derive(Clone, Debug)]
enum Start {
    Request { uri: String },
    Response { status: u16, reason: String },
}

impl Builder {
    /// A request. Via, From, To, Call-ID, CSeq (and Contact, Route …) are the caller's to add; Max-Forwards is written as 70
    /// (RFC 3261 §8.1.1.6) unless given.
    pub fn request(method: Method, uri: &str) -> Builder {
        let uri =
            uri.chars().filter(|character| character.is_ascii_graphic() && !matches!(character, '<' | '>')).collect();
        Builder { start: Start::Request { uri }, method, fields: Vec::new(), content_type: None, body: Bytes::new() }
    }

    /// A response to a request: every Via, From, To, Call-ID and CSeq are the request's (RFC 3261 §8.2.6.2), and in a 100 its
    /// Timestamp (§8.2.6.1). Without a reason, the code's own phrase. A status outside 100..699 becomes 500.
    pub fn response(request: &Message, status: u16, reason: Option<&str>) -> Builder {
        let mut builder = Builder::status_line(status, reason, request.method());
        for name in [Header::Via, Header::From, Header::To, Header::CallId, Header::CSeq] {
            builder = builder.copy(name, request);
        }
        if status == 100 { builder.copy(Header::Timestamp, request) } else { builder }
    }

    pub(crate) fn status_line(status: u16, reason: Option<&str>, method: Method) -> Builder {
        let status = if (100..700).contains(&status) { status } else { 500 };
        let reason = text::one_line(reason.unwrap_or_else(|| reason_phrase(status)));
        Builder {
            start: Start::Response { status, reason },
            method,
            fields: Vec::new(),
            content_type: None,
            body: Bytes::new(),
        }
    }

    /// Copies every header field of a name from another message, each with its value as it stands.
    #[must_use]
    pub fn copy(mut self, name: Header, from: &Message) -> Builder {
        let copied = from.fields().filter(|(id, _, _)| *id == name && name != Header::Other);
        self.fields.extend(copied.map(|(id, _, value)| (id, Cow::Borrowed(id.as_str()), text::one_line(value))));
        self
    }

    /// Gives To a tag, unless it has one (RFC 3261 §8.2.6.2).
    #[must_use]
    pub fn to_tag(mut self, tag: &str) -> Builder {
        for (_, _, value) in self.fields.iter_mut().filter(|(id, _, _)| *id == Header::To) {
            let tagged = crate::NameAddr::parse(value).is_ok_and(|to| to.tag().is_some());
            if !tagged {
                value.push_str(";tag=");
                value.extend(tag.chars().filter(|character| u8::try_from(*character).is_ok_and(text::is_token_octet)));
            }
        }
        self
    }

    /// Adds a header field. Content-Length is ignored: the body decides it.
    #[must_use]
    pub fn header(self, name: Header, value: &str) -> Builder {
        self.header_by_name(name.as_str(), value)
    }

    /// Adds a header field of any name; a name that is no token is ignored.
    #[must_use]
    pub fn header_by_name(mut self, name: &str, value: &str) -> Builder {
        let id = Header::from_name(name);
        match id {
            Header::ContentLength => {}
            Header::ContentType => self.content_type = Some(text::one_line(value)),
            Header::Other if !text::is_token(name) => {}
            Header::Other => self.fields.push((id, Cow::Owned(name.to_owned()), text::one_line(value))),
            _ => self.fields.push((id, Cow::Borrowed(id.as_str()), text::one_line(value))),
        }
        self
    }

    /// The body and its type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Builder {
        self.content_type = Some(text::one_line(content_type));
        self.body = Bytes::copy_from_slice(body);
        self
    }

    /// The message. It is written as given and not checked: [`Message::parse`] of its octets tells whether a peer will take it.
    pub fn build(self) -> Message {
        let mut out = BytesMut::with_capacity(512 + self.body.len());
        let start = match &self.start {
            Start::Request { uri } => {
                let method = self.method.as_str();
                out.extend_from_slice(format!("{method} {uri} SIP/2.0\r\n").as_bytes());
                StartLine::Request { uri: method.len() + 1..method.len() + 1 + uri.len(), end: out.len() }
            }
            Start::Response { status, reason } => {
                out.extend_from_slice(format!("SIP/2.0 {status} {reason}\r\n").as_bytes());
                StartLine::Response { status: *status, reason: 12..12 + reason.len(), end: out.len() }
            }
        };
        let mut fields = Fields::with_capacity(self.fields.len() + 3);
        for (id, name, value) in &self.fields {
            fields.push(write_field(&mut out, *id, name, value));
        }
        let bounded = matches!(start, StartLine::Response { .. })
            || self.fields.iter().any(|(id, _, _)| *id == Header::MaxForwards);
        if !bounded {
            fields.push(write_field(&mut out, Header::MaxForwards, Header::MaxForwards.as_str(), "70"));
        }
        if let Some(content_type) = &self.content_type {
            fields.push(write_field(&mut out, Header::ContentType, Header::ContentType.as_str(), content_type));
        }
        let length = self.body.len().to_string();
        fields.push(write_field(&mut out, Header::ContentLength, Header::ContentLength.as_str(), &length));
        out.extend_from_slice(b"\r\n");
        let head = out.len();
        out.extend_from_slice(&self.body);
        let bytes = out.freeze();
        let body = head..bytes.len();
        let method = match &start {
            StartLine::Request { .. } => self.method,
            StartLine::Response { .. } => {
                let cseq = self.fields.iter().find(|(id, _, _)| *id == Header::CSeq);
                cseq.and_then(|(_, _, value)| CSeq::parse(value).ok()).map_or(self.method, |cseq| cseq.method)
            }
        };
        Message::from_inner(Inner { bytes, start, method, fields, body })
    }
}
