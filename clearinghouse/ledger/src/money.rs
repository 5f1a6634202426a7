//! Money as an integer number of billionths with a currency.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Billionths in one unit of a currency.
pub const NANOS_PER_UNIT: i64 = 1_000_000_000;

/// An ISO 4217 alphabetic code, such as `USD`: three capital letters.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// The text was not three capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a currency is three capital letters (ISO 4217), such as USD")]
pub struct CurrencyError;

impl Currency {
    /// The United States dollar.
    pub const USD: Currency = Currency(*b"USD");
    /// The euro.
    pub const EUR: Currency = Currency(*b"EUR");

    /// The code's three ASCII letters.
    pub const fn code(&self) -> [u8; 3] {
        self.0
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        // three ASCII capitals by construction
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;
    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Currency(code)),
            _ => Err(CurrencyError),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount without a currency, in billionths, written as a decimal (`"0.012"`). For configuration, where the currency stands elsewhere.
/// Serialized as a string: a float would not hold it.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nanos(pub i64);

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NanosError {
    /// Something other than an optional sign, digits, and a point.
    #[error("an amount is written like 12.50 or -0.003")]
    Malformed,
    /// More than nine digits behind the point.
    #[error("an amount has at most nine decimals")]
    TooFine,
    /// Beyond what 64 bits of billionths hold (about nine thousand million units).
    #[error("the amount is too large")]
    TooLarge,
}

impl FromStr for Nanos {
    type Err = NanosError;
    fn from_str(text: &str) -> Result<Self, NanosError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) {
            return Err(NanosError::Malformed);
        }
        if fraction.len() > 9 {
            return Err(NanosError::TooFine);
        }
        let whole: i128 = whole.parse().map_err(|_| NanosError::TooLarge)?;
        let fraction: i128 = format!("{fraction:0<9}").parse().map_err(|_| NanosError::Malformed)?;
        let nanos = whole
            .checked_mul(i128::from(NANOS_PER_UNIT))
            .and_then(|nanos| nanos.checked_add(fraction))
            .map(|nanos| if negative { -nanos } else { nanos })
            .and_then(|nanos| i64::try_from(nanos).ok())
            .ok_or(NanosError::TooLarge)?;
        Ok(Nanos(nanos))
    }
}

impl fmt::Display for Nanos {
    /// At least two decimals, at most nine, no trailing zeros beyond the second.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let fraction = format!("{:09}", magnitude % NANOS_PER_UNIT.unsigned_abs());
        let kept = fraction.trim_end_matches('0').len().max(2);
        let fraction = fraction.get(..kept).unwrap_or("00");
        out.pad(&format!("{sign}{}.{fraction}", magnitude / NANOS_PER_UNIT.unsigned_abs()))
    }
}

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount of money. Serialized as `{"nanos": 12000000, "currency": "USD"}`.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Money {
    /// Billionths of one unit of the currency; may be negative.
    pub nanos: i64,
    /// The currency.
    pub currency: Currency,
}

/// Why two amounts cannot be combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The currencies differ.
    #[error("{0} and {1} cannot be combined")]
    CurrencyDiffers(Currency, Currency),
    /// The result does not fit 64 bits of billionths.
    #[error("the amount is too large")]
    Overflow,
}

impl Money {
    /// So many billionths of the currency's unit.
    pub const fn from_nanos(nanos: i64, currency: Currency) -> Money {
        Money { nanos, currency }
    }

    /// Nothing.
    pub const fn zero(currency: Currency) -> Money {
        Money { nanos: 0, currency }
    }

    /// A decimal such as `12.50`.
    pub fn parse(decimal: &str, currency: Currency) -> Result<Money, NanosError> {
        Ok(Money { nanos: decimal.parse::<Nanos>()?.0, currency })
    }

    /// Whether the amount is exactly zero.
    pub const fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// The sum; refused when the currencies differ or the result does not fit.
    pub fn checked_add(self, other: Money) -> Result<Money, MoneyError> {
        self.combine(other, i64::checked_add)
    }

    /// The difference; refused when the currencies differ or the result does not fit.
    pub fn checked_sub(self, other: Money) -> Result<Money, MoneyError> {
        self.combine(other, i64::checked_sub)
    }

    fn combine(self, other: Money, operation: fn(i64, i64) -> Option<i64>) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyDiffers(self.currency, other.currency));
        }
        let nanos = operation(self.nanos, other.nanos).ok_or(MoneyError::Overflow)?;
        Ok(Money { nanos, currency: self.currency })
    }
}

impl fmt::Display for Money {
    /// `0.012 USD`
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&format!("{} {}", Nanos(self.nanos), self.currency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_exact() {
        for (text, nanos) in [("0", 0), ("12.50", 12_500_000_000), ("-0.003", -3_000_000), ("0.000000001", 1)] {
            assert_eq!(text.parse::<Nanos>(), Ok(Nanos(nanos)), "{text}");
        }
        assert_eq!("0.0000000001".parse::<Nanos>(), Err(NanosError::TooFine));
        for bad in ["", "-", ".", "1.", ".5", "1e3", "+1", "1,5", "0x1", "1.2.3", "--1"] {
            assert_eq!(bad.parse::<Nanos>(), Err(NanosError::Malformed), "{bad}");
        }
    }

    #[test]
    fn the_largest_amount_fits_and_the_next_does_not() {
        assert_eq!("9223372036.854775807".parse::<Nanos>(), Ok(Nanos(i64::MAX)));
        assert_eq!("9223372036.854775808".parse::<Nanos>(), Err(NanosError::TooLarge));
        assert_eq!("-9223372036.854775808".parse::<Nanos>(), Ok(Nanos(i64::MIN)));
    }

    #[test]
    fn currencies_do_not_mix() {
        let dollars = Money::from_nanos(1, Currency::USD);
        let euros = Money::from_nanos(1, Currency::EUR);
        assert!(matches!(dollars.checked_add(euros), Err(MoneyError::CurrencyDiffers(..))));
        assert_eq!(Money::from_nanos(i64::MAX, Currency::USD).checked_add(dollars), Err(MoneyError::Overflow));
        assert!("usd".parse::<Currency>().is_err());
        assert!("USDX".parse::<Currency>().is_err());
    }

    proptest! {
        #[test]
        fn written_amounts_read_back(nanos: i64) {
            prop_assert_eq!(Nanos(nanos).to_string().parse::<Nanos>(), Ok(Nanos(nanos)));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = text.parse::<Nanos>();
            let _ = text.parse::<Currency>();
        }
    }
}
