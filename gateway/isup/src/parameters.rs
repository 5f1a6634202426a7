//! Parameters of Q.763 §3 that the call needs as values.

use crate::cause::{Cause, Location};
use thiserror::Error;

/// Most digits of a number here: E.164 has 15, national prefixes and ST may add; the field itself could hold more.
pub const MAX_DIGITS: usize = 32;

/// A number that cannot be sent, or a number parameter that cannot be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum NumberError {
    /// A character that is none of `0`–`9`, `A`–`F` (`F` is ST).
    #[error("{0:?} is no address signal")]
    Digit(char),
    /// More than [`MAX_DIGITS`].
    #[error("a number of {0} digits is longer than {MAX_DIGITS}")]
    TooLong(usize),
    /// Odd number of digits announced, but no octet of digits.
    #[error("a number parameter without its octets")]
    Truncated,
}

/// Nature of address indicator (§3.9, §3.10).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum NatureOfAddress {
    /// Subscriber number.
    Subscriber,
    /// Unknown.
    Unknown,
    /// National significant number.
    National,
    /// International number.
    International,
    /// Any other value, 7 bits.
    Other(u8),
}

impl NatureOfAddress {
    fn from_bits(bits: u8) -> Self {
        match bits & 0x7f {
            1 => Self::Subscriber,
            2 => Self::Unknown,
            3 => Self::National,
            4 => Self::International,
            other => Self::Other(other),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Subscriber => 1,
            Self::Unknown => 2,
            Self::National => 3,
            Self::International => 4,
            Self::Other(other) => other & 0x7f,
        }
    }
}

fn check_digits(digits: &str) -> Result<(), NumberError> {
    if let Some(bad) = digits.chars().find(|c| !matches!(c, '0'..='9' | 'A'..='F')) {
        return Err(NumberError::Digit(bad));
    }
    if digits.len() > MAX_DIGITS { Err(NumberError::TooLong(digits.len())) } else { Ok(()) }
}

pub(crate) fn push_digits(digits: &str, out: &mut Vec<u8>) {
    let mut nibbles = digits.chars().map(|c| c.to_digit(16).unwrap_or(0) as u8);
    while let Some(low) = nibbles.next() {
        out.push(nibbles.next().unwrap_or(0) << 4 | low);
    }
}

pub(crate) fn read_digits(octets: &[u8], odd: bool) -> Result<String, NumberError> {
    let count = (octets.len() * 2).checked_sub(usize::from(odd)).ok_or(NumberError::Truncated)?;
    if count > MAX_DIGITS {
        return Err(NumberError::TooLong(count));
    }
    let nibbles = octets.iter().flat_map(|octet| [octet & 0x0f, octet >> 4]);
    Ok(nibbles
        .take(count)
        .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
        .map(|c| c.to_ascii_uppercase())
        .collect())
}

/// Called party number (§3.9). Digits are `0`–`9`, `B` code 11, `C` code 12, `F` the end of pulsing (ST).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalledPartyNumber {
    /// Nature of address.
    pub nature: NatureOfAddress,
    /// Routing to an internal network number is not allowed.
    pub internal_not_allowed: bool,
    /// Numbering plan, 3 bits; 1 is E.164.
    pub plan: u8,
    digits: String,
}

impl CalledPartyNumber {
    /// An E.164 number.
    pub fn new(nature: NatureOfAddress, digits: &str) -> Result<Self, NumberError> {
        check_digits(digits)?;
        Ok(Self { nature, internal_not_allowed: true, plan: 1, digits: digits.to_owned() })
    }

    /// An international number that is complete: ST follows the digits.
    pub fn international(digits: &str) -> Result<Self, NumberError> {
        Self::new(NatureOfAddress::International, &format!("{digits}F"))
    }

    /// The digits without ST.
    pub fn digits(&self) -> &str {
        self.digits.strip_suffix('F').unwrap_or(&self.digits)
    }

    /// Whether ST was sent: the number is complete.
    pub fn is_complete(&self) -> bool {
        self.digits.ends_with('F')
    }

    pub(crate) fn parse(value: &[u8]) -> Result<Self, NumberError> {
        let ([first, second], digits) = value.split_first_chunk::<2>().ok_or(NumberError::Truncated)?;
        Ok(Self {
            nature: NatureOfAddress::from_bits(*first),
            internal_not_allowed: second & 0x80 != 0,
            plan: second >> 4 & 7,
            digits: read_digits(digits, first & 0x80 != 0)?,
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let odd = u8::from(self.digits.len() % 2 == 1) << 7;
        let mut out = vec![odd | self.nature.bits(), u8::from(self.internal_not_allowed) << 7 | (self.plan & 7) << 4];
        push_digits(&self.digits, &mut out);
        out
    }
}

/// Address presentation restricted indicator (§3.10 e).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// May be shown.
    Allowed,
    /// Must not be shown.
    Restricted,
    /// Not available.
    NotAvailable,
    /// Reserved value.
    Reserved,
}

/// Screening indicator (§3.10 f).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Screening {
    /// User provided, not verified (reserved in some networks).
    NotVerified,
    /// User provided, verified and passed.
    Verified,
    /// User provided, verified and failed.
    Failed,
    /// Network provided.
    Network,
}

