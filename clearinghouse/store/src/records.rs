//! What is kept.

use serde::{Deserialize, Serialize};
use strowger_cdr::{AuthorizedCall, Cdr, Report};
use strowger_ledger::{Account, Money, Record as TransferRecord, TransferId};
use strowger_rating::Tariff;

/// One thing to be kept.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Record {
    /// An account, new or with another name or limit.
    Account(Account),
    /// A transfer, as the ledger numbered it.
    Transfer(TransferRecord),
    /// An authorization, new or changed.
    Authorization(AuthorizationRecord),
    /// A usage report. The same key again is ignored.
    Usage(UsageRecord),
    /// A call detail record, new or amended.
    Cdr(CdrRecord),
    /// A device certificate, new or revoked.
    Certificate(CertificateRecord),
    /// The certificate authority.
    Authority(AuthorityRecord),
    /// An audit entry.
    Audit(AuditRecord),
}

/// Where an authorized call stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationState {
    /// Its money is reserved.
    Open,
    /// It is settled; the call detail record says how.
    Closed,
}

/// A gateway named to the caller.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CandidateRecord {
    /// What the caller's customer pays.
    pub sell: Tariff,
    /// What the gateway's customer is paid.
    pub cost: Tariff,
    /// The nonce in its token.
    pub nonce: String,
    /// The call id in its token, octets.
    pub call_id: Vec<u8>,
    /// The dial code of its route.
    pub prefix: String,
    /// Why it stands at its rank, for people.
    pub why: String,
}

/// A route left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DroppedRecord {
    /// Its dial code.
    pub prefix: String,
    /// Its device.
    pub device: String,
    /// Why, for people.
    pub why: String,
}

/// An authorized call with everything that was decided.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AuthorizationRecord {
    /// Who calls whom through which gateways (ranked).
    pub call: AuthorizedCall,
    /// More about each gateway, in the same order.
    pub candidates: Vec<CandidateRecord>,
    /// Routes left out.
    pub dropped: Vec<DroppedRecord>,
    /// Seconds granted so far.
    pub granted_seconds: u32,
    /// The tokens hold from this unix second on.
    pub valid_after_unix_seconds: u64,
    /// The tokens hold until this unix second.
    pub valid_until_unix_seconds: u64,
    /// Money reserved so far.
    pub reserved: Money,
    /// The pending transfers, oldest first.
    pub pendings: Vec<TransferId>,
    /// Where it stands.
    pub state: AuthorizationState,
}

/// A usage report as it came and as it was understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRecord {
    /// As it was understood.
    pub report: Report,
    /// The component's XML.
    pub xml: String,
}

/// How a call was settled.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Paid, out of what was reserved.
    Posted,
    /// Nothing was owed: what was reserved was released.
    Voided,
    /// What was reserved had timed out, and the call was paid directly.
    PostedLate,
    /// What was reserved had timed out, and nothing was owed.
    TimedOut,
    /// The call is owed and the customer could not pay: for people to deal with.
    Uncollected,
}

/// A call detail record with the money that moved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CdrRecord {
    /// The record.
    pub cdr: Cdr,
    /// What the caller's customer paid the house.
    pub sell: Money,
    /// What the house paid the gateway's customer.
    pub cost: Money,
    /// How it was settled.
    pub outcome: Outcome,
    /// The rated duration was more than was granted: the rest was not paid for.
    pub beyond_grant: bool,
}

/// A certificate issued to a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateRecord {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// The device's customer.
    pub customer: String,
    /// The device.
    pub device: String,
    /// DER.
    pub der: Vec<u8>,
    /// Unix nanoseconds.
    pub issued_at_unix_nanos: u64,
    /// Unix nanoseconds.
    pub revoked_at_unix_nanos: Option<u64>,
}

/// The certificate authority. The key is secret: it is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityRecord {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS#8 DER.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for AuthorityRecord {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "AuthorityRecord {{ certificate: {} bytes, key: secret }}", self.certificate.len())
    }
}

/// Something an auditor wants to know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Given by the store; 0 before.
    pub sequence: u64,
    /// Unix nanoseconds.
    pub at_unix_nanos: u64,
    /// What kind of thing: `usage-unknown`, `transfer-timed-out`, `disagreement`, ….
    pub what: String,
    /// The call, if it is about one.
    pub transaction: Option<u64>,
    /// For people.
    pub detail: String,
}
