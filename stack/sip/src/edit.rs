use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::cseq::CSeq;
use crate::header::Header;
use crate::message::{Field, Fields, Inner, Message, StartLine};
use crate::text;

/// Changes to a message, made as splices: what is not touched keeps its octets, its order, its folding and its spelling.
///
/// Values are put on one line: line ends within them become spaces, so that no value can add a header of its own.
#[derive(Clone)]
pub struct Edit {
    message: Message,
    uri: Option<String>,
    lines: Vec<Line>,
    body: Option<Bytes>,
}

#[derive(Clone)]
enum Line {
    /// The message's field of this index, as it stands.
    Kept(usize),
    New {
        id: Header,
        name: Cow<'static, str>,
        value: String,
    },
}

impl Edit {
    pub(crate) fn new(message: Message) -> Edit {
        let lines = (0..message.inner().fields.len()).map(Line::Kept).collect();
        Edit { message, uri: None, lines, body: None }
    }

    /// Replaces the Request-URI (characters that cannot stand in a URI are left out). Does nothing to a response.
    pub fn set_request_uri(&mut self, uri: &str) -> &mut Self {
        self.uri = Some(
            uri.chars().filter(|character| character.is_ascii_graphic() && !matches!(character, '<' | '>')).collect(),
        );
        self
    }

    /// Adds a header field before the others of its name; where there is none, Via goes first of all headers and the rest
    /// after the Vias.
    pub fn push_front(&mut self, name: Header, value: &str) -> &mut Self {
        let at = match self.first(name) {
            Some(at) => at,
            None if name == Header::Via => 0,
            None => self.last(Header::Via).map_or(0, |at| at + 1),
        };
        self.insert(at, name, Cow::Borrowed(name.as_str()), value);
        self
    }

    /// Adds a header field after the others of its name, or at the end of the headers.
    pub fn push_back(&mut self, name: Header, value: &str) -> &mut Self {
        let at = self.last(name).map_or(self.lines.len(), |at| at + 1);
        self.insert(at, name, Cow::Borrowed(name.as_str()), value);
        self
    }

    /// Replaces all header fields of a name by one, in the place of the first; adds it at the end where there is none.
    pub fn set(&mut self, name: Header, value: &str) -> &mut Self {
        match self.first(name) {
            Some(at) => {
                self.remove(name);
                self.insert(at, name, Cow::Borrowed(name.as_str()), value);
                self
            }
            None => self.push_back(name, value),
        }
    }

    /// Replaces the first value of a header: of a comma list only its first element, the others stay as they are. Does nothing
    /// where there is none.
    pub fn replace_first(&mut self, name: Header, value: &str) -> &mut Self {
        if let Some(at) = self.first(name) {
            let value = match self.after_first_value(at) {
                Some(rest) => format!("{},{rest}", text::one_line(value)),
                None => value.to_owned(),
            };
            self.replace_line(at, &value);
        }
        self
    }

    /// Removes every header field of a name.
    pub fn remove(&mut self, name: Header) -> &mut Self {
        let message = &self.message;
        self.lines.retain(|line| name == Header::Other || line_id(message, line) != name);
        self
    }

    /// Removes the first value of a header: of a comma list only its first element.
    pub fn remove_first_value(&mut self, name: Header) -> &mut Self {
        if let Some(at) = self.first(name) {
            match self.after_first_value(at) {
                Some(rest) => self.replace_line(at, &rest),
                None => {
                    self.lines.remove(at);
                }
            }
        }
        self
    }

    /// As [`Edit::set`] for any name. A name that is no token is refused by doing nothing.
    pub fn set_by_name(&mut self, name: &str, value: &str) -> &mut Self {
        let id = Header::from_name(name);
        if id != Header::Other {
            return self.set(id, value);
        }
        let message = &self.message;
        let same = |line: &Line| line_name(message, line).eq_ignore_ascii_case(name);
        let at = self.lines.iter().position(same).unwrap_or(self.lines.len());
        self.lines.retain(|line| !same(line));
        self.insert(at, id, Cow::Owned(name.to_owned()), value);
        self
    }

    /// As [`Edit::push_back`] for any name. A name that is no token is refused by doing nothing.
    pub fn push_by_name(&mut self, name: &str, value: &str) -> &mut Self {
        let id = Header::from_name(name);
        if id != Header::Other {
            return self.push_back(id, value);
        }
        self.insert(self.lines.len(), id, Cow::Owned(name.to_owned()), value);
        self
    }

    /// Removes every header field of any name.
    pub fn remove_by_name(&mut self, name: &str) -> &mut Self {
        let id = Header::from_name(name);
        if id != Header::Other {
            return self.remove(id);
        }
        let message = &self.message;
        self.lines.retain(|line| !line_name(message, line).eq_ignore_ascii_case(name));
        self
    }

    /// Replaces the body, with its Content-Type and Content-Length.
    pub fn set_body(&mut self, content_type: &str, body: &[u8]) -> &mut Self {
        self.set(Header::ContentType, content_type);
        self.set(Header::ContentLength, &body.len().to_string());
        self.body = Some(Bytes::copy_from_slice(body));
        self
    }

