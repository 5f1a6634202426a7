//! UsageIndication: reports taken once, paired, and settled.

use crate::events::Event;
use crate::number::{bare_address, calling, digits};
use crate::{Clearinghouse, Prepared, unavailable};
use std::time::Duration;
use strowger_cdr::{CdrState, Disposition, Party, Report, ReportKey, ReportState, Role};
use strowger_clock::Timestamp;
use strowger_osp::{Body, Component, Confirmation, Message, State, Status, Typed, UsageIndication};
use strowger_store::{AuthorizationRecord, AuthorizationState, CdrRecord, Record, StoreError, UsageRecord};

/// Seconds of more than a week are no telephone call: such a report is refused, not rated.
pub(crate) const MAXIMUM_REPORTED_SECONDS: u64 = 604_800;

/// A closed call that a late report may open again.
struct Closed {
    authorization: AuthorizationRecord,
    cdr: Option<CdrRecord>,
    known: bool,
}

impl Clearinghouse {
    pub(crate) async fn usage(
        &self,
        indication: &UsageIndication,
        reporter: &Party,
        component: &Component,
    ) -> Result<Prepared, Status> {
        let now = self.timestamp();
        let report = understand(indication, reporter, now)?;
        let transaction = report.key.transaction;
        if !self.is_open(transaction)
            && let Some(closed) = self.closed(&report).await?
        {
            return self.late(report, closed, component);
        }
        if let Some(prepared) = self.take(&report, component)? {
            return Ok(prepared);
        }
        // the call was closed between the two looks
        match self.closed(&report).await? {
            Some(closed) => self.late(report, closed, component),
            None => self.unknown(&report, "usage-unknown", Status::BAD_REQUEST, "there is no such transaction"),
        }
    }

    fn is_open(&self, transaction: u64) -> bool {
        self.books().open.contains_key(&transaction)
    }

    /// Takes a report of an open call; `None` when the call is not open.
    fn take(&self, report: &Report, component: &Component) -> Result<Option<Prepared>, Status> {
        let now = report.received_at;
        let mut books = self.books();
        let slot = self.store.reserve().map_err(|error| unavailable(&error))?;
        match books.matcher.handle(now, report.clone()) {
            Disposition::Taken => {
                let mut events = vec![reported(report)];
                let mut records = vec![Record::Usage(UsageRecord { report: report.clone(), xml: xml(component) })];
                self.settle_closed(&mut books, now, &mut records, &mut events);
                Ok(Some(Prepared { durable: Some(slot.commit(records)), events, ..self.confirmed(component) }))
            }
            // the first one may still be on its way to the disk: the fence waits for it
            Disposition::Repeated => {
                Ok(Some(Prepared { durable: Some(slot.commit(vec![])), ..self.confirmed(component) }))
            }
            Disposition::TooMany => {
                Err(Status::with_description(Status::RATE_EXCEEDED, "too many reports for one call"))
            }
            Disposition::Unknown => Ok(None),
            Disposition::NotAParty => {
                drop((books, slot));
                let why = "the device has no part in the transaction";
                self.unknown(report, "usage-not-a-party", Status::UNAUTHORIZED, why).map(Some)
            }
        }
    }

    /// Refuses a report, and keeps in the audit that it came.
    fn unknown(&self, report: &Report, what: &str, code: u16, why: &str) -> Result<Prepared, Status> {
        let mut books = self.books();
        let slot = self.store.reserve().map_err(|error| unavailable(&error))?;
        let key = &report.key;
        let detail = format!("{}/{} as {:?}", key.customer, key.device, key.role);
        let entry = books.audit(report.received_at, what, Some(key.transaction), detail);
        let (timestamp, status) = (Some(report.received_at), Status::with_description(code, why));
        let (customer, description) = (key.customer.clone(), why.to_owned());
        Ok(Prepared {
            body: Some(Body::UsageConfirmation(Confirmation { timestamp, status })),
            durable: Some(slot.commit(entry.into_iter().collect::<Vec<_>>())),
            events: vec![Event::Refused { customer, status: code, description }],
        })
    }

    /// The call when it was settled before. Reads the store, off the asynchronous workers.
    async fn closed(&self, report: &Report) -> Result<Option<Closed>, Status> {
        let (store, key) = (self.store.clone(), report.key.clone());
        // the report that closed the call may still be on its way to the disk
        let fence = store.reserve().map_err(|error| unavailable(&error))?.commit(vec![]);
        fence.await.map_err(|error| unavailable(&error))?;
        let read = move || -> Result<Option<Closed>, StoreError> {
            let Some(authorization) = store.authorization(key.transaction)? else { return Ok(None) };
            let cdr = store.cdr(key.transaction)?;
            let known = store.usage(key.transaction)?.iter().any(|usage| usage.report.key == key);
            Ok(Some(Closed { authorization, cdr, known }))
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|_| Status::of(Status::INTERNAL_ERROR))?.map_err(|error| unavailable(&error))
    }

