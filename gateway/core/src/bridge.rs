//! A call between IAM and its end: what the exchange says becomes SIP, what the caller says becomes media.

use std::time::Duration;

use bytes::Bytes;
use strowger_clock::Moment;
use strowger_dialog::CallId32;
use strowger_isup::{Cause, CauseIndicators, Location, cause::status_of_cause};
use strowger_transaction::Layer;
use strowger_trunk::{Alert, Circuit, Event};

use crate::call::CallState;
use crate::core::{GatewayCore, Timer};
use crate::effect::{CallNumber, Effect, ReleaseSource};
use crate::release::Farewell;
use crate::session::parse;

/// How often a provisional response is repeated, so that no proxy gives the call up (RFC 3261 §13.3.1.1).
const RING_AGAIN: Duration = Duration::from_secs(60);

impl GatewayCore {
    pub(crate) fn trunk_event(&mut self, now: Moment, layer: &mut Layer, event: Event) {
        match event {
            // calls from the telephone network are not taken: no route to a destination
            Event::IncomingCall { circuit, .. } => {
                self.trunk.release(now, circuit, Location::PrivateLocal, Cause::NO_ROUTE_TO_DESTINATION);
            }
            Event::Alerting { circuit, alert, in_band } => self.alerting(now, layer, circuit, alert, in_band),
            Event::Answered { circuit } => self.answered(now, layer, circuit),
            Event::Charge { circuit, charge } => {
                let Some(call) = self.by_circuit.get(&circuit).and_then(|number| self.calls.get(number)) else {
                    return;
                };
                self.counters.charges += 1;
                let transaction_id = call.token.transaction_id;
                self.effects.push_back(Effect::Charge { call: call.number, transaction_id, charge });
            }
            Event::Released { circuit, cause } => self.released(now, layer, circuit, &cause),
            Event::Moved { from, to } => {
                let Some(number) = self.by_circuit.remove(&from) else { return };
                self.by_circuit.insert(to, number);
                if let Some(call) = self.calls.get_mut(&number) {
                    call.circuit = Some(to);
                    call.timeslot = Some(to.timeslot());
                }
                self.bridge(number);
                self.tell(number);
            }
            // T6 ends a suspended call by itself; circuits' maintenance is the group's
            Event::Digits { .. }
            | Event::Suspended { .. }
            | Event::Resumed { .. }
            | Event::Idle { .. }
            | Event::Blocking { .. }
            | Event::Alarm { .. } => {}
        }
    }

    /// ACM or CPG: 180, or 183 with a description when there is something to hear (RFC 3398 §7.2.3, §7.2.6).
    fn alerting(&mut self, now: Moment, layer: &mut Layer, circuit: Circuit, alert: Alert, in_band: bool) {
        let Some(number) = self.by_circuit.get(&circuit).copied() else { return };
        let media_address = self.config.media_address;
        let Some(call) = self.calls.get_mut(&number) else { return };
        if !matches!(call.state, CallState::AwaitingAddressComplete | CallState::Proceeding | CallState::Alerting) {
            return;
        }
        if alert == Alert::Ringing {
            call.alert.get_or_insert(now);
            call.state = CallState::Alerting;
        } else if call.state == CallState::AwaitingAddressComplete {
            call.state = CallState::Proceeding;
        }
        // once the caller listens it goes on listening; an offer of ours cannot go into an unreliable response
        // (RFC 3261 §13.2.1), so a late offer hears nothing before the answer
        let heard = in_band || call.provisional.is_some_and(|(_, heard)| heard);
        let with_sdp =
            heard && (call.session.offer.is_some() || (call.session.ours.is_some() && !call.session.offering));
        let status = if alert == Alert::Ringing && !with_sdp { 180 } else { 183 };
        if call.provisional == Some((status, with_sdp)) {
            return self.tell(number);
        }
        call.provisional = Some((status, with_sdp));
        let sdp = if with_sdp { call.session.description(media_address) } else { None };
        let agent = call.agent;
        let _ = self.agent.ring(now, layer, agent, status, sdp);
        self.ring_timer(now, number, true);
        if with_sdp {
            self.bridge(number);
        }
        self.tell(number);
    }

    pub(crate) fn ring_again(&mut self, now: Moment, layer: &mut Layer, number: CallNumber) {
        let media_address = self.config.media_address;
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.ringing = None;
        if let Some((status, with_sdp)) = call.provisional {
            let sdp = if with_sdp { call.session.description(media_address) } else { None };
            let agent = call.agent;
            let _ = self.agent.ring(now, layer, agent, status, sdp);
            self.ring_timer(now, number, true);
        }
    }

