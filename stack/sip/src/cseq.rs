use std::fmt;

use crate::error::HeaderError;
use crate::method::Method;
use crate::text;

/// CSeq's value (RFC 3261 §20.16).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CSeq {
    /// The number, below 2^31 (§8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: Method,
}

impl CSeq {
    /// The largest number a CSeq may hold.
    pub const MAX: u32 = (1 << 31) - 1;

    /// Reads `number method`.
    ///
    /// # Errors
    /// [`HeaderError::Number`], [`HeaderError::Method`], or [`HeaderError::Syntax`] when nothing stands between the two.
    pub fn parse(value: &str) -> Result<CSeq, HeaderError> {
        let value = text::trim(value);
        let (number, method) = value.split_once([' ', '\t', '\r', '\n']).ok_or(HeaderError::Syntax)?;
        let number = text::number(number, u64::from(CSeq::MAX)).ok_or(HeaderError::Number)?;
        let number = u32::try_from(number).map_err(|_| HeaderError::Number)?;
        let method = text::trim(method).parse().map_err(|_| HeaderError::Method)?;
        Ok(CSeq { number, method })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}
