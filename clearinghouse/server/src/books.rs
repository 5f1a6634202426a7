//! Everything in memory that money and calls depend on, under one lock.

use std::collections::{BTreeMap, HashMap};
use strowger_cdr::Matcher;
use strowger_charging::Bill;
use strowger_clock::{Random, Timestamp};
use strowger_enrollment::Revocations;
use strowger_ledger::{AccountId, AccountKind, Currency, Ledger, TransferId};
use strowger_routing::Health;
use strowger_store::{AuditRecord, AuthorizationRecord, Record};

/// What transfers are for.
pub(crate) mod code {
    pub(crate) const OPENING: u16 = 1;
    pub(crate) const RESERVATION: u16 = 2;
    pub(crate) const USAGE: u16 = 3;
    pub(crate) const TERMINATION: u16 = 4;
    pub(crate) const RELEASE: u16 = 5;
    pub(crate) const LATE_USAGE: u16 = 6;
}

/// How many audit entries peers can cause in a minute; more are counted and not kept.
pub(crate) const MAXIMUM_AUDITS_PER_MINUTE: u32 = 600;

/// How many running calls may have a live bill.
pub(crate) const MAXIMUM_BILLS: usize = 100_000;

pub(crate) struct Books {
    pub(crate) ledger: Ledger,
    pub(crate) matcher: Matcher,
    pub(crate) health: Health,
    /// Calls that are not settled.
    pub(crate) open: HashMap<u64, AuthorizationRecord>,
    pub(crate) accounts: HashMap<(AccountKindKey, String, Currency), AccountId>,
    pub(crate) last_transaction: u64,
    pub(crate) random: Random,
    pub(crate) bills: BTreeMap<u64, Bill>,
    pub(crate) audits: AuditRate,
    pub(crate) revocations: Revocations,
}

/// [`AccountKind`] as part of a key.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum AccountKindKey {
    Customer,
    House,
    Bank,
}

impl From<AccountKind> for AccountKindKey {
    fn from(kind: AccountKind) -> Self {
        match kind {
            AccountKind::Customer => AccountKindKey::Customer,
            AccountKind::House => AccountKindKey::House,
            AccountKind::Bank => AccountKindKey::Bank,
        }
    }
}

impl Books {
    pub(crate) fn customer_account(&self, customer: &str, currency: Currency) -> Option<AccountId> {
        self.accounts.get(&(AccountKindKey::Customer, customer.to_owned(), currency)).copied()
    }

    pub(crate) fn house_account(&self, currency: Currency) -> Option<AccountId> {
        self.accounts.get(&(AccountKindKey::House, "house".to_owned(), currency)).copied()
    }

    /// A number never given before: milliseconds of the clock above 20 bits that count, and always more than the last one.
    pub(crate) fn next_transaction(&mut self, now: Timestamp) -> u64 {
        let by_clock = (now.unix_nanos() / 1_000_000) << 20;
        self.last_transaction = by_clock.max(self.last_transaction + 1);
        self.last_transaction
    }

    /// An audit entry, unless peers cause too many.
    pub(crate) fn audit(
        &mut self,
        now: Timestamp,
        what: &str,
        transaction: Option<u64>,
        detail: String,
    ) -> Option<Record> {
        self.audits.allow(now).then(|| {
            let (at_unix_nanos, what) = (now.unix_nanos(), what.to_owned());
            Record::Audit(AuditRecord { sequence: 0, at_unix_nanos, what, transaction, detail })
        })
    }
}

/// Identifiers of a call's transfers: repeated by accident, they are the same transfers.
pub(crate) fn transfer_id(transaction: u64, code: u16, index: u16) -> TransferId {
    TransferId((u128::from(transaction) << 32) | (u128::from(code) << 16) | u128::from(index))
}

/// The identifier of an account's opening deposit.
pub(crate) fn opening_id(account: AccountId) -> TransferId {
    TransferId((1 << 120) | u128::from(account.0))
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AuditRate {
    minute: u64,
    count: u32,
    pub(crate) suppressed: u64,
}

impl AuditRate {
    fn allow(&mut self, now: Timestamp) -> bool {
        let minute = now.unix_seconds() / 60;
        if minute != self.minute {
            (self.minute, self.count) = (minute, 0);
        }
        if self.count >= MAXIMUM_AUDITS_PER_MINUTE {
            self.suppressed += 1;
            return false;
        }
        self.count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audits_per_minute_just_inside_and_just_outside() {
        let mut rate = AuditRate::default();
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        assert!((0..MAXIMUM_AUDITS_PER_MINUTE).all(|_| rate.allow(now)));
        assert!(!rate.allow(now));
        assert_eq!(rate.suppressed, 1);
        assert!(rate.allow(Timestamp::from_unix_seconds(1_800_000_060)));
    }

    #[test]
    fn transfer_identifiers_do_not_collide() {
        assert_ne!(transfer_id(1, 2, 3), transfer_id(1, 3, 2));
        assert!(!transfer_id(u64::MAX, u16::MAX, u16::MAX).is_reserved());
        assert!(opening_id(AccountId(u64::MAX)).0 > transfer_id(u64::MAX, u16::MAX, u16::MAX).0);
    }
}
