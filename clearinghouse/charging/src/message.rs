//! Charge messages.

use serde::{Deserialize, Serialize};
use strowger_ledger::{Currency, Money};

/// How many steps a tariff may have (ES 201 296: a sequence of at most four).
pub const MAXIMUM_STEPS: usize = 4;

/// A part of a tariff.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Price in billionths: of each second begun, or once, see `once`.
    pub price_nanos: i64,
    /// How long the step lasts, in seconds; 0: until the tariff changes.
    pub duration_seconds: u32,
    /// The price is paid once, when the step begins (a sub-tariff charged as a one-time charge).
    pub once: bool,
}

/// What a call costs from a moment on (`chargingTariff`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChargeTariff {
    /// The currency of every price.
    pub currency: Currency,
    /// Paid for the attempt, whether or not it is answered, in billionths (`callAttemptChargeCurrency`).
    pub call_attempt_nanos: i64,
    /// Paid when the call is answered, in billionths (`callSetupChargeCurrency`).
    pub call_setup_nanos: i64,
    /// The steps, one after the other from the moment the tariff begins (`communicationChargeSequenceCurrency`).
    pub steps: Vec<Step>,
}

impl ChargeTariff {
    /// So many billionths a second, from the answer on.
    pub fn per_second(nanos: i64, currency: Currency) -> ChargeTariff {
        let step = Step { price_nanos: nanos, duration_seconds: 0, once: false };
        ChargeTariff { currency, call_attempt_nanos: 0, call_setup_nanos: 0, steps: vec![step] }
    }
}

/// A message about what a running call costs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeMessage {
    /// `crgt`: the tariff from now on. Before the answer it is the call's rate; during the call it changes the rate.
    Tariff(ChargeTariff),
    /// `aocrg`: an amount added once.
    AddOn(Money),
    /// `crga`: a charge message was taken; changes nothing.
    Acknowledge,
    /// `start`: the call was answered, charging begins.
    Start,
    /// `stop`: charging ends.
    Stop,
}
