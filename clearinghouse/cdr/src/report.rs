//! What is known of a call beforehand, and what its ends report.

use serde::{Deserialize, Serialize};
use strowger_clock::Timestamp;

/// A device of a customer.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Party {
    /// The customer's identifier.
    pub customer: String,
    /// The device's identifier.
    pub device: String,
}

/// A gateway that was named to the caller for a call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// The gateway.
    pub party: Party,
    /// Where it is called: `ip:port`, without brackets.
    pub address: String,
}

/// An authorized call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthorizedCall {
    /// The clearinghouse's number of the call.
    pub transaction: u64,
    /// The calling number.
    pub calling: String,
    /// The called number.
    pub called: String,
    /// Who asked for the call.
    pub source: Party,
    /// The gateways named, best first.
    pub candidates: Vec<Candidate>,
    /// When it was authorized.
    #[serde(with = "crate::nanos")]
    pub at: Timestamp,
    /// When, at the latest, everything about the call is to be known: then it is closed with what was reported.
    #[serde(with = "crate::nanos")]
    pub expires: Timestamp,
}

/// From which end a report comes.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The device that was authorized to call.
    Source,
    /// The gateway that terminated.
    Destination,
    /// Anyone else. Kept as evidence; moves no money.
    Other,
}

/// Which part of a call a report is about.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportState {
    /// It began.
    Start,
    /// It goes on.
    Interim,
    /// It is over: the only reports that count for money.
    Stop,
}

/// What makes a report the same as one that came before: (customer, device, transaction, role, call id, destination, set-up attempt, state).
/// A client sends a report again after a time-out, also while the first one is being processed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ReportKey {
    /// The reporting customer.
    pub customer: String,
    /// The reporting device.
    pub device: String,
    /// The call's number.
    pub transaction: u64,
    /// From which end.
    pub role: Role,
    /// The call id, octets.
    pub call_id: Vec<u8>,
    /// The called number and gateway as reported.
    pub destination: String,
    /// Which try, from 1; 0 when not said.
    pub attempt: u32,
    /// Which part of the call. Interim reports are also told apart by their amount.
    pub state: ReportState,
    /// The seconds of an interim report; zero for the others.
    pub interim_seconds: u64,
}

/// What one end says a call used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What makes it the same as another.
    pub key: ReportKey,
    /// When it arrived.
    #[serde(with = "crate::nanos")]
    pub received_at: Timestamp,
    /// The calling number as reported.
    pub calling: String,
    /// The called number as reported.
    pub called: String,
    /// The gateway's address as reported, `ip:port` without brackets.
    pub destination_address: Option<String>,
    /// How many tries there were, if said.
    pub total_attempts: Option<u32>,
    /// Seconds of conversation.
    pub duration_seconds: u64,
    /// ITU-T Q.850 cause, without the thousand that some clients add.
    pub cause: Option<u32>,
    /// Status of the final SIP response, where that was reported. Reports of earlier versions have none.
    #[serde(default)]
    pub sip_status: Option<u32>,
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
    /// Who hung up.
    pub release_source: Option<String>,
}

impl Report {
    /// Whether the report says that there was a conversation. A connected call of less than a second is reported with zero seconds and a
    /// time of connection; it costs nothing.
    pub fn is_connected(&self) -> bool {
        self.duration_seconds > 0 || self.connect.is_some()
    }
}
