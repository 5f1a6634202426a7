//! AuthorizationRequest: routes, a price reserved, a token for each gateway.

use crate::books::{Books, code, transfer_id};
use crate::config::CustomerRole;
use crate::events::Event;
use crate::number::{bracketed_address, calling, digits};
use crate::{Clearinghouse, Prepared, unavailable};
use std::time::Duration;
use strowger_cdr::{AuthorizedCall, Candidate as NamedGateway, Party};
use strowger_clock::Timestamp;
use strowger_ledger::{Currency, Money, Transfer, TransferKind, Why};
use strowger_osp::{
    AuthorizationConfirmation, AuthorizationIndication, AuthorizationRequest, AuthorizationResponse, Base64, Body,
    Destination, PricingIndication, Service, Status, Typed, UsageDetail, alternate,
};
use strowger_routing::{Candidate, Dropped, Query, Ranking, WhyDropped, rank};
use strowger_store::{AuthorizationRecord, AuthorizationState, CandidateRecord, DroppedRecord, Record};
use strowger_token::TokenInfo;

/// The longest call id that a token carries to every client in the field.
const MAXIMUM_CALL_ID_OCTETS: usize = 148;

/// What a request asks, understood.
struct Asked {
    calling: String,
    called: String,
    ceiling: Option<Money>,
    preferred: Option<String>,
    maximum: usize,
}

impl Clearinghouse {
    pub(crate) fn authorize(&self, request: &AuthorizationRequest, source: &Party) -> Result<Prepared, Status> {
        let customer = self.config.customer(&source.customer).ok_or_else(|| Status::of(Status::UNAUTHORIZED))?;
        if customer.role == CustomerRole::Terminating {
            return Err(Status::of(Status::MAY_NOT_ORIGINATE));
        }
        let currency = customer.currency.unwrap_or(self.config.currency);
        let asked = self.understand(request)?;
        let now = self.timestamp();
        let record = {
            let mut books = self.books();
            let slot = self.store.reserve().map_err(|error| unavailable(&error))?;
            let ranking = rank(
                &self.table,
                &books.health,
                self.now(),
                &Query {
                    called: &asked.called,
                    source_customer: &source.customer,
                    currency,
                    ceiling_per_minute: asked.ceiling,
                    preferred: asked.preferred.as_deref(),
                    maximum: asked.maximum,
                },
            );
            let (record, transfers) = self.reserve(&mut books, now, request, source, currency, asked, ranking)?;
            let mut records: Vec<Record> = transfers.into_iter().map(Record::Transfer).collect();
            records.push(Record::Authorization(record.clone()));
            (slot.commit(records), record)
        };
        let (durable, record) = record;
        // signing takes tens of microseconds; the disk is flushed meanwhile
        let destinations = self.destinations(&record)?;
        let event = Event::Authorized {
            transaction: record.call.transaction,
            customer: source.customer.clone(),
            called: record.call.called.clone(),
            devices: record.call.candidates.iter().map(|candidate| candidate.party.device.clone()).collect(),
            granted_seconds: record.granted_seconds,
            reserved: record.reserved,
        };
        let body = Body::AuthorizationResponse(AuthorizationResponse {
            timestamp: Some(now),
            status: Status::success(),
            transaction_id: Some(record.call.transaction),
            destinations,
        });
        Ok(Prepared { body: Some(body), durable: Some(durable), events: vec![event] })
    }

