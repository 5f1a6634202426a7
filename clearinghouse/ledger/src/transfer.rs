//! Transfers, their life, and why one is refused.

use crate::account::AccountId;
use crate::money::{Currency, Money};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use strowger_clock::Timestamp;

/// The idempotency key of a transfer, chosen by the caller. The highest bit is the ledger's own: time-outs carry it.
/// Written as 32 hexadecimal digits.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u128);

impl TransferId {
    const LEDGER_BIT: u128 = 1 << 127;

    /// The identifier of the time-out of this pending transfer.
    pub fn time_out(self) -> TransferId {
        TransferId(self.0 | Self::LEDGER_BIT)
    }

    /// Whether only the ledger may make a transfer of this identifier.
    pub fn is_reserved(self) -> bool {
        self.0 & Self::LEDGER_BIT != 0
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for TransferId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TransferId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        u128::from_str_radix(&digits, 16).map(TransferId).map_err(serde::de::Error::custom)
    }
}

/// What a transfer does.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TransferKind {
    /// Moves the money at once.
    Direct,
    /// Reserves it. It waits to be posted or voided, until the time named (forever when none is).
    Pending {
        /// From this moment on it can only time out.
        expires: Option<Timestamp>,
    },
    /// Moves reserved money: the amount given, at most the pending one. What remains is released.
    Post {
        /// The pending transfer.
        pending: TransferId,
    },
    /// Releases reserved money. The amount given is the pending one.
    Void {
        /// The pending transfer.
        pending: TransferId,
    },
    /// Releases reserved money whose time is over. Made by [`crate::Ledger::expire`] alone.
    TimeOut {
        /// The pending transfer.
        pending: TransferId,
    },
}

impl TransferKind {
    /// The pending transfer that this one ends.
    pub fn pending(&self) -> Option<TransferId> {
        match *self {
            TransferKind::Direct | TransferKind::Pending { .. } => None,
            TransferKind::Post { pending } | TransferKind::Void { pending } | TransferKind::TimeOut { pending } => {
                Some(pending)
            }
        }
    }
}

/// Money from one account to another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// The idempotency key.
    pub id: TransferId,
    /// Who pays. For post, void and time-out: as in the pending transfer.
    pub debit: AccountId,
    /// Who is paid. For post, void and time-out: as in the pending transfer.
    pub credit: AccountId,
    /// How much; more than zero.
    pub amount: Money,
    /// What it does.
    pub kind: TransferKind,
    /// What it is for: the caller's own code.
    pub code: u16,
    /// The caller's own number; the clearinghouse keeps the OSP transaction identifier here. Zero for none.
    pub reference: u64,
}

/// A transfer that was applied: what a store keeps. Records in their order rebuild the ledger.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Position in the ledger's history, from 1, without gaps.
    pub sequence: u64,
    /// The sequence of its group's first record. A transfer alone is a group of one.
    pub group: u64,
    /// How many transfers the group has.
    pub group_size: u16,
    /// When it was applied.
    pub at: Timestamp,
    /// The transfer.
    pub transfer: Transfer,
}

/// Where a pending transfer stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PendingState {
    /// The money is reserved.
    Pending,
    /// It was posted, in this amount of billionths.
    Posted {
        /// What was moved; the rest was released.
        amount_nanos: i64,
    },
    /// It was voided.
    Voided,
    /// Its time was over.
    TimedOut,
}

/// A refused group: nothing of it was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("transfer {index} of the group ({id}): {why}")]
pub struct Refusal {
    /// Which transfer of the group, from 0.
    pub index: usize,
    /// Its identifier.
    pub id: TransferId,
    /// The reason.
    pub why: Why,
}

/// Why a transfer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The identifier was used before for something else.
    #[error("the identifier was used for a different transfer")]
    IdentifierReused,
    /// Some of the group were applied before and some were not.
    #[error("the group was applied before with other members")]
    GroupDiffers,
    /// The identifier's highest bit is the ledger's.
    #[error("the identifier is reserved for the ledger")]
    IdentifierReserved,
    /// A group is empty or larger than [`crate::MAXIMUM_GROUP`].
    #[error("a group has 1 to {} transfers", crate::MAXIMUM_GROUP)]
    GroupSize,
    /// The ledger holds as many transfers as it may.
    #[error("the ledger is full")]
    Full,
    /// There is no such account.
    #[error("no account {0}")]
    NoAccount(AccountId),
    /// Debit and credit are the same account.
    #[error("an account cannot pay itself")]
    SameAccount,
    /// The amount is zero or less.
    #[error("the amount is not positive")]
    AmountNotPositive,
    /// The amount's currency is not the accounts'.
    #[error("the account holds {0}")]
    CurrencyDiffers(Currency),
    /// The payer cannot afford it under the credit limit.
    #[error("{available_nanos} billionths are available")]
    InsufficientFunds {
        /// What the payer could still spend, in billionths.
        available_nanos: i64,
    },
    /// A balance would not fit 64 bits of billionths.
    #[error("the balance would be too large")]
    Overflow,
    /// The transfer to be ended does not exist or is no pending one.
    #[error("no such pending transfer")]
    NoPending,
    /// The accounts differ from those of the pending transfer.
    #[error("the pending transfer is between other accounts")]
    PendingDiffers,
    /// More than was reserved is to be posted, or a void names another amount.
    #[error("{pending_nanos} billionths are reserved")]
    AmountDiffers {
        /// What was reserved, in billionths.
        pending_nanos: i64,
    },
    /// It was ended before.
    #[error("the pending transfer has ended: {0:?}")]
    PendingEnded(PendingState),
    /// Its time is over.
    #[error("the pending transfer has expired")]
    PendingExpired,
    /// A pending transfer would expire at once.
    #[error("the pending transfer expires in the past")]
    ExpiresInThePast,
    /// Only the ledger itself times transfers out.
    #[error("time-outs are the ledger's own")]
    TimeOutByCaller,
}
