//! Ranking.

use crate::health::{FAILURES_TO_DEMOTE, Health};
use crate::table::{Device, Route, Table};
use serde::{Deserialize, Serialize};
use std::fmt;
use strowger_clock::Moment;
use strowger_ledger::{Currency, Money};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// The called number: E.164 digits without plus.
    pub called: &'a str,
    /// The customer the call comes from.
    pub source_customer: &'a str,
    /// The currency that customer pays in.
    pub currency: Currency,
    /// The highest price of a minute that the request accepts.
    pub ceiling_per_minute: Option<Money>,
    /// A device, address or network the request prefers.
    pub preferred: Option<&'a str>,
    /// How many candidates at most.
    pub maximum: usize,
}

/// Why a candidate stands where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct WhyKept {
    /// The request asked for it.
    pub preferred: bool,
    /// It asked for fewer calls, so that it comes after those that did not.
    pub almost_out_of_resources: bool,
    /// Failures within the window; enough of them, and it comes after the others.
    pub recent_failures: u32,
    /// What a minute costs the house, in billionths: the main order.
    pub cost_per_minute_nanos: i64,
    /// Decides between equal costs.
    pub quality_penalty: u16,
}

impl WhyKept {
    fn demoted(&self) -> bool {
        self.almost_out_of_resources || self.recent_failures >= FAILURES_TO_DEMOTE
    }
}

impl fmt::Display for WhyKept {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "costs {} a minute", strowger_ledger::Nanos(self.cost_per_minute_nanos))?;
        if self.preferred {
            out.write_str(", preferred by the request")?;
        }
        if self.almost_out_of_resources {
            out.write_str(", after others: almost out of resources")?;
        }
        if self.recent_failures >= FAILURES_TO_DEMOTE {
            write!(out, ", after others: {} recent failures", self.recent_failures)?;
        }
        Ok(())
    }
}

/// Why a route is no candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyDropped {
    /// A longer dial code matches: the shorter one does not serve its numbers.
    ShorterPrefix,
    /// The device belongs to the customer the call comes from.
    OwnCustomer,
    /// The device is disabled.
    Disabled,
    /// A minute costs more than the request accepts; the price in billionths.
    AboveCeiling {
        /// The route's price of a minute.
        sell_per_minute_nanos: i64,
    },
    /// The route is priced in another currency.
    Currency(Currency),
    /// Better routes fill the maximum that was asked for.
    OverMaximum,
    /// What the caller's customer can spend does not pay for the shortest call. Said by the clearinghouse, not by [`rank`].
    Unaffordable,
}

impl fmt::Display for WhyDropped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyDropped::ShorterPrefix => out.write_str("a longer dial code serves the number"),
            WhyDropped::OwnCustomer => out.write_str("belongs to the calling customer"),
            WhyDropped::Disabled => out.write_str("disabled"),
            WhyDropped::AboveCeiling { sell_per_minute_nanos } => {
                write!(
                    out,
                    "{} a minute is above the request's ceiling",
                    strowger_ledger::Nanos(*sell_per_minute_nanos)
                )
            }
            WhyDropped::Currency(currency) => write!(out, "priced in {currency}"),
            WhyDropped::OverMaximum => out.write_str("enough better routes"),
            WhyDropped::Unaffordable => out.write_str("the balance does not pay for the shortest call"),
        }
    }
}

/// A route to be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The route.
    pub route: Route,
    /// Its device.
    pub device: Device,
    /// Why it stands where it stands.
    pub why: WhyKept,
}

/// A route left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The route.
    pub route: Route,
    /// Why.
    pub why: WhyDropped,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranking {
    /// To be tried in this order.
    pub candidates: Vec<Candidate>,
    /// Left out.
    pub dropped: Vec<Dropped>,
}

/// Ranks the routes of the longest dial code that the number begins with.
///
/// Order: devices that are well before those that are not; the preferred one; the lowest cost of a minute; the smaller quality penalty;
/// the device's identifier (so that the order is always the same).
pub fn rank(table: &Table, health: &Health, now: Moment, query: &Query<'_>) -> Ranking {
    let mut ranking = Ranking::default();
    let mut codes = table.matching(query.called);
    for route in codes.next().unwrap_or_default() {
        let Some(device) = table.device(&route.device) else { continue };
        match unfit(route, device, query) {
            Some(why) => ranking.dropped.push(Dropped { route: route.clone(), why }),
            None => ranking.candidates.push(Candidate {
                why: WhyKept {
                    preferred: query.preferred.is_some_and(|name| is_named(device, name)),
                    almost_out_of_resources: health.almost_out_of_resources(&device.id),
                    recent_failures: health.recent_failures(now, &device.id),
                    cost_per_minute_nanos: route.cost.per_minute_nanos,
                    quality_penalty: health.quality_penalty(&device.id),
                },
                route: route.clone(),
                device: device.clone(),
            }),
        }
    }
    let shorter = codes.flatten().cloned();
    ranking.dropped.extend(shorter.map(|route| Dropped { route, why: WhyDropped::ShorterPrefix }));
    ranking.candidates.sort_by(|left, right| {
        let key = |candidate: &Candidate| {
            let why = &candidate.why;
            (why.demoted(), !why.preferred, why.cost_per_minute_nanos, why.quality_penalty)
        };
        key(left).cmp(&key(right)).then_with(|| left.device.id.cmp(&right.device.id))
    });
    let over = ranking.candidates.split_off(query.maximum.min(ranking.candidates.len()));
    ranking
        .dropped
        .extend(over.into_iter().map(|candidate| Dropped { route: candidate.route, why: WhyDropped::OverMaximum }));
    ranking
}

fn unfit(route: &Route, device: &Device, query: &Query<'_>) -> Option<WhyDropped> {
    if device.customer == query.source_customer {
        return Some(WhyDropped::OwnCustomer);
    }
    if !device.enabled {
        return Some(WhyDropped::Disabled);
    }
    if route.sell.currency != query.currency {
        return Some(WhyDropped::Currency(route.sell.currency));
    }
    let sell_per_minute_nanos = route.sell.per_minute_nanos;
    match query.ceiling_per_minute {
        Some(ceiling) if ceiling.currency != query.currency || sell_per_minute_nanos > ceiling.nanos => {
            Some(WhyDropped::AboveCeiling { sell_per_minute_nanos })
        }
        _ => None,
    }
}

fn is_named(device: &Device, name: &str) -> bool {
    device.id == name || device.network.as_deref() == Some(name) || bare(&device.address) == bare(name)
}

/// OSP writes `[ip]:port`; configuration may write `ip:port`.
fn bare(address: &str) -> String {
    address.chars().filter(|letter| !matches!(letter, '[' | ']')).collect()
}

#[cfg(test)]
mod tests;
