//! Call detail records from the usage of both ends.
//!
//! **What comes in:** for each authorized call its facts ([`AuthorizedCall`]), then [`Report`]s: what the calling device and each gateway say
//! the call used, in any order, repeated, late or never.
//!
//! **What goes out:** one [`Cdr`] per call when both ends have reported, or when one has and the time for the other is over; the failed attempts
//! (other gateways that were tried) stand in it as attempts of their own.
//!
//! **What it never does:** discard a report that differs from the other end's (both are kept, with the difference), wait for ever, move money, or
//! read a clock. Time is the wall clock ([`Timestamp`](strowger_clock::Timestamp)), not the monotonic one, because an open call outlives the process.
//!
//! **Which duration is paid:** see [`DurationRule`]. The rule's name stands in every record.
//!
//! **Sources:** ETSI TS 101 321, UsageIndication (roles, states, set-up attempts, ITU-T Q.850 causes).

mod matcher;
mod record;
mod report;

pub use matcher::{Disposition, MAXIMUM_OPEN_CALLS, MAXIMUM_REPORTS_PER_CALL, Matcher, MatcherConfig};
pub use record::{Attempt, Cdr, CdrState, DurationRule};
pub use report::{AuthorizedCall, Candidate, Party, Report, ReportKey, ReportState, Role};

/// Timestamps as unix nanoseconds in serialized records.
pub(crate) mod nanos {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use strowger_clock::Timestamp;

    pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        at.unix_nanos().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_unix_nanos)
    }

    pub(crate) mod option {
        use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp};

        pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            at.map(Timestamp::unix_nanos).serialize(serializer)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            Ok(Option::<u64>::deserialize(deserializer)?.map(Timestamp::from_unix_nanos))
        }
    }
}
