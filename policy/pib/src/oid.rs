//! Object identifiers: names of classes, instances and algorithms.

use core::fmt;
use core::str::FromStr;

/// Most sub-identifiers one name may have (SMIv2 §3.5).
pub const SUB_IDENTIFIERS_MAX: usize = 128;

/// An object identifier, ordered as SNMP orders them, so that a prefix range is contiguous in a map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Oid(Vec<u32>);

impl Oid {
    /// `0.0`, "no such thing" in every pointer of the PIB.
    pub fn zero_dot_zero() -> Oid {
        Oid(vec![0, 0])
    }

    /// From its parts.
    pub fn new(parts: &[u32]) -> Oid {
        Oid(parts.to_vec())
    }

    /// Its parts.
    pub fn parts(&self) -> &[u32] {
        &self.0
    }

    /// Whether it is `0.0`.
    pub fn is_zero_dot_zero(&self) -> bool {
        self.0 == [0, 0]
    }

    /// This name with one more part.
    #[must_use]
    pub fn child(&self, part: u32) -> Oid {
        let mut parts = self.0.clone();
        parts.push(part);
        Oid(parts)
    }

    /// Whether `self` begins with `prefix` (equal counts).
    pub fn starts_with(&self, prefix: &Oid) -> bool {
        self.0.starts_with(&prefix.0)
    }

    /// The class part and the instance number of a PRID.
    pub fn split_instance(&self) -> Option<(&[u32], u32)> {
        self.0.split_last().map(|(instance, class)| (class, *instance))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            write!(f, "{part}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no object identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an object identifier")]
pub struct OidError;

impl FromStr for Oid {
    type Err = OidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split('.').map(|part| part.parse().map_err(|_| OidError)).collect::<Result<Vec<u32>, _>>()?;
        if parts.len() < 2 || parts.len() > SUB_IDENTIFIERS_MAX { Err(OidError) } else { Ok(Oid(parts)) }
    }
}