    fn understand(&self, request: &AuthorizationRequest) -> Result<Asked, Status> {
        let calling = request.calling().and_then(calling).ok_or_else(|| Status::of(Status::CALLING_NUMBER_INVALID))?;
        let called = request
            .called()
            .and_then(digits)
            .ok_or_else(|| Status::with_description(Status::NO_ROUTE, "the called number is not an E.164 number"))?;
        if request.call_ids.iter().any(|id| id.0.is_empty() || id.0.len() > MAXIMUM_CALL_ID_OCTETS) {
            let what = format!("a call id has 1 to {MAXIMUM_CALL_ID_OCTETS} octets");
            return Err(Status::with_description(Status::BAD_REQUEST, what));
        }
        if request.service.as_ref().is_some_and(|service| service.name() != "voice" && service.name() != "video") {
            return Err(Status::with_description(Status::BLOCKED, "only voice and video calls are routed"));
        }
        let asked_for = request.maximum_destinations.unwrap_or(self.config.maximum_destinations);
        Ok(Asked {
            calling,
            called,
            ceiling: request.pricing.first().and_then(per_minute),
            preferred: request.destination_alternates.first().map(|preferred| preferred.value.trim().to_owned()),
            maximum: asked_for.min(self.config.maximum_destinations) as usize,
        })
    }

    /// Reserves the price of the longest call that the balance affords, and writes the authorization down.
    #[allow(clippy::too_many_arguments)]
    fn reserve(
        &self,
        books: &mut Books,
        now: Timestamp,
        request: &AuthorizationRequest,
        source: &Party,
        currency: Currency,
        asked: Asked,
        ranking: Ranking,
    ) -> Result<(AuthorizationRecord, Vec<strowger_ledger::Record>), Status> {
        let no_account = || Status::with_description(Status::INTERNAL_ERROR, "no account");
        let payer = books.customer_account(&source.customer, currency).ok_or_else(no_account)?;
        let house = books.house_account(currency).ok_or_else(no_account)?;
        if ranking.candidates.is_empty() {
            return Err(no_route(&ranking.dropped));
        }
        let available = books.ledger.available_nanos(payer).unwrap_or(i64::MAX);
        let (candidates, mut dropped, granted) = self.affordable(ranking, Money::from_nanos(available, currency));
        if candidates.is_empty() {
            return Err(Status::with_description(Status::BLOCKED, "the balance does not pay for the shortest call"));
        }
        // the dearest gateway may be the one that answers
        let prices = candidates.iter().map(|candidate| candidate.route.sell.cost(granted).map_or(0, |cost| cost.nanos));
        let reserved = Money::from_nanos(prices.max().unwrap_or(0), currency);
        let transaction = books.next_transaction(now);
        let expires = self.reservation_expires(now, granted);
        let mut transfers = Vec::new();
        let mut pendings = Vec::new();
        if reserved.nanos > 0 {
            let transfer = Transfer {
                id: transfer_id(transaction, code::RESERVATION, 0),
                debit: payer,
                credit: house,
                amount: reserved,
                kind: TransferKind::Pending { expires: Some(expires) },
                code: code::RESERVATION,
                reference: transaction,
            };
            let applied = books.ledger.apply(now, &[transfer]).map_err(|refusal| match refusal.why {
                Why::InsufficientFunds { .. } => {
                    Status::with_description(Status::BLOCKED, "the balance does not pay for the call")
                }
                why => Status::with_description(Status::INTERNAL_ERROR, why.to_string()),
            })?;
            transfers = applied.into_records();
            pendings.push(transfer.id);
        }
        let call_ids = |rank: usize| request.call_id_for(rank).map(|id| id.0.clone()).unwrap_or_default();
        let record = AuthorizationRecord {
            candidates: candidates
                .iter()
                .enumerate()
                .map(|(rank, candidate)| CandidateRecord {
                    sell: candidate.route.sell,
                    cost: candidate.route.cost,
                    nonce: books.random.alphanumeric(22),
                    call_id: call_ids(rank),
                    prefix: candidate.route.prefix.clone(),
                    why: candidate.why.to_string(),
                })
                .collect(),
            call: AuthorizedCall {
                transaction,
                calling: asked.calling,
                called: asked.called,
                source: source.clone(),
                candidates: candidates.iter().map(named).collect(),
                at: now,
                expires,
            },
            dropped: dropped.drain(..).map(dropped_record).collect(),
            granted_seconds: granted,
            valid_after_unix_seconds: now.unix_seconds().saturating_sub(self.config.clock_skew_seconds.into()),
            valid_until_unix_seconds: now.unix_seconds().saturating_add(self.config.token_validity_seconds.into()),
            reserved,
            pendings,
            state: AuthorizationState::Open,
        };
        books.matcher.authorized(record.call.clone());
        books.open.insert(transaction, record.clone());
        Ok((record, transfers))
    }

