//! Requests of proxies: admission, answers, changes and teardown of calls.

use std::time::Duration;

use bytes::Bytes;
use strowger_clock::Moment;
use strowger_cops::sip::{DecisionData, Phase};
use strowger_cops::{
    CLIENT_TYPE_SIP, Command, Decision, DecisionObject, ErrorCode, ErrorObject, Message, Op, ReportType,
};
use strowger_pib::flow::{FLOW_INSTANCE_MIN, MediaFlow};
use strowger_sip as sip;

use crate::call::{Asked, Call, CallId, CallKey, Counted, Exchange, State};
use crate::event::{CallName, Event, RefusalKind};
use crate::media::{self, Agreed, MediaError, Session};
use crate::operation::{Operation, Then};
use crate::pdp::{ConnectionId, Pdp};
use crate::router::Change;

/// Requests of one call that wait for the open one; a PEP should never have even one (RFC 2748 §3.2).
const REQUESTS_WAITING_MAX: usize = 8;

impl Pdp {
    pub(crate) fn proxy_message(&mut self, now: Moment, id: ConnectionId, pep_id: &str, message: &Message) {
        if message.op == Op::SynchronizeComplete {
            return self.synchronized(now, id, pep_id);
        }
        let Some(handle) = message.handle().cloned() else { return };
        let key = CallKey { pep_id: pep_id.to_owned(), handle };
        match message.op {
            Op::Request => self.proxy_request(now, id, key, message),
            Op::ReportState => match self.call_keys.get(&key).and_then(|call| self.calls.get(call)) {
                Some(call) => {
                    let ok = message.report_type() == Some(ReportType::Success);
                    let event = Event::ProxyReport { call: call.name.clone(), ok };
                    self.event(event);
                }
                None => self.refuse(id, RefusalKind::UnknownHandle),
            },
            Op::DeleteRequestState => match self.call_keys.get(&key).copied() {
                // A bare DRQ gets no answer; what is still installed goes all the same.
                Some(call) => {
                    let reason = message.reason().map_or("deleted", |reason| reason.code.text());
                    self.drop_call(now, call, &format!("the proxy deleted it: {reason}"));
                }
                None => self.refuse(id, RefusalKind::UnknownHandle),
            },
            _ => {}
        }
    }

    fn proxy_request(&mut self, now: Moment, id: ConnectionId, key: CallKey, message: &Message) {
        let fail =
            |code| Message::decision_error(CLIENT_TYPE_SIP, key.handle.clone(), ErrorObject { code, sub_code: 0 });
        let phase = message.context().and_then(|context| Phase::from_message_type(context.message_type));
        let Some(phase) = phase else { return self.send(id, &fail(ErrorCode::BadMessageFormat)) };
        let Some(bytes) = message.signaled_info().next().cloned() else {
            return self.send(id, &fail(ErrorCode::MandatoryClientInfoMissing));
        };
        let known = self.call_keys.get(&key).copied();
        let call = match known {
            Some(call) => call,
            None => {
                // Refused calls keep their handle until its DRQ: the table is bounded apart from the budget.
                if self.calls.len() >= self.config.calls_max.saturating_mul(2) {
                    return self.send(id, &fail(ErrorCode::UnableToProcess));
                }
                self.new_call(now, id, key.clone())
            }
        };
        let Some(state) = self.calls.get_mut(&call) else { return };
        state.connection = Some(id);
        if let Some(until) = state.orphaned_until.take() {
            self.orphans.remove(&(until, call));
        }
        if state.asked.is_some() {
            if state.waiting.len() >= REQUESTS_WAITING_MAX {
                return self.send(id, &fail(ErrorCode::UnableToProcess));
            }
            return state.waiting.push_back((phase, bytes));
        }
        self.consider(now, call, phase, bytes);
    }