/// Calling party number (§3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallingPartyNumber {
    /// Nature of address.
    pub nature: NatureOfAddress,
    /// The number is not complete.
    pub incomplete: bool,
    /// Numbering plan, 3 bits; 1 is E.164.
    pub plan: u8,
    /// May it be shown.
    pub presentation: Presentation,
    /// Who vouches for it.
    pub screening: Screening,
    digits: String,
}

impl CallingPartyNumber {
    /// A complete E.164 number that may be shown, provided by the network.
    pub fn new(nature: NatureOfAddress, digits: &str) -> Result<Self, NumberError> {
        check_digits(digits)?;
        Ok(Self {
            nature,
            incomplete: false,
            plan: 1,
            presentation: Presentation::Allowed,
            screening: Screening::Network,
            digits: digits.to_owned(),
        })
    }

    /// The digits.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// From the value of an optional parameter.
    pub fn parse(value: &[u8]) -> Result<Self, NumberError> {
        let ([first, second], digits) = value.split_first_chunk::<2>().ok_or(NumberError::Truncated)?;
        Ok(Self {
            nature: NatureOfAddress::from_bits(*first),
            incomplete: second & 0x80 != 0,
            plan: second >> 4 & 7,
            presentation: match second >> 2 & 3 {
                0 => Presentation::Allowed,
                1 => Presentation::Restricted,
                2 => Presentation::NotAvailable,
                _ => Presentation::Reserved,
            },
            screening: match second & 3 {
                0 => Screening::NotVerified,
                1 => Screening::Verified,
                2 => Screening::Failed,
                _ => Screening::Network,
            },
            digits: read_digits(digits, first & 0x80 != 0)?,
        })
    }

    /// The value of the optional parameter.
    pub fn encode(&self) -> Vec<u8> {
        let odd = u8::from(self.digits.len() % 2 == 1) << 7;
        let second = u8::from(self.incomplete) << 7
            | (self.plan & 7) << 4
            | (self.presentation as u8) << 2
            | self.screening as u8;
        let mut out = vec![odd | self.nature.bits(), second];
        push_digits(&self.digits, &mut out);
        out
    }
}

/// Called party's status indicator (§3.5, bits DC).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum CalledPartyStatus {
    /// No indication: an early ACM (RFC 3398 §7.2.5).
    NoIndication,
    /// The subscriber is free and being alerted.
    SubscriberFree,
    /// Connect when free.
    ConnectWhenFree,
    /// Spare value.
    Spare,
}

/// Backward call indicators (§3.5): the 16 bits, with the ones a gateway acts on by name.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BackwardCallIndicators(pub [u8; 2]);

impl BackwardCallIndicators {
    /// Charged or not, the status, ordinary subscriber, ISUP all the way, ISDN access.
    pub fn new(charge: bool, status: CalledPartyStatus) -> Self {
        let first = if charge { 2 } else { 1 } | (status as u8) << 2 | 1 << 4;
        // interworking 0, ISDN user part used all the way (bit K), ISDN access (bit M)
        Self([first, 1 << 2 | 1 << 4])
    }

    /// Charge indicator: `None` when not told.
    pub fn charge(self) -> Option<bool> {
        match self.0[0] & 3 {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        }
    }

    /// Called party's status.
    pub fn status(self) -> CalledPartyStatus {
        match self.0[0] >> 2 & 3 {
            0 => CalledPartyStatus::NoIndication,
            1 => CalledPartyStatus::SubscriberFree,
            2 => CalledPartyStatus::ConnectWhenFree,
            _ => CalledPartyStatus::Spare,
        }
    }

    /// Interworking was met: in-band tones are all the information there is.
    pub fn interworking(self) -> bool {
        self.0[1] & 1 != 0
    }
}

/// Event of a call progress message (§3.21, bits G–A).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EventInformation {
    /// Alerting.
    Alerting,
    /// Progress.
    Progress,
    /// In-band information or a pattern is available.
    InBand,
    /// Call forwarded on busy.
    ForwardedBusy,
    /// Call forwarded on no reply.
    ForwardedNoReply,
    /// Call forwarded unconditionally.
    ForwardedUnconditionally,
    /// Any other value, with its presentation bit.
    Other(u8),
}

