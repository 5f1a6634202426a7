//! Bytes to values (RFC 2748 §2.1, §2.2), strict where the RFC leaves no choice, tolerant where it says to be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use crate::HEADER_OCTETS;
use crate::code::{Command, ErrorCode, Op, ReasonCode, ReportType, RequestType};
use crate::grammar;
use crate::message::{ClientSi, Context, DecisionObject, ErrorObject, Interface, Message, Object, Reason};

/// Most objects one message may carry; a COPS-PR message needs three per decision.
pub const OBJECTS_MAX: usize = 1024;

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Fewer octets than a header.
    #[error("shorter than a COPS header")]
    Short,
    /// Not version 1.
    #[error("version {0} is not 1")]
    Version(u8),
    /// Not an operation of RFC 2748.
    #[error("unknown operation {0}")]
    UnknownOp(u8),
    /// The header's length is not the octets that came, or is no multiple of four.
    #[error("message length {0} does not fit")]
    MessageLength(u32),
    /// An object's length is below four or runs past the message.
    #[error("an object's length runs past the message")]
    ObjectLength,
    /// A known object whose contents do not have the shape of its C-Type.
    #[error("object {c_num}/{c_type} has malformed contents")]
    ObjectContents {
        /// C-Num.
        c_num: u8,
        /// C-Type.
        c_type: u8,
    },
    /// An object this version does not know.
    #[error("unknown object {c_num}/{c_type}")]
    UnknownObject {
        /// C-Num.
        c_num: u8,
        /// C-Type.
        c_type: u8,
    },
    /// More objects than [`OBJECTS_MAX`].
    #[error("too many objects")]
    TooManyObjects,
    /// An object that this operation needs is missing.
    #[error("mandatory object with C-Num {c_num} is missing")]
    MissingObject {
        /// C-Num of what is missing.
        c_num: u8,
    },
    /// An object that has no place here (order, doubled, wrong operation).
    #[error("object with C-Num {c_num} has no place here")]
    MisplacedObject {
        /// C-Num of what is out of place.
        c_num: u8,
    },
}

/// A message that could not be read, with what the answer needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed COPS message: {fault}")]
pub struct DecodeError {
    /// What is wrong.
    pub fault: Fault,
    /// The operation, when the header could be read.
    pub op: Option<Op>,
    /// The client type of the header, 0 when it could not be read.
    pub client_type: u16,
    /// The handle, when one was read before the fault.
    pub handle: Option<Bytes>,
}

impl DecodeError {
    /// The Error object for the answer: a DEC for a REQ, a CC for an OPN or CAT (RFC 2748 §3).
    pub fn error_object(&self) -> ErrorObject {
        let (code, sub_code) = match self.fault {
            Fault::UnknownObject { c_num, c_type } => (ErrorCode::UnknownObject, u16::from_be_bytes([c_num, c_type])),
            Fault::MissingObject { c_num } => (ErrorCode::MandatoryObjectMissing, u16::from(c_num) << 8),
            _ => (ErrorCode::BadMessageFormat, 0),
        };
        ErrorObject { code, sub_code }
    }

    /// The Reason object for the DRQ that answers a malformed DEC (RFC 2748 §3.4).
    pub fn reason_object(&self) -> Reason {
        match self.fault {
            Fault::UnknownObject { c_num, c_type } => {
                Reason { code: ReasonCode::UnknownObject, sub_code: u16::from_be_bytes([c_num, c_type]) }
            }
            _ => Reason { code: ReasonCode::MalformedDecision, sub_code: 0 },
        }
    }
}

impl Message {
    /// Reads one whole message (what [`crate::Framer`] yields) and checks the grammar of its operation.
    pub fn parse(bytes: &Bytes) -> Result<Message, DecodeError> {
        let mut error = DecodeError { fault: Fault::Short, op: None, client_type: 0, handle: None };
        let Some(&[flags, op, type_high, type_low, l0, l1, l2, l3]) = bytes.first_chunk::<HEADER_OCTETS>() else {
            return Err(error);
        };
        error.op = Op::from_number(op);
        error.client_type = u16::from_be_bytes([type_high, type_low]);
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if flags >> 4 != 1 {
            return Err(DecodeError { fault: Fault::Version(flags >> 4), ..error });
        }
        let Some(op) = error.op else {
            return Err(DecodeError { fault: Fault::UnknownOp(op), ..error });
        };
        if usize::try_from(length) != Ok(bytes.len()) || !length.is_multiple_of(4) {
            return Err(DecodeError { fault: Fault::MessageLength(length), ..error });
        }
        let mut message = Message::new(op, error.client_type).solicited(flags & 0x01 != 0);
        let mut rest = bytes.slice(HEADER_OCTETS..);
        while !rest.is_empty() {
            if message.objects.len() == OBJECTS_MAX {
                return Err(DecodeError { fault: Fault::TooManyObjects, ..error });
            }
            match take_object(&mut rest) {
                Ok(object) => {
                    if let (Object::Handle(handle), None) = (&object, &error.handle) {
                        error.handle = Some(handle.clone());
                    }
                    message.objects.push(object);
                }
                Err(fault) => return Err(DecodeError { fault, ..error }),
            }
        }
        match grammar::check(&message) {
            Ok(()) => Ok(message),
            Err(fault) => Err(DecodeError { fault, ..error }),
        }
    }
}