    fn new_call(&mut self, now: Moment, id: ConnectionId, key: CallKey) -> CallId {
        self.calls_used += 1;
        let call = CallId(self.calls_used);
        self.call_keys.insert(key.clone(), call);
        let name = CallName { pep_id: key.pep_id.clone(), ..CallName::default() };
        self.calls.insert(
            call,
            Call {
                key,
                name,
                connection: Some(id),
                orphaned_until: None,
                state: State::Refused,
                exchange: Exchange::default(),
                reserved_kbps: None,
                admitted: now,
                started: None,
                flows: Vec::new(),
                leaving: Vec::new(),
                past: Vec::new(),
                asked: None,
                waiting: Default::default(),
                deleted: None,
            },
        );
        call
    }

    /// One request, nothing else of this call open.
    fn consider(&mut self, now: Moment, id: CallId, phase: Phase, bytes: Bytes) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.asked = Some(Asked { phase, at: now });
        // What is given back needs no reading: no message is too odd to end a call.
        if phase == Phase::Teardown {
            return self.teardown(now, id);
        }
        let Ok(message) = sip::Message::parse(bytes) else {
            return self.answer_error(id, ErrorCode::UnableToProcess);
        };
        if matches!(call.state, State::Ended) {
            return self.answer(now, id, false, "the call has ended", 0);
        }
        let body = (!message.body().is_empty() && message.has_body_of("application/sdp")).then(|| message.body());
        let session = match body.map(Session::parse).transpose() {
            Ok(session) => session,
            Err(error) => return self.reject(now, id, &error.to_string()),
        };
        if call.reserved_kbps.is_none()
            && let Err(reason) = self.admit(now, id, &message, session.as_ref())
        {
            return self.refuse_call(now, id, &reason);
        }
        match session {
            None => self.without_media(now, id, phase),
            Some(session) => self.with_media(now, id, &message, session),
        }
    }

    fn admit(
        &mut self,
        now: Moment,
        id: CallId,
        message: &sip::Message,
        session: Option<&Session>,
    ) -> Result<(), String> {
        let Some(call) = self.calls.get_mut(&id) else { return Ok(()) };
        let address = |value: Result<sip::NameAddr<'_>, sip::HeaderError>| {
            let value = value.ok()?;
            Some(value.uri().map(|uri| uri.address_of_record()).unwrap_or_default())
        };
        let name = CallName {
            call_id: message.call_id().unwrap_or_default().to_owned(),
            caller: address(message.from()).unwrap_or_default(),
            callee: address(message.to()).unwrap_or_default(),
            pep_id: call.key.pep_id.clone(),
        };
        let kbps = session.map_or(self.config.unknown_call_kbps, |session| session.kbps(&self.config.flows));
        let admitted = self.budget.admit(&self.config, &name.caller, kbps);
        call.name = name;
        if admitted.is_ok() {
            call.state = State::Admitted;
            call.admitted = now;
            call.reserved_kbps = Some(kbps);
        }
        admitted
    }

    fn without_media(&mut self, now: Moment, id: CallId, phase: Phase) {
        let reason = match phase {
            Phase::Setup => "admitted; the offer comes later",
            _ => "nothing to change: the message has no session description",
        };
        self.answer(now, id, true, reason, 0);
    }

    /// Offer or answer: a description answers the open offer of the other direction, else it is an offer itself.
    fn with_media(&mut self, now: Moment, id: CallId, message: &sip::Message, session: Session) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let from_request = message.is_request();
        let answers =
            call.exchange.offer.as_ref().is_some_and(|(_, offered_in_request)| *offered_in_request != from_request);
        if !answers {
            // A response repeats its answer (183, then 200): it fits what is marked already.
            if !from_request && call.state == State::Marked && call.exchange.offer.is_none() {
                return self.answer(now, id, true, "already marked", 0);
            }
            call.exchange.offer = Some((session, from_request));
            return self.answer(now, id, true, "admitted; waiting for the answer to the offer", 0);
        }
        let flows = match &call.exchange.offer {
            Some((offer, _)) => media::flows(offer, &session, &self.config.flows),
            None => Err(MediaError::Mismatch),
        };
        // Forks and repetitions answer the same offer again: it stays until a final answer to an INVITE.
        if from_request || message.status().is_some_and(|status| status >= 200) {
            call.exchange.offer = None;
        }
        match flows {
            Ok(agreed) => self.install(now, id, agreed),
            Err(error) => self.reject(now, id, &error.to_string()),
        }
    }

    /// Makes these the call's flows on every router.
    fn install(&mut self, now: Moment, id: CallId, agreed: Agreed) {
        let Agreed { flows, kbps } = agreed;
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.state == State::Marked && call.media() == flows {
            return self.answer(now, id, true, "already marked", 0);
        }
        if let Some(old) = call.reserved_kbps {
            let caller = call.name.caller.clone();
            if let Err(reason) = self.budget.change(&self.config, &caller, old, kbps) {
                return self.reject(now, id, &reason);
            }
            call.reserved_kbps = Some(kbps);
        }
        if self.routers.is_empty() && self.config.require_router {
            return self.refuse_call(now, id, "no router is connected");
        }
        let new: Vec<Counted> = flows
            .into_iter()
            .map(|flow| Counted { instance: self.take_instance(id), flow, packets: 0, octets: 0 })
            .collect();
        let Some(call) = self.calls.get_mut(&id) else { return };
        let mut old = std::mem::replace(&mut call.flows, new);
        let change = Change {
            removes: old.iter().map(|counted| counted.instance).collect(),
            installs: call.flows.iter().map(|counted| (counted.instance, counted.flow)).collect(),
        };
        call.leaving.append(&mut old);
        call.state = State::Installing;
        if change.removes.is_empty() && change.installs.is_empty() {
            call.state = State::Marked;
            return self.answer(now, id, true, "no stream is used", 0);
        }
        if self.change_routers(now, id, &change, Then::AnswerInstall).is_none() {
            self.settle(id);
            if let Some(call) = self.calls.get_mut(&id) {
                call.state = State::Marked;
            }
            self.answer(now, id, true, "admitted without marks: no router is connected", 0);
        }
    }

    fn teardown(&mut self, now: Moment, id: CallId) {
        match self.remove_flows(now, id, Then::AnswerTeardown) {
            true => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.state = State::Removing;
                }
            }
            false => {
                self.end(now, id, "torn down");
                self.answer(now, id, false, "released; nothing was marked", 0);
            }
        }
    }

    /// Takes the call's rows off every router. `false`: there is nothing to wait for.
    fn remove_flows(&mut self, now: Moment, id: CallId, then: Then) -> bool {
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let mut flows = std::mem::take(&mut call.flows);
        let change = Change { removes: flows.iter().map(|counted| counted.instance).collect(), installs: Vec::new() };
        call.leaving.append(&mut flows);
        !change.removes.is_empty() && self.change_routers(now, id, &change, then).is_some()
    }

    /// All reports of a change are in, or their time is over.
    pub(crate) fn operation_finished(&mut self, now: Moment, operation: Operation) {
        let id = operation.call;
        let routers = operation.confirmed;
        let installing = self.calls.get(&id).is_some_and(|call| call.state == State::Installing);
        match (operation.then, operation.failure) {
            // Deleted or revoked while its rows were on their way: their removal follows them.
            (Then::AnswerInstall, _) if !installing => {}
            (Then::AnswerInstall, Some(failure)) => self.refuse_call(now, id, &failure),
            (Then::AnswerInstall, None) if routers == 0 && self.config.require_router => {
                self.refuse_call(now, id, "the routers were lost before they confirmed");
            }
            (Then::AnswerInstall, None) => {
                self.settle(id);
                if let Some(call) = self.calls.get_mut(&id) {
                    call.state = State::Marked;
                    call.started.get_or_insert(now);
                }
                let reason = match routers {
                    0 => "admitted without marks: the routers were lost".to_owned(),
                    1 => "marked on 1 router".to_owned(),
                    more => format!("marked on {more} routers"),
                };
                self.answer(now, id, true, &reason, routers);
            }
            (Then::AnswerTeardown, failure) => {
                self.end(now, id, "torn down");
                let reason = failure.unwrap_or_else(|| match routers {
                    1 => "released on 1 router".to_owned(),
                    more => format!("released on {more} routers"),
                });
                self.answer(now, id, false, &reason, routers);
            }
            (Then::Close, _) => self.settle(id),
        }
        self.bury_if_done(now, id);
    }

    /// Says Remove to a change and leaves a marked call as it was; a call that is not marked yet is refused.
    fn reject(&mut self, now: Moment, id: CallId, reason: &str) {
        match self.calls.get(&id).map(|call| call.state) {
            Some(State::Marked) => self.answer(now, id, false, reason, 0),
            _ => self.refuse_call(now, id, reason),
        }
    }

    /// The call may not be, or may no longer: its rows go, its share too, and the proxy gets a Remove.
    fn refuse_call(&mut self, now: Moment, id: CallId, reason: &str) {
        let removing = self.remove_flows(now, id, Then::Close);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let was_admitted = call.reserved_kbps.is_some();
        call.state = State::Refused;
        call.exchange.offer = None;
        self.release(id);
        if !removing {
            self.settle(id);
        }
        if was_admitted && let Some(call) = self.calls.get(&id) {
            let usage = call.usage(now, reason);
            self.event(Event::CallEnded(usage));
        }
        self.answer(now, id, false, reason, 0);
    }

    fn end(&mut self, now: Moment, id: CallId, reason: &str) {
        self.settle(id);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.state = State::Ended;
        if call.reserved_kbps.is_some() {
            let usage = call.usage(now, reason);
            self.event(Event::CallEnded(usage));
        }
        self.release(id);
    }

    /// The handle is gone (DRQ, or its proxy did not come back): everything of the call goes.
    pub(crate) fn drop_call(&mut self, now: Moment, id: CallId, reason: &str) {
        let removing = self.remove_flows(now, id, Then::Close);
        let Some(call) = self.calls.get_mut(&id) else { return };
        self.call_keys.remove(&call.key);
        if let Some(until) = call.orphaned_until.take() {
            self.orphans.remove(&(until, id));
        }
        call.connection = None;
        call.asked = None;
        call.waiting.clear();
        call.exchange.offer = None;
        call.state = State::Ended;
        call.deleted = Some(reason.to_owned());
        if !removing {
            self.settle(id);
        }
        // The last counters come with the reports; the record is closed then.
        self.bury_if_done(now, id);
    }

    /// Forgets a call whose handle is deleted once no report is due for it.
    fn bury_if_done(&mut self, now: Moment, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let Some(reason) = &call.deleted else { return };
        if self.operations.values().any(|operation| operation.call == id) {
            return;
        }
        if call.reserved_kbps.is_some() {
            let usage = call.usage(now, reason);
            self.event(Event::CallEnded(usage));
        }
        self.release(id);
        self.settle(id);
        self.calls.remove(&id);
    }

    fn release(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id)
            && let Some(kbps) = call.reserved_kbps.take()
        {
            self.budget.release(&call.name.caller, kbps);
        }
    }

    fn settle(&mut self, id: CallId) {
        let freed = self.calls.get_mut(&id).map(Call::settle).unwrap_or_default();
        for instance in freed {
            self.instances.remove(&instance);
        }
    }

    fn take_instance(&mut self, id: CallId) -> u32 {
        loop {
            let instance = self.next_instance;
            self.next_instance = self.next_instance.checked_add(1).unwrap_or(FLOW_INSTANCE_MIN);
            if let std::collections::btree_map::Entry::Vacant(slot) = self.instances.entry(instance) {
                slot.insert(id);
                return instance;
            }
        }
    }

    /// Flows of calls that are marked or being marked: what a router that comes back gets.
    pub(crate) fn installed_flows(&self) -> Vec<(u32, MediaFlow)> {
        let mut flows: Vec<(u32, MediaFlow)> = self
            .calls
            .values()
            .flat_map(|call| call.flows.iter().map(|counted| (counted.instance, counted.flow)))
            .collect();
        flows.sort_by_key(|(instance, _)| *instance);
        flows
    }

    /// The solicited DEC of the open request, and the next request of the same call.
    fn answer(&mut self, now: Moment, id: CallId, install: bool, reason: &str, routers: u32) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        // A change that outlived its request (the proxy is gone): nobody to tell.
        let Some(asked) = call.asked.take() else { return };
        let marked = install && routers > 0;
        let data = DecisionData {
            reason: reason.to_owned(),
            dscp: marked.then_some(self.config.base.media_dscp),
            routers,
            token: None,
        };
        let command = if install { Command::Install } else { Command::Remove };
        let decision = Decision {
            context: asked.phase.context(),
            command,
            flags: 0,
            data: vec![DecisionObject::ClientSpecific(data.encode())],
        };
        let message = Message::decision(CLIENT_TYPE_SIP, call.key.handle.clone(), true, &[decision]);
        let event = Event::Decision {
            call: call.name.clone(),
            phase: asked.phase,
            install,
            reason: reason.to_owned(),
            flows: if install { call.media() } else { Vec::new() },
            routers,
            took: now.saturating_since(asked.at),
        };
        let connection = call.connection;
        let next = call.waiting.pop_front();
        if let Some(connection) = connection {
            self.send(connection, &message);
        }
        self.event(event);
        if let Some((phase, bytes)) = next {
            self.consider(now, id, phase, bytes);
        }
    }

    /// The request could not be considered; the call stays as it was.
    fn answer_error(&mut self, id: CallId, code: ErrorCode) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.asked = None;
        let message =
            Message::decision_error(CLIENT_TYPE_SIP, call.key.handle.clone(), ErrorObject { code, sub_code: 0 });
        // A call that never was admitted leaves no state behind.
        let fresh = call.reserved_kbps.is_none() && call.name.call_id.is_empty();
        let connection = call.connection;
        if fresh {
            let key = call.key.clone();
            self.calls.remove(&id);
            self.call_keys.remove(&key);
        }
        if let Some(connection) = connection {
            self.send(connection, &message);
        }
    }

    pub(crate) fn has_orphans(&self, pep_id: &str) -> bool {
        self.orphans.keys().any(|(_, call)| self.calls.get(call).is_some_and(|call| call.key.pep_id == pep_id))
    }

    /// The proxy's connection is gone: its calls are held for a while (RFC 2748 §2.3: "eventually clean up").
    pub(crate) fn proxy_lost(&mut self, now: Moment, id: ConnectionId, pep_id: &str) {
        let until = now + Duration::from_secs(u64::from(self.config.hold_seconds));
        let mut held = 0;
        for (call_id, call) in &mut self.calls {
            if call.connection == Some(id) {
                call.connection = None;
                call.asked = None;
                call.waiting.clear();
                call.orphaned_until = Some(until);
                self.orphans.insert((until, *call_id), ());
                held += 1;
            }
        }
        self.event(Event::ProxyLost { proxy: pep_id.to_owned(), calls: held });
    }

    /// SSC: what the proxy did not ask for again, it no longer has.
    fn synchronized(&mut self, now: Moment, _id: ConnectionId, pep_id: &str) {
        let gone: Vec<CallId> = self
            .orphans
            .keys()
            .map(|(_, call)| *call)
            .filter(|call| self.calls.get(call).is_some_and(|call| call.key.pep_id == pep_id))
            .collect();
        for call in gone {
            self.drop_call(now, call, "the proxy no longer has it");
        }
    }
}
