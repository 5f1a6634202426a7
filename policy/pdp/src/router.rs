//! Routers: base policy at boot, changes to all of them at once, reports in order, replay after a loss (RFC 3084).

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use strowger_clock::Moment;
use strowger_cops::{
    CLIENT_TYPE_PROVISIONING, Command, Context, Decision, DecisionObject, ErrorCode, ErrorObject, Message, Op,
    ReportType, RequestType,
};
use strowger_pib::flow::{self, BasePolicy, MediaFlow};
use strowger_pib::named::{self, NamedObject};
use strowger_pib::{Oid, PibError, Row};

use crate::call::CallId;
use crate::event::{Event, RefusalKind};
use crate::operation::{Operation, OperationId, Then};
use crate::pdp::{ConnectionId, Pdp};

/// Flows in one decision; more are sent in several.
const FLOWS_PER_DECISION_MAX: usize = 64;
/// Classes of the Framework and DiffServ PIBs that a PDP installs: the prefixes that a fresh start clears.
const CLEARED: [&[u32]; 2] = [&[1, 3, 6, 1, 2, 2, 2, 3], &[1, 3, 6, 1, 2, 2, 4, 2]];

#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) connection: ConnectionId,
    handle: Bytes,
    /// Decisions whose reports are due, oldest first.
    outstanding: VecDeque<Outstanding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outstanding {
    /// The base policy, with so many replayed flows.
    Base(usize),
    /// More replayed flows.
    Replay,
    Operation(OperationId),
}

/// What a change does to one call's rows.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) removes: Vec<u32>,
    pub(crate) installs: Vec<(u32, MediaFlow)>,
}

impl Pdp {
    pub(crate) fn router_message(&mut self, now: Moment, id: ConnectionId, pep_id: &str, message: &Message) {
        match message.op {
            Op::Request => self.router_request(now, id, pep_id, message),
            Op::ReportState => self.router_report(now, id, pep_id, message),
            Op::DeleteRequestState
                if self.routers.get(pep_id).is_some_and(|router| Some(&router.handle) == message.handle()) =>
            {
                self.router_lost(now, id, pep_id);
            }
            _ => {}
        }
    }

    fn router_request(&mut self, now: Moment, id: ConnectionId, pep_id: &str, message: &Message) {
        let (Some(handle), Some(context)) = (message.handle().cloned(), message.context()) else { return };
        if !context.request_type.contains(RequestType::CONFIGURATION) {
            let error = ErrorObject { code: ErrorCode::UnableToProcess, sub_code: 0 };
            return self.send(id, &Message::decision_error(CLIENT_TYPE_PROVISIONING, handle, error));
        }
        let mut base = self.config.base.clone();
        let mut rows = Vec::new();
        for data in message.named_info() {
            match named::decode(data).and_then(|objects| notified_rows(&objects)) {
                Ok(found) => rows.extend(found),
                Err(_) => {
                    self.refuse(id, RefusalKind::Malformed);
                    let error = ErrorObject { code: ErrorCode::BadMessageFormat, sub_code: 0 };
                    return self.send(id, &Message::decision_error(CLIENT_TYPE_PROVISIONING, handle, error));
                }
            }
        }
        adopt_roles(&mut base, &rows);
        // A second request state of one router replaces the first: its old decisions have no reports any more.
        self.router_lost(now, id, pep_id);
        let flows: Vec<(u32, MediaFlow)> = self.installed_flows();
        let address = self.connections.get(&id).map(|connection| connection.peer);
        if let Some(address) = address {
            self.event(Event::RouterConnected { router: pep_id.to_owned(), address, roles: base.roles.clone() });
        }
        let mut chunks = flows.chunks(FLOWS_PER_DECISION_MAX);
        let first = chunks.next().unwrap_or_default();
        let mut installs = base.rows();
        installs.extend(flow_rows(first));
        let clear: Vec<NamedObject> = CLEARED.iter().map(|prefix| NamedObject::PrefixPrid(Oid::new(prefix))).collect();
        let decisions = [
            decision(Command::Remove, named::encode(&clear)),
            decision(Command::Install, flow::install_data(&installs)),
        ];
        let message = Message::decision(CLIENT_TYPE_PROVISIONING, handle.clone(), true, &decisions);
        self.send(id, &message);
        let mut outstanding = VecDeque::from([Outstanding::Base(flows.len())]);
        for chunk in chunks {
            let decisions = [decision(Command::Install, flow::install_data(&flow_rows(chunk)))];
            self.send(id, &Message::decision(CLIENT_TYPE_PROVISIONING, handle.clone(), false, &decisions));
            outstanding.push_back(Outstanding::Replay);
        }
        self.routers.insert(pep_id.to_owned(), Router { connection: id, handle, outstanding });
    }