fn take_object(rest: &mut Bytes) -> Result<Object, Fault> {
    let Some(&[high, low, c_num, c_type]) = rest.first_chunk::<4>() else {
        return Err(Fault::ObjectLength);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let padded = length.next_multiple_of(4);
    if length < 4 || padded > rest.len() {
        return Err(Fault::ObjectLength);
    }
    let contents = rest.slice(4..length);
    *rest = rest.slice(padded..);
    object(c_num, c_type, contents)
}

fn object(c_num: u8, c_type: u8, contents: Bytes) -> Result<Object, Fault> {
    let malformed = Fault::ObjectContents { c_num, c_type };
    Ok(match (c_num, c_type) {
        (1, 1) if contents.is_empty() => return Err(malformed),
        (1, 1) => Object::Handle(contents),
        (2, 1) => {
            let (request_type, message_type) = pair(&contents).ok_or(malformed)?;
            Object::Context(Context { request_type: RequestType(request_type), message_type })
        }
        (3, 1 | 2) => Object::InInterface(interface(c_type, &contents).ok_or(malformed)?),
        (4, 1 | 2) => Object::OutInterface(interface(c_type, &contents).ok_or(malformed)?),
        (5, 1) => {
            let (code, sub_code) = pair(&contents).ok_or(malformed)?;
            // A reason we have no name for still removes the state.
            let code = ReasonCode::from_number(code).unwrap_or(ReasonCode::Unspecified);
            Object::Reason(Reason { code, sub_code })
        }
        (6, 1..=5) => Object::Decision(decision(c_type, contents).ok_or(malformed)?),
        (7, 1..=5) => Object::LpdpDecision(decision(c_type, contents).ok_or(malformed)?),
        (8, 1) => {
            let (code, sub_code) = pair(&contents).ok_or(malformed)?;
            // An error we have no name for is still an error.
            let code = ErrorCode::from_number(code).unwrap_or(ErrorCode::Unspecified);
            Object::Error(ErrorObject { code, sub_code })
        }
        (9, 1) => Object::ClientSi(ClientSi::Signaled(contents)),
        (9, 2) => Object::ClientSi(ClientSi::Named(contents)),
        (10, 1) => Object::KeepAliveTimer(pair(&contents).ok_or(malformed)?.1),
        (11, 1) => Object::PepId(pep_id(&contents).ok_or(malformed)?),
        (12, 1) => {
            let kind = pair(&contents).and_then(|(kind, _)| ReportType::from_number(kind)).ok_or(malformed)?;
            Object::ReportType(kind)
        }
        (13, 1 | 2) => Object::PdpRedirectAddress(socket_address(c_type, &contents).ok_or(malformed)?),
        (14, 1 | 2) => Object::LastPdpAddress(socket_address(c_type, &contents).ok_or(malformed)?),
        (15, 1) => Object::AccountingTimer(pair(&contents).ok_or(malformed)?.1),
        (16, 1) => {
            let (Some(&key_id), Some(&sequence)) =
                (contents.first_chunk::<4>(), contents.get(4..).and_then(|rest| rest.first_chunk::<4>()))
            else {
                return Err(malformed);
            };
            Object::Integrity {
                key_id: u32::from_be_bytes(key_id),
                sequence: u32::from_be_bytes(sequence),
                digest: contents.slice(8..),
            }
        }
        _ => return Err(Fault::UnknownObject { c_num, c_type }),
    })
}

fn pair(contents: &Bytes) -> Option<(u16, u16)> {
    match contents.as_ref() {
        &[a, b, c, d] => Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
        _ => None,
    }
}

fn decision(c_type: u8, contents: Bytes) -> Option<DecisionObject> {
    Some(match c_type {
        1 => {
            let (command, flags) = pair(&contents)?;
            DecisionObject::Flags { command: Command::from_number(command)?, flags }
        }
        2 => DecisionObject::Stateless(contents),
        3 => DecisionObject::Replacement(contents),
        4 => DecisionObject::ClientSpecific(contents),
        _ => DecisionObject::Named(contents),
    })
}

fn address_and_word(c_type: u8, contents: &Bytes) -> Option<(IpAddr, [u8; 4])> {
    let address_octets = if c_type == 1 { 4 } else { 16 };
    let word = *contents.get(address_octets..)?.first_chunk::<4>()?;
    if contents.len() != address_octets + 4 {
        return None;
    }
    let address = if c_type == 1 {
        IpAddr::V4(Ipv4Addr::from(*contents.first_chunk::<4>()?))
    } else {
        IpAddr::V6(Ipv6Addr::from(*contents.first_chunk::<16>()?))
    };
    Some((address, word))
}

fn interface(c_type: u8, contents: &Bytes) -> Option<Interface> {
    let (address, word) = address_and_word(c_type, contents)?;
    Some(Interface { address, ifindex: u32::from_be_bytes(word) })
}

fn socket_address(c_type: u8, contents: &Bytes) -> Option<SocketAddr> {
    let (address, [_, _, high, low]) = address_and_word(c_type, contents)?;
    Some(SocketAddr::new(address, u16::from_be_bytes([high, low])))
}

/// The octets before the first NUL, printable ASCII only: it becomes a key and is shown to operators.
fn pep_id(contents: &Bytes) -> Option<String> {
    let end = contents.iter().position(|octet| *octet == 0).unwrap_or(contents.len());
    let id = std::str::from_utf8(contents.get(..end)?).ok()?;
    (!id.is_empty() && id.bytes().all(|octet| octet.is_ascii_graphic() || octet == b' ')).then(|| id.to_owned())
}