    /// Removes the body and the headers that describe it; Content-Length is 0 then.
    pub fn remove_body(&mut self) -> &mut Self {
        for name in [Header::ContentType, Header::ContentEncoding, Header::ContentDisposition, Header::ContentLanguage]
        {
            self.remove(name);
        }
        self.set(Header::ContentLength, "0");
        self.body = Some(Bytes::new());
        self
    }

    /// The edited message. The edit can go on from here; each call gives a message of its own.
    pub fn finish(&self) -> Message {
        let old = self.message.inner();
        let mut out = BytesMut::with_capacity(old.bytes.len() + 512);
        let start = self.write_start(&mut out);
        let mut fields = Fields::with_capacity(self.lines.len());
        let mut cseq_changed = false;
        for line in &self.lines {
            match line {
                Line::Kept(index) => {
                    let Some(field) = old.fields.get(*index) else { continue };
                    fields.push(shifted(field, out.len()));
                    out.extend_from_slice(old.bytes.get(field.line.clone()).unwrap_or_default());
                }
                Line::New { id, name, value } => {
                    cseq_changed |= *id == Header::CSeq;
                    fields.push(write_field(&mut out, *id, name, value));
                }
            }
        }
        out.extend_from_slice(b"\r\n");
        let head = out.len();
        match &self.body {
            Some(body) => out.extend_from_slice(body),
            None => out.extend_from_slice(self.message.body()),
        }
        let bytes = out.freeze();
        let body = head..bytes.len();
        let inner = Inner { bytes, start, method: old.method.clone(), fields, body };
        let message = Message::from_inner(inner);
        match message.cseq() {
            Ok(CSeq { method, .. }) if cseq_changed && !message.is_request() => message.with_method(method),
            _ => message,
        }
    }

    fn write_start(&self, out: &mut BytesMut) -> StartLine {
        let old = self.message.inner();
        match (&old.start, &self.uri) {
            (StartLine::Request { uri, end }, Some(new)) => {
                out.extend_from_slice(old.bytes.get(..uri.start).unwrap_or_default());
                out.extend_from_slice(new.as_bytes());
                out.extend_from_slice(old.bytes.get(uri.end..*end).unwrap_or_default());
                StartLine::Request { uri: uri.start..uri.start + new.len(), end: out.len() }
            }
            (start, _) => {
                out.extend_from_slice(old.bytes.get(..old.start_end()).unwrap_or_default());
                start.clone()
            }
        }
    }

    fn first(&self, name: Header) -> Option<usize> {
        self.lines.iter().position(|line| name != Header::Other && line_id(&self.message, line) == name)
    }

    fn last(&self, name: Header) -> Option<usize> {
        self.lines.iter().rposition(|line| name != Header::Other && line_id(&self.message, line) == name)
    }

    fn insert(&mut self, at: usize, id: Header, name: Cow<'static, str>, value: &str) {
        if text::is_token(&name) {
            self.lines.insert(at.min(self.lines.len()), Line::New { id, name, value: text::one_line(value) });
        }
    }

    fn replace_line(&mut self, at: usize, value: &str) {
        let Some(line) = self.lines.get_mut(at) else { return };
        let id = line_id(&self.message, line);
        let name = Cow::Owned(line_name(&self.message, line).to_owned());
        *line = Line::New { id, name, value: text::one_line(value) };
    }

    /// What follows the comma after the first value of a line; `None` when the line holds one value.
    fn after_first_value(&self, at: usize) -> Option<String> {
        let line = self.lines.get(at)?;
        if !line_id(&self.message, line).is_list() {
            return None;
        }
        text::split_comma(line_value(&self.message, line)).1.map(str::to_owned)
    }
}

fn line_id(message: &Message, line: &Line) -> Header {
    match line {
        Line::Kept(index) => message.inner().fields.get(*index).map_or(Header::Other, |field| field.id),
        Line::New { id, .. } => *id,
    }
}

fn line_name<'a>(message: &'a Message, line: &'a Line) -> &'a str {
    match line {
        Line::Kept(index) => message.inner().fields.get(*index).map_or("", |field| message.inner().text(&field.name)),
        Line::New { name, .. } => name,
    }
}

fn line_value<'a>(message: &'a Message, line: &'a Line) -> &'a str {
    match line {
        Line::Kept(index) => message.inner().fields.get(*index).map_or("", |field| message.inner().value(field)),
        Line::New { value, .. } => value,
    }
}

/// The field as it will stand when its line starts at `at`.
fn shifted(field: &Field, at: usize) -> Field {
    let move_span = |span: &std::ops::Range<usize>| {
        let start = at + (span.start - field.line.start);
        start..start + span.len()
    };
    Field {
        id: field.id,
        name: move_span(&field.name),
        value: move_span(&field.value),
        line: move_span(&field.line),
        unfolded: field.unfolded.clone(),
    }
}

/// Writes `name: value CR LF`; the caller has seen to it that both stay on their line.
pub(crate) fn write_field(out: &mut BytesMut, id: Header, name: &str, value: &str) -> Field {
    let start = out.len();
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let value_start = out.len();
    out.extend_from_slice(value.as_bytes());
    let value_end = out.len();
    out.extend_from_slice(b"\r\n");
    Field { id, name: start..start + name.len(), value: value_start..value_end, line: start..out.len(), unfolded: None }
}
