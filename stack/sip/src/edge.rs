//! The edge to programs that use the rsip crate's types: conversion both ways, refused where octets would change.
//!
//! rsip re-orders and drops what it does not know (RFC 4475's messages show it), so nothing inside uses it; a conversion is only
//! given when what rsip would write is what came.

use bytes::Bytes;

use crate::error::ParseError;
use crate::message::Message;

/// Why a message cannot cross.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EdgeError {
    /// rsip does not read it. Its own error text quotes the whole message, numbers and credentials included, and is left out.
    #[error("rsip refuses the message")]
    Refused,
    /// rsip reads it, but would write something else.
    #[error("rsip would change the message's octets")]
    Changed,
    /// What rsip wrote is no valid message.
    #[error(transparent)]
    Invalid(#[from] ParseError),
}

impl TryFrom<&Message> for rsip::SipMessage {
    type Error = EdgeError;

    fn try_from(message: &Message) -> Result<rsip::SipMessage, EdgeError> {
        let octets = message.as_bytes();
        let typed = rsip::SipMessage::try_from(octets.as_ref()).map_err(|_| EdgeError::Refused)?;
        if written(&typed) == *octets { Ok(typed) } else { Err(EdgeError::Changed) }
    }
}

impl TryFrom<&rsip::SipMessage> for Message {
    type Error = EdgeError;

    fn try_from(typed: &rsip::SipMessage) -> Result<Message, EdgeError> {
        let octets = written(typed);
        let message = Message::parse(Bytes::from(octets.clone()))?;
        // a body beyond Content-Length is cut on the way in; here that would lose something
        if *message.as_bytes() == octets { Ok(message) } else { Err(EdgeError::Changed) }
    }
}

/// What rsip writes, with the body's octets as they are (its own `Display` takes them for text).
fn written(typed: &rsip::SipMessage) -> Vec<u8> {
    let (head, body) = match typed {
        rsip::SipMessage::Request(request) => (
            format!("{} {} {}\r\n{}\r\n", request.method, request.uri, request.version, request.headers),
            &request.body,
        ),
        rsip::SipMessage::Response(response) => {
            (format!("{} {}\r\n{}\r\n", response.version, response.status_code, response.headers), &response.body)
        }
    };
    let mut octets = head.into_bytes();
    octets.extend_from_slice(body);
    octets
}
