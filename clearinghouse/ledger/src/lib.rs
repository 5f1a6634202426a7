//! Double-entry ledger with two-phase transfers.
//!
//! **What comes in:** accounts, and groups of [`Transfer`]s with the time at which they are made. A transfer is posted at once, or it is
//! *pending* (money reserved), and later posted (in full or in part), voided, or timed out.
//!
//! **What goes out:** for each group the [`Record`]s that a store has to keep, or a typed refusal and an unchanged ledger; balances; the
//! sums per currency that must be zero.
//!
//! **What it never does:** create or destroy money, overdraw an account past its credit limit, apply half a group, apply one identifier
//! twice, use a float, saturate, read a clock, or touch a disk.
//!
//! **Sources:** double-entry bookkeeping; the life of a reservation (pending, then post, void or time-out) follows the two-phase transfers of
//! TigerBeetle's data model. No RFC.

mod account;
mod ledger;
mod money;
mod transfer;

pub use account::{Account, AccountId, AccountKind, Balance};
pub use ledger::{Applied, Imbalance, Ledger, Limits, MAXIMUM_GROUP, Sums};
pub use money::{Currency, CurrencyError, Money, MoneyError, NANOS_PER_UNIT, Nanos, NanosError};
pub use transfer::{PendingState, Record, Refusal, Transfer, TransferId, TransferKind, Why};
