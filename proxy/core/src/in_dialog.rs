//! Requests inside dialogs, and ACKs to 2xx: they follow the route that the dialog recorded.

use strowger_clock::Moment;
use strowger_sip::{Header, Message, Method, Uri};
use strowger_transaction::{Flow, Layer, ServerKey, Target, ViaSpec};

use crate::call::CallState;
use crate::context::Hop;
use crate::core::ProxyCore;
use crate::effect::ReleaseSource;
use crate::request::{Opens, Prepared};

impl ProxyCore {
    pub(crate) fn in_dialog(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        key: ServerKey,
        message: Message,
        flow: Flow,
        prepared: Prepared,
    ) {
        let call = self.call_of(&message);
        // only a path that we recorded is followed: its cookie, or a call that we know (peers that drop Route parameters)
        if !prepared.along_recorded_route && call.is_none() {
            return self.reject(now, layer, key, &message, 481);
        }
        let forwardable = self.without_our_credentials(&prepared.forwardable);
        let Some(target) = self.next_hop_in_call(now, &forwardable, &flow, call) else {
            return self.reject(now, layer, key, &message, 404);
        };
        let forwardable = to_strict_router(forwardable);
        let method = message.method();
        let from_caller = call.is_some_and(|(_, from_caller)| from_caller);
        let uri = forwardable.request_uri().to_owned();
        let received = message.clone();
        let context = self.open_context(key, message, flow, forwardable, Opens::Nothing);
        self.enqueue(context, vec![vec![Hop { uri, target, destination: None }]]);
        if let (Some((call, _)), Method::Invite | Method::Update | Method::Prack) = (call, &method) {
            self.join_context(call, context);
            self.offer_changed(call, &received);
        }
        self.next_group(now, layer, context);
        if let (Some((call, _)), Method::Bye) = (call, &method) {
            let release = if from_caller { ReleaseSource::Source } else { ReleaseSource::Destination };
            self.hang_up(now, call, &received, release);
        }
    }

    /// An ACK for a 2xx: forwarded without state (RFC 3261 §16.11, RFC 6026 §8.6).
    pub(crate) fn ack(&mut self, now: Moment, layer: &mut Layer, message: Message, flow: Flow) {
        let prepared = self.prepare(&message);
        let call = self.call_of(&message);
        if let Some((call, _)) = call {
            self.answered_in_ack(call, &message);
        }
        let known = call.is_some();
        let hops_left = !matches!(message.max_forwards(), Ok(Some(0)) | Err(_));
        let forward = prepared.filter(|prepared| hops_left && (prepared.along_recorded_route || known));
        let Some(prepared) = forward else {
            self.counters.dropped += 1;
            return;
        };
        let ack = self.without_our_credentials(&prepared.forwardable);
        match self.next_hop_in_call(now, &ack, &flow, call) {
            Some(target) => self.send_ack(layer, to_strict_router(ack), target),
            None => self.counters.dropped += 1,
        }
    }

    /// As [`ProxyCore::next_hop`]; a party of a call that we know is reached the way it spoke (a connection that it opened, the
    /// outside of a NAT).
    fn next_hop_in_call(
        &self,
        now: Moment,
        message: &Message,
        flow: &Flow,
        call: Option<(u64, bool)>,
    ) -> Option<Target> {
        let peer = call.and_then(|(number, from_caller)| {
            let call = self.calls.get(&number)?;
            if from_caller { call.callee.as_ref() } else { call.caller.as_ref() }
        });
        if let Some(peer) = peer
            && message.routes().next().is_none()
            && Uri::parse(message.request_uri()).is_ok_and(|uri| peer.is_at(&uri))
        {
            return Some(peer.target);
        }
        self.next_hop(now, message, Some(flow.local))
    }

    pub(crate) fn send_ack(&mut self, layer: &mut Layer, ack: Message, target: Target) {
        let spec = self.via_for(&target);
        let via = layer.via(&spec, target.transport);
        let mut edit = ack.edit();
        edit.push_front(Header::Via, &via);
        layer.send_stateless(edit.finish(), target);
    }

    pub(crate) fn via_for(&self, target: &Target) -> ViaSpec {
        let listener = self.config.listener_for(target.transport, target.address, target.local);
        ViaSpec::new(listener.map_or_else(|| "invalid.invalid".to_owned(), |listener| listener.advertised.clone()))
    }

    /// The call a request inside a dialog belongs to, and whether the caller sent it.
    pub(crate) fn call_of(&self, message: &Message) -> Option<(u64, bool)> {
        let from = message.from().ok()?.tag()?;
        let to = message.to().ok()?.tag()?;
        self.calls_by_id.get(message.call_id()?)?.iter().find_map(|number| {
            let call = self.calls.get(number)?;
            let callee = call.callee_tag.as_deref();
            if call.caller_tag == from && (callee == Some(to) || callee.is_none()) {
                Some((*number, true))
            } else if call.caller_tag == to && (callee == Some(from) || callee.is_none()) {
                Some((*number, false))
            } else {
                None
            }
        })
    }

    /// A BYE has come: an answered call is over in the books, whatever becomes of the BYE.
    fn hang_up(&mut self, now: Moment, number: u64, bye: &Message, release: ReleaseSource) {
        let Some(call) = self.calls.get(&number) else { return };
        let call_state = call.state;
        if call_state == CallState::Ended {
            return;
        }
        if call_state != CallState::Answered {
            // the end of one early dialog (§15); the INVITE has its own answer still to come, and that ends the call
            let called = if release == ReleaseSource::Source { bye.to() } else { bye.from() };
            let tag = called.ok().and_then(|called| called.tag().map(str::to_owned));
            if let Some(call) = self.calls.get_mut(&number) {
                call.early_bye = tag;
            }
            return;
        }
        let cause = crate::response::q850_of(bye).unwrap_or(16);
        self.call_over(now, number, crate::effect::Cause::Q850(cause), release, Some(bye.as_bytes().clone()));
    }
}

/// §16.6 step 6: a next hop that is a strict router (no `lr`) finds itself in the Request-URI and the Request-URI last in Route.
pub(crate) fn to_strict_router(request: Message) -> Message {
    let top =
        request.routes().next().and_then(Result::ok).filter(|top| top.uri().is_ok_and(|uri| !uri.is_loose_router()));
    let Some(next) = top.map(|top| top.uri.to_owned()) else { return request };
    let last = format!("<{}>", request.request_uri());
    let mut edit = request.edit();
    edit.remove_first_value(Header::Route);
    edit.push_back(Header::Route, &last);
    edit.set_request_uri(&next);
    edit.finish()
}