    /// The candidates that the money pays for, and the longest call that it pays for with each of them.
    fn affordable(&self, ranking: Ranking, available: Money) -> (Vec<Candidate>, Vec<Dropped>, u32) {
        let (mut candidates, mut dropped, mut granted) =
            (Vec::new(), ranking.dropped, self.config.maximum_granted_seconds);
        for candidate in ranking.candidates {
            match candidate.route.sell.affordable_seconds(available, self.config.maximum_granted_seconds) {
                Ok(seconds) if seconds > 0 => {
                    granted = granted.min(seconds);
                    candidates.push(candidate);
                }
                _ => dropped.push(Dropped { route: candidate.route, why: WhyDropped::Unaffordable }),
            }
        }
        (candidates, dropped, granted)
    }

    /// Until when money is reserved: the token's end, the call, the wait for both reports, and a margin.
    pub(crate) fn reservation_expires(&self, now: Timestamp, granted_seconds: u32) -> Timestamp {
        let config = &self.config;
        let seconds = u64::from(config.token_validity_seconds)
            + u64::from(granted_seconds)
            + u64::from(config.usage_match_seconds)
            + u64::from(self.config.reservation_margin_seconds);
        now + Duration::from_secs(seconds)
    }

    fn destinations(&self, record: &AuthorizationRecord) -> Result<Vec<Destination>, Status> {
        (0..record.candidates.len()).map(|rank| self.destination(record, rank, record.granted_seconds)).collect()
    }

    /// The answer's entry for one gateway, with its token.
    pub(crate) fn destination(
        &self,
        record: &AuthorizationRecord,
        rank: usize,
        granted_seconds: u32,
    ) -> Result<Destination, Status> {
        let gone = || Status::with_description(Status::INTERNAL_ERROR, "no such candidate");
        let (gateway, candidate) =
            record.call.candidates.get(rank).zip(record.candidates.get(rank)).ok_or_else(gone)?;
        let info = TokenInfo {
            calling: record.call.calling.clone(),
            called: record.call.called.clone(),
            call_id: candidate.call_id.clone(),
            valid_after: Timestamp::from_unix_seconds(record.valid_after_unix_seconds),
            valid_until: Timestamp::from_unix_seconds(record.valid_until_unix_seconds),
            transaction_id: record.call.transaction,
            granted_seconds,
            gateway: gateway.party.device.clone(),
            nonce: candidate.nonce.clone(),
        };
        let token = self.signer.sign(&info).map_err(|error| {
            tracing::error!(%error, transaction = record.call.transaction, "a token cannot be signed");
            Status::with_description(Status::INTERNAL_ERROR, "the token cannot be signed")
        })?;
        let network = self.table.device(&gateway.party.device).and_then(|device| device.network.clone());
        Ok(Destination {
            source_info: vec![Typed::new(writing(&record.call.calling), record.call.calling.clone())],
            destination_info: vec![Typed::new("e164", record.call.called.clone())],
            signal_address: Some(bracketed_address(&gateway.address)),
            destination_alternates: network.map(|name| Typed::new(alternate::NETWORK, name)).into_iter().collect(),
            tokens: vec![Base64(token)],
            valid_after: Some(info.valid_after),
            valid_until: Some(info.valid_until),
            usage_details: vec![UsageDetail {
                service: Some(Service::default()),
                amount: Some(u64::from(granted_seconds)),
                increment: Some(1),
                unit: Some("s".into()),
                ..UsageDetail::default()
            }],
            call_id: Some(Base64(candidate.call_id.clone())),
            signaling_protocol: Some("sip".into()),
            ..Destination::default()
        })
    }

