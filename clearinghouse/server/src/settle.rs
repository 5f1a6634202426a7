//! From a closed call detail record to money, and the sweep of what timed out.

use crate::Clearinghouse;
use crate::books::{Books, code, transfer_id};
use crate::events::Event;
use std::time::Duration;
use strowger_cdr::{Attempt, Cdr, CdrState, Report};
use strowger_clock::Timestamp;
use strowger_ledger::{Money, PendingState, Transfer, TransferKind};
use strowger_store::{
    AuthorizationRecord, AuthorizationState, CandidateRecord, CdrRecord, Outcome, Record, StoreError,
};

/// How many reservations one sweep times out: it holds the books meanwhile.
const MAXIMUM_EXPIRED_PER_SWEEP: usize = 1000;

/// ITU-T Q.850 causes that speak of the gateway or the network behind it, not of the called party.
const CAUSES_OF_THE_GATEWAY: [u32; 11] = [27, 34, 38, 41, 42, 44, 47, 58, 63, 102, 111];

/// What a call costs, and how it is paid.
struct Bill {
    sell: Money,
    cost: Money,
    beyond_grant: bool,
    transfers: Vec<Transfer>,
    /// Some of it is paid out of nothing reserved.
    late: bool,
}

impl Clearinghouse {
    /// Times out reservations and closes calls whose time is over. Called by the sweeper; callable by a test.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.timestamp();
        let (durable, events) = {
            let mut books = self.books();
            let due = |deadline: Option<Timestamp>| deadline.is_some_and(|at| at <= now);
            if !due(books.ledger.next_deadline()) && !due(books.matcher.next_deadline()) {
                return Ok(());
            }
            let slot = self.store.reserve()?;
            let (mut records, mut events) = (Vec::new(), Vec::new());
            for record in books.ledger.expire(now, MAXIMUM_EXPIRED_PER_SWEEP) {
                let (transaction, amount) = (record.transfer.reference, record.transfer.amount);
                records.push(Record::Transfer(record));
                let detail = format!("{amount} were reserved and are released");
                records.extend(books.audit(now, "reservation-timed-out", Some(transaction), detail));
                events.push(Event::TimedOut { transaction, amount });
            }
            books.matcher.timeout(now);
            self.settle_closed(&mut books, now, &mut records, &mut events);
            (slot.commit(records), events)
        };
        durable.await?;
        events.into_iter().for_each(|event| self.emit(event));
        Ok(())
    }

    /// How long the sweeper may sleep.
    pub(crate) fn until_next_sweep(&self) -> Duration {
        const LONGEST: Duration = Duration::from_millis(250);
        let books = self.books();
        let now = self.timestamp();
        [books.ledger.next_deadline(), books.matcher.next_deadline()]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_since(now))
            .fold(LONGEST, Duration::min)
            .max(Duration::from_millis(5))
    }

    /// Settles every call that the matcher closed.
    pub(crate) fn settle_closed(
        &self,
        books: &mut Books,
        now: Timestamp,
        records: &mut Vec<Record>,
        events: &mut Vec<Event>,
    ) {
        while let Some(cdr) = books.matcher.poll_output() {
            let Some(mut authorization) = books.open.remove(&cdr.transaction) else { continue };
            books.bills.remove(&cdr.transaction);
            for attempt in &cdr.attempts {
                self.judge(books, attempt);
            }
            let settled = settle(books, now, &authorization, cdr, records);
            authorization.state = AuthorizationState::Closed;
            records.push(Record::Authorization(authorization));
            let cdr = &settled.cdr;
            events.push(Event::CdrClosed {
                transaction: cdr.transaction,
                state: cdr.state,
                rated_seconds: cdr.rated_seconds,
                disagreement: cdr.disagreement,
            });
            events.push(Event::Settled {
                transaction: cdr.transaction,
                outcome: settled.outcome,
                sell: settled.sell,
                cost: settled.cost,
            });
            records.push(Record::Cdr(settled));
        }
    }

    /// What an attempt says of its gateway's health.
    fn judge(&self, books: &mut Books, attempt: &Attempt) {
        let Some(gateway) = &attempt.destination else { return };
        if attempt.is_connected() {
            books.health.succeeded(&gateway.device);
        } else if attempt.source_report.as_ref().is_some_and(speaks_of_the_gateway) {
            books.health.failed(self.now(), &gateway.device);
        }
    }
}

/// Whether an attempt failed for a reason of the gateway or the network behind it: by the Q.850 cause, which says where; by the SIP status when
/// there is no cause: no answer at all (RFC 3261 §21.4.9; a proxy's own timer gives the same) or a server's failure (§21.5).
fn speaks_of_the_gateway(report: &Report) -> bool {
    match (report.cause, report.sip_status) {
        (Some(cause), _) => CAUSES_OF_THE_GATEWAY.contains(&cause),
        (None, Some(status)) => status == 408 || (500..600).contains(&status),
        (None, None) => false,
    }
}

