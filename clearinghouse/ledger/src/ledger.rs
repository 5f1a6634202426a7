//! The ledger: applying groups, expiring reservations, and proving that the books balance.

use crate::account::{Account, AccountId, Balance};
use crate::money::Currency;
use crate::transfer::{PendingState, Record, Refusal, Transfer, TransferId, TransferKind, Why};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use strowger_clock::Timestamp;

/// How many transfers one all-or-nothing group may have.
pub const MAXIMUM_GROUP: usize = 64;

/// How much a ledger may hold.
#[derive(Copy, Clone, Debug)]
pub struct Limits {
    /// Accounts.
    pub accounts: usize,
    /// Transfers, ended ones included: all are kept, for they are the idempotency keys.
    pub transfers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { accounts: 100_000, transfers: 20_000_000 }
    }
}

/// What [`Ledger::apply`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// The group is new: these records are to be kept.
    New(Vec<Record>),
    /// The same group was applied before. Nothing changed, nothing is to be kept.
    Before,
}

impl Applied {
    /// The records to be kept.
    pub fn into_records(self) -> Vec<Record> {
        match self {
            Applied::New(records) => records,
            Applied::Before => Vec::new(),
        }
    }
}

/// The sums over all accounts of one currency. Both are zero, always.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Sums {
    /// The currency.
    pub currency: Currency,
    /// All posted balances added, in billionths.
    pub posted_nanos: i128,
    /// All pending credits less all pending debits, in billionths.
    pub pending_nanos: i128,
}

/// The books do not balance: a stored history was damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Imbalance {
    /// A sum over all accounts is not zero.
    #[error("the {currency} accounts add up to {posted_nanos} posted and {pending_nanos} pending billionths, not zero")]
    NotZero {
        /// The currency.
        currency: Currency,
        /// Sum of posted balances.
        posted_nanos: i128,
        /// Sum of pending credits less pending debits.
        pending_nanos: i128,
    },
    /// An account's balance is not what its transfers add up to.
    #[error("account {0} does not stand at what its transfers add up to")]
    Balance(AccountId),
    /// The history has a gap or is out of order.
    #[error("record {found} follows record {expected_after}")]
    Sequence {
        /// The last good sequence.
        expected_after: u64,
        /// The one found behind it.
        found: u64,
    },
    /// A group is not there in full.
    #[error("the group of record {0} is incomplete")]
    HalfGroup(u64),
    /// A stored transfer cannot be applied.
    #[error("stored history: {0}")]
    Refused(#[from] Refusal),
}

#[derive(Clone, Debug)]
struct Entry {
    transfer: Transfer,
    /// For pending transfers only.
    state: Option<PendingState>,
}

#[derive(Clone, Debug, PartialEq)]
struct Standing {
    account: Account,
    balance: Balance,
}

/// Whether credit limits bind: they do for new transfers, not for history (a limit may have been lowered since).
#[derive(Copy, Clone, PartialEq)]
enum Rules {
    New,
    History,
}

/// What undoes one transfer of a group that a later one spoils.
struct Undo {
    id: TransferId,
    balances: [(AccountId, Balance); 2],
    ended: Option<TransferId>,
}

