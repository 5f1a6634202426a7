//! Requests inside dialogs, and ACKs to 2xx: they follow the route that the dialog recorded.

use strowger_clock::Moment;
use strowger_sip::{Header, Message, Method};
use strowger_transaction::{Flow, Layer, ServerKey, Target, ViaSpec};

use crate::call::CallState;
use crate::context::Hop;
use crate::core::ProxyCore;
use crate::effect::ReleaseSource;
use crate::request::Prepared;

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
        let Some(target) = self.next_hop(now, &prepared.forwardable, &flow) else {
            return self.reject(now, layer, key, &message, 404);
        };
        let method = message.method();
        let from_caller = call.is_some_and(|(_, from_caller)| from_caller);
        let uri = prepared.forwardable.request_uri().to_owned();
        let forwardable = self.without_our_credentials(&prepared.forwardable);
        let received = message.clone();
        let context = self.open_context(key, message, flow, forwardable, false);
        self.enqueue(context, vec![vec![Hop { uri, target, destination: None }]]);
        if let (Some((call, _)), Method::Invite | Method::Update) = (call, &method) {
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
        match self.next_hop(now, &prepared.forwardable, &flow) {
            Some(target) => self.send_ack(layer, prepared.forwardable, target),
            None => self.counters.dropped += 1,
        }
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

    /// A BYE has come: the call is over in the books, whatever becomes of the BYE.
    fn hang_up(&mut self, now: Moment, number: u64, bye: &Message, release: ReleaseSource) {
        let Some(call) = self.calls.get(&number) else { return };
        if call.state == CallState::Ended {
            return;
        }
        let cause = crate::response::q850_of(bye).unwrap_or(16);
        self.call_over(now, number, crate::effect::Cause::Q850(cause), release, Some(bye.as_bytes().clone()));
    }
}
