//! Accounts and what stands on them.

use crate::money::{Currency, Money};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names one account.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct AccountId(pub u64);

impl fmt::Display for AccountId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Whose account it is.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    /// A carrier that buys or sells calls.
    Customer,
    /// The clearinghouse itself: its margin stands here.
    House,
    /// The world outside the books: deposits come from here, pay-outs go here, so it is normally negative.
    Bank,
}

/// An account. Its currency and identifier never change; its name and limit may.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// The identifier.
    pub id: AccountId,
    /// For people: the customer's identifier or `house`.
    pub name: String,
    /// The only currency it holds.
    pub currency: Currency,
    /// Whose it is.
    pub kind: AccountKind,
    /// How far below zero posted and reserved money together may bring it, in billionths, not negative. `None`: no limit.
    pub credit_limit_nanos: Option<i64>,
}

/// What stands on an account, in billionths of its currency.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Balance {
    /// Credits less debits that are final.
    pub posted_nanos: i64,
    /// Reserved and on its way out; not negative.
    pub pending_debits_nanos: i64,
    /// Reserved by others and on its way in; not negative. It cannot be spent before it is posted.
    pub pending_credits_nanos: i64,
}

impl Balance {
    /// What may still be reserved or spent under the account's credit limit; `None` when there is no limit. Not raised by pending credits.
    pub fn available_nanos(&self, account: &Account) -> Option<i64> {
        let limit = i128::from(account.credit_limit_nanos?);
        let available = i128::from(self.posted_nanos) - i128::from(self.pending_debits_nanos) + limit;
        // a limit near the largest amount may not fit; what is offered then is the largest amount that can be named
        Some(i64::try_from(available.min(i128::from(i64::MAX))).unwrap_or(i64::MIN))
    }

    /// The posted balance as money.
    pub fn posted(&self, account: &Account) -> Money {
        Money::from_nanos(self.posted_nanos, account.currency)
    }
}