/// Accounts and every transfer ever made between them.
///
/// One owner calls it; there is no interior mutability, so two reservations cannot race for the same money.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    accounts: BTreeMap<AccountId, Standing>,
    transfers: HashMap<TransferId, Entry>,
    expiries: BTreeSet<(Timestamp, TransferId)>,
    sequence: u64,
    limits: Limits,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(limits: Limits) -> Ledger {
        Ledger { limits, ..Ledger::default() }
    }

    /// Rebuilds a ledger from what was kept, oldest record first, and proves it: no gap, no half group, sums of zero.
    pub fn restore(
        limits: Limits,
        accounts: impl IntoIterator<Item = Account>,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Ledger, Imbalance> {
        let mut ledger = Ledger::new(limits);
        for account in accounts {
            let refused = |why| Refusal { index: 0, id: TransferId(0), why };
            ledger.open(account).map_err(refused)?;
        }
        let mut missing_from_group = 0u16;
        for record in records {
            if Some(record.sequence) != ledger.sequence.checked_add(1) {
                return Err(Imbalance::Sequence { expected_after: ledger.sequence, found: record.sequence });
            }
            match missing_from_group {
                0 if record.group == record.sequence && record.group_size > 0 => missing_from_group = record.group_size,
                0 => return Err(Imbalance::HalfGroup(record.sequence)),
                _ if record.group == record.sequence => return Err(Imbalance::HalfGroup(record.sequence)),
                _ => {}
            }
            missing_from_group -= 1;
            let refused = |why| Refusal { index: 0, id: record.transfer.id, why };
            ledger.apply_one(record.at, &record.transfer, Rules::History).map_err(refused)?;
            ledger.sequence = record.sequence;
        }
        if missing_from_group != 0 {
            return Err(Imbalance::HalfGroup(ledger.sequence));
        }
        ledger.prove()?;
        Ok(ledger)
    }

    /// Opens an account, or changes the name and limit of an open one. Currency and kind of an open one cannot change.
    pub fn open(&mut self, account: Account) -> Result<(), Why> {
        let full = self.accounts.len() >= self.limits.accounts;
        match self.accounts.get_mut(&account.id) {
            Some(standing) if standing.account.currency != account.currency => {
                Err(Why::CurrencyDiffers(standing.account.currency))
            }
            Some(standing) => {
                standing.account.name = account.name;
                standing.account.credit_limit_nanos = account.credit_limit_nanos;
                Ok(())
            }
            None if full => Err(Why::Full),
            None => {
                self.accounts.insert(account.id, Standing { account, balance: Balance::default() });
                Ok(())
            }
        }
    }

    /// Applies a group of transfers, all or none. The same group again changes nothing and is [`Applied::Before`].
    pub fn apply(&mut self, now: Timestamp, group: &[Transfer]) -> Result<Applied, Refusal> {
        let first = group.first().map_or(TransferId(0), |transfer| transfer.id);
        if group.is_empty() || group.len() > MAXIMUM_GROUP {
            return Err(Refusal { index: 0, id: first, why: Why::GroupSize });
        }
        if self.applied_before(group)? {
            return Ok(Applied::Before);
        }
        let mut undo = Vec::with_capacity(group.len());
        for (index, transfer) in group.iter().enumerate() {
            let checked = self.allowed(now, transfer).and_then(|()| self.apply_one(now, transfer, Rules::New));
            match checked {
                Ok(step) => undo.push(step),
                Err(why) => {
                    undo.into_iter().rev().for_each(|step| self.undo(step));
                    return Err(Refusal { index, id: transfer.id, why });
                }
            }
        }
        Ok(Applied::New(self.number(now, group)))
    }

    /// Times out reserved money whose time is over, at most `maximum` reservations; each is a record to be kept.
    pub fn expire(&mut self, now: Timestamp, maximum: usize) -> Vec<Record> {
        let due: Vec<TransferId> =
            self.expiries.range(..=(now, TransferId(u128::MAX))).map(|(_, id)| *id).take(maximum).collect();
        let mut records = Vec::with_capacity(due.len());
        for pending in due {
            let Some(entry) = self.transfers.get(&pending) else { continue };
            let kind = TransferKind::TimeOut { pending };
            let transfer = Transfer { id: pending.time_out(), kind, ..entry.transfer };
            // cannot be refused: it releases what is there
            if self.apply_one(now, &transfer, Rules::New).is_ok() {
                records.extend(self.number(now, &[transfer]));
            }
        }
        records
    }

    /// When the next reservation expires.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// The account and what stands on it.
    pub fn account(&self, id: AccountId) -> Option<(&Account, Balance)> {
        self.accounts.get(&id).map(|standing| (&standing.account, standing.balance))
    }

    /// Every account, by identifier.
    pub fn accounts(&self) -> impl Iterator<Item = (&Account, Balance)> {
        self.accounts.values().map(|standing| (&standing.account, standing.balance))
    }

    /// What an account may still spend, in billionths; `None` for an unknown account or one without a limit.
    pub fn available_nanos(&self, id: AccountId) -> Option<i64> {
        self.accounts.get(&id).and_then(|standing| standing.balance.available_nanos(&standing.account))
    }

    /// A transfer that was applied.
    pub fn transfer(&self, id: TransferId) -> Option<&Transfer> {
        self.transfers.get(&id).map(|entry| &entry.transfer)
    }

    /// Where a pending transfer stands; `None` when it is unknown or not a pending one.
    pub fn pending_state(&self, id: TransferId) -> Option<PendingState> {
        self.transfers.get(&id).and_then(|entry| entry.state)
    }

    /// The number of transfers ever applied, which is the sequence of the last record.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The sums per currency.
    pub fn sums(&self) -> Vec<Sums> {
        let mut sums: BTreeMap<Currency, (i128, i128)> = BTreeMap::new();
        for (account, balance) in self.accounts() {
            let sum = sums.entry(account.currency).or_default();
            sum.0 += i128::from(balance.posted_nanos);
            sum.1 += i128::from(balance.pending_credits_nanos) - i128::from(balance.pending_debits_nanos);
        }
        sums.into_iter()
            .map(|(currency, (posted_nanos, pending_nanos))| Sums { currency, posted_nanos, pending_nanos })
            .collect()
    }

    /// Proves the books: sums of zero per currency, and each balance equal to what the transfers add up to.
    pub fn prove(&self) -> Result<(), Imbalance> {
        for Sums { currency, posted_nanos, pending_nanos } in self.sums() {
            if posted_nanos != 0 || pending_nanos != 0 {
                return Err(Imbalance::NotZero { currency, posted_nanos, pending_nanos });
            }
        }
        let mut expected: HashMap<AccountId, (i128, i128, i128)> = HashMap::new();
        for entry in self.transfers.values() {
            let (transfer, nanos) = (&entry.transfer, i128::from(entry.transfer.amount.nanos));
            match (transfer.kind, entry.state) {
                (TransferKind::Direct | TransferKind::Post { .. }, _) => {
                    expected.entry(transfer.debit).or_default().0 -= nanos;
                    expected.entry(transfer.credit).or_default().0 += nanos;
                }
                (TransferKind::Pending { .. }, Some(PendingState::Pending)) => {
                    expected.entry(transfer.debit).or_default().1 += nanos;
                    expected.entry(transfer.credit).or_default().2 += nanos;
                }
                _ => {}
            }
        }
        for (account, balance) in self.accounts() {
            let (posted, debits, credits) = expected.get(&account.id).copied().unwrap_or_default();
            let stands = (
                i128::from(balance.posted_nanos),
                i128::from(balance.pending_debits_nanos),
                i128::from(balance.pending_credits_nanos),
            );
            if stands != (posted, debits, credits) {
                return Err(Imbalance::Balance(account.id));
            }
        }
        Ok(())
    }

    /// Whether all of the group were applied before with the same content; refused when only some were, or with other content.
    fn applied_before(&self, group: &[Transfer]) -> Result<bool, Refusal> {
        let mut known = 0;
        for (index, transfer) in group.iter().enumerate() {
            match self.transfers.get(&transfer.id) {
                Some(entry) if entry.transfer == *transfer => known += 1,
                Some(_) => return Err(Refusal { index, id: transfer.id, why: Why::IdentifierReused }),
                None if known > 0 => return Err(Refusal { index, id: transfer.id, why: Why::GroupDiffers }),
                None => {}
            }
        }
        if known != 0 && known != group.len() {
            let first = group.first().map_or(TransferId(0), |transfer| transfer.id);
            return Err(Refusal { index: 0, id: first, why: Why::GroupDiffers });
        }
        Ok(known == group.len())
    }

    /// What binds callers and not the ledger's own history.
    fn allowed(&self, now: Timestamp, transfer: &Transfer) -> Result<(), Why> {
        if transfer.id.is_reserved() {
            return Err(Why::IdentifierReserved);
        }
        if self.transfers.len() >= self.limits.transfers {
            return Err(Why::Full);
        }
        match transfer.kind {
            TransferKind::TimeOut { .. } => Err(Why::TimeOutByCaller),
            TransferKind::Pending { expires: Some(expires) } if expires <= now => Err(Why::ExpiresInThePast),
            _ => Ok(()),
        }
    }

    fn apply_one(&mut self, now: Timestamp, transfer: &Transfer, rules: Rules) -> Result<Undo, Why> {
        if self.transfers.contains_key(&transfer.id) {
            return Err(Why::IdentifierReused);
        }
        if transfer.debit == transfer.credit {
            return Err(Why::SameAccount);
        }
        if transfer.amount.nanos <= 0 {
            return Err(Why::AmountNotPositive);
        }
        let debit_standing = self.accounts.get(&transfer.debit).ok_or(Why::NoAccount(transfer.debit))?;
        let credit_standing = self.accounts.get(&transfer.credit).ok_or(Why::NoAccount(transfer.credit))?;
        for standing in [debit_standing, credit_standing] {
            if standing.account.currency != transfer.amount.currency {
                return Err(Why::CurrencyDiffers(standing.account.currency));
            }
        }
        let before = [(transfer.debit, debit_standing.balance), (transfer.credit, credit_standing.balance)];
        let (mut debit, mut credit) = (debit_standing.balance, credit_standing.balance);
        let nanos = transfer.amount.nanos;
        let mut ended = None;
        match transfer.kind {
            TransferKind::Direct => {
                if rules == Rules::New {
                    affordable(debit_standing, nanos)?;
                }
                debit.posted_nanos = plus(debit.posted_nanos, -nanos)?;
                credit.posted_nanos = plus(credit.posted_nanos, nanos)?;
            }
            TransferKind::Pending { .. } => {
                if rules == Rules::New {
                    affordable(debit_standing, nanos)?;
                }
                debit.pending_debits_nanos = plus(debit.pending_debits_nanos, nanos)?;
                credit.pending_credits_nanos = plus(credit.pending_credits_nanos, nanos)?;
            }
            TransferKind::Post { pending } | TransferKind::Void { pending } | TransferKind::TimeOut { pending } => {
                let reserved = self.reserved(now, pending, transfer)?;
                debit.pending_debits_nanos = plus(debit.pending_debits_nanos, -reserved)?;
                credit.pending_credits_nanos = plus(credit.pending_credits_nanos, -reserved)?;
                if matches!(transfer.kind, TransferKind::Post { .. }) {
                    debit.posted_nanos = plus(debit.posted_nanos, -nanos)?;
                    credit.posted_nanos = plus(credit.posted_nanos, nanos)?;
                }
                ended = Some(pending);
            }
        }
        self.write(transfer, debit, credit);
        Ok(Undo { id: transfer.id, balances: before, ended })
    }

    /// The amount that the named pending transfer still reserves, if `transfer` may end it.
    fn reserved(&self, now: Timestamp, pending: TransferId, transfer: &Transfer) -> Result<i64, Why> {
        let entry = self.transfers.get(&pending).ok_or(Why::NoPending)?;
        match (entry.state, entry.transfer.kind) {
            (Some(PendingState::Pending), TransferKind::Pending { expires: Some(expires) })
                if expires <= now && !matches!(transfer.kind, TransferKind::TimeOut { .. }) =>
            {
                return Err(Why::PendingExpired);
            }
            (Some(PendingState::Pending), _) => {}
            (Some(state), _) => return Err(Why::PendingEnded(state)),
            (None, _) => return Err(Why::NoPending),
        }
        if (entry.transfer.debit, entry.transfer.credit) != (transfer.debit, transfer.credit) {
            return Err(Why::PendingDiffers);
        }
        let reserved = entry.transfer.amount.nanos;
        let in_order = match transfer.kind {
            TransferKind::Post { .. } => transfer.amount.nanos <= reserved,
            _ => transfer.amount.nanos == reserved,
        };
        if in_order { Ok(reserved) } else { Err(Why::AmountDiffers { pending_nanos: reserved }) }
    }

    /// Every check is over: nothing below can fail.
    fn write(&mut self, transfer: &Transfer, debit: Balance, credit: Balance) {
        self.set_balance(transfer.debit, debit);
        self.set_balance(transfer.credit, credit);
        let state = match transfer.kind {
            TransferKind::Pending { expires } => {
                if let Some(expires) = expires {
                    self.expiries.insert((expires, transfer.id));
                }
                Some(PendingState::Pending)
            }
            TransferKind::Direct => None,
            TransferKind::Post { pending } => {
                self.end(pending, PendingState::Posted { amount_nanos: transfer.amount.nanos });
                None
            }
            TransferKind::Void { pending } => {
                self.end(pending, PendingState::Voided);
                None
            }
            TransferKind::TimeOut { pending } => {
                self.end(pending, PendingState::TimedOut);
                None
            }
        };
        self.transfers.insert(transfer.id, Entry { transfer: *transfer, state });
    }

    fn end(&mut self, pending: TransferId, state: PendingState) {
        if let Some(entry) = self.transfers.get_mut(&pending) {
            entry.state = Some(state);
            if let TransferKind::Pending { expires: Some(expires) } = entry.transfer.kind {
                self.expiries.remove(&(expires, pending));
            }
        }
    }

    fn undo(&mut self, step: Undo) {
        if let Some(Entry { transfer, .. }) = self.transfers.remove(&step.id)
            && let TransferKind::Pending { expires: Some(expires) } = transfer.kind
        {
            self.expiries.remove(&(expires, step.id));
        }
        for (account, balance) in step.balances {
            self.set_balance(account, balance);
        }
        if let Some(pending) = step.ended
            && let Some(entry) = self.transfers.get_mut(&pending)
        {
            entry.state = Some(PendingState::Pending);
            if let TransferKind::Pending { expires: Some(expires) } = entry.transfer.kind {
                self.expiries.insert((expires, pending));
            }
        }
    }

    fn set_balance(&mut self, account: AccountId, balance: Balance) {
        if let Some(standing) = self.accounts.get_mut(&account) {
            standing.balance = balance;
        }
    }

    /// Numbers a group that was applied.
    fn number(&mut self, at: Timestamp, group: &[Transfer]) -> Vec<Record> {
        let first = self.sequence + 1;
        // at most MAXIMUM_GROUP
        let group_size = u16::try_from(group.len()).unwrap_or(u16::MAX);
        group
            .iter()
            .map(|transfer| {
                self.sequence += 1;
                Record { sequence: self.sequence, group: first, group_size, at, transfer: *transfer }
            })
            .collect()
    }
}

fn affordable(payer: &Standing, nanos: i64) -> Result<(), Why> {
    match payer.balance.available_nanos(&payer.account) {
        Some(available_nanos) if available_nanos < nanos => Err(Why::InsufficientFunds { available_nanos }),
        _ => Ok(()),
    }
}

fn plus(balance: i64, change: i64) -> Result<i64, Why> {
    balance.checked_add(change).ok_or(Why::Overflow)
}

#[cfg(test)]
mod tests;