    /// A gateway asks whether a call that reached it may go on: if the token is ours, its own, within its time, and the call is open.
    pub(crate) fn confirm_authorization(
        &self,
        indication: &AuthorizationIndication,
        gateway: &Party,
    ) -> Result<Prepared, Status> {
        let now = self.timestamp();
        let token = indication.tokens.first().ok_or_else(|| {
            Status::with_description(
                Status::BAD_REQUEST,
                "mandatory element Token is missing in AuthorizationIndication",
            )
        })?;
        let info = self.verifier.verify(&token.0).map_err(|_| Status::of(Status::SIGNATURE_INVALID))?;
        if info.gateway != gateway.device {
            return Err(Status::with_description(Status::BLOCKED, "the token is another gateway's"));
        }
        if now < info.valid_after {
            return Err(Status::of(Status::TIME_TOO_YOUNG));
        }
        if now >= info.valid_until {
            return Err(Status::of(Status::TIME_TOO_OLD));
        }
        if !self.books().open.contains_key(&info.transaction_id) {
            return Err(Status::with_description(Status::BLOCKED, "the call is not open"));
        }
        Ok(Prepared::now(Body::AuthorizationConfirmation(AuthorizationConfirmation {
            timestamp: Some(now),
            status: Status::success(),
            valid_after: Some(info.valid_after),
            valid_until: Some(info.valid_until),
        })))
    }
}

fn named(candidate: &Candidate) -> NamedGateway {
    let device = &candidate.device;
    NamedGateway {
        party: Party { customer: device.customer.clone(), device: device.id.clone() },
        address: crate::number::bare_address(&device.address),
    }
}

fn dropped_record(dropped: Dropped) -> DroppedRecord {
    let why = dropped.why.to_string();
    DroppedRecord { prefix: dropped.route.prefix, device: dropped.route.device, why }
}

/// Why nobody carries the call, from the routes that were left out.
fn no_route(dropped: &[Dropped]) -> Status {
    match dropped.first() {
        Some(first) => {
            Status::with_description(Status::NO_ROUTE, format!("no route to the destination: {}", first.why))
        }
        None => Status::of(Status::NO_ROUTE),
    }
}

fn writing(party: &str) -> &'static str {
    if party.bytes().all(|byte| byte.is_ascii_digit()) { "e164" } else { "sip" }
}

/// A price per increment of a unit as a price per minute. Prices of anything but time are no ceiling for a call.
fn per_minute(pricing: &PricingIndication) -> Option<Money> {
    let amount = i128::from(pricing.amount.as_ref()?.nanos);
    let currency: Currency = pricing.currency.as_deref()?.trim().parse().ok()?;
    let increment = i128::from(pricing.increment.unwrap_or(1).max(1));
    let in_a_minute = match pricing.unit.as_deref().map(str::trim) {
        Some("s") | None => 60,
        Some("min" | "m") => 1,
        _ => return None,
    };
    let nanos = amount.checked_mul(in_a_minute)? / increment;
    Some(Money::from_nanos(i64::try_from(nanos).ok()?, currency))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_osp::Decimal;

    #[test]
    fn ceilings_are_prices_of_a_minute() {
        let pricing = |unit: Option<&str>, increment| PricingIndication {
            amount: Some(Decimal { nanos: 10_000_000 }),
            increment: Some(increment),
            unit: unit.map(str::to_owned),
            currency: Some("USD".into()),
            ..PricingIndication::default()
        };
        let nanos = |unit, increment| per_minute(&pricing(unit, increment)).map(|money| money.nanos);
        assert_eq!(nanos(Some("s"), 1), Some(600_000_000));
        assert_eq!(nanos(Some("s"), 60), Some(10_000_000));
        assert_eq!(nanos(Some("min"), 1), Some(10_000_000));
        assert_eq!(nanos(None, 60), Some(10_000_000));
        assert_eq!(nanos(Some("pkt"), 1), None);
    }
}