impl EventInformation {
    pub(crate) fn from_octet(octet: u8) -> Self {
        match octet {
            1 => Self::Alerting,
            2 => Self::Progress,
            3 => Self::InBand,
            4 => Self::ForwardedBusy,
            5 => Self::ForwardedNoReply,
            6 => Self::ForwardedUnconditionally,
            other => Self::Other(other),
        }
    }

    pub(crate) fn octet(self) -> u8 {
        match self {
            Self::Alerting => 1,
            Self::Progress => 2,
            Self::InBand => 3,
            Self::ForwardedBusy => 4,
            Self::ForwardedNoReply => 5,
            Self::ForwardedUnconditionally => 6,
            Self::Other(other) => other,
        }
    }
}

/// Cause indicators (§3.12, Q.850 §2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CauseIndicators {
    /// Who says so.
    pub location: Location,
    /// Why.
    pub cause: Cause,
    /// More about it, as octets.
    pub diagnostic: Vec<u8>,
}

impl CauseIndicators {
    /// A cause of the ITU coding standard without diagnostic.
    pub fn new(location: Location, cause: Cause) -> Self {
        Self { location, cause, diagnostic: Vec::new() }
    }

    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (first, rest) = value.split_first()?;
        // extension bit zero: an octet of recommendation follows (Q.850 octet 3a)
        let rest = if first & 0x80 == 0 { rest.get(1..)? } else { rest };
        let (cause, diagnostic) = rest.split_first()?;
        Some(Self {
            location: Location::from_bits(*first),
            cause: Cause(cause & 0x7f),
            diagnostic: diagnostic.to_vec(),
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0x80 | self.location.bits(), 0x80 | (self.cause.0 & 0x7f)];
        out.extend(&self.diagnostic);
        out
    }
}

/// Range and status (§3.43): `range` + 1 circuits from the message's own; a status bit for each where the message has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeAndStatus {
    /// Circuits less one.
    pub range: u8,
    /// One bit a circuit, the first in the low bit of the first octet; empty where the message has none.
    pub status: Vec<u8>,
}

impl RangeAndStatus {
    /// Only a range (GRS, CQM).
    pub fn range(range: u8) -> Self {
        Self { range, status: Vec::new() }
    }

    /// A range whose status bits are all zero (GRA: not blocked for maintenance).
    pub fn clear(range: u8) -> Self {
        Self { range, status: vec![0; usize::from(range) / 8 + 1] }
    }

    /// The status bit of the circuit `offset` after the first.
    pub fn is_set(&self, offset: u8) -> bool {
        self.status.get(usize::from(offset) / 8).is_some_and(|octet| octet >> (offset % 8) & 1 != 0)
    }

    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (range, status) = value.split_first()?;
        Some(Self { range: *range, status: status.to_vec() })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.range];
        out.extend(&self.status);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_and_even_numbers_fill_their_octets() {
        let even = CalledPartyNumber::international("12125550100").unwrap(); // eleven digits and ST
        assert_eq!(even.encode(), [0x04, 0x90, 0x21, 0x21, 0x55, 0x05, 0x01, 0xf0]);
        assert!(even.is_complete());
        let odd = CalledPartyNumber::new(NatureOfAddress::National, "123").unwrap();
        assert_eq!(odd.encode(), [0x83, 0x90, 0x21, 0x03]);
        for number in [even, odd] {
            assert_eq!(CalledPartyNumber::parse(&number.encode()), Ok(number));
        }
        let mut calling = CallingPartyNumber::new(NatureOfAddress::International, "4930123456").unwrap();
        calling.presentation = Presentation::Restricted;
        calling.screening = Screening::Verified;
        assert_eq!(calling.encode(), [0x04, 0x15, 0x94, 0x03, 0x21, 0x43, 0x65]);
        assert_eq!(CallingPartyNumber::parse(&calling.encode()), Ok(calling));
    }

    #[test]
    fn numbers_have_an_end() {
        let longest = "1".repeat(MAX_DIGITS);
        assert!(CalledPartyNumber::new(NatureOfAddress::International, &longest).is_ok());
        assert_eq!(CalledPartyNumber::international(&longest), Err(NumberError::TooLong(MAX_DIGITS + 1)));
        assert_eq!(CalledPartyNumber::international("12x"), Err(NumberError::Digit('x')));
        assert_eq!(CalledPartyNumber::parse(&[0x84, 0x10]), Err(NumberError::Truncated));
        assert_eq!(CalledPartyNumber::parse(&[4, 0x10]).map(|n| n.digits().len()), Ok(0));
    }

    #[test]
    fn a_cause_with_the_recommendation_octet_is_read() {
        let cause = CauseIndicators::parse(&[0x02, 0x80, 0x91]).unwrap();
        assert_eq!((cause.location, cause.cause), (Location::PublicLocal, Cause::USER_BUSY));
        assert_eq!(CauseIndicators::parse(&[0x02, 0x80]), None);
    }
}
