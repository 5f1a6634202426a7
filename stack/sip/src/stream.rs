//! Framing on streams (RFC 3261 §7.5, §18.3, RFC 5626 §3.5.1): octets in, whole messages and keep-alives out.

use bytes::{Bytes, BytesMut};

use crate::error::{HeaderError, ParseError, ParseErrorKind};
use crate::header::Header;
use crate::limits::Limits;
use crate::message::Message;
use crate::{parse, text};

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// CR LF CR LF between messages: a ping, to be answered with CR LF (RFC 5626 §3.5.1).
    KeepAlive,
}

/// Why a stream, or one message of it, cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FramingError {
    /// One message is wrong, but its end is known: answer it, then read on.
    #[error("{0}")]
    Message(ParseError),
    /// The end of the message is not known: answer it where that is possible, then close the connection.
    #[error("{0}; the stream cannot be followed any further")]
    Lost(ParseError),
}

impl FramingError {
    /// The error of the message itself, with its answer.
    pub fn error(&self) -> &ParseError {
        match self {
            FramingError::Message(error) | FramingError::Lost(error) => error,
        }
    }

    /// Whether the connection has to be closed.
    pub fn is_fatal(&self) -> bool {
        matches!(self, FramingError::Lost(_))
    }
}

/// Cuts a stream into frames. It holds at most one message's limit of octets and what one `push` brought.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    buffer: BytesMut,
    /// Octets already searched for the end of the head.
    searched: usize,
    /// Where the message whose head is read will end, so that a body that drips in costs one comparison a push.
    end: Option<usize>,
    /// Octets of CR LF seen since the last frame: four of them are a keep-alive.
    line_ends: usize,
    lost: bool,
}

impl Framer {
    /// A framer for one connection.
    pub fn new(limits: Limits) -> Framer {
        Framer { limits, buffer: BytesMut::new(), searched: 0, end: None, line_ends: 0, lost: false }
    }

    /// Takes octets as they came. Call [`Framer::next`] until it gives `None` before the next push.
    pub fn push(&mut self, octets: &[u8]) {
        if !self.lost {
            self.buffer.extend_from_slice(octets);
        }
    }

    /// Octets held that are no frame yet.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The next frame; `None` when more octets are needed.
    ///
    /// # Errors
    /// [`FramingError`]. After a fatal one the framer takes and gives nothing more.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Frame>, FramingError> {
        if self.lost {
            return Ok(None);
        }
        if self.skip_line_ends() {
            return Ok(Some(Frame::KeepAlive));
        }
        let end = match self.end {
            Some(end) => end,
            None => match self.find_end()? {
                Some(end) => end,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < end {
            self.end = Some(end);
            return Ok(None);
        }
        self.end = None;
        self.searched = 0;
        let bytes = self.buffer.split_to(end).freeze();
        let message = Message::parse_with(bytes, &self.limits);
        message.map(|message| Some(Frame::Message(message))).map_err(FramingError::Message)
    }

    /// Where the first message ends; `None` while its head is not whole.
    fn find_end(&mut self) -> Result<Option<usize>, FramingError> {
        // three octets back: the empty line may straddle two pushes
        let from = self.searched.saturating_sub(3);
        let unseen = self.buffer.get(from..).unwrap_or_default();
        let Some(head) = parse::head_end(unseen).map(|end| from + end) else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > self.limits.head_octets { Err(self.lose()) } else { Ok(None) };
        };
        if head > self.limits.head_octets {
            return Err(self.lose());
        }
        let length = match content_length(self.buffer.get(..head).unwrap_or_default()) {
            Ok(length) => length,
            Err(kind) => return Err(self.lose_with(kind, head)),
        };
        match head.checked_add(length).filter(|end| *end <= self.limits.message_octets) {
            Some(end) => Ok(Some(end)),
            None => Err(self.lose_with(ParseErrorKind::MessageTooLong(self.limits.message_octets), head)),
        }
    }

    /// Drops line ends before a message (§7.5); true when they make a keep-alive.
    fn skip_line_ends(&mut self) -> bool {
        while self.buffer.first().is_some_and(|octet| matches!(octet, b'\r' | b'\n')) {
            let _ = self.buffer.split_to(1);
            self.searched = 0;
            self.line_ends += 1;
            if self.line_ends == 4 {
                self.line_ends = 0;
                return true;
            }
        }
        if !self.buffer.is_empty() {
            self.line_ends = 0;
        }
        false
    }

    fn lose(&mut self) -> FramingError {
        self.lost = true;
        let bytes = self.take();
        let kind = ParseErrorKind::HeadTooLong(self.limits.head_octets);
        FramingError::Lost(parse::refuse(bytes, &self.limits, kind))
    }

    fn lose_with(&mut self, kind: ParseErrorKind, head: usize) -> FramingError {
        self.lost = true;
        let mut bytes = self.take();
        bytes.truncate(head);
        FramingError::Lost(parse::refuse(bytes, &self.limits, kind))
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.buffer).freeze()
    }
}

/// Content-Length, which a stream needs (§18.3): exactly one, in long or compact form.
fn content_length(head: &[u8]) -> Result<usize, ParseErrorKind> {
    let head = std::str::from_utf8(head).map_err(|_| ParseErrorKind::NotUtf8)?;
    let mut length = None;
    let mut lines = head.split("\r\n").skip(1).peekable();
    while let Some(line) = lines.next() {
        let Some((name, value)) = line.split_once(':') else { continue };
        if line.starts_with([' ', '\t'])
            || Header::from_name(name.trim_end_matches([' ', '\t'])) != Header::ContentLength
        {
            continue;
        }
        // the number may stand on the folded line after the name
        let mut value = value.to_owned();
        while let Some(folded) = lines.next_if(|next| next.starts_with([' ', '\t'])) {
            value.push_str(folded);
        }
        if length.is_some() {
            return Err(ParseErrorKind::Duplicate(Header::ContentLength));
        }
        let number =
            text::number(text::trim(&value), u64::from(u32::MAX)).and_then(|number| usize::try_from(number).ok());
        length = Some(number.ok_or(ParseErrorKind::Header(Header::ContentLength, HeaderError::Number))?);
    }
    length.ok_or(ParseErrorKind::Missing(Header::ContentLength))
}
