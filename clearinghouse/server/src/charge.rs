//! Charge messages from gateways: a bill that grows while the call runs.

use crate::books::MAXIMUM_BILLS;
use crate::events::Event;
use crate::{Clearinghouse, LiveBill};
use strowger_charging::{Bill, ChargeMessage};

/// Why a charge message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChargeRefused {
    /// No open call has this number.
    #[error("there is no such open transaction")]
    Unknown,
    /// The message does not fit the bill: another currency, a message after the end, an amount too large.
    #[error("{0}")]
    Bill(#[from] strowger_charging::BillError),
    /// Too many running bills.
    #[error("too many running bills")]
    TooMany,
}

impl Clearinghouse {
    /// Takes a charge message for a running call. The bill is a display for the running call: money moves by the call detail record.
    pub fn charge(&self, transaction: u64, message: &ChargeMessage) -> Result<LiveBill, ChargeRefused> {
        let now = self.now();
        {
            let mut books = self.books();
            let Some(open) = books.open.get(&transaction) else { return Err(ChargeRefused::Unknown) };
            let currency = open.reserved.currency;
            if !books.bills.contains_key(&transaction) && books.bills.len() >= MAXIMUM_BILLS {
                return Err(ChargeRefused::TooMany);
            }
            books.bills.entry(transaction).or_insert_with(|| Bill::new(currency)).handle(now, message)?;
        }
        let bill = self.live_bill(transaction).ok_or(ChargeRefused::Unknown)?;
        self.emit(Event::Charge { transaction, total: bill.total });
        Ok(bill)
    }
}