fn settle(
    books: &mut Books,
    now: Timestamp,
    authorization: &AuthorizationRecord,
    cdr: Cdr,
    records: &mut Vec<Record>,
) -> CdrRecord {
    let currency = authorization.reserved.currency;
    let transaction = cdr.transaction;
    let nothing = Money::zero(currency);
    let mut audit = |books: &mut Books, what: &str, detail: String| {
        records.extend(books.audit(now, what, Some(transaction), detail));
    };
    if cdr.disagreement {
        let seconds = |seconds: Option<u64>| seconds.map_or("nothing".to_owned(), |seconds| format!("{seconds} s"));
        let detail = format!("caller {}, gateway {}", seconds(cdr.source_seconds), seconds(cdr.destination_seconds));
        audit(books, "disagreement", detail);
    }
    let bill = bill(books, authorization, &cdr);
    let (applied, outcome) = match &bill {
        Ok(bill) if bill.transfers.is_empty() => (Ok(Vec::new()), outcome_of_nothing(books, authorization)),
        Ok(bill) => {
            let outcome = match (bill.sell.is_zero(), bill.late) {
                (_, true) => Outcome::PostedLate,
                (true, false) => Outcome::Voided,
                (false, false) => Outcome::Posted,
            };
            let applied = books.ledger.apply(now, &bill.transfers);
            (applied.map(|applied| applied.into_records()).map_err(|refusal| refusal.to_string()), outcome)
        }
        Err(why) => (Err((*why).to_owned()), Outcome::Uncollected),
    };
    let (sell, cost, beyond_grant) =
        bill.map_or((nothing, nothing, false), |bill| (bill.sell, bill.cost, bill.beyond_grant));
    if beyond_grant {
        audit(books, "beyond-grant", format!("{} s of {} s granted", cdr.rated_seconds, authorization.granted_seconds));
    }
    if cdr.rated_seconds > 0 && cdr.destination.is_none() {
        audit(books, "gateway-unknown", "the conversation's gateway was no candidate: nobody is paid for it".into());
    }
    match applied {
        Ok(transfers) => {
            records.extend(transfers.into_iter().map(Record::Transfer));
            CdrRecord { cdr, sell, cost, outcome, beyond_grant }
        }
        Err(why) => {
            audit(books, "uncollected", format!("{sell} are owed: {why}"));
            tracing::warn!(transaction, why, "a call is owed and was not paid");
            CdrRecord { cdr, sell, cost, outcome: Outcome::Uncollected, beyond_grant }
        }
    }
}

fn outcome_of_nothing(books: &Books, authorization: &AuthorizationRecord) -> Outcome {
    let timed_out = |id| books.ledger.pending_state(id) == Some(PendingState::TimedOut);
    if authorization.pendings.iter().copied().any(timed_out) { Outcome::TimedOut } else { Outcome::Voided }
}

/// The transfers that pay for a call: out of what is reserved first, the rest of which is released in the same group.
fn bill(books: &Books, authorization: &AuthorizationRecord, cdr: &Cdr) -> Result<Bill, &'static str> {
    const NO_ACCOUNT: &str = "an account is missing";
    let currency = authorization.reserved.currency;
    let transaction = cdr.transaction;
    let payer = books.customer_account(&authorization.call.source.customer, currency).ok_or(NO_ACCOUNT)?;
    let house = books.house_account(currency).ok_or(NO_ACCOUNT)?;
    let granted = u64::from(authorization.granted_seconds);
    let connected = matches!(cdr.state, CdrState::Matched | CdrState::OneSided);
    // who was granted ten minutes pays for ten: a gateway that lets a call run on does so at its own cost
    let seconds = if connected { u32::try_from(cdr.rated_seconds.min(granted)).unwrap_or(u32::MAX) } else { 0 };
    let candidate = chosen(authorization, cdr).ok_or("the call has no candidate")?;
    let sell = candidate.sell.cost(seconds).map_err(|_| "the price is too large")?;
    let cost = candidate.cost.cost(seconds).map_err(|_| "the price is too large")?;
    let cost = if cdr.destination.is_some() { cost } else { Money::zero(currency) };

    let mut transfers = Vec::new();
    let mut owed = sell.nanos;
    let next_id = |code: u16, index: usize| transfer_id(transaction, code, u16::try_from(index).unwrap_or(u16::MAX));
    for pending in &authorization.pendings {
        if books.ledger.pending_state(*pending) != Some(PendingState::Pending) {
            continue;
        }
        let Some(reserved) = books.ledger.transfer(*pending) else { continue };
        let paid = owed.min(reserved.amount.nanos);
        owed -= paid;
        let (kind, code, nanos) = match paid {
            0 => (TransferKind::Void { pending: *pending }, code::RELEASE, reserved.amount.nanos),
            paid => (TransferKind::Post { pending: *pending }, code::USAGE, paid),
        };
        let (id, amount) = (next_id(code, transfers.len()), Money::from_nanos(nanos, currency));
        transfers.push(Transfer { id, kind, code, amount, ..*reserved });
    }
    let direct = |id, debit, credit, nanos, code| Transfer {
        id,
        debit,
        credit,
        amount: Money::from_nanos(nanos, currency),
        kind: TransferKind::Direct,
        code,
        reference: transaction,
    };
    let late = owed > 0;
    if late {
        transfers.push(direct(next_id(code::LATE_USAGE, 0), payer, house, owed, code::LATE_USAGE));
    }
    if let Some(gateway) = cdr.destination.as_ref().filter(|_| cost.nanos > 0) {
        let payee = books.customer_account(&gateway.customer, currency).ok_or(NO_ACCOUNT)?;
        transfers.push(direct(next_id(code::TERMINATION, 0), house, payee, cost.nanos, code::TERMINATION));
    }
    Ok(Bill { sell, cost, beyond_grant: connected && cdr.rated_seconds > granted, transfers, late })
}

/// Whose price counts: the gateway's that had the conversation, the best-ranked one's when that is none of the candidates.
fn chosen<'a>(authorization: &'a AuthorizationRecord, cdr: &Cdr) -> Option<&'a CandidateRecord> {
    let rank = cdr
        .destination
        .as_ref()
        .and_then(|gateway| authorization.call.candidates.iter().position(|candidate| candidate.party == *gateway));
    authorization.candidates.get(rank.unwrap_or(0))
}