    fn router_report(&mut self, now: Moment, id: ConnectionId, pep_id: &str, message: &Message) {
        let Some(router) = self.routers.get_mut(pep_id).filter(|router| Some(&router.handle) == message.handle())
        else {
            return self.refuse(id, RefusalKind::UnknownHandle);
        };
        let kind = message.report_type().unwrap_or(ReportType::Failure);
        if kind == ReportType::Accounting {
            return self.router_usage(message);
        }
        let error =
            message.named_info().find_map(|data| named::decode(data).ok().and_then(|all| named::find_error(&all)));
        // Tolerant of a missing solicited flag: a success or failure while a decision is out belongs to it.
        let Some(answered) = router.outstanding.pop_front() else {
            return self.event(Event::RouterFailed { router: pep_id.to_owned(), error });
        };
        let ok = kind == ReportType::Success;
        if !ok {
            self.event(Event::RouterFailed { router: pep_id.to_owned(), error: error.clone() });
        }
        match answered {
            Outstanding::Base(replayed_flows) if ok => {
                self.event(Event::RouterReady { router: pep_id.to_owned(), replayed_flows });
            }
            // Without base policy no flow row can hold: it is not a router of ours until it asks again.
            Outstanding::Base(_) => self.router_lost(now, id, pep_id),
            Outstanding::Replay => {}
            Outstanding::Operation(operation) => {
                let failure = (!ok).then(|| match &error {
                    Some(error) => format!("router {pep_id} failed: {error}"),
                    None => format!("router {pep_id} failed"),
                });
                self.operation_reported(now, operation, pep_id, failure);
            }
        }
    }

    /// Counters of flows (RFC 3571): the largest count of any router is the flow's.
    fn router_usage(&mut self, message: &Message) {
        let rows: Vec<Row> = message
            .named_info()
            .filter_map(|data| named::decode(data).and_then(|objects| notified_rows(&objects)).ok())
            .flatten()
            .collect();
        for row in rows {
            let Row::FrwkFeedbackTraffic(usage) = row else { continue };
            let Some(call) = self.instances.get(&usage.reference) else { continue };
            if let Some(call) = self.calls.get_mut(call) {
                call.count(usage.reference, usage.packets, usage.octets);
            }
        }
    }

    /// The router is gone: nobody waits for its reports; its rows stay meant and are replayed when it asks again.
    pub(crate) fn router_lost(&mut self, now: Moment, id: ConnectionId, pep_id: &str) {
        if self.routers.get(pep_id).is_none_or(|router| router.connection != id) {
            return;
        }
        let Some(router) = self.routers.remove(pep_id) else { return };
        self.event(Event::RouterLost { router: pep_id.to_owned() });
        for outstanding in router.outstanding {
            if let Outstanding::Operation(operation) = outstanding {
                self.operation_router_lost(now, operation, pep_id);
            }
        }
    }

