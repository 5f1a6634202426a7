//! A call's way through admission and clearing to its destinations, and its end in the books.

use bytes::Bytes;
use std::time::Duration;

use strowger_clock::Moment;
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::{Layer, Target, Transport};

use crate::call::{Call, CallState, Media, Peer, Trial};
use crate::context::Hop;
use crate::core::{ProxyCore, Timer};
use crate::effect::{
    Authorization, AuthorizationQuery, CallUsage, Cause, ClearingRefusal, Destination, Effect, Phase, ReleaseSource,
};
use crate::registrar::contact_target;

/// A call without a granted time (phone to phone) is forgotten after this long without a BYE.
const CALL_LIMIT_WITHOUT_GRANT: Duration = Duration::from_secs(12 * 3600);

impl ProxyCore {
    /// Begins a call: the policy server first, then the clearinghouse for a number, then INVITEs.
    pub(crate) fn open_call(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        context: u64,
        caller: Option<String>,
        called: String,
        bindings: Option<Vec<Vec<Hop>>>,
    ) {
        if self.calls.len() >= self.config.limits.calls {
            return self.finish_with(now, layer, context, 503);
        }
        let number = self.number();
        let Some(context_state) = self.contexts.get_mut(&context) else { return };
        context_state.call = Some(number);
        let (request, flow) = (context_state.request.clone(), context_state.flow);
        let to_number = bindings.is_none();
        if let Some(bindings) = bindings {
            context_state.waiting.extend(bindings);
        }
        let calling = match &caller {
            Some(user) => {
                let own = self.config.subscribers.get(user).and_then(|subscriber| subscriber.number.clone());
                own.unwrap_or_else(|| user.clone())
            }
            None => request.from().map(|from| from.uri.to_owned()).unwrap_or_default(),
        };
        let call_id = request.call_id().unwrap_or_default().to_owned();
        let call = Call {
            number,
            call_id: call_id.clone(),
            caller_tag: request.from().ok().and_then(|from| from.tag().map(str::to_owned)).unwrap_or_default(),
            callee_tag: None,
            calling,
            called,
            caller: peer_of(&request, flow.reply_target()),
            callee: None,
            early_bye: None,
            state: CallState::Admission,
            context: Some(context),
            has_handle: false,
            at_policy: false,
            outstanding: 0,
            media: Media::default(),
            to_number,
            authorization: None,
            trials: Vec::new(),
            limit: None,
            usage_sent: false,
        };
        self.calls.insert(number, call);
        self.calls_by_id.entry(call_id).or_default().push(number);
        self.counters.calls += 1;
        self.report(number);
        if self.config.policy {
            let sip = request.as_bytes().clone();
            self.ask_policy(number, Phase::Setup, sip);
        } else {
            self.clear_or_fork(now, layer, number);
        }
    }

    /// Admission is through: a number goes to the clearinghouse, a user's contacts are called.
    pub(crate) fn clear_or_fork(&mut self, now: Moment, layer: &mut Layer, number: u64) {
        let destinations_max = self.config.destinations_max;
        let Some(call) = self.calls.get_mut(&number) else { return };
        let Some(context) = call.context else { return };
        if !call.to_number {
            call.state = CallState::Calling;
            self.report(number);
            return self.next_group(now, layer, context);
        }
        call.state = CallState::Clearing;
        let Some(source) = self.contexts.get(&context).map(|context| context.flow.peer) else { return };
        let query = AuthorizationQuery {
            call_id: call.call_id.clone(),
            calling_is_number: !call.calling.is_empty() && call.calling.bytes().all(|octet| octet.is_ascii_digit()),
            calling: call.calling.clone(),
            called: call.called.clone(),
            source,
            destinations_max,
        };
        call.outstanding += 1;
        self.effects.push_back(Effect::Authorize { call: number, query });
        self.report(number);
    }