    pub(crate) fn ring_timer(&mut self, now: Moment, number: CallNumber, start: bool) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        if let Some(old) = call.ringing.take() {
            self.timers.cancel(old);
        }
        call.ringing = start.then(|| self.timers.insert(now + RING_AGAIN, Timer::Ringing(number)));
    }

    /// ANM or CON: 200.
    fn answered(&mut self, now: Moment, layer: &mut Layer, circuit: Circuit) {
        let Some(number) = self.by_circuit.get(&circuit).copied() else { return };
        let media_address = self.config.media_address;
        let Some(call) = self.calls.get_mut(&number).filter(|call| !call.state.is_answered()) else { return };
        call.state = CallState::Accepted;
        call.connect = Some(now);
        call.provisional = None;
        let sdp = call.session.description(media_address);
        let (agent, transaction_id) = (call.agent, call.token.transaction_id);
        let granted = Duration::from_secs(u64::from(call.token.granted_seconds));
        self.counters.calls_answered += 1;
        self.ring_timer(now, number, false);
        self.await_until(number, Some((now + granted, Timer::Granted(number))));
        let _ = self.agent.answer(now, layer, agent, sdp);
        self.effects.push_back(Effect::ChargeStart { call: number, transaction_id });
        self.bridge(number);
        self.tell(number);
    }

    /// REL, or a time-out of the trunk's: BYE after the answer, a refusal before it (RFC 3398 §7.2.4, §7.2.8).
    fn released(&mut self, now: Moment, layer: &mut Layer, circuit: Circuit, cause: &CauseIndicators) {
        let Some(number) = self.by_circuit.remove(&circuit) else { return };
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.circuit = None;
        let answered = call.state.is_answered();
        let why = cause.cause;
        if !answered {
            self.counters.calls_failed += 1;
        }
        // 16 before the answer would be a CANCEL if we were the caller; the callee says 480 (and 503 for 44)
        let status = status_of_cause(why, cause.location, false).unwrap_or(if why == Cause(44) { 503 } else { 480 });
        let farewell = Farewell::from_network(status, why);
        self.end(now, layer, number, (why, ReleaseSource::Destination), farewell);
    }

    /// The ACK has come; with the answer when our 200 held the offer.
    pub(crate) fn confirmed(&mut self, now: Moment, layer: &mut Layer, agent: CallId32, sdp: Option<Bytes>) {
        let Some(number) = self.number_of(agent) else { return };
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.state = CallState::Connected;
        if call.session.offering && !sdp.as_ref().and_then(parse).is_some_and(|theirs| call.session.answered(&theirs)) {
            let farewell = Farewell::by_gateway(Cause::BEARER_NOT_IMPLEMENTED, "no codec in common");
            return self.end(now, layer, number, (Cause::BEARER_NOT_IMPLEMENTED, ReleaseSource::Gateway), farewell);
        }
        self.bridge(number);
        self.tell(number);
    }

    /// Re-INVITE or UPDATE (RFC 3264 §8): hold, resume, another address, another codec.
    pub(crate) fn reoffered(&mut self, now: Moment, layer: &mut Layer, agent: CallId32, sdp: Option<Bytes>) {
        let media_address = self.config.media_address;
        let Some(number) = self.number_of(agent) else {
            let _ = self.agent.reject_reoffer(now, layer, agent, 481);
            return;
        };
        let Some(call) = self.calls.get_mut(&number) else { return };
        let body = match &sdp {
            None => Some(call.session.offer(media_address)),
            Some(sdp) => parse(sdp).and_then(|offered| call.session.answer(&offered, media_address).ok()),
        };
        match body {
            Some(body) => {
                let _ = self.agent.answer_reoffer(now, layer, agent, Some(body));
                if sdp.is_some() {
                    self.bridge(number);
                    self.tell(number);
                }
            }
            // the session stays as it was (RFC 3261 §14.2)
            None => {
                let _ = self.agent.reject_reoffer(now, layer, agent, 488);
            }
        }
    }

    /// The answer to the offer in our 200 to a re-INVITE. One that agrees to nothing leaves the caller without media, which
    /// is its own decision.
    pub(crate) fn reanswered(&mut self, _now: Moment, _layer: &mut Layer, agent: CallId32, sdp: Option<Bytes>) {
        let Some(number) = self.number_of(agent) else { return };
        let Some(call) = self.calls.get_mut(&number).filter(|call| call.session.offering) else { return };
        if let Some(theirs) = sdp.as_ref().and_then(parse) {
            call.session.answered(&theirs);
        }
        self.bridge(number);
    }

    /// Tells the media driver how port and circuit belong together now.
    pub(crate) fn bridge(&mut self, number: CallNumber) {
        let Some(call) = self.calls.get(&number) else { return };
        let Some(circuit) = call.circuit else { return };
        let (stream, answered) = (call.session.stream, call.state.is_answered());
        self.effects.push_back(Effect::BridgeMedia { call: number, circuit, stream, answered });
    }
}
