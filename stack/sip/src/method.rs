use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text;

/// A request's method. Methods are case-sensitive (RFC 3261 §7.1); unknown ones are kept as they came.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Prack,
    Update,
    Info,
    Subscribe,
    Notify,
    Publish,
    Refer,
    Message,
    /// Any other token.
    Other(Arc<str>),
}

impl Method {
    /// The methods this crate has a name for.
    pub const KNOWN: [Method; 14] = [
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Register,
        Method::Options,
        Method::Prack,
        Method::Update,
        Method::Info,
        Method::Subscribe,
        Method::Notify,
        Method::Publish,
        Method::Refer,
        Method::Message,
    ];

    /// The token as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Register => "REGISTER",
            Method::Options => "OPTIONS",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Publish => "PUBLISH",
            Method::Refer => "REFER",
            Method::Message => "MESSAGE",
            Method::Other(name) => name,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a token, so it is no method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a method: a method is a token (RFC 3261 §25.1)")]
pub struct NotAMethod;

impl FromStr for Method {
    type Err = NotAMethod;

    fn from_str(name: &str) -> Result<Self, NotAMethod> {
        match Method::KNOWN.into_iter().find(|known| known.as_str() == name) {
            Some(known) => Ok(known),
            None if text::is_token(name) => Ok(Method::Other(Arc::from(name))),
            None => Err(NotAMethod),
        }
    }
}