    /// A report for a call that was settled. A repeated one is confirmed. A new one is evidence, and audited; where nothing had been reported
    /// when the call's time was over, the call opens again and is settled by what is now known.
    fn late(&self, report: Report, closed: Closed, component: &Component) -> Result<Prepared, Status> {
        let now = self.timestamp();
        let mut books = self.books();
        let slot = self.store.reserve().map_err(|error| unavailable(&error))?;
        if closed.known {
            return Ok(Prepared { durable: Some(slot.commit(vec![])), ..self.confirmed(component) });
        }
        let call = &closed.authorization.call;
        let reporter = Party { customer: report.key.customer.clone(), device: report.key.device.clone() };
        if call.source != reporter && !call.candidates.iter().any(|candidate| candidate.party == reporter) {
            return Err(Status::with_description(Status::UNAUTHORIZED, "the device has no part in the transaction"));
        }
        let transaction = call.transaction;
        let detail = format!("{}/{} reports {} s", reporter.customer, reporter.device, report.duration_seconds);
        let mut events = vec![reported(&report)];
        let mut records = vec![Record::Usage(UsageRecord { report: report.clone(), xml: xml(component) })];
        records.extend(books.audit(now, "usage-late", Some(transaction), detail));
        let unreported = closed.cdr.is_some_and(|record| record.cdr.state == CdrState::Unreported);
        if unreported && report.key.state == ReportState::Stop && !books.open.contains_key(&transaction) {
            let mut authorization = closed.authorization;
            authorization.state = AuthorizationState::Open;
            authorization.call.expires = now + Duration::from_secs(self.config.usage_match_seconds.into());
            books.matcher.authorized(authorization.call.clone());
            records.push(Record::Authorization(authorization.clone()));
            books.open.insert(transaction, authorization);
            books.matcher.handle(now, report);
            self.settle_closed(&mut books, now, &mut records, &mut events);
        }
        Ok(Prepared { durable: Some(slot.commit(records)), events, ..self.confirmed(component) })
    }
}

fn reported(report: &Report) -> Event {
    Event::UsageReported {
        transaction: report.key.transaction,
        device: report.key.device.clone(),
        role: match report.key.role {
            Role::Source => "source",
            Role::Destination => "destination",
            Role::Other => "other",
        },
        state: match report.key.state {
            ReportState::Start => "start",
            ReportState::Interim => "interim",
            ReportState::Stop => "stop",
        },
        seconds: report.duration_seconds,
        cause: report.cause,
    }
}

fn xml(component: &Component) -> String {
    Message { message_id: String::new(), random: None, components: vec![component.clone()] }.to_xml()
}

fn understand(indication: &UsageIndication, reporter: &Party, now: Timestamp) -> Result<Report, Status> {
    let duration_seconds = indication.duration_seconds();
    if duration_seconds > MAXIMUM_REPORTED_SECONDS {
        let what = format!("a call of more than {MAXIMUM_REPORTED_SECONDS} seconds is not taken");
        return Err(Status::with_description(Status::BAD_REQUEST, what));
    }
    let number = |party: Option<&Typed>, read: fn(&Typed) -> Option<String>| party.and_then(read).unwrap_or_default();
    let called = number(indication.called(), digits);
    let address = indication.destination_address().map(bare_address);
    let role = match &indication.role {
        strowger_osp::Role::Source => Role::Source,
        strowger_osp::Role::Destination => Role::Destination,
        _ => Role::Other,
    };
    let state = match indication.role_info.as_ref().and_then(|info| info.state.as_ref()) {
        Some(State::Start) => ReportState::Start,
        Some(State::Interim) => ReportState::Interim,
        // a report that does not say which part of the call it is about is about all of it
        _ => ReportState::Stop,
    };
    let detail =
        |time: fn(&strowger_osp::UsageDetail) -> Option<Timestamp>| indication.usage_details.iter().find_map(time);
    Ok(Report {
        key: ReportKey {
            customer: reporter.customer.clone(),
            device: reporter.device.clone(),
            transaction: indication.transaction_id,
            role,
            call_id: indication.call_id.0.clone(),
            destination: format!("{called}@{}", address.as_deref().unwrap_or_default()),
            attempt: indication.setup_attempt.unwrap_or(0),
            state,
            interim_seconds: if state == ReportState::Interim { duration_seconds } else { 0 },
        },
        received_at: now,
        calling: number(indication.calling(), calling),
        called,
        destination_address: address,
        total_attempts: indication.total_setup_attempts,
        duration_seconds,
        cause: indication.q850_cause(),
        sip_status: indication.sip_status(),
        start: detail(|detail| detail.start_time),
        alert: detail(|detail| detail.alert_time),
        // a time of connection in a report of a failed call is the epoch with some clients
        connect: detail(|detail| detail.connect_time).filter(|connect| connect.unix_seconds() > 0),
        end: detail(|detail| detail.end_time),
        release_source: indication.usage_details.iter().find_map(|detail| detail.release_source.clone()),
    })
}
