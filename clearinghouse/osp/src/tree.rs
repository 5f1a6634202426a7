//! A bounded tree of elements between the XML text and the typed values: it makes the order of elements irrelevant.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::escape::{escape, unescape};
use quick_xml::events::{BytesStart, Event};

use crate::limits::{MAX_ATTRIBUTES, MAX_DEPTH, MAX_ELEMENTS, MAX_MESSAGE_OCTETS, MAX_TEXT_OCTETS};
use crate::{OspError, Status};

/// One element; text is kept trimmed, mixed content is joined.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Element {
    pub(crate) name: Cow<'static, str>,
    pub(crate) attributes: Vec<(Cow<'static, str>, String)>,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    pub(crate) fn named(name: impl Into<Cow<'static, str>>) -> Element {
        Element { name: name.into(), ..Element::default() }
    }

    pub(crate) fn with_text(name: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Element {
        Element { name: name.into(), text: text.into(), ..Element::default() }
    }

    pub(crate) fn attribute(mut self, name: &'static str, value: impl Into<String>) -> Element {
        self.attributes.push((Cow::Borrowed(name), value.into()));
        self
    }

    pub(crate) fn push(&mut self, child: Element) {
        self.children.push(child);
    }

    pub(crate) fn attribute_value(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `critical="true"`: who does not know this element must refuse the message (TS 101 321 clause 5.1.2).
    pub(crate) fn is_critical(&self) -> bool {
        self.attribute_value("critical").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// Reads a whole document; everything that is not well-formed or beyond a limit is status 411.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Element, OspError> {
        if bytes.len() > MAX_MESSAGE_OCTETS {
            return Err(malformed(format!("message is longer than {MAX_MESSAGE_OCTETS} octets")));
        }
        let text =
            std::str::from_utf8(bytes).map_err(|_| OspError::new(Status::ENCODING_ERROR, "message is not UTF-8"))?;
        // C strings end up in bodies: one client counts its terminating zero into the length.
        TreeReader::new(text.trim_end_matches('\0')).document()
    }

    /// Writes the document, with declaration and one element a line.
    pub(crate) fn to_xml(&self) -> String {
        let mut out = String::with_capacity(2048);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        for (name, value) in &self.attributes {
            out.push(' ');
            out.push_str(name);
            out.push_str("=\"");
            out.push_str(&escape(printable(value).as_ref()));
            out.push('"');
        }
        if self.text.is_empty() && self.children.is_empty() {
            out.push_str("/>\n");
            return;
        }
        out.push('>');
        out.push_str(&escape(printable(&self.text).as_ref()));
        if !self.children.is_empty() {
            out.push('\n');
        }
        for child in &self.children {
            child.write(out);
        }
        out.push_str("</");
        out.push_str(&self.name);
        out.push_str(">\n");
    }
}

/// XML 1.0 has no way to carry most control characters, not even as references: they become spaces.
fn printable(text: &str) -> Cow<'_, str> {
    let unfit = |c: char| (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.contains(unfit) { Cow::Owned(text.replace(unfit, " ")) } else { Cow::Borrowed(text) }
}

fn malformed(what: impl Into<String>) -> OspError {
    OspError::new(Status::PARSE_ERROR, what)
}

struct TreeReader<'a> {
    reader: Reader<&'a [u8]>,
    open: Vec<Element>,
    elements: usize,
    root: Option<Element>,
}

impl<'a> TreeReader<'a> {
    fn new(source: &'a str) -> Self {
        TreeReader { reader: Reader::from_str(source), open: Vec::with_capacity(MAX_DEPTH), elements: 0, root: None }
    }

    fn document(mut self) -> Result<Element, OspError> {
        loop {
            match self.reader.read_event().map_err(|error| malformed(error.to_string()))? {
                Event::Start(start) => self.start(&start)?,
                Event::Empty(start) => {
                    self.start(&start)?;
                    self.end()?;
                }
                Event::End(_) => self.end()?,
                Event::Text(text) => self.text(&text.xml10_content())?,
                Event::CData(data) => self.text(&data.xml10_content())?,
                Event::GeneralRef(reference) => {
                    let escaped = format!("&{};", reference.xml10_content());
                    let resolved = unescape(&escaped).map_err(|error| malformed(error.to_string()))?;
                    self.text(&resolved)?;
                }
                Event::DocType(_) => return Err(malformed("document type definitions are refused")),
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        if !self.open.is_empty() {
            return Err(malformed("message ends inside an element"));
        }
        self.root.ok_or_else(|| malformed("message holds no element"))
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), OspError> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(malformed(format!("more than {MAX_ELEMENTS} elements")));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(malformed(format!("elements nest deeper than {MAX_DEPTH}")));
        }
        if self.root.is_some() {
            return Err(malformed("more than one root element"));
        }
        let mut element = Element::named(start.local_name().as_ref().to_owned());
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| malformed(error.to_string()))?;
            if element.attributes.len() >= MAX_ATTRIBUTES {
                return Err(malformed(format!("more than {MAX_ATTRIBUTES} attributes on one element")));
            }
            let value = attribute
                .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                .map_err(|error| malformed(error.to_string()))?;
            element
                .attributes
                .push((Cow::Owned(attribute.key.local_name().as_ref().to_owned()), value.trim().to_owned()));
        }
        self.open.push(element);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), OspError> {
        match self.open.last_mut() {
            Some(element) => {
                if element.text.len() + text.len() > MAX_TEXT_OCTETS {
                    return Err(malformed(format!("more than {MAX_TEXT_OCTETS} octets of text in one element")));
                }
                element.text.push_str(text);
                Ok(())
            }
            None if text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() => Ok(()),
            None => Err(malformed("text outside of the message")),
        }
    }

    fn end(&mut self) -> Result<(), OspError> {
        let Some(mut element) = self.open.pop() else { return Err(malformed("end of an element that never began")) };
        // Clients put a line feed before the value, people indent: neither is part of it.
        let trimmed = element.text.trim();
        if trimmed.len() != element.text.len() {
            element.text = trimmed.to_owned();
        }
        match self.open.last_mut() {
            Some(parent) => parent.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }
}
