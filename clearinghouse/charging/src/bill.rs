//! The bill of a running call.

use crate::message::{ChargeMessage, ChargeTariff, MAXIMUM_STEPS};
use std::time::Duration;
use strowger_clock::Moment;
use strowger_ledger::{Currency, Money};

/// How often the tariff of one call may change.
pub const MAXIMUM_TARIFF_CHANGES: u32 = 10_000;

/// Why a message is not taken; the bill is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BillError {
    /// The message is in another currency than the call.
    #[error("the call is billed in {0}")]
    CurrencyDiffers(Currency),
    /// A price is negative.
    #[error("a price is negative")]
    Negative,
    /// More than [`MAXIMUM_STEPS`] steps.
    #[error("a tariff has at most {MAXIMUM_STEPS} steps")]
    TooManySteps,
    /// More than [`MAXIMUM_TARIFF_CHANGES`].
    #[error("the tariff changed too often")]
    TooManyChanges,
    /// The charged part of the call is over.
    #[error("charging has stopped")]
    Stopped,
    /// The bill would not fit 64 bits of billionths.
    #[error("the bill is too large")]
    Overflow,
}

/// What a call costs so far.
#[derive(Clone, Debug)]
pub struct Bill {
    currency: Currency,
    /// Everything of tariffs that are over, attempts, set-ups, add-ons.
    settled_nanos: i64,
    tariff: Option<ChargeTariff>,
    attempt_charged: bool,
    /// When charging began, and when the present tariff did.
    started: Option<Moment>,
    tariff_since: Moment,
    stopped: Option<Moment>,
    changes: u32,
}

impl Bill {
    /// An empty bill.
    pub fn new(currency: Currency) -> Bill {
        Bill {
            currency,
            settled_nanos: 0,
            tariff: None,
            attempt_charged: false,
            started: None,
            tariff_since: Moment::ZERO,
            stopped: None,
            changes: 0,
        }
    }

    /// Takes a message.
    pub fn handle(&mut self, now: Moment, message: &ChargeMessage) -> Result<(), BillError> {
        if self.stopped.is_some() && !matches!(message, ChargeMessage::Acknowledge | ChargeMessage::Stop) {
            return Err(BillError::Stopped);
        }
        match message {
            ChargeMessage::Tariff(tariff) => self.change(now, tariff),
            ChargeMessage::AddOn(amount) if amount.currency != self.currency => {
                Err(BillError::CurrencyDiffers(self.currency))
            }
            ChargeMessage::AddOn(amount) if amount.nanos < 0 => Err(BillError::Negative),
            ChargeMessage::AddOn(amount) => self.add(amount.nanos),
            ChargeMessage::Start if self.started.is_none() => {
                let setup = self.tariff.as_ref().map_or(0, |tariff| tariff.call_setup_nanos);
                self.add(setup)?;
                self.started = Some(now);
                self.tariff_since = now;
                Ok(())
            }
            ChargeMessage::Stop if self.stopped.is_none() => {
                self.stopped = Some(now);
                Ok(())
            }
            // said twice, it is so already
            ChargeMessage::Acknowledge | ChargeMessage::Start | ChargeMessage::Stop => Ok(()),
        }
    }