    /// The clearinghouse has answered.
    pub(crate) fn authorization(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        number: u64,
        outcome: Result<Authorization, ClearingRefusal>,
    ) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.outstanding = call.outstanding.saturating_sub(1);
        match outcome {
            Ok(authorization) => {
                let destinations = authorization.destinations.clone();
                call.authorization = Some(authorization);
                if call.state == CallState::Ended {
                    // the caller has hung up meanwhile: what was reserved is given back
                    self.send_usage(now, number, &Cause::Sip(487), ReleaseSource::Source);
                    return self.forget_if_over(number);
                }
                let Some(context) = call.context.filter(|_| call.state == CallState::Clearing) else { return };
                call.state = CallState::Calling;
                let groups = destinations.into_iter().map(|destination| vec![gateway_hop(destination)]).collect();
                self.enqueue(context, groups);
                self.report(number);
                self.next_group(now, layer, context);
            }
            Err(refusal) => {
                let Some(context) = call.context.filter(|_| call.state == CallState::Clearing) else {
                    return self.forget_if_over(number);
                };
                self.counters.calls_refused_clearing += 1;
                self.finish_with(now, layer, context, refusal_status(&refusal));
            }
        }
    }

    /// A re-INVITE, UPDATE or PRACK of a call: its media decisions belong to the call.
    pub(crate) fn join_context(&mut self, number: u64, context: u64) {
        let runs = self.calls.get(&number).is_some_and(|call| call.state != CallState::Ended);
        if let Some(context) = self.contexts.get_mut(&context).filter(|_| runs) {
            context.call = Some(number);
        }
    }

    pub(crate) fn start_trial(&mut self, now: Moment, number: u64, destination: Option<&Destination>) -> Option<usize> {
        let destination = destination?;
        let call = self.calls.get_mut(&number)?;
        call.trials.push(Trial { destination: destination.clone(), start: now, alert: None, connect: None, end: None });
        Some(call.trials.len() - 1)
    }

    pub(crate) fn trial_alerted(&mut self, now: Moment, number: u64, trial: usize) {
        if let Some(trial) = self.calls.get_mut(&number).and_then(|call| call.trials.get_mut(trial)) {
            trial.alert.get_or_insert(now);
        }
    }

    pub(crate) fn trial_connected(&mut self, now: Moment, number: u64, trial: usize) {
        if let Some(trial) = self.calls.get_mut(&number).and_then(|call| call.trials.get_mut(trial)) {
            trial.connect.get_or_insert(now);
        }
    }

    pub(crate) fn trial_ended(&mut self, now: Moment, number: u64, trial: usize, cause: Cause, release: ReleaseSource) {
        if let Some(trial) = self.calls.get_mut(&number).and_then(|call| call.trials.get_mut(trial)) {
            trial.end.get_or_insert((now, cause, release));
        }
    }

    /// The 2xx of an attempt will not be passed on: for the caller it never connected.
    pub(crate) fn trial_refused(&mut self, now: Moment, number: u64, trial: usize) {
        if let Some(trial) = self.calls.get_mut(&number).and_then(|call| call.trials.get_mut(trial)) {
            trial.connect = None;
            trial.end.get_or_insert((now, Cause::Sip(503), ReleaseSource::Intermediate));
        }
    }

    /// A 2xx has passed to the caller.
    pub(crate) fn call_answered(&mut self, now: Moment, number: u64, callee_tag: Option<String>, callee: Option<Peer>) {
        let grace = self.config.call_grace;
        let Some(call) = self.calls.get_mut(&number) else { return };
        if matches!(call.state, CallState::Ended | CallState::Answered) {
            return;
        }
        call.state = CallState::Answered;
        call.callee_tag = callee_tag;
        call.callee = callee;
        let longest = match call.granted_seconds() {
            Some(seconds) => Duration::from_secs(seconds.into()) + grace,
            None => CALL_LIMIT_WITHOUT_GRANT,
        };
        call.limit = Some(self.timers.insert(now + longest, Timer::CallLimit { call: number }));
        let over_already = call.early_bye.is_some() && call.early_bye == call.callee_tag;
        self.counters.calls_answered += 1;
        self.report(number);
        if over_already {
            self.call_over(now, number, Cause::Q850(16), ReleaseSource::Source, None);
        }
    }

    /// A final response other than 2xx has gone to the caller. A failed re-INVITE ends nothing (RFC 3261 §14.1).
    pub(crate) fn call_failed(&mut self, now: Moment, number: u64, cause: Cause, release: ReleaseSource) {
        if self.calls.get(&number).is_some_and(|call| call.state != CallState::Answered) {
            self.call_over(now, number, cause, release, None);
        }
    }

    /// Nobody hung up in time: both ends are gone, or the BYE was lost.
    pub(crate) fn call_limit(&mut self, now: Moment, number: u64) {
        if let Some(call) = self.calls.get_mut(&number) {
            call.limit = None;
            // Q.850 102: recovery on timer expiry
            self.call_over(now, number, Cause::Q850(102), ReleaseSource::Intermediate, None);
        }
    }

    /// The call is over: usage is reported, the policy server is told to remove. What is still awaited keeps the entry alive.
    pub(crate) fn call_over(
        &mut self,
        now: Moment,
        number: u64,
        cause: Cause,
        release: ReleaseSource,
        bye: Option<Bytes>,
    ) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        if call.state == CallState::Ended {
            return;
        }
        call.state = CallState::Ended;
        if let Some(limit) = call.limit.take() {
            self.timers.cancel(limit);
        }
        if call.at_policy {
            // removal is asked for over the same handle and confirmed; then the handle is deleted
            let sip = bye.or_else(|| {
                let context = call.context.and_then(|context| self.contexts.get(&context));
                context.map(|context| context.request.as_bytes().clone())
            });
            let sip = sip.unwrap_or_else(|| closing_note(&call.call_id, &call.caller_tag));
            self.ask_policy(number, Phase::Teardown, sip);
        }
        self.send_usage(now, number, &cause, release);
        self.report(number);
        // an answer that is still to come keeps the entry: a reservation that it brings is given back
        self.forget_if_over(number);
    }

    /// Asks the policy server; [`crate::Input::Admission`] answers.
    pub(crate) fn ask_policy(&mut self, number: u64, phase: Phase, sip: Bytes) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.has_handle = true;
        call.outstanding += 1;
        self.effects.push_back(Effect::Admission { call: number, phase, sip });
    }

    fn send_usage(&mut self, now: Moment, number: u64, cause: &Cause, release: ReleaseSource) {
        let config = &self.config;
        let Some(call) = self.calls.get_mut(&number) else { return };
        let Some(authorization) = &call.authorization else { return };
        if call.usage_sent {
            return;
        }
        let usage = CallUsage {
            transaction_id: authorization.transaction_id,
            call_id: call.call_id.clone(),
            attempts: call.attempts(now, cause, release, |moment| config.timestamp(moment)),
        };
        call.usage_sent = true;
        self.effects.push_back(Effect::Usage { call: number, usage });
    }

    /// Forgets a call when nothing of it is awaited any more.
    pub(crate) fn forget_if_over(&mut self, number: u64) {
        let Some(call) = self.calls.get(&number) else { return };
        if call.state != CallState::Ended || call.outstanding > 0 {
            return;
        }
        let Some(call) = self.calls.remove(&number) else { return };
        if call.has_handle {
            self.effects.push_back(Effect::AdmissionDelete { call: number });
        }
        if let Some(numbers) = self.calls_by_id.get_mut(&call.call_id) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.calls_by_id.remove(&call.call_id);
            }
        }
    }
}

