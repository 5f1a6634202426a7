//! What a call costs.
//!
//! **What comes in:** a [`Tariff`] and a duration in seconds, or a tariff and an amount.
//!
//! **What goes out:** the exact price of the duration; the longest duration that the amount affords.
//!
//! **What it never does:** use a float, round without naming how, saturate, or look at a clock.
//!
//! **Sources:** the usual terms of carriers' rate sheets: connection fee, initial and following increment (`60/60`, `30/6`, `1/1`). No RFC.

use serde::{Deserialize, Serialize};
use strowger_ledger::{Currency, Money};

/// How an amount between two multiples of the rounding unit is rounded. Amounts are not negative.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the larger amount: whatever is begun is paid.
    #[default]
    Up,
    /// To the smaller amount.
    Down,
    /// To the nearer amount, the larger one from the middle.
    HalfUp,
    /// To the nearer amount, the even multiple from the middle.
    HalfEven,
}

/// A price list for one destination.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// The currency of every amount.
    pub currency: Currency,
    /// Price of a minute in billionths; not negative.
    pub per_minute_nanos: i64,
    /// Paid once when the call is connected, in billionths; not negative.
    pub connection_fee_nanos: i64,
    /// The shortest duration that is billed, in seconds; at least 1.
    pub initial_increment_seconds: u32,
    /// Durations beyond the initial one are billed in steps of so many seconds; at least 1.
    pub following_increment_seconds: u32,
    /// How amounts are rounded.
    pub rounding: Rounding,
    /// Prices are multiples of so many billionths; at least 1.
    pub rounding_unit_nanos: i64,
}

/// Why a tariff has no price for a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RatingError {
    /// An amount is negative, or an increment or the rounding unit is zero.
    #[error("the tariff has a negative amount, or an increment or rounding unit of zero")]
    InvalidTariff,
    /// The price does not fit 64 bits of billionths.
    #[error("the price is too large")]
    Overflow,
    /// The amount is in another currency than the tariff.
    #[error("the tariff is in {0}")]
    CurrencyDiffers(Currency),
}

impl Tariff {
    /// So many billionths a minute, billed by the second (`1/1`), no connection fee, exact to the billionth, rounded up.
    pub const fn per_minute(nanos: i64, currency: Currency) -> Tariff {
        Tariff {
            currency,
            per_minute_nanos: nanos,
            connection_fee_nanos: 0,
            initial_increment_seconds: 1,
            following_increment_seconds: 1,
            rounding: Rounding::Up,
            rounding_unit_nanos: 1,
        }
    }

    /// The same with other increments, in seconds.
    pub const fn with_increments(self, initial_seconds: u32, following_seconds: u32) -> Tariff {
        Tariff { initial_increment_seconds: initial_seconds, following_increment_seconds: following_seconds, ..self }
    }

    /// The same with a connection fee, in billionths.
    pub const fn with_connection_fee(self, nanos: i64) -> Tariff {
        Tariff { connection_fee_nanos: nanos, ..self }
    }

    /// Whether the tariff can price anything.
    pub const fn is_valid(&self) -> bool {
        self.per_minute_nanos >= 0
            && self.connection_fee_nanos >= 0
            && self.initial_increment_seconds > 0
            && self.following_increment_seconds > 0
            && self.rounding_unit_nanos > 0
    }

    /// The duration that is billed for a duration of conversation. Nothing is billed for zero seconds: such a call was not connected.
    pub fn billed_seconds(&self, seconds: u32) -> u64 {
        let (initial, following) =
            (u64::from(self.initial_increment_seconds), u64::from(self.following_increment_seconds));
        match u64::from(seconds) {
            0 => 0,
            seconds if seconds <= initial => initial,
            seconds => initial + (seconds - initial).div_ceil(following.max(1)) * following,
        }
    }

    /// What so many seconds of conversation cost. Never falls as the duration grows; zero for zero seconds.
    pub fn cost(&self, seconds: u32) -> Result<Money, RatingError> {
        if !self.is_valid() {
            return Err(RatingError::InvalidTariff);
        }
        if seconds == 0 {
            return Ok(Money::zero(self.currency));
        }
        // sixtieths of a billionth: exact; at most 2^63 * 2^34 + 2^63 * 60, far inside 128 bits
        let sixtieths = i128::from(self.per_minute_nanos) * i128::from(self.billed_seconds(seconds))
            + i128::from(self.connection_fee_nanos) * 60;
        let unit = i128::from(self.rounding_unit_nanos) * 60;
        let (whole, rest) = (sixtieths / unit, sixtieths % unit);
        let up = match self.rounding {
            Rounding::Up => rest > 0,
            Rounding::Down => false,
            Rounding::HalfUp => rest * 2 >= unit,
            Rounding::HalfEven => rest * 2 > unit || (rest * 2 == unit && whole % 2 == 1),
        };
        let nanos = (whole + i128::from(up)) * i128::from(self.rounding_unit_nanos);
        i64::try_from(nanos).map(|nanos| Money::from_nanos(nanos, self.currency)).map_err(|_| RatingError::Overflow)
    }