    /// The bill at this moment. Never falls as time goes on; a bill too large to be named is the largest that can be.
    pub fn total(&self, now: Moment) -> Money {
        let nanos = i128::from(self.settled_nanos) + self.running_nanos(now);
        // a display of a running call: what is paid is rated from the call detail record, with checks
        Money::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX), self.currency)
    }

    /// How long the call has been charged.
    pub fn elapsed(&self, now: Moment) -> Duration {
        let end = self.stopped.unwrap_or(now);
        self.started.map_or(Duration::ZERO, |started| end.saturating_since(started))
    }

    /// Whether charging is over.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    fn change(&mut self, now: Moment, tariff: &ChargeTariff) -> Result<(), BillError> {
        if tariff.currency != self.currency {
            return Err(BillError::CurrencyDiffers(self.currency));
        }
        if tariff.steps.len() > MAXIMUM_STEPS {
            return Err(BillError::TooManySteps);
        }
        let prices = tariff.steps.iter().map(|step| step.price_nanos);
        if prices.chain([tariff.call_attempt_nanos, tariff.call_setup_nanos]).any(|price| price < 0) {
            return Err(BillError::Negative);
        }
        if self.changes >= MAXIMUM_TARIFF_CHANGES {
            return Err(BillError::TooManyChanges);
        }
        let so_far = i64::try_from(self.running_nanos(now)).map_err(|_| BillError::Overflow)?;
        let attempt = if self.attempt_charged { 0 } else { tariff.call_attempt_nanos };
        self.add(so_far.checked_add(attempt).ok_or(BillError::Overflow)?)?;
        self.attempt_charged = true;
        self.changes += 1;
        self.tariff_since = now;
        self.tariff = Some(tariff.clone());
        Ok(())
    }

    fn add(&mut self, nanos: i64) -> Result<(), BillError> {
        self.settled_nanos = self.settled_nanos.checked_add(nanos).ok_or(BillError::Overflow)?;
        Ok(())
    }

    /// What the present tariff has cost since it began.
    fn running_nanos(&self, now: Moment) -> i128 {
        let (Some(tariff), Some(_)) = (&self.tariff, self.started) else { return 0 };
        let elapsed = self.stopped.unwrap_or(now).saturating_since(self.tariff_since);
        let mut nanos = 0;
        let mut begins = Duration::ZERO;
        for step in &tariff.steps {
            if elapsed < begins || (elapsed == begins && !begins.is_zero()) {
                break;
            }
            let in_step = elapsed - begins;
            let in_step = match step.duration_seconds {
                0 => in_step,
                seconds => in_step.min(Duration::from_secs(seconds.into())),
            };
            let seconds_begun = i128::from(in_step.as_secs()) + i128::from(in_step.subsec_nanos() > 0);
            nanos +=
                if step.once { i128::from(step.price_nanos) } else { i128::from(step.price_nanos) * seconds_begun };
            if step.duration_seconds == 0 {
                break;
            }
            begins += Duration::from_secs(step.duration_seconds.into());
        }
        nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Step;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn tariff(nanos: i64) -> ChargeMessage {
        ChargeMessage::Tariff(ChargeTariff::per_second(nanos, Currency::EUR))
    }

    #[test]
    fn a_rate_token_and_then_seconds_begun() {
        let mut bill = Bill::new(Currency::EUR);
        bill.handle(at(0), &tariff(10)).unwrap();
        assert_eq!(bill.total(at(5000)).nanos, 0, "not answered");
        bill.handle(at(5000), &ChargeMessage::Start).unwrap();
        let totals: Vec<i64> = [5000, 5001, 6000, 6001].iter().map(|now| bill.total(at(*now)).nanos).collect();
        assert_eq!(totals, [0, 10, 10, 20]);
        bill.handle(at(8000), &ChargeMessage::Stop).unwrap();
        assert_eq!(bill.total(at(99_000)).nanos, 30);
        assert_eq!(bill.elapsed(at(99_000)), Duration::from_secs(3));
    }

    #[test]
    fn an_interval_token_changes_the_rate_from_then_on() {
        let mut bill = Bill::new(Currency::EUR);
        bill.handle(at(0), &tariff(10)).unwrap();
        bill.handle(at(0), &ChargeMessage::Start).unwrap();
        bill.handle(at(10_000), &tariff(1)).unwrap();
        bill.handle(at(12_000), &ChargeMessage::AddOn(Money::from_nanos(500, Currency::EUR))).unwrap();
        assert_eq!(bill.total(at(20_000)).nanos, 100 + 10 + 500);
    }

    #[test]
    fn steps_follow_each_other() {
        let step = |price_nanos, duration_seconds, once| Step { price_nanos, duration_seconds, once };
        let steps = vec![step(1000, 60, true), step(10, 60, false), step(1, 0, false)];
        let charge = ChargeTariff { currency: Currency::EUR, call_attempt_nanos: 3, call_setup_nanos: 5, steps };
        let mut bill = Bill::new(Currency::EUR);
        bill.handle(at(0), &ChargeMessage::Tariff(charge)).unwrap();
        assert_eq!(bill.total(at(0)).nanos, 3);
        bill.handle(at(0), &ChargeMessage::Start).unwrap();
        let totals: Vec<i64> =
            [0, 59, 60, 61, 120, 125].iter().map(|now| bill.total(at(now * 1000)).nanos - 8).collect();
        assert_eq!(totals, [1000, 1000, 1000, 1010, 1600, 1605]);
    }

    #[test]
    fn bad_messages_change_nothing() {
        let mut bill = Bill::new(Currency::EUR);
        bill.handle(at(0), &tariff(10)).unwrap();
        let dollars = ChargeMessage::AddOn(Money::from_nanos(1, Currency::USD));
        assert_eq!(bill.handle(at(0), &dollars), Err(BillError::CurrencyDiffers(Currency::EUR)));
        assert_eq!(bill.handle(at(0), &tariff(-1)), Err(BillError::Negative));
        let steps = |count| {
            let step = Step { price_nanos: 1, duration_seconds: 1, once: false };
            let tariff = ChargeTariff { steps: vec![step; count], ..ChargeTariff::per_second(0, Currency::EUR) };
            ChargeMessage::Tariff(tariff)
        };
        assert_eq!(bill.handle(at(0), &steps(MAXIMUM_STEPS)), Ok(()));
        assert_eq!(bill.handle(at(0), &steps(MAXIMUM_STEPS + 1)), Err(BillError::TooManySteps));
        bill.handle(at(0), &ChargeMessage::AddOn(Money::from_nanos(i64::MAX, Currency::EUR))).unwrap();
        let one = ChargeMessage::AddOn(Money::from_nanos(1, Currency::EUR));
        assert_eq!(bill.handle(at(0), &one), Err(BillError::Overflow));
        bill.handle(at(0), &ChargeMessage::Stop).unwrap();
        assert_eq!(bill.handle(at(0), &one), Err(BillError::Stopped));
        assert_eq!(bill.handle(at(0), &ChargeMessage::Acknowledge), Ok(()));
    }

    #[test]
    fn changes_just_inside_and_just_outside() {
        let mut bill = Bill::new(Currency::EUR);
        for _ in 0..MAXIMUM_TARIFF_CHANGES {
            bill.handle(at(0), &tariff(1)).unwrap();
        }
        assert_eq!(bill.handle(at(0), &tariff(1)), Err(BillError::TooManyChanges));
    }

    proptest! {
        #[test]
        fn a_bill_never_falls(rates in prop::collection::vec((0..1_000_000i64, 0..5000u64), 1..20)) {
            let mut bill = Bill::new(Currency::EUR);
            bill.handle(at(0), &ChargeMessage::Start).unwrap();
            let (mut now, mut last) = (0, 0);
            for (rate, wait) in rates {
                bill.handle(at(now), &tariff(rate)).unwrap();
                prop_assert!(bill.total(at(now)).nanos >= last);
                now += wait;
                last = bill.total(at(now)).nanos;
            }
        }
    }
}
