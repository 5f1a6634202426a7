//! The called side: incoming INVITEs and their answers (RFC 3261 §13.3), and the peer's requests within a call.

use bytes::Bytes;
use strowger_clock::Moment;
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::{Flow, Layer, ServerKey};

use crate::agent::{ALLOW, SDP, UserAgent};
use crate::call::{Call, Offer, State, Timer, Unacknowledged, after};
use crate::dialog::Dialog;
use crate::event::{CallId32, EndReason, Refused, UserAgentEvent};
use crate::uac::{sdp_of, with_sdp};

impl UserAgent {
    pub(crate) fn incoming(&mut self, now: Moment, layer: &mut Layer, key: ServerKey, request: Message, flow: Flow) {
        if layer.is_merged(key) {
            return self.refuse_invite(now, layer, key, &request, 482);
        }
        if !request.body().is_empty() && !request.has_body_of(SDP) {
            return self.refuse_invite(now, layer, key, &request, 415);
        }
        if self.live >= self.config.calls_max {
            let status = self.config.busy_status;
            return self.refuse_invite(now, layer, key, &request, status);
        }
        let tag = self.fresh_tag();
        // an INVITE must have a Contact (§8.1.1.8): without it no dialog can be made
        let Some(dialog) = Dialog::of_request(&request, flow, tag.clone()) else {
            return self.refuse_invite(now, layer, key, &request, 400);
        };
        let id = CallId32(self.fresh_id());
        let mut call = Call::new(State::Incoming, tag.clone());
        call.dialog = Some(dialog);
        call.incoming = Some((key, request.clone(), flow));
        self.calls.insert(id, call);
        self.by_tag.insert(tag, id);
        self.live += 1;
        self.hold(key, id);
        let sdp = sdp_of(&request);
        self.events.push_back(UserAgentEvent::IncomingCall { call: id, request, flow, sdp });
    }

    /// A response to an INVITE or UPDATE of the peer that makes or keeps a dialog (§12.1.1).
    fn dialog_response(&self, request: &Message, flow: &Flow, (status, tag): (u16, &str)) -> Builder {
        self.response(request, status, None, tag)
            .copy(Header::RecordRoute, request)
            .header(Header::Contact, &self.contact(&flow.reply_target()))
            .header(Header::Allow, ALLOW)
    }

    fn waiting(&self, id: CallId32) -> Result<(ServerKey, Message, Flow, String), Refused> {
        let call = self.calls.get(&id).ok_or(Refused::Unknown)?;
        let (key, request, flow) = call.incoming.clone().ok_or(Refused::WrongState)?;
        Ok((key, request, flow, call.local_tag.clone()))
    }

    /// Sends a provisional response (101 to 199), with a session description for early media if given.
    ///
    /// # Errors
    /// [`Refused::Unknown`], or [`Refused::WrongState`] when the call is not an incoming one that waits.
    pub fn ring(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        id: CallId32,
        status: u16,
        sdp: Option<Bytes>,
    ) -> Result<(), Refused> {
        let (key, request, flow, tag) = self.waiting(id)?;
        if !(101..200).contains(&status) {
            return Err(Refused::WrongState);
        }
        let response = self.dialog_response(&request, &flow, (status, &tag));
        layer.respond(now, key, with_sdp(response, sdp.as_ref()).build());
        Ok(())
    }

    /// Answers a call (200): with the answer, or with the offer when the INVITE had none. The 200 is sent again until the
    /// ACK comes, which [`UserAgentEvent::Confirmed`] tells.
    ///
    /// # Errors
    /// As [`UserAgent::ring`].
    pub fn answer(&mut self, now: Moment, layer: &mut Layer, id: CallId32, sdp: Option<Bytes>) -> Result<(), Refused> {
        let (key, request, flow, tag) = self.waiting(id)?;
        let response = self.dialog_response(&request, &flow, (200, &tag)).header(Header::Accept, SDP);
        let response = with_sdp(response, sdp.as_ref()).build();
        let offered = sdp.is_some() && sdp_of(&request).is_none();
        if let Some(call) = self.calls.get_mut(&id) {
            call.incoming = None;
            call.state = State::Accepted;
        }
        self.accept(now, layer, id, (key, &request, response), offered);
        Ok(())
    }

    /// Sends a 2xx to an INVITE and keeps sending it (§13.3.1.4).
    fn accept(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        id: CallId32,
        (key, request, response): (ServerKey, &Message, Message),
        offered: bool,
    ) {
        let timing = self.config.timing;
        let retransmit = self.timers.insert(after(now, timing.t1), Timer::Retransmit(id));
        let give_up = self.timers.insert(after(now, timing.give_up_after()), Timer::GiveUp(id));
        let sequence = request.cseq().map_or(0, |cseq| cseq.number);
        layer.respond(now, key, response.clone());
        if let Some(call) = self.calls.get_mut(&id) {
            let interval = timing.t1;
            call.unacknowledged =
                Some(Unacknowledged { key, response, sequence, offered, interval, retransmit, give_up });
        }
    }

