use crate::builder::Builder;
use crate::header::Header;
use crate::reason_phrase;
use crate::uri::UriError;

/// Why one header's value could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The header is not there.
    #[error("header missing")]
    Missing,
    /// A parameter is empty or ill-formed.
    #[error("ill-formed parameter")]
    Parameter,
    /// A quoted string does not end.
    #[error("quoted string without an end")]
    Quote,
    /// Neither `name-addr` nor `addr-spec`.
    #[error("ill-formed address")]
    Address,
    /// The URI within is ill-formed.
    #[error("ill-formed URI: {0}")]
    Uri(#[from] UriError),
    /// A URI that holds `,` or `?` stands without angle brackets (RFC 3261 §20.10).
    #[error("URI with a comma or question mark outside angle brackets")]
    Brackets,
    /// sent-protocol, sent-by or port of a Via is ill-formed.
    #[error("ill-formed Via")]
    Via,
    /// Not a number, or beyond the header's range.
    #[error("number missing or out of range")]
    Number,
    /// Not a method.
    #[error("not a method")]
    Method,
    /// Anything else that the header's grammar does not allow.
    #[error("ill-formed value")]
    Syntax,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// Nothing but line ends.
    #[error("empty")]
    Empty,
    /// More than [`crate::Limits::message_octets`].
    #[error("message longer than {0} octets")]
    MessageTooLong(usize),
    /// The part before the body is more than [`crate::Limits::head_octets`].
    #[error("headers longer than {0} octets together")]
    HeadTooLong(usize),
    /// More than [`crate::Limits::headers`].
    #[error("more than {0} header fields")]
    TooManyHeaders(usize),
    /// A header field of more than [`crate::Limits::header_octets`].
    #[error("header field longer than {0} octets")]
    HeaderTooLong(usize),
    /// A Request-URI of more than [`crate::Limits::uri_octets`].
    #[error("Request-URI longer than {0} octets")]
    UriTooLong(usize),
    /// More than [`crate::Limits::vias`].
    #[error("more than {0} Via values")]
    TooManyVias(usize),
    /// Neither a request line nor a status line (RFC 3261 §7.1, §7.2).
    #[error("ill-formed start line")]
    StartLine,
    /// The start line is one, but its version is not SIP/2.0 (RFC 3261 §21.5.6).
    #[error("SIP version other than 2.0")]
    Version,
    /// The Request-URI is ill-formed or holds what a Request-URI must not (RFC 3261 §19.1.1).
    #[error("Request-URI: {0}")]
    RequestUri(UriError),
    /// A status code outside 100..699.
    #[error("status code out of range")]
    Status,
    /// A line that is no header field, or a line end that is not CR LF.
    #[error("ill-formed header line")]
    HeaderLine,
    /// The headers are not UTF-8.
    #[error("headers are not UTF-8")]
    NotUtf8,
    /// The headers do not end with an empty line.
    #[error("no empty line after the headers")]
    Unfinished,
    /// A header that every message needs is missing (RFC 3261 §8.1.1).
    #[error("{0} missing")]
    Missing(Header),
    /// A header that may stand once stands more often.
    #[error("{0} more than once")]
    Duplicate(Header),
    /// A header that every element must understand is ill-formed.
    #[error("{0}: {1}")]
    Header(Header, HeaderError),
    /// CSeq names another method than the request line (RFC 3261 §8.1.1.5).
    #[error("CSeq's method is not the request's")]
    MethodMismatch,
    /// The datagram ends before the announced body does (RFC 3261 §18.3).
    #[error("body of {found} octets where Content-Length announces {announced}")]
    BodyTooShort {
        /// Content-Length.
        announced: usize,
        /// Octets that came.
        found: usize,
    },
}

impl ParseErrorKind {
    /// The status code that says this to the sender of a request.
    pub fn status(self) -> u16 {
        match self {
            ParseErrorKind::Version => 505,
            ParseErrorKind::UriTooLong(_) => 414,
            ParseErrorKind::MessageTooLong(_)
            | ParseErrorKind::HeadTooLong(_)
            | ParseErrorKind::HeaderTooLong(_)
            | ParseErrorKind::TooManyHeaders(_) => 513,
            ParseErrorKind::TooManyVias(_) => 483,
            _ => 400,
        }
    }
}

/// A message that was refused, with what is needed to say so to its sender.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}")]
pub struct ParseError {
    kind: ParseErrorKind,
    answer: Option<Box<Builder>>,
}

impl ParseError {
    pub(crate) fn new(kind: ParseErrorKind, answer: Option<Builder>) -> Self {
        ParseError { kind, answer: answer.map(Box::new) }
    }

    /// What is wrong.
    pub fn kind(&self) -> ParseErrorKind {
        self.kind
    }

    /// The response this message can be answered with: its status code and a builder that already holds the start line and
    /// the message's Via, From, To, Call-ID and CSeq, as far as they are there.
    ///
    /// `None` when nothing may or can be answered: a response, an ACK (RFC 3261 §17), or a request without a readable Via
    /// or without a CSeq, whose sender could not match the answer.
    pub fn answerable(&self) -> Option<(u16, Builder)> {
        self.answer.as_deref().map(|builder| (self.kind.status(), builder.clone()))
    }

    /// The reason phrase for the answer: the code's own phrase and what was wrong.
    pub fn phrase(&self) -> String {
        format!("{} ({})", reason_phrase(self.kind.status()), self.kind)
    }
}

impl PartialEq<ParseErrorKind> for ParseError {
    fn eq(&self, kind: &ParseErrorKind) -> bool {
        self.kind == *kind
    }
}
