//! The message signal unit: service information octet, ITU routing label, circuit identification code, message
//! (Q.704 §2.2 and §14.2, Q.763 §1).

use crate::message::{EncodeError, Message, MessageError};
use thiserror::Error;

/// Most octets of one unit here: the service information octet and a field of 272 (Q.703 §2.3.8).
pub const MAX_MSU_OCTETS: usize = 273;
/// Largest ITU point code: 14 bits.
pub const MAX_POINT_CODE: u16 = 0x3fff;
const SERVICE_INDICATOR_ISUP: u8 = 5;

/// A value does not fit its field of the label.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum LabelError {
    /// A point code has 14 bits.
    #[error("point code {0} is more than 14 bits")]
    PointCode(u16),
    /// A circuit identification code has 12 bits.
    #[error("circuit identification code {0} is more than 12 bits")]
    Cic(u16),
}

/// An ITU signalling point code, 14 bits.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PointCode(u16);

impl PointCode {
    /// A code of at most [`MAX_POINT_CODE`].
    pub const fn new(code: u16) -> Result<Self, LabelError> {
        if code > MAX_POINT_CODE { Err(LabelError::PointCode(code)) } else { Ok(Self(code)) }
    }

    /// From the usual notation zone-area-point (3-8-3 bits); `None` when a part is too large.
    pub const fn from_parts(zone: u8, area: u8, point: u8) -> Option<Self> {
        if zone > 7 || point > 7 {
            return None;
        }
        Some(Self((zone as u16) << 11 | (area as u16) << 3 | point as u16))
    }

    /// The 14 bits.
    pub const fn value(self) -> u16 {
        self.0
    }
}

/// Circuit identification code, 12 bits.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cic(u16);

impl Cic {
    /// A code of at most 4095.
    pub const fn new(code: u16) -> Result<Self, LabelError> {
        if code > 0x0fff { Err(LabelError::Cic(code)) } else { Ok(Self(code)) }
    }

    /// The 12 bits.
    pub const fn value(self) -> u16 {
        self.0
    }
}

/// Network indicator of the service information octet (Q.704 §14.2.2).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkIndicator {
    /// International network.
    International,
    /// Spare, for international use.
    Spare,
    /// National network.
    #[default]
    National,
    /// Reserved for national use.
    Reserved,
}

/// Who sends to whom over which link.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingLabel {
    /// Network indicator.
    pub network: NetworkIndicator,
    /// DPC.
    pub destination: PointCode,
    /// OPC.
    pub origin: PointCode,
    /// SLS, low 4 bits.
    pub selection: u8,
}

impl RoutingLabel {
    /// The label of an answer.
    pub fn reversed(self) -> Self {
        Self { destination: self.origin, origin: self.destination, ..self }
    }
}

/// Why octets are no unit. The peer erred, except for `Encode`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MsuError {
    /// Fewer octets than service octet, label, circuit code and message type.
    #[error("{length} octets are fewer than an ISUP message signal unit")]
    TooShort {
        /// Octets received.
        length: usize,
    },
    /// More than [`MAX_MSU_OCTETS`].
    #[error("{length} octets are more than a message signal unit")]
    TooLong {
        /// Octets received.
        length: usize,
    },
    /// Not for ISUP.
    #[error("service indicator {0} is not ISUP")]
    Service(u8),
    /// The message itself.
    #[error("{message_error} (circuit {})", cic.value())]
    Message {
        /// The circuit it was for: an answer (CFN, or none) depends on it.
        cic: Cic,
        /// What is wrong.
        message_error: MessageError,
    },
}

/// One message for one circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msu {
    /// Routing label.
    pub label: RoutingLabel,
    /// Circuit.
    pub cic: Cic,
    /// Message.
    pub message: Message,
}

impl Msu {
    /// Reads one unit, beginning at the service information octet.
    pub fn parse(bytes: &[u8]) -> Result<Self, MsuError> {
        if bytes.len() > MAX_MSU_OCTETS {
            return Err(MsuError::TooLong { length: bytes.len() });
        }
        let Some(([service, a, b, c, d, low, high], rest)) = bytes.split_first_chunk::<7>() else {
            return Err(MsuError::TooShort { length: bytes.len() });
        };
        if service & 0x0f != SERVICE_INDICATOR_ISUP {
            return Err(MsuError::Service(service & 0x0f));
        }
        let network = match service >> 6 {
            0 => NetworkIndicator::International,
            1 => NetworkIndicator::Spare,
            2 => NetworkIndicator::National,
            _ => NetworkIndicator::Reserved,
        };
        let word = u32::from_le_bytes([*a, *b, *c, *d]);
        let label = RoutingLabel {
            network,
            destination: PointCode((word & 0x3fff) as u16),
            origin: PointCode((word >> 14 & 0x3fff) as u16),
            selection: (word >> 28) as u8,
        };
        let cic = Cic(u16::from_le_bytes([*low, *high]) & 0x0fff);
        let message = Message::parse(rest).map_err(|message_error| MsuError::Message { cic, message_error })?;
        Ok(Self { label, cic, message })
    }

    /// The octets, beginning at the service information octet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let network = match self.label.network {
            NetworkIndicator::International => 0,
            NetworkIndicator::Spare => 1,
            NetworkIndicator::National => 2u8,
            NetworkIndicator::Reserved => 3,
        };
        let word = u32::from(self.label.destination.0)
            | u32::from(self.label.origin.0) << 14
            | u32::from(self.label.selection & 0x0f) << 28;
        let mut out = vec![network << 6 | SERVICE_INDICATOR_ISUP];
        out.extend(word.to_le_bytes());
        out.extend(self.cic.0.to_le_bytes());
        self.message.encode_into(&mut out)?;
        if out.len() > MAX_MSU_OCTETS {
            return Err(EncodeError::TooLong { length: out.len() });
        }
        Ok(out)
    }
}
