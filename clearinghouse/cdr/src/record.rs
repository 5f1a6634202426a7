//! Call detail records.

use crate::report::{Party, Report};
use serde::{Deserialize, Serialize};
use strowger_clock::Timestamp;

/// Which duration is paid for when the two ends report different ones.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DurationRule {
    /// The shorter one: nobody pays for seconds that the other end denies. With one report alone: that one.
    #[default]
    Shorter,
    /// The calling device's, or the gateway's when it alone reported.
    Source,
    /// The gateway's, or the calling device's when it alone reported.
    Destination,
}

/// How much of the truth about a call is known.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CdrState {
    /// Authorized; not everything is reported yet.
    Open,
    /// Both ends reported the conversation.
    Matched,
    /// One end alone reported it before the time was over.
    OneSided,
    /// Every attempt failed: there was no conversation.
    Failed,
    /// Nothing was reported before the time was over.
    Unreported,
}

/// One gateway that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Which try, from 1, as the calling device counts; 0 when only the gateway reported.
    pub number: u32,
    /// The gateway; `None` when the reports name none that was a candidate.
    pub destination: Option<Party>,
    /// Its address.
    pub address: Option<String>,
    /// What the calling device said of it.
    pub source_report: Option<Report>,
    /// What the gateway said of it.
    pub destination_report: Option<Report>,
}

impl Attempt {
    /// Whether either end says that there was a conversation.
    pub fn is_connected(&self) -> bool {
        self.reports().any(Report::is_connected)
    }

    /// Whether the calling device says that there was a conversation.
    pub fn source_is_connected(&self) -> bool {
        self.source_report.as_ref().is_some_and(Report::is_connected)
    }

    /// The reports, the calling device's first.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.source_report.iter().chain(&self.destination_report)
    }
}

/// A call detail record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cdr {
    /// The clearinghouse's number of the call.
    pub transaction: u64,
    /// The call id of the attempt that counts, octets.
    pub call_id: Vec<u8>,
    /// The calling number.
    pub calling: String,
    /// The called number.
    pub called: String,
    /// Who called.
    pub source: Party,
    /// Who terminated; `None` when every attempt failed.
    pub destination: Option<Party>,
    /// Set-up began.
    #[serde(with = "crate::nanos::option")]
    pub start: Option<Timestamp>,
    /// The far end rang.
    #[serde(with = "crate::nanos::option")]
    pub alert: Option<Timestamp>,
    /// The far end answered.
    #[serde(with = "crate::nanos::option")]
    pub connect: Option<Timestamp>,
    /// The call ended.
    #[serde(with = "crate::nanos::option")]
    pub end: Option<Timestamp>,
    /// Seconds of conversation by the calling device.
    pub source_seconds: Option<u64>,
    /// Seconds of conversation by the gateway.
    pub destination_seconds: Option<u64>,
    /// Seconds to be paid for.
    pub rated_seconds: u64,
    /// How they were chosen.
    pub rule: DurationRule,
    /// ITU-T Q.850 cause of the attempt that counts (the last one, when all failed).
    pub cause: Option<u32>,
    /// The ends differ by more than is tolerated, or one says there was a conversation and the other says there was none.
    pub disagreement: bool,
    /// By how many seconds they differ, when both reported.
    pub difference_seconds: Option<u64>,
    /// How much is known.
    pub state: CdrState,
    /// Every gateway that was tried, in order; the one that counts among them.
    pub attempts: Vec<Attempt>,
    /// When the record was closed.
    #[serde(with = "crate::nanos")]
    pub closed_at: Timestamp,
}
