//! What is shown of each thing: JSON shapes that do not change when what is kept changes.
//!
//! Times are RFC 3339 in UTC with milliseconds. Transaction numbers take all 64 bits, which a JSON number does not hold everywhere (RFC 8259 §6):
//! they are strings. Money is a decimal string, and beside it a whole number of billionths.

use crate::redact::redacted;
use serde::Serialize;
use std::collections::BTreeMap;
use strowger_cdr::{Attempt, CdrState, DurationRule, Party, Report, ReportState, Role};
use strowger_clearinghouse_server::{AccountView, LiveBill};
use strowger_clock::Timestamp;
use strowger_ledger::{AccountKind, Currency, Nanos, Sums, TransferId, TransferKind};
use strowger_store::{
    AuditRecord, AuthorizationRecord, AuthorizationState, CdrRecord, CertificateRecord, Outcome, UsageRecord,
};

/// `2026-11-21T10:00:00.250Z`
fn time(at: Timestamp) -> String {
    let seconds = at.to_rfc3339();
    let milliseconds = at.unix_nanos() / 1_000_000 % 1000;
    format!("{}.{milliseconds:03}Z", seconds.trim_end_matches('Z'))
}

fn time_of(at: Option<Timestamp>) -> Option<String> {
    at.map(time)
}

/// A call id is octets; nearly always printable ones. Others are shown in hexadecimal.
fn call_id_text(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) if text.chars().all(|c| c.is_ascii_graphic()) => text.to_owned(),
        _ => octets.iter().fold(String::from("0x"), |text, octet| text + &format!("{octet:02x}")),
    }
}

#[derive(Serialize)]
pub(crate) struct Money {
    amount: String,
    nanos: i64,
    currency: Currency,
}

impl From<strowger_ledger::Money> for Money {
    fn from(money: strowger_ledger::Money) -> Money {
        Money { amount: Nanos(money.nanos).to_string(), nanos: money.nanos, currency: money.currency }
    }
}

#[derive(Serialize)]
pub(crate) struct Account {
    id: u64,
    name: String,
    kind: AccountKind,
    currency: Currency,
    posted: String,
    posted_nanos: i64,
    pending_debits: String,
    pending_debits_nanos: i64,
    pending_credits: String,
    pending_credits_nanos: i64,
    available: Option<String>,
    available_nanos: Option<i64>,
    credit_limit: Option<String>,
    credit_limit_nanos: Option<i64>,
}

impl From<AccountView> for Account {
    fn from(account: AccountView) -> Account {
        let text = |money: strowger_ledger::Money| Nanos(money.nanos).to_string();
        Account {
            id: account.id,
            name: account.name,
            kind: account.kind,
            currency: account.currency,
            posted: text(account.posted),
            posted_nanos: account.posted.nanos,
            pending_debits: text(account.pending_debits),
            pending_debits_nanos: account.pending_debits.nanos,
            pending_credits: text(account.pending_credits),
            pending_credits_nanos: account.pending_credits.nanos,
            available: account.available.map(text),
            available_nanos: account.available.map(|money| money.nanos),
            credit_limit: account.credit_limit.map(text),
            credit_limit_nanos: account.credit_limit.map(|money| money.nanos),
        }
    }
}

/// The sums of one currency. They are zero; if they were not, they might not fit what holds one account.
#[derive(Serialize)]
pub(crate) struct Sum {
    currency: Currency,
    posted: String,
    posted_nanos: i128,
    pending: String,
    pending_nanos: i128,
}

