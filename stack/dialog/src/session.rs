//! Requests of ours within a call that is up: re-INVITE with its glare (RFC 3261 §14.1), INFO.

use std::time::Duration;

use bytes::Bytes;
use strowger_clock::Moment;
use strowger_sip::{Header, Message, Method};
use strowger_transaction::{ClientKey, Flow, Layer};

use crate::agent::{ALLOW, SDP, UserAgent};
use crate::call::{Offer, Postponed, Purpose, State, Timer, after};
use crate::event::{CallId32, EndReason, Refused, UserAgentEvent};
use crate::uac::{sdp_of, with_sdp};

/// How often a re-INVITE that meets the peer's is tried again.
const GLARE_TRIES_MAX: u8 = 5;

impl UserAgent {
    /// Offers a new session (hold, resume, new address); without `sdp` the peer is asked for an offer.
    ///
    /// # Errors
    /// [`Refused::Unknown`], [`Refused::WrongState`], [`Refused::OfferPending`], [`Refused::LayerFull`].
    pub fn reinvite(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        id: CallId32,
        sdp: Option<Bytes>,
    ) -> Result<(), Refused> {
        let call = self.calls.get(&id).ok_or(Refused::Unknown)?;
        if call.state != State::Up {
            return Err(Refused::WrongState);
        }
        // §14.1: not while another INVITE of either side is under way
        if call.offer.is_some() || call.postponed.is_some() || call.unacknowledged.is_some() {
            return Err(Refused::OfferPending);
        }
        self.send_reinvite(now, layer, id, sdp, 0)
    }

    fn send_reinvite(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        id: CallId32,
        sdp: Option<Bytes>,
        tries: u8,
    ) -> Result<(), Refused> {
        let call = self.calls.get_mut(&id).ok_or(Refused::Unknown)?;
        let login = call.login.clone();
        let dialog = call.dialog.as_mut().ok_or(Refused::WrongState)?;
        let sequence = dialog.next_sequence();
        let request = dialog.request(Method::Invite, sequence);
        let target = dialog.next_hop();
        let request = request
            .header(Header::Contact, &self.contact(&target))
            .header(Header::Allow, ALLOW)
            .header(Header::Accept, SDP);
        let request = with_sdp(request, sdp.as_ref()).build();
        let key = self.send(now, layer, (Purpose::Reinvite(id), request, target), login)?;
        if let Some(call) = self.calls.get_mut(&id) {
            call.offer = Some(Offer::Ours { sdp, tries });
            call.inviting = Some(key);
        }
        Ok(())
    }

    pub(crate) fn reinvite_response(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        (id, key): (CallId32, ClientKey),
        response: Message,
        flow: Flow,
    ) {
        let status = response.status().unwrap_or_default();
        if status < 200 {
            return;
        }
        let tag = response.to().ok().and_then(|to| to.tag()).unwrap_or_default().to_owned();
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        if let Some((_, ack, target)) = attempt.acks.iter().find(|(to, _, _)| *to == tag).cloned() {
            return self.send_ack(layer, &ack, target);
        }
        if std::mem::replace(&mut attempt.done, true) {
            return;
        }
        if status >= 300 {
            return self.reinvite_failed(now, layer, id, status);
        }
        let offered = sdp_of(&attempt.request).is_some();
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(dialog) = call.dialog.as_mut() {
            dialog.refresh_target(&response);
            dialog.flow = flow;
        }
        call.offer = None;
        let up = call.state == State::Up;
        let sdp = sdp_of(&response);
        let answer_owed = up && !offered && sdp.is_some();
        if answer_owed {
            call.state = State::AckOwed;
            call.inviting = Some(key);
        } else {
            self.acknowledge_with(layer, id, key, None);
        }
        if up {
            self.events.push_back(UserAgentEvent::Reanswered { call: id, sdp, answer_owed });
        }
    }

    pub(crate) fn reinvite_failed(&mut self, now: Moment, layer: &mut Layer, id: CallId32, status: u16) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(Offer::Ours { sdp, tries }) = call.offer.take() else { return };
        if call.state != State::Up {
            return;
        }
        match status {
            // §12.2.1.2: the peer has no such dialog, or is gone
            408 | 481 => {
                self.send_bye(now, layer, id, None);
                self.end_with(id, EndReason::DialogLost(status));
            }
            491 if tries < GLARE_TRIES_MAX => {
                // §14.1: who made the Call-ID waits 2.1 to 4 s, the other up to 2 s, in steps of 10 ms
                let wait = if call.caller { 2100 + self.random.below(191) * 10 } else { self.random.below(201) * 10 };
                let timer = self.timers.insert(after(now, Duration::from_millis(wait)), Timer::Glare(id));
                call.postponed = Some(Postponed { sdp, tries: tries + 1, timer });
            }
            _ => self.events.push_back(UserAgentEvent::ReofferRefused { call: id, status }),
        }
    }

    pub(crate) fn after_glare(&mut self, now: Moment, layer: &mut Layer, id: CallId32) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(postponed) = call.postponed.take() else { return };
        if call.state != State::Up {
            return;
        }
        if call.offer.is_some() || call.unacknowledged.is_some() {
            let timer = self.timers.insert(after(now, Duration::from_millis(500)), Timer::Glare(id));
            call.postponed = Some(Postponed { timer, ..postponed });
            return;
        }
        if self.send_reinvite(now, layer, id, postponed.sdp, postponed.tries).is_err() {
            self.events.push_back(UserAgentEvent::ReofferRefused { call: id, status: 503 });
        }
    }

    /// Sends an INFO (DTMF of old gateways, charge information).
    ///
    /// # Errors
    /// [`Refused::Unknown`], [`Refused::WrongState`], [`Refused::LayerFull`].
    pub fn send_info(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        id: CallId32,
        content_type: &str,
        body: &[u8],
    ) -> Result<(), Refused> {
        let call = self.calls.get_mut(&id).ok_or(Refused::Unknown)?;
        if !matches!(call.state, State::Up | State::Accepted) {
            return Err(Refused::WrongState);
        }
        let login = call.login.clone();
        let dialog = call.dialog.as_mut().ok_or(Refused::WrongState)?;
        let sequence = dialog.next_sequence();
        let request = dialog.request(Method::Info, sequence).body(content_type, body).build();
        let target = dialog.next_hop();
        self.send(now, layer, (Purpose::Info(id), request, target), login).map(drop)
    }

    pub(crate) fn info_done(&mut self, now: Moment, layer: &mut Layer, (id, key): (CallId32, ClientKey), status: u16) {
        if let Some(attempt) = self.attempts.get_mut(&key) {
            attempt.done = true;
        }
        self.events.push_back(UserAgentEvent::InfoDone { call: id, status });
        let up = self.calls.get(&id).is_some_and(|call| call.state == State::Up);
        if status == 481 && up {
            self.send_bye(now, layer, id, None);
            self.end_with(id, EndReason::DialogLost(status));
        }
    }
}