/// What the policy server is shown when a call is closed without a message that ends it.
fn closing_note(call_id: &str, caller_tag: &str) -> Bytes {
    Builder::request(Method::Bye, "sip:invalid.invalid")
        .header(Header::From, &format!("<sip:invalid.invalid>;tag={caller_tag}"))
        .header(Header::To, "<sip:invalid.invalid>")
        .header(Header::CallId, call_id)
        .header(Header::CSeq, "1 BYE")
        .build()
        .as_bytes()
        .clone()
}

/// The remote target that a message's Contact names (RFC 3261 §12.1), with the way it came.
pub(crate) fn peer_of(message: &Message, came_by: Target) -> Option<Peer> {
    let contact = message.contacts().next()?.ok()?;
    let uri = contact.uri().ok()?;
    Some(Peer { contact: contact.uri.to_owned(), target: contact_target(&uri, came_by) })
}

/// The branch to a gateway: the number as a SIP URI with `user=phone` (RFC 3261 §19.1.6).
fn gateway_hop(destination: Destination) -> Hop {
    Hop {
        uri: format!("sip:+{}@{};user=phone", destination.called, destination.address),
        target: Target::new(Transport::Udp, destination.address),
        destination: Some(destination),
    }
}

/// OSP status codes (TS 101 321 as in clearinghouse/osp) as the caller sees them.
fn refusal_status(refusal: &ClearingRefusal) -> u16 {
    match refusal {
        ClearingRefusal::Unavailable => 503,
        ClearingRefusal::Refused { code, .. } => match code {
            404 => 404,
            428 => 484,
            441 => 503,
            // 401 is about the proxy, not about the caller
            401 => 500,
            402 | 403 | 405 => 403,
            603 => 603,
            500..=599 => 503,
            _ => 500,
        },
    }
}