impl From<Sums> for Sum {
    fn from(sums: Sums) -> Sum {
        let text = |nanos| match i64::try_from(nanos) {
            Ok(nanos) => Nanos(nanos).to_string(),
            Err(_) => format!("{nanos}e-9"),
        };
        Sum {
            currency: sums.currency,
            posted: text(sums.posted_nanos),
            posted_nanos: sums.posted_nanos,
            pending: text(sums.pending_nanos),
            pending_nanos: sums.pending_nanos,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Transfer {
    sequence: u64,
    group: u64,
    group_size: u16,
    at: String,
    id: TransferId,
    kind: &'static str,
    pending: Option<TransferId>,
    expires: Option<String>,
    debit: u64,
    debit_name: Option<String>,
    credit: u64,
    credit_name: Option<String>,
    amount: String,
    nanos: i64,
    currency: Currency,
    code: u16,
    transaction: Option<String>,
}

impl Transfer {
    pub(crate) fn new(record: &strowger_ledger::Record, names: &BTreeMap<u64, String>) -> Transfer {
        let transfer = &record.transfer;
        let (kind, expires) = match transfer.kind {
            TransferKind::Direct => ("direct", None),
            TransferKind::Pending { expires } => ("pending", expires),
            TransferKind::Post { .. } => ("post", None),
            TransferKind::Void { .. } => ("void", None),
            TransferKind::TimeOut { .. } => ("time_out", None),
        };
        Transfer {
            sequence: record.sequence,
            group: record.group,
            group_size: record.group_size,
            at: time(record.at),
            id: transfer.id,
            kind,
            pending: transfer.kind.pending(),
            expires: time_of(expires),
            debit: transfer.debit.0,
            debit_name: names.get(&transfer.debit.0).cloned(),
            credit: transfer.credit.0,
            credit_name: names.get(&transfer.credit.0).cloned(),
            amount: Nanos(transfer.amount.nanos).to_string(),
            nanos: transfer.amount.nanos,
            currency: transfer.amount.currency,
            code: transfer.code,
            transaction: (transfer.reference != 0).then(|| transfer.reference.to_string()),
        }
    }
}

#[derive(Serialize)]
struct Try {
    number: u32,
    destination: Option<Party>,
    address: Option<String>,
    connected: bool,
    source_cause: Option<u32>,
    source_seconds: Option<u64>,
    destination_cause: Option<u32>,
    destination_seconds: Option<u64>,
}

impl From<Attempt> for Try {
    fn from(attempt: Attempt) -> Try {
        let connected = attempt.is_connected();
        let (source, destination) = (attempt.source_report, attempt.destination_report);
        let cause = |report: &Option<Report>| report.as_ref().and_then(|report| report.cause);
        let seconds = |report: &Option<Report>| report.as_ref().map(|report| report.duration_seconds);
        Try {
            number: attempt.number,
            destination: attempt.destination,
            address: attempt.address,
            connected,
            source_cause: cause(&source),
            source_seconds: seconds(&source),
            destination_cause: cause(&destination),
            destination_seconds: seconds(&destination),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Cdr {
    transaction: String,
    call_id: String,
    calling: String,
    called: String,
    source: Party,
    destination: Option<Party>,
    start: Option<String>,
    alert: Option<String>,
    connect: Option<String>,
    end: Option<String>,
    source_seconds: Option<u64>,
    destination_seconds: Option<u64>,
    rated_seconds: u64,
    rule: DurationRule,
    cause: Option<u32>,
    disagreement: bool,
    difference_seconds: Option<u64>,
    state: CdrState,
    outcome: Outcome,
    sell: Money,
    cost: Money,
    beyond_grant: bool,
    closed_at: String,
    attempts: Vec<Try>,
    /// Every usage report, where one record is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Vec<Usage>>,
}

impl Cdr {
    pub(crate) fn new(record: CdrRecord, usage: Option<Vec<UsageRecord>>) -> Cdr {
        let cdr = record.cdr;
        Cdr {
            transaction: cdr.transaction.to_string(),
            call_id: call_id_text(&cdr.call_id),
            calling: cdr.calling,
            called: cdr.called,
            source: cdr.source,
            destination: cdr.destination,
            start: time_of(cdr.start),
            alert: time_of(cdr.alert),
            connect: time_of(cdr.connect),
            end: time_of(cdr.end),
            source_seconds: cdr.source_seconds,
            destination_seconds: cdr.destination_seconds,
            rated_seconds: cdr.rated_seconds,
            rule: cdr.rule,
            cause: cdr.cause,
            disagreement: cdr.disagreement,
            difference_seconds: cdr.difference_seconds,
            state: cdr.state,
            outcome: record.outcome,
            sell: record.sell.into(),
            cost: record.cost.into(),
            beyond_grant: record.beyond_grant,
            closed_at: time(cdr.closed_at),
            attempts: cdr.attempts.into_iter().map(Try::from).collect(),
            usage: usage.map(|reports| reports.into_iter().map(Usage::from).collect()),
        }
    }
}

#[derive(Serialize)]
struct Usage {
    role: Role,
    state: ReportState,
    customer: String,
    device: String,
    call_id: String,
    attempt: u32,
    total_attempts: Option<u32>,
    calling: String,
    called: String,
    destination_address: Option<String>,
    duration_seconds: u64,
    cause: Option<u32>,
    start: Option<String>,
    alert: Option<String>,
    connect: Option<String>,
    end: Option<String>,
    release_source: Option<String>,
    received_at: String,
    /// The component as it came.
    xml: String,
}

impl From<UsageRecord> for Usage {
    fn from(record: UsageRecord) -> Usage {
        let report = record.report;
        Usage {
            role: report.key.role,
            state: report.key.state,
            customer: report.key.customer,
            device: report.key.device,
            call_id: call_id_text(&report.key.call_id),
            attempt: report.key.attempt,
            total_attempts: report.total_attempts,
            calling: report.calling,
            called: report.called,
            destination_address: report.destination_address,
            duration_seconds: report.duration_seconds,
            cause: report.cause,
            start: time_of(report.start),
            alert: time_of(report.alert),
            connect: time_of(report.connect),
            end: time_of(report.end),
            release_source: report.release_source,
            received_at: time(report.received_at),
            xml: record.xml,
        }
    }
}

#[derive(Serialize)]
struct Gateway {
    customer: String,
    device: String,
    address: String,
    prefix: Option<String>,
    why: Option<String>,
}

#[derive(Serialize)]
struct Dropped {
    device: String,
    prefix: String,
    why: String,
}

/// An authorized call. Its numbers are redacted.
#[derive(Serialize)]
pub(crate) struct Authorization {
    transaction: String,
    state: AuthorizationState,
    at: String,
    calling: String,
    called: String,
    source: Party,
    /// Best first.
    gateways: Vec<Gateway>,
    dropped: Vec<Dropped>,
    granted_seconds: u32,
    valid_after: String,
    valid_until: String,
    expires: String,
    reserved: Money,
    pendings: Vec<TransferId>,
    /// The live bill, where running calls are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    bill: Option<Option<Bill>>,
}

impl Authorization {
    pub(crate) fn new(record: AuthorizationRecord) -> Authorization {
        let call = record.call;
        let more = record.candidates.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let gateways = call.candidates.into_iter().zip(more).map(|(candidate, more)| {
            let (prefix, why) = more.map(|more| (more.prefix, more.why)).unzip();
            let party = candidate.party;
            Gateway { customer: party.customer, device: party.device, address: candidate.address, prefix, why }
        });
        Authorization {
            transaction: call.transaction.to_string(),
            state: record.state,
            at: time(call.at),
            calling: redacted(&call.calling),
            called: redacted(&call.called),
            source: call.source,
            gateways: gateways.collect(),
            dropped: record
                .dropped
                .into_iter()
                .map(|dropped| Dropped { device: dropped.device, prefix: dropped.prefix, why: dropped.why })
                .collect(),
            granted_seconds: record.granted_seconds,
            valid_after: time(Timestamp::from_unix_seconds(record.valid_after_unix_seconds)),
            valid_until: time(Timestamp::from_unix_seconds(record.valid_until_unix_seconds)),
            expires: time(call.expires),
            reserved: record.reserved.into(),
            pendings: record.pendings,
            bill: None,
        }
    }

    /// With its live bill; `null` before the gateway's first charge message.
    pub(crate) fn with_bill(self, live: Option<LiveBill>) -> Authorization {
        Authorization { bill: Some(live.map(Bill::live)), ..self }
    }
}

/// Where a bill stands.
#[derive(Copy, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum BillState {
    /// The call is authorized, and no gateway has sent a charge message.
    Silent,
    /// The charged part of the call is going on.
    Running,
    /// It is over; the call is not settled yet.
    Stopped,
    /// Settled: the amount is what was paid.
    Settled,
}

#[derive(Serialize)]
pub(crate) struct Bill {
    transaction: String,
    state: BillState,
    total: Option<Money>,
    seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

impl Bill {
    pub(crate) fn live(bill: LiveBill) -> Bill {
        let state = if bill.stopped { BillState::Stopped } else { BillState::Running };
        let (transaction, total) = (bill.transaction.to_string(), Some(bill.total.into()));
        Bill { transaction, state, total, seconds: bill.seconds, outcome: None }
    }

    pub(crate) fn silent(transaction: u64) -> Bill {
        let transaction = transaction.to_string();
        Bill { transaction, state: BillState::Silent, total: None, seconds: 0, outcome: None }
    }

    pub(crate) fn settled(record: &CdrRecord) -> Bill {
        Bill {
            transaction: record.cdr.transaction.to_string(),
            state: BillState::Settled,
            total: Some(record.sell.into()),
            seconds: record.cdr.rated_seconds,
            outcome: Some(record.outcome),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Audit {
    sequence: u64,
    at: String,
    what: String,
    transaction: Option<String>,
    detail: String,
}

impl From<AuditRecord> for Audit {
    fn from(record: AuditRecord) -> Audit {
        Audit {
            sequence: record.sequence,
            at: time(Timestamp::from_unix_nanos(record.at_unix_nanos)),
            what: record.what,
            transaction: record.transaction.map(|number| number.to_string()),
            detail: record.detail,
        }
    }
}

/// A device certificate, without the certificate.
#[derive(Serialize)]
pub(crate) struct Certificate {
    serial: String,
    customer: String,
    device: String,
    issued_at: String,
    revoked_at: Option<String>,
}

impl From<CertificateRecord> for Certificate {
    fn from(record: CertificateRecord) -> Certificate {
        Certificate {
            serial: record.serial,
            customer: record.customer,
            device: record.device,
            issued_at: time(Timestamp::from_unix_nanos(record.issued_at_unix_nanos)),
            revoked_at: record.revoked_at_unix_nanos.map(|nanos| time(Timestamp::from_unix_nanos(nanos))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(time(Timestamp::from_unix_nanos(1_800_000_000_045_999_999)), "2027-01-15T08:00:00.045Z");
    }

    #[test]
    fn call_ids_that_do_not_print_are_hexadecimal() {
        assert_eq!(call_id_text(b"a84b@example.test"), "a84b@example.test");
        assert_eq!(call_id_text(b"a\n\xff"), "0x610aff");
    }

    #[test]
    fn a_sum_beyond_one_account_is_still_told() {
        let sums = Sums { currency: Currency::USD, posted_nanos: i128::from(i64::MAX) + 1, pending_nanos: 0 };
        let sum = serde_json::to_string(&Sum::from(sums)).unwrap();
        assert!(sum.contains("\"posted\":\"9223372036854775808e-9\",\"posted_nanos\":9223372036854775808"), "{sum}");
    }

    proptest! {
        #[test]
        fn any_call_id_is_shown(octets: Vec<u8>) {
            prop_assert!(call_id_text(&octets).chars().all(|c| c.is_ascii_graphic()));
        }

        #[test]
        fn times_read_back(nanos: u64) {
            let read = Timestamp::parse_rfc3339(&time(Timestamp::from_unix_nanos(nanos))).unwrap();
            prop_assert_eq!(read.unix_nanos(), nanos / 1_000_000 * 1_000_000);
        }
    }
}