    /// The longest duration, up to `maximum_seconds`, that costs no more than `amount`: the inverse of [`Tariff::cost`].
    pub fn affordable_seconds(&self, amount: Money, maximum_seconds: u32) -> Result<u32, RatingError> {
        if !self.is_valid() {
            return Err(RatingError::InvalidTariff);
        }
        if amount.currency != self.currency {
            return Err(RatingError::CurrencyDiffers(self.currency));
        }
        // cost never falls, so that a bisection finds the last duration that is affordable; a price that does not fit is not affordable
        let affordable = |seconds| self.cost(seconds).is_ok_and(|cost| cost.nanos <= amount.nanos);
        if affordable(maximum_seconds) {
            return Ok(maximum_seconds);
        }
        let (mut inside, mut outside) = (0, maximum_seconds);
        while outside - inside > 1 {
            let middle = inside + (outside - inside) / 2;
            if affordable(middle) {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        Ok(inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CENT: i64 = 10_000_000;

    fn nanos(tariff: Tariff, seconds: u32) -> i64 {
        tariff.cost(seconds).unwrap().nanos
    }

    #[test]
    fn increments_bill_what_is_begun() {
        let tariff = Tariff::per_minute(6 * CENT, Currency::USD).with_increments(30, 6);
        let billed: Vec<u64> = [0, 1, 30, 31, 36, 37].iter().map(|seconds| tariff.billed_seconds(*seconds)).collect();
        assert_eq!(billed, [0, 30, 30, 36, 36, 42]);
        assert_eq!(nanos(tariff, 31), 36 * CENT / 10);
    }

    #[test]
    fn the_connection_fee_is_for_connected_calls_alone() {
        let tariff = Tariff::per_minute(0, Currency::USD).with_connection_fee(CENT);
        assert_eq!((nanos(tariff, 0), nanos(tariff, 1), nanos(tariff, 999)), (0, CENT, CENT));
    }

    #[test]
    fn rounding_is_as_named() {
        // a second costs a sixtieth of 90: 1.5
        let tariff = |rounding| Tariff { rounding, ..Tariff::per_minute(90, Currency::USD) };
        assert_eq!(nanos(tariff(Rounding::Up), 1), 2);
        assert_eq!(nanos(tariff(Rounding::Down), 1), 1);
        assert_eq!(nanos(tariff(Rounding::HalfUp), 1), 2);
        assert_eq!(nanos(tariff(Rounding::HalfEven), 1), 2);
        assert_eq!(nanos(tariff(Rounding::HalfEven), 3), 4, "4.5 to the even side");
        let cents = Tariff { rounding_unit_nanos: CENT, ..Tariff::per_minute(CENT, Currency::USD) };
        assert_eq!((nanos(cents, 1), nanos(cents, 60), nanos(cents, 61)), (CENT, CENT, 2 * CENT));
    }

    #[test]
    fn prices_too_large_are_refused_and_the_largest_is_not() {
        let tariff = Tariff::per_minute(i64::MAX, Currency::USD);
        assert_eq!(nanos(tariff, 60), i64::MAX);
        assert_eq!(tariff.cost(61), Err(RatingError::Overflow));
        assert_eq!(tariff.affordable_seconds(Money::from_nanos(i64::MAX, Currency::USD), 100), Ok(60));
    }

    #[test]
    fn invalid_tariffs_have_no_price() {
        let tariff = Tariff::per_minute(1, Currency::USD);
        for invalid in [
            Tariff { per_minute_nanos: -1, ..tariff },
            Tariff { connection_fee_nanos: -1, ..tariff },
            tariff.with_increments(0, 1),
            tariff.with_increments(1, 0),
            Tariff { rounding_unit_nanos: 0, ..tariff },
        ] {
            assert_eq!(invalid.cost(1), Err(RatingError::InvalidTariff));
        }
        let euros = Money::from_nanos(1, Currency::EUR);
        assert_eq!(tariff.affordable_seconds(euros, 1), Err(RatingError::CurrencyDiffers(Currency::USD)));
    }

    fn tariff() -> impl Strategy<Value = Tariff> {
        let rounding =
            prop_oneof![Just(Rounding::Up), Just(Rounding::Down), Just(Rounding::HalfUp), Just(Rounding::HalfEven)];
        (0..10_000_000_000i64, 0..10_000_000_000i64, 1..120u32, 1..120u32, rounding, 1..100_000_000i64).prop_map(
            |(per_minute_nanos, connection_fee_nanos, initial, following, rounding, rounding_unit_nanos)| Tariff {
                currency: Currency::USD,
                per_minute_nanos,
                connection_fee_nanos,
                initial_increment_seconds: initial,
                following_increment_seconds: following,
                rounding,
                rounding_unit_nanos,
            },
        )
    }

    proptest! {
        #[test]
        fn affordable_is_the_inverse_of_cost(tariff in tariff(), amount in 0..100_000_000_000i64, maximum in 0..1_000_000u32) {
            let seconds = tariff.affordable_seconds(Money::from_nanos(amount, Currency::USD), maximum).unwrap();
            prop_assert!(seconds <= maximum);
            prop_assert!(nanos(tariff, seconds) <= amount);
            if seconds < maximum {
                prop_assert!(nanos(tariff, seconds + 1) > amount);
            }
        }

        #[test]
        fn the_price_of_a_duration_affords_it(tariff in tariff(), seconds in 0..1_000_000u32) {
            prop_assert!(tariff.affordable_seconds(tariff.cost(seconds).unwrap(), u32::MAX).unwrap() >= seconds);
        }

        #[test]
        fn price_never_falls(tariff in tariff(), seconds in 0..1_000_000u32) {
            prop_assert!(nanos(tariff, seconds) <= nanos(tariff, seconds + 1));
        }
    }
}
