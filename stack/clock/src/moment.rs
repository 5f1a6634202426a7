//! Monotonic time.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::time::Duration;

/// A point in monotonic time: nanoseconds since the driver's start.
///
/// 64 bits of nanoseconds last 584 years; every addition saturates at that end instead of wrapping.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The driver's start.
    pub const ZERO: Moment = Moment(0);
    /// The last moment there is. As a deadline it means "never".
    pub const MAX: Moment = Moment(u64::MAX);

    /// The moment `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Moment(nanos)
    }

    /// The moment `millis` milliseconds after the start; saturates at [`Moment::MAX`].
    pub const fn from_millis(millis: u64) -> Self {
        Moment(millis.saturating_mul(1_000_000))
    }

    /// The moment `seconds` seconds after the start; saturates at [`Moment::MAX`].
    pub const fn from_seconds(seconds: u64) -> Self {
        Moment(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the start, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long after `earlier` this is; `None` when it is before.
    pub fn checked_since(self, earlier: Moment) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }

    /// How long after `earlier` this is; zero when it is before.
    pub fn saturating_since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// Seconds and microseconds: `12.345678s`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addition_saturates() {
        assert_eq!(Moment::from_nanos(u64::MAX - 1) + Duration::from_nanos(1), Moment::MAX);
        assert_eq!(Moment::from_nanos(u64::MAX - 1) + Duration::from_nanos(2), Moment::MAX);
        assert_eq!(Moment::ZERO + Duration::MAX, Moment::MAX);
        assert_eq!(Moment::from_millis(u64::MAX), Moment::MAX);
    }

    #[test]
    fn differences() {
        let (a, b) = (Moment::from_millis(1_500), Moment::from_seconds(2));
        assert_eq!(b.checked_since(a), Some(Duration::from_millis(500)));
        assert_eq!(a.checked_since(b), None);
        assert_eq!(a.saturating_since(b), Duration::ZERO);
        assert_eq!(a.to_string(), "1.500000s");
        assert_eq!(a.as_millis(), 1_500);
    }
}
