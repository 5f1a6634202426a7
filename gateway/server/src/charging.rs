//! Charge messages of the trunk on their way to the clearinghouse (ES 201 296 in XML).
//!
//! The first tariff becomes the *rate token*: the first interval's price, charged once charging starts. Every further
//! interval of the trunk becomes an *interval token*: a tariff that charges that interval's price at once. So the bill there
//! is at any moment the sum that the telephone network has named. The trunk's message about the first interval is what the
//! rate token and the start have said already.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use strowger_charging::{CONTENT_TYPE, ChargeMessage, ChargeTariff, Step};
use strowger_gateway_core::CallNumber;
use strowger_isup::Charge;
use strowger_ledger::{Currency, Money};
use tokio::sync::mpsc;

use crate::http::Poster;

/// Charge messages that may wait for the clearinghouse.
pub(crate) const MAX_WAITING: usize = 4096;
/// How often one is tried.
const TRIES: u32 = 3;
const BACK_OFF: Duration = Duration::from_millis(200);

/// What the trunk or the call said.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Charge(Charge),
    Start,
    Stop,
    /// The call is forgotten.
    Over,
}

/// One of them, with its call.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Notice {
    pub call: CallNumber,
    pub transaction_id: u64,
    pub said: Said,
}

/// What is posted for a call, given what was before.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    rate: HashMap<CallNumber, u32>,
}

impl Tokens {
    pub(crate) fn message(&mut self, call: CallNumber, said: Said) -> Option<ChargeMessage> {
        match said {
            Said::Start => Some(ChargeMessage::Start),
            Said::Stop => Some(ChargeMessage::Stop),
            Said::Over => {
                self.rate.remove(&call);
                None
            }
            Said::Charge(Charge::Tariff(tariff)) => {
                let seconds = (tariff.interval_ms / 1000).max(1);
                let first = self.rate.insert(call, seconds).is_none();
                let setup = if first { nanos(tariff.setup_micros) } else { 0 };
                once(tariff.currency, setup, nanos(tariff.interval_micros), seconds)
            }
            Said::Charge(Charge::Interval { currency, number, amount_micros, .. }) => match self.rate.get(&call) {
                Some(_) if number <= 1 => None,
                Some(seconds) => once(currency, 0, nanos(amount_micros), *seconds),
                None => Some(ChargeMessage::AddOn(Money::from_nanos(nanos(amount_micros), read_currency(currency)?))),
            },
        }
    }
}

fn nanos(micros: u32) -> i64 {
    i64::from(micros) * 1000
}

fn read_currency(letters: [u8; 3]) -> Option<Currency> {
    std::str::from_utf8(&letters).ok()?.parse().ok()
}

fn once(currency: [u8; 3], setup: i64, price: i64, duration_seconds: u32) -> Option<ChargeMessage> {
    Some(ChargeMessage::Tariff(ChargeTariff {
        currency: read_currency(currency)?,
        call_attempt_nanos: 0,
        call_setup_nanos: setup,
        steps: vec![Step { price_nanos: price, duration_seconds, once: true }],
    }))
}

/// Posts notices in their order until every sender is gone. One that the clearinghouse does not take is dropped and named in
/// the log: money moves by usage reports, the bill is for showing.
pub(crate) async fn post_all(poster: Poster, osp_urls: Vec<String>, mut notices: mpsc::Receiver<Notice>) {
    let mut tokens = Tokens::default();
    while let Some(notice) = notices.recv().await {
        let Some(message) = tokens.message(notice.call, notice.said) else { continue };
        let xml = match message.to_xml() {
            Ok(xml) => Bytes::from(xml),
            Err(error) => {
                tracing::warn!(%error, transaction = notice.transaction_id, "a charge message cannot be written");
                continue;
            }
        };
        if let Err(error) = post(&poster, &osp_urls, notice.transaction_id, xml).await {
            // a transaction that is settled or unknown there (404, 409) needs no more messages
            tracing::info!(error, transaction = notice.transaction_id, "a charge message was not taken");
        }
    }
}

async fn post(poster: &Poster, osp_urls: &[String], transaction_id: u64, xml: Bytes) -> Result<(), String> {
    let path = format!("/charging/{transaction_id}");
    let mut last = "no clearinghouse is configured".to_owned();
    for attempt in 0..TRIES {
        for url in osp_urls {
            match poster.post(url, &path, CONTENT_TYPE, xml.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if !error.is_transient() => return Err(error.to_string()),
                Err(error) => last = error.to_string(),
            }
        }
        if attempt + 1 < TRIES {
            tokio::time::sleep(BACK_OFF * (attempt + 1)).await;
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_charging::Bill;
    use strowger_clock::Moment;
    use strowger_isup::Tariff;

    #[test]
    fn the_bill_is_what_the_trunk_has_charged() {
        let tariff = Charge::Tariff(Tariff {
            currency: *b"USD",
            setup_micros: 5_000,
            interval_micros: 10_000,
            interval_ms: 6_000,
        });
        let interval = |number, amount_micros| {
            Said::Charge(Charge::Interval { currency: *b"USD", number, charged_seconds: 6 * number, amount_micros })
        };
        let mut tokens = Tokens::default();
        let mut bill = Bill::new(Currency::USD);
        let mut take = |at: u64, said| {
            let now = Moment::from_millis(at);
            if let Some(message) = tokens.message(1, said) {
                bill.handle(now, &message).unwrap();
            }
            bill.total(now).nanos
        };
        assert_eq!(take(0, Said::Charge(tariff)), 0);
        assert_eq!(take(1000, Said::Start), 15_000_000);
        assert_eq!(take(1000, interval(1, 15_000)), 15_000_000);
        assert_eq!(take(7013, interval(2, 10_000)), 25_000_000);
        assert_eq!(take(13_002, interval(3, 10_000)), 35_000_000);
        assert_eq!(take(14_000, Said::Stop), 35_000_000);
        take(14_000, Said::Over);
        assert!(tokens.rate.is_empty());
    }

    #[test]
    fn amounts_without_a_tariff_are_added() {
        let charge = Charge::Interval { currency: *b"EUR", number: 1, charged_seconds: 6, amount_micros: 7 };
        let message = Tokens::default().message(1, Said::Charge(charge));
        assert_eq!(message, Some(ChargeMessage::AddOn(Money::from_nanos(7_000, Currency::EUR))));
    }
}