    pub(crate) fn retransmit(&mut self, now: Moment, layer: &mut Layer, id: CallId32) {
        let t2 = self.config.timing.t2;
        let Some(waiting) = self.calls.get_mut(&id).and_then(|call| call.unacknowledged.as_mut()) else { return };
        waiting.interval = (waiting.interval * 2).min(t2);
        waiting.retransmit = self.timers.insert(after(now, waiting.interval), Timer::Retransmit(id));
        layer.respond(now, waiting.key, waiting.response.clone());
    }

    /// 64*T1 without an ACK: the dialog is there, the session is ended with BYE (§13.3.1.4).
    pub(crate) fn give_up(&mut self, now: Moment, layer: &mut Layer, id: CallId32) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(waiting) = call.unacknowledged.take() else { return };
        self.timers.cancel(waiting.retransmit);
        self.send_bye(now, layer, id, None);
        self.end_with(id, EndReason::NotAcknowledged);
    }

    pub(crate) fn ack_in(&mut self, now: Moment, layer: &mut Layer, ack: &Message) {
        let Some(id) = self.call_of(ack) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let sequence = ack.cseq().map_or(0, |cseq| cseq.number);
        // an ACK that comes again, or for an older INVITE
        if call.unacknowledged.as_ref().is_none_or(|waiting| waiting.sequence != sequence) {
            return;
        }
        let Some(waiting) = call.unacknowledged.take() else { return };
        self.timers.cancel(waiting.retransmit);
        self.timers.cancel(waiting.give_up);
        let sdp = sdp_of(ack).filter(|_| waiting.offered);
        match call.state {
            State::Accepted => {
                call.state = State::Up;
                let leave = call.leave_later.take();
                self.events.push_back(UserAgentEvent::Confirmed { call: id, sdp });
                if let Some(reason) = leave {
                    self.bye(now, layer, id, reason.as_deref());
                }
            }
            State::Up if waiting.offered => {
                self.events.push_back(UserAgentEvent::Reanswered { call: id, sdp, answer_owed: false });
            }
            _ => {}
        }
    }

    /// Refuses an incoming call (300 to 699), with further header fields (Contact for a redirection, Reason, Retry-After).
    ///
    /// # Errors
    /// As [`UserAgent::ring`].
    pub fn reject(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        id: CallId32,
        status: u16,
        reason: Option<&str>,
        headers: &[(String, String)],
    ) -> Result<(), Refused> {
        let (key, request, _, tag) = self.waiting(id)?;
        let status = if (300..700).contains(&status) { status } else { 500 };
        let mut response = self.response(&request, status, reason, &tag);
        for (name, value) in headers {
            response = response.header_by_name(name, value);
        }
        layer.respond(now, key, response.build());
        self.end_with(id, EndReason::Local);
        Ok(())
    }

    pub(crate) fn cancel_in(&mut self, now: Moment, layer: &mut Layer, invite: ServerKey, cancel: &Message) {
        let Some(id) = self.servers.get(&invite).copied() else { return };
        let reason = cancel.header(Header::Reason).map(str::to_owned);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let tag = call.local_tag.clone();
        if let Some((key, request, _)) = call.incoming.take_if(|(key, _, _)| *key == invite) {
            let response = self.response(&request, 487, None, &tag).build();
            layer.respond(now, key, response);
            self.end_with(id, EndReason::Cancelled(reason));
        } else if let Some(Offer::Theirs { key, request }) =
            call.offer.take_if(|offer| matches!(offer, Offer::Theirs { key, .. } if *key == invite))
        {
            // a re-INVITE is cancelled: the session stays as it was
            let response = self.response(&request, 487, None, &tag).build();
            layer.respond(now, key, response);
        }
    }

    /// A request of the peer within one of our calls.
    pub(crate) fn in_dialog(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        (id, key): (CallId32, ServerKey),
        request: Message,
        flow: Flow,
    ) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let tag = call.local_tag.clone();
        let over = call.state == State::Over;
        let sequence = request.cseq().map_or(0, |cseq| cseq.number);
        let Some(dialog) = call.dialog_of(&request) else { return };
        // §12.2.2: a lower number comes too late
        if dialog.remote_sequence.is_some_and(|last| sequence < last) {
            let response = self.response(&request, 500, None, &tag).build();
            return layer.respond(now, key, response);
        }
        dialog.remote_sequence = Some(sequence);
        let chosen = call.dialog.as_ref().is_some_and(|dialog| dialog.matches(&request));
        match request.method() {
            Method::Bye => {
                layer.respond(now, key, self.response(&request, 200, None, &tag).build());
                if chosen {
                    self.bye_in(now, layer, id, &request);
                }
            }
            _ if over => layer.respond(now, key, self.response(&request, 481, None, &tag).build()),
            Method::Options => {
                let response = self.dialog_response(&request, &flow, (200, &tag)).header(Header::Accept, SDP);
                layer.respond(now, key, response.build());
            }
            Method::Info => {
                layer.respond(now, key, self.response(&request, 200, None, &tag).build());
                self.events.push_back(UserAgentEvent::Info { call: id, request });
            }
            Method::Invite | Method::Update => self.reoffer_in(now, layer, (id, key), request, flow),
            _ => {}
        }
    }

    fn bye_in(&mut self, now: Moment, layer: &mut Layer, id: CallId32, bye: &Message) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let tag = call.local_tag.clone();
        // §15.1.2: what is still unanswered is answered 487
        let open = match (call.incoming.take(), call.offer.take()) {
            (Some((key, request, _)), _) | (None, Some(Offer::Theirs { key, request })) => Some((key, request)),
            (None, other) => {
                call.offer = other;
                None
            }
        };
        if let Some((key, request)) = open {
            layer.respond(now, key, self.response(&request, 487, None, &tag).build());
        }
        let reason = bye.header(Header::Reason).map(str::to_owned);
        self.end_with(id, EndReason::Remote(reason));
    }

    fn reoffer_in(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        (id, key): (CallId32, ServerKey),
        request: Message,
        flow: Flow,
    ) {
        let retry_after = self.random.below(11).to_string();
        let Some(call) = self.calls.get_mut(&id) else { return };
        let tag = call.local_tag.clone();
        let invite = request.method() == Method::Invite;
        let sdp = sdp_of(&request);
        if !request.body().is_empty() && sdp.is_none() {
            let response = self.response(&request, 415, None, &tag).header(Header::Accept, SDP);
            return layer.respond(now, key, response.build());
        }
        // §14.2 (and RFC 3311 §5.2): ours is under way: 491; theirs is not finished: 500 with Retry-After
        let busy = match (&call.offer, call.state) {
            (Some(Offer::Theirs { .. }), _) | (_, State::Incoming | State::Accepted) => 500,
            _ if call.unacknowledged.is_some() => 500,
            (Some(Offer::Ours { .. }), _) | (_, State::AckOwed) => 491,
            _ => 0,
        };
        if !invite && sdp.is_none() {
            if let Some(dialog) = call.dialog_of(&request) {
                dialog.refresh_target(&request);
            }
            return layer.respond(now, key, self.dialog_response(&request, &flow, (200, &tag)).build());
        }
        if busy != 0 {
            let response = self.response(&request, busy, None, &tag);
            let response = if busy == 500 { response.header(Header::RetryAfter, &retry_after) } else { response };
            return layer.respond(now, key, response.build());
        }
        if call.state != State::Up {
            return layer.respond(now, key, self.response(&request, 481, None, &tag).build());
        }
        call.offer = Some(Offer::Theirs { key, request: request.clone() });
        if let Some(dialog) = call.dialog.as_mut() {
            dialog.flow = flow;
        }
        self.hold(key, id);
        self.events.push_back(UserAgentEvent::Reoffer { call: id, sdp, request });
    }

    /// Accepts the peer's [`UserAgentEvent::Reoffer`]: with the answer, or with an offer when it had none.
    ///
    /// # Errors
    /// [`Refused::Unknown`], or [`Refused::WrongState`] when there is none.
    pub fn answer_reoffer(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        id: CallId32,
        sdp: Option<Bytes>,
    ) -> Result<(), Refused> {
        let (key, request, flow, tag) = self.take_reoffer(id)?;
        if let Some(dialog) = self.dialog_mut(id) {
            dialog.refresh_target(&request);
        }
        let response = with_sdp(self.dialog_response(&request, &flow, (200, &tag)), sdp.as_ref()).build();
        if request.method() == Method::Invite {
            let offered = sdp.is_some() && sdp_of(&request).is_none();
            self.accept(now, layer, id, (key, &request, response), offered);
        } else {
            layer.respond(now, key, response);
        }
        Ok(())
    }

    /// Refuses the peer's [`UserAgentEvent::Reoffer`] (488 and the like); the session stays as it was.
    ///
    /// # Errors
    /// As [`UserAgent::answer_reoffer`].
    pub fn reject_reoffer(&mut self, now: Moment, layer: &mut Layer, id: CallId32, status: u16) -> Result<(), Refused> {
        let (key, request, _, tag) = self.take_reoffer(id)?;
        let status = if (300..700).contains(&status) { status } else { 488 };
        layer.respond(now, key, self.response(&request, status, None, &tag).build());
        Ok(())
    }

    fn take_reoffer(&mut self, id: CallId32) -> Result<(ServerKey, Message, Flow, String), Refused> {
        let call = self.calls.get_mut(&id).ok_or(Refused::Unknown)?;
        let flow = call.dialog.as_ref().ok_or(Refused::WrongState)?.flow;
        match call.offer.take() {
            Some(Offer::Theirs { key, request }) => Ok((key, request, flow, call.local_tag.clone())),
            other => {
                call.offer = other;
                Err(Refused::WrongState)
            }
        }
    }
}
