//! The calling side: INVITE and what comes back (RFC 3261 §13.2), BYE, CANCEL.

use bytes::Bytes;
use strowger_clock::Moment;
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::{ClientKey, Flow, Layer};

use crate::agent::{ALLOW, SDP, UserAgent};
use crate::call::{Call, Purpose, State};
use crate::command::Invite;
use crate::dialog::Dialog;
use crate::event::{CallId32, EndReason, Refused, UserAgentEvent};

/// The session description of a message, if it has one.
pub(crate) fn sdp_of(message: &Message) -> Option<Bytes> {
    (!message.body().is_empty() && message.has_body_of(SDP)).then(|| Bytes::copy_from_slice(message.body()))
}

pub(crate) fn with_sdp(builder: Builder, sdp: Option<&Bytes>) -> Builder {
    match sdp {
        Some(sdp) => builder.body(SDP, sdp),
        None => builder,
    }
}

impl UserAgent {
    /// Calls somebody. What becomes of it is told by events.
    ///
    /// # Errors
    /// [`Refused::TooMany`], [`Refused::LayerFull`].
    pub fn invite(&mut self, now: Moment, layer: &mut Layer, invite: Invite) -> Result<CallId32, Refused> {
        if self.live >= self.config.calls_max {
            return Err(Refused::TooMany);
        }
        let tag = self.fresh_tag();
        let call_id = invite.call_id.unwrap_or_else(|| self.random.alphanumeric(24));
        let to = invite.to.unwrap_or_else(|| format!("<{}>", invite.uri));
        let mut request = Builder::request(Method::Invite, &invite.uri)
            .header(Header::From, &format!("{};tag={tag}", invite.from))
            .header(Header::To, &to)
            .header(Header::CallId, &call_id)
            .header(Header::CSeq, "1 INVITE")
            .header(Header::Contact, &self.contact(&invite.target))
            .header(Header::Allow, ALLOW)
            .header(Header::Accept, SDP);
        if !self.config.user_agent.is_empty() {
            request = request.header(Header::UserAgent, &self.config.user_agent);
        }
        for route in &invite.route {
            request = request.header(Header::Route, route);
        }
        for (name, value) in &invite.headers {
            request = request.header_by_name(name, value);
        }
        let request = with_sdp(request, invite.sdp.as_ref()).build();
        let id = CallId32(self.fresh_id());
        let mut call = Call::new(State::Calling, tag.clone());
        call.login = invite.login.clone();
        self.calls.insert(id, call);
        match self.send(now, layer, (Purpose::Invite(id), request, invite.target), invite.login) {
            Ok(key) => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.inviting = Some(key);
                }
                self.by_tag.insert(tag, id);
                self.live += 1;
                Ok(id)
            }
            Err(refused) => {
                self.calls.remove(&id);
                Err(refused)
            }
        }
    }

    /// Ends a call whatever its state: CANCEL, a refusal (480), or BYE. `reason` becomes the Reason header (RFC 3326).
    ///
    /// # Errors
    /// [`Refused::Unknown`], or [`Refused::WrongState`] when it is being ended already.
    pub fn hang_up(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        id: CallId32,
        reason: Option<&str>,
    ) -> Result<(), Refused> {
        let call = self.calls.get_mut(&id).ok_or(Refused::Unknown)?;
        match call.state {
            State::Calling => {
                call.state = State::Cancelling;
                if let Some(key) = call.inviting {
                    layer.cancel_with_reason(now, key, reason);
                }
                Ok(())
            }
            State::Incoming => {
                let headers: Vec<_> =
                    reason.map(|reason| ("Reason".to_owned(), reason.to_owned())).into_iter().collect();
                self.reject(now, layer, id, 480, None, &headers)?;
                Ok(())
            }
            State::AckOwed => {
                // §13.2.2.4: even an offer that is not wanted is acknowledged, then the call is ended
                self.acknowledge(now, layer, id, None)?;
                self.bye(now, layer, id, reason);
                Ok(())
            }
            State::Accepted => {
                // §15: the callee must not send BYE before the ACK has come
                if call.leave_later.is_some() {
                    return Err(Refused::WrongState);
                }
                call.leave_later = Some(reason.map(str::to_owned));
                Ok(())
            }
            State::Up => {
                self.bye(now, layer, id, reason);
                Ok(())
            }
            State::Cancelling | State::Leaving | State::Over => Err(Refused::WrongState),
        }
    }

    /// Sends BYE in the call's dialog and tells the end at once when it cannot be sent.
    pub(crate) fn bye(&mut self, now: Moment, layer: &mut Layer, id: CallId32, reason: Option<&str>) {
        if !self.send_bye(now, layer, id, reason) {
            self.end_with(id, EndReason::Local);
        }
    }

    pub(crate) fn send_bye(&mut self, now: Moment, layer: &mut Layer, id: CallId32, reason: Option<&str>) -> bool {
        let Some(call) = self.calls.get_mut(&id) else { return false };
        call.state = State::Leaving;
        let login = call.login.clone();
        let Some(dialog) = call.dialog.as_mut() else { return false };
        let sequence = dialog.next_sequence();
        let mut bye = dialog.request(Method::Bye, sequence);
        let target = dialog.next_hop();
        if let Some(reason) = reason {
            bye = bye.header(Header::Reason, reason);
        }
        if !self.config.user_agent.is_empty() {
            bye = bye.header(Header::UserAgent, &self.config.user_agent);
        }
        self.send(now, layer, (Purpose::Bye(id), bye.build(), target), login).is_ok()
    }

    /// §15.1.1: whatever the answer, the call is over.
    pub(crate) fn bye_done(&mut self, key: ClientKey, id: CallId32) {
        if let Some(attempt) = self.attempts.get_mut(&key) {
            attempt.done = true;
        }
        if self.calls.get(&id).is_some_and(|call| call.state == State::Leaving) {
            self.end_with(id, EndReason::Local);
        }
    }

    pub(crate) fn invite_response(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        (id, key): (CallId32, ClientKey),
        response: Message,
        flow: Flow,
    ) {
        match response.status().unwrap_or_default() {
            101..=199 => self.provisional(id, key, response, flow),
            200..=299 => self.accepted(now, layer, (id, key), response, flow),
            300..=699 => {
                if let Some(attempt) = self.attempts.get_mut(&key) {
                    attempt.done = true;
                }
                self.refused(id, response);
            }
            _ => {}
        }
    }

    fn provisional(&mut self, id: CallId32, key: ClientKey, response: Message, flow: Flow) {
        let (Some(call), Some(attempt)) = (self.calls.get_mut(&id), self.attempts.get(&key)) else { return };
        if !matches!(call.state, State::Calling | State::Cancelling) {
            return;
        }
        let tag = response.to().ok().and_then(|to| to.tag().map(str::to_owned));
        if let Some(tag) = tag {
            let branches = call.forks.len();
            match call.forks.iter_mut().find(|fork| fork.remote_tag == tag) {
                Some(fork) => fork.confirm(&response, flow),
                None if branches < self.config.forks_max => {
                    call.forks.extend(Dialog::of_response(&attempt.request, &response, flow));
                }
                None => {}
            }
        }
        if call.state == State::Calling {
            let status = response.status().unwrap_or_default();
            self.events.push_back(UserAgentEvent::Progress { call: id, status, sdp: sdp_of(&response), response });
        }
    }

    fn refused(&mut self, id: CallId32, response: Message) {
        let status = response.status().unwrap_or_default();
        let Some(call) = self.calls.get(&id) else { return };
        if !matches!(call.state, State::Calling | State::Cancelling) {
            return;
        }
        let event = if status < 400 {
            let mut contacts: Vec<_> = response
                .contacts()
                .flatten()
                .filter(|contact| !contact.is_wildcard())
                .map(|contact| (contact.q_thousandths().unwrap_or(1000), contact.uri.to_owned()))
                .collect();
            contacts.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
            let contacts = contacts.into_iter().map(|(_, uri)| uri).collect();
            UserAgentEvent::Redirected { call: id, status, contacts, response }
        } else {
            let reason = response.reason().to_owned();
            UserAgentEvent::Rejected { call: id, status, reason, response: Some(response) }
        };
        self.end(id, Some(event));
    }

    pub(crate) fn invite_failed(&mut self, id: CallId32, status: u16) {
        let Some(call) = self.calls.get(&id) else { return };
        if !matches!(call.state, State::Calling | State::Cancelling) {
            return;
        }
        let reason = strowger_sip::reason_phrase(status).to_owned();
        self.end(id, Some(UserAgentEvent::Rejected { call: id, status, reason, response: None }));
    }

    /// A 2xx: the first makes the dialog; the same again wants its ACK again; another branch's is acknowledged and ended
    /// (§13.2.2.4).
    fn accepted(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        (id, key): (CallId32, ClientKey),
        response: Message,
        flow: Flow,
    ) {
        let tag = response.to().ok().and_then(|to| to.tag()).unwrap_or_default().to_owned();
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        attempt.done = true;
        if let Some((_, ack, target)) = attempt.acks.iter().find(|(to, _, _)| *to == tag).cloned() {
            return self.send_ack(layer, &ack, target);
        }
        let Some(mut dialog) = Dialog::of_response(&attempt.request, &response, flow) else { return };
        let offered = sdp_of(&attempt.request).is_some();
        let Some(call) = self.calls.get_mut(&id) else { return };
        match call.state {
            State::Calling | State::Cancelling => {
                let cancelling = call.state == State::Cancelling;
                if let Some(early) = call.forks.iter().find(|fork| fork.remote_tag == tag) {
                    dialog.remote_sequence = early.remote_sequence;
                }
                call.forks.clear();
                call.dialog = Some(dialog);
                let sdp = sdp_of(&response);
                let answer_owed = !offered && sdp.is_some() && !cancelling;
                if answer_owed {
                    call.state = State::AckOwed;
                } else {
                    call.state = State::Up;
                    self.acknowledge_with(layer, id, key, None);
                }
                if cancelling {
                    // the 2xx crossed our CANCEL (§9.1)
                    return self.bye(now, layer, id, None);
                }
                self.events.push_back(UserAgentEvent::Answered { call: id, sdp, answer_owed, response });
            }
            // its ACK waits for the owner; it will be sent
            State::AckOwed if call.dialog.as_ref().is_some_and(|dialog| dialog.remote_tag == tag) => {}
            _ => self.end_fork(now, layer, (id, key), dialog),
        }
    }

    /// Acknowledges and ends a further branch that answered.
    fn end_fork(&mut self, now: Moment, layer: &mut Layer, (id, key): (CallId32, ClientKey), mut dialog: Dialog) {
        let ack = dialog.request(Method::Ack, dialog.local_sequence).build();
        let target = dialog.next_hop();
        self.send_ack(layer, &ack, target);
        let sequence = dialog.next_sequence();
        let bye = dialog.request(Method::Bye, sequence).build();
        let login = self.calls.get(&id).and_then(|call| call.login.clone());
        if let Some(attempt) = self.attempts.get_mut(&key)
            && attempt.acks.len() <= self.config.forks_max
        {
            attempt.acks.push((dialog.remote_tag.clone(), ack, target));
        }
        if let Some(call) = self.calls.get_mut(&id)
            && call.forks.len() < self.config.forks_max
        {
            call.forks.push(dialog);
        }
        // when the layer is full the other side finds out by its own time-out
        let _ = self.send(now, layer, (Purpose::Bye(id), bye, target), login);
    }

    /// Gives the answer that a 2xx's offer wants in its ACK ([`UserAgentEvent::Answered`] with `answer_owed`).
    ///
    /// # Errors
    /// [`Refused::Unknown`], or [`Refused::WrongState`] when no ACK is owed.
    pub fn acknowledge(
        &mut self,
        _now: Moment,
        layer: &mut Layer,
        id: CallId32,
        sdp: Option<Bytes>,
    ) -> Result<(), Refused> {
        let call = self.calls.get_mut(&id).ok_or(Refused::Unknown)?;
        let key = call.inviting.filter(|_| call.state == State::AckOwed).ok_or(Refused::WrongState)?;
        call.state = State::Up;
        self.acknowledge_with(layer, id, key, sdp.as_ref());
        Ok(())
    }

    pub(crate) fn acknowledge_with(&mut self, layer: &mut Layer, id: CallId32, key: ClientKey, sdp: Option<&Bytes>) {
        let Some(attempt) = self.attempts.get(&key) else { return };
        let credentials: Vec<_> = [Header::Authorization, Header::ProxyAuthorization]
            .into_iter()
            .flat_map(|name| attempt.request.values(name).map(move |value| (name, value.to_owned())))
            .collect();
        let Ok(invite) = attempt.request.cseq() else { return };
        let Some(dialog) = self.calls.get(&id).and_then(|call| call.dialog.as_ref()) else { return };
        let mut ack = dialog.request(Method::Ack, invite.number);
        // §22.1: the ACK has the credentials of its INVITE
        for (name, value) in &credentials {
            ack = ack.header(*name, value);
        }
        let ack = with_sdp(ack, sdp).build();
        let target = dialog.next_hop();
        let tag = dialog.remote_tag.clone();
        if let Some(attempt) = self.attempts.get_mut(&key) {
            attempt.acks.push((tag, ack.clone(), target));
        }
        self.send_ack(layer, &ack, target);
    }
}
