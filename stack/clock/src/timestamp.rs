//! Calendar time.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in calendar time: nanoseconds since 1970-01-01T00:00:00Z, up to the year 2554.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `nanos` nanoseconds after 1970-01-01T00:00:00Z.
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Timestamp(nanos)
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub const fn unix_nanos(self) -> u64 {
        self.0
    }

    /// The time `seconds` seconds after 1970-01-01T00:00:00Z; saturates in the year 2554.
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Timestamp(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn unix_seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// How long after `earlier` this is; zero when it is before.
    pub fn saturating_since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This time less `duration`; saturates at 1970.
    pub fn saturating_sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// `YYYY-MM-DDThh:mm:ssZ` (RFC 3339 §5.6, whole seconds, UTC), as OSP and the CDRs want it.
    pub fn to_rfc3339(self) -> String {
        let seconds = self.unix_seconds();
        let Ok(at) =
            i64::try_from(seconds).map_err(drop).and_then(|s| OffsetDateTime::from_unix_timestamp(s).map_err(drop))
        else {
            // 64 bits of nanoseconds end in 2554, well inside the calendar's range
            return String::from("9999-12-31T23:59:59Z");
        };
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }

    /// Reads RFC 3339 §5.6 text with any offset and any fraction. `None` when it is not that, or not between 1970 and 2554.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(at.unix_timestamp_nanos()).ok().map(Timestamp)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}ns", self.to_rfc3339(), self.0 % 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_and_back() {
        let at = Timestamp::from_unix_seconds(1_795_257_224);
        assert_eq!(at.to_rfc3339(), "2026-11-21T10:33:44Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-21T10:33:44Z"), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-21T11:33:44+01:00"), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-21T10:33:44.5Z"), Some(at + Duration::from_millis(500)));
        assert_eq!(Timestamp::from_unix_seconds(0).to_rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_unix_nanos(u64::MAX).to_rfc3339(), "2554-07-21T23:34:33Z");
    }

    #[test]
    fn refuses_what_is_no_timestamp() {
        for text in
            ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-21", "1969-12-31T23:59:59Z", "2555-01-01T00:00:00Z"]
        {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "\\PC{0,40}") {
            let _ = Timestamp::parse_rfc3339(&text);
        }

        #[test]
        fn round_trip(seconds in 0u64..18_446_744_073) {
            let at = Timestamp::from_unix_seconds(seconds);
            prop_assert_eq!(Timestamp::parse_rfc3339(&at.to_rfc3339()), Some(at));
        }
    }
}