    /// Sends one change to every connected router. `None`: there is none.
    pub(crate) fn change_routers(
        &mut self,
        now: Moment,
        call: CallId,
        change: &Change,
        then: Then,
    ) -> Option<OperationId> {
        if self.routers.is_empty() {
            return None;
        }
        self.operations_used += 1;
        let operation = OperationId(self.operations_used);
        let mut decisions = Vec::new();
        if !change.removes.is_empty() {
            let prids: Vec<Oid> = change.removes.iter().flat_map(|instance| MediaFlow::prids(*instance)).collect();
            decisions.push(decision(Command::Remove, flow::remove_data(&prids)));
        }
        if !change.installs.is_empty() {
            decisions.push(decision(Command::Install, flow::install_data(&flow_rows(&change.installs))));
        }
        let mut pending = BTreeSet::new();
        let mut messages = Vec::new();
        for (pep_id, router) in &mut self.routers {
            router.outstanding.push_back(Outstanding::Operation(operation));
            let message = Message::decision(CLIENT_TYPE_PROVISIONING, router.handle.clone(), false, &decisions);
            messages.push((router.connection, message));
            pending.insert(pep_id.clone());
        }
        for (connection, message) in messages {
            self.send(connection, &message);
        }
        let deadline = now + Duration::from_millis(self.config.report_time_ms);
        self.operations.insert(operation, Operation { call, then, pending, confirmed: 0, failure: None, deadline });
        Some(operation)
    }

    fn operation_reported(&mut self, now: Moment, id: OperationId, pep_id: &str, failure: Option<String>) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.pending.remove(pep_id);
        match failure {
            None => operation.confirmed += 1,
            Some(failure) => drop(operation.failure.get_or_insert(failure)),
        }
        self.finish_if_complete(now, id);
    }

    fn operation_router_lost(&mut self, now: Moment, id: OperationId, pep_id: &str) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.pending.remove(pep_id);
        }
        self.finish_if_complete(now, id);
    }

    pub(crate) fn operation_late(&mut self, now: Moment, id: OperationId) {
        if let Some(operation) = self.operations.get_mut(&id) {
            let late: Vec<String> = std::mem::take(&mut operation.pending).into_iter().collect();
            let failure = format!("no report in time from {}", late.join(", "));
            operation.failure.get_or_insert(failure);
        }
        self.finish_if_complete(now, id);
    }

    fn finish_if_complete(&mut self, now: Moment, id: OperationId) {
        if self.operations.get(&id).is_some_and(|operation| operation.pending.is_empty())
            && let Some(operation) = self.operations.remove(&id)
        {
            self.operation_finished(now, operation);
        }
    }
}

/// A COPS-PR decision of one command.
fn decision(command: Command, data: Vec<u8>) -> Decision {
    Decision {
        context: Context { request_type: RequestType::CONFIGURATION, message_type: 0 },
        command,
        flags: 0,
        data: vec![DecisionObject::Named(Bytes::from(data))],
    }
}

fn flow_rows(flows: &[(u32, MediaFlow)]) -> Vec<Row> {
    flows.iter().filter_map(|(instance, flow)| flow.rows(*instance)).flatten().collect()
}

/// The rows of a request or report. Classes we do not know are the router's business.
fn notified_rows(objects: &[NamedObject]) -> Result<Vec<Row>, PibError> {
    let mut rows = Vec::new();
    for pair in objects.chunks(2) {
        if let [NamedObject::Prid(prid), NamedObject::Epd(values)] = pair
            && let Ok(row) = Row::from_values(prid, values)
        {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The policy is for the roles and capability set that the router has.
fn adopt_roles(base: &mut BasePolicy, rows: &[Row]) {
    for row in rows {
        match row {
            Row::FrwkRoleCombo(combination) => {
                base.roles = String::from_utf8_lossy(&combination.roles).into_owned();
                base.capability_set = String::from_utf8_lossy(&combination.capability_set).into_owned();
                return;
            }
            Row::FrwkCapabilitySet(set) => base.capability_set = String::from_utf8_lossy(&set.name).into_owned(),
            _ => {}
        }
    }
}
