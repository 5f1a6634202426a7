//! What the console reads.

use crate::Clearinghouse;
use serde::Serialize;
use std::sync::Arc;
use strowger_ledger::{AccountKind, Currency, Imbalance, Money, Sums};
use strowger_store::{
    AuditRecord, AuthorizationRecord, CdrRecord, CertificateRecord, Page, Store, StoreError, UsageRecord,
};

/// An account and what stands on it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AccountView {
    /// The account's number.
    pub id: u64,
    /// The customer's number, `house` or `bank`.
    pub name: String,
    /// Whose it is.
    pub kind: AccountKind,
    /// Its currency.
    pub currency: Currency,
    /// Final money.
    pub posted: Money,
    /// Reserved, on its way out.
    pub pending_debits: Money,
    /// Reserved by others, on its way in.
    pub pending_credits: Money,
    /// What may still be spent; `None` without a limit.
    pub available: Option<Money>,
    /// How far below zero it may go; `None` without a limit.
    pub credit_limit: Option<Money>,
}

/// What a running call costs so far, by the gateway's charge messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LiveBill {
    /// The call's number.
    pub transaction: u64,
    /// The bill so far.
    pub total: Money,
    /// Seconds since the charged part of the call began.
    pub seconds: u64,
    /// Whether it is over.
    pub stopped: bool,
}

/// Gauges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Status {
    /// Calls that are not settled.
    pub open_calls: usize,
    /// Transfers in the ledger.
    pub transfers: u64,
    /// Audit entries that peers caused beyond the maximum a minute.
    pub audits_suppressed: u64,
}

impl Clearinghouse {
    /// Every account with its balances, by number. All at one moment.
    pub fn accounts(&self) -> Vec<AccountView> {
        let books = self.books();
        let view = |(account, balance): (&strowger_ledger::Account, strowger_ledger::Balance)| {
            let money = |nanos| Money::from_nanos(nanos, account.currency);
            AccountView {
                id: account.id.0,
                name: account.name.clone(),
                kind: account.kind,
                currency: account.currency,
                posted: money(balance.posted_nanos),
                pending_debits: money(balance.pending_debits_nanos),
                pending_credits: money(balance.pending_credits_nanos),
                available: balance.available_nanos(account).map(money),
                credit_limit: account.credit_limit_nanos.map(money),
            }
        };
        books.ledger.accounts().map(view).collect()
    }

    /// The account of a customer in its own currency.
    pub fn account(&self, customer: &str) -> Option<AccountView> {
        let currency = self.config.customer(customer)?.currency.unwrap_or(self.config.currency);
        self.accounts().into_iter().find(|account| account.name == customer && account.currency == currency)
    }

    /// The sums over all accounts per currency: zero, always.
    pub fn sums(&self) -> Vec<Sums> {
        self.books().ledger.sums()
    }

    /// Proves the books: sums of zero and every balance equal to its transfers. Goes through every transfer.
    pub fn prove(&self) -> Result<(), Imbalance> {
        self.books().ledger.prove()
    }

    /// Calls that are not settled yet, oldest first.
    pub fn open_calls(&self) -> Vec<AuthorizationRecord> {
        let mut open: Vec<AuthorizationRecord> = self.books().open.values().cloned().collect();
        open.sort_by_key(|record| record.call.transaction);
        open
    }

    /// The live bill of a running call.
    pub fn live_bill(&self, transaction: u64) -> Option<LiveBill> {
        let now = self.now();
        self.books().bills.get(&transaction).map(|bill| LiveBill {
            transaction,
            total: bill.total(now),
            seconds: bill.elapsed(now).as_secs(),
            stopped: bill.is_stopped(),
        })
    }

    /// Gauges.
    pub fn status(&self) -> Status {
        let books = self.books();
        Status {
            open_calls: books.matcher.open_calls(),
            transfers: books.ledger.sequence(),
            audits_suppressed: books.audits.suppressed,
        }
    }

    /// Transfers, newest first.
    pub async fn transfers(&self, page: Page) -> Result<Vec<strowger_ledger::Record>, StoreError> {
        self.read(move |store| store.transfers(page)).await
    }

    /// Authorizations, newest first.
    pub async fn authorizations(&self, page: Page) -> Result<Vec<AuthorizationRecord>, StoreError> {
        self.read(move |store| store.authorizations(page)).await
    }

    /// Call detail records with the money that moved, newest first.
    pub async fn cdrs(&self, page: Page) -> Result<Vec<CdrRecord>, StoreError> {
        self.read(move |store| store.cdrs(page)).await
    }

    /// The call detail record of one call.
    pub async fn cdr(&self, transaction: u64) -> Result<Option<CdrRecord>, StoreError> {
        self.read(move |store| store.cdr(transaction)).await
    }

    /// Every usage report of one call, oldest first.
    pub async fn usage_reports(&self, transaction: u64) -> Result<Vec<UsageRecord>, StoreError> {
        self.read(move |store| store.usage(transaction)).await
    }

    /// Audit entries, newest first.
    pub async fn audit(&self, page: Page) -> Result<Vec<AuditRecord>, StoreError> {
        self.read(move |store| store.audit(page)).await
    }

    /// Every device certificate.
    pub async fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError> {
        self.read(|store| store.certificates()).await
    }

    /// A read comes after every write that the books in memory have taken: a call that is settled there has its record here.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // a store that takes nothing more is still read
        if let Ok(fence) = self.store.reserve() {
            let _ = fence.commit(Vec::new()).await;
        }
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || read(store.as_ref())).await;
        done.unwrap_or_else(|error| Err(StoreError::Unreadable(error.to_string())))
    }
}
