//! The agent: its tables, and which part of it an event or command belongs to.

use std::collections::{BTreeMap, VecDeque};

use strowger_clock::{Moment, Random, TimerWheel};
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::{
    ClientKey, Event, Failure, Flow, Layer, ServerKey, Target, TransactionUser, Transport, ViaSpec,
};

use crate::call::{Attempt, Call, Purpose, State, Timer};
use crate::command::Command;
use crate::config::{Config, LocalAddress, Login};
use crate::dialog::Dialog;
use crate::event::{CallId32, EndReason, Gauge, Refused, RegistrationId, UserAgentEvent};
use crate::registration::Registration;

/// What we understand (RFC 3261 §20.5).
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE";
pub(crate) const SDP: &str = "application/sdp";

/// A user agent: any number of calls and registrations over one transaction layer.
///
/// Its methods take the layer they send through. Drain [`UserAgent::poll_effect`](TransactionUser::poll_effect) and the
/// layer after each.
pub struct UserAgent {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) calls: BTreeMap<CallId32, Call>,
    pub(crate) by_tag: BTreeMap<String, CallId32>,
    pub(crate) live: usize,
    pub(crate) registrations: BTreeMap<RegistrationId, Registration>,
    pub(crate) attempts: BTreeMap<ClientKey, Attempt>,
    /// INVITEs (and UPDATEs) of the peer that name a call.
    pub(crate) servers: BTreeMap<ServerKey, CallId32>,
    pub(crate) timers: TimerWheel<Timer>,
    pub(crate) events: VecDeque<UserAgentEvent>,
    next_id: u32,
}

impl UserAgent {
    /// An agent without calls. `random` gives tags, Call-IDs and client nonces.
    pub fn new(config: Config, random: Random) -> UserAgent {
        UserAgent {
            config,
            random,
            calls: BTreeMap::new(),
            by_tag: BTreeMap::new(),
            live: 0,
            registrations: BTreeMap::new(),
            attempts: BTreeMap::new(),
            servers: BTreeMap::new(),
            timers: TimerWheel::new(),
            events: VecDeque::new(),
            next_id: 1,
        }
    }

    /// How full the agent is.
    pub fn gauge(&self) -> Gauge {
        Gauge {
            calls: self.live,
            records: self.calls.len(),
            registrations: self.registrations.len(),
            requests: self.attempts.len(),
            timers: self.timers.len(),
        }
    }

    /// Carries out a command; a refusal is returned and not told as an event.
    pub fn command(&mut self, now: Moment, layer: &mut Layer, command: Command) -> Result<(), Refused> {
        match command {
            Command::Register { register, .. } => self.register(now, layer, register).map(drop),
            Command::Unregister { registration } => self.unregister(now, layer, registration),
            Command::Invite { reference, invite } => {
                let call = self.invite(now, layer, invite)?;
                self.events.push_back(UserAgentEvent::Dialing { reference, call });
                Ok(())
            }
            Command::Ring { call, status, sdp } => self.ring(now, layer, call, status, sdp),
            Command::Answer { call, sdp } => self.answer(now, layer, call, sdp),
            Command::Acknowledge { call, sdp } => self.acknowledge(now, layer, call, sdp),
            Command::Reject { call, status, reason, headers } => {
                self.reject(now, layer, call, status, reason.as_deref(), &headers)
            }
            Command::HangUp { call, reason } => self.hang_up(now, layer, call, reason.as_deref()),
            Command::Reinvite { call, sdp } => self.reinvite(now, layer, call, sdp),
            Command::AnswerReoffer { call, sdp } => self.answer_reoffer(now, layer, call, sdp),
            Command::RejectReoffer { call, status } => self.reject_reoffer(now, layer, call, status),
            Command::SendInfo { call, content_type, body } => self.send_info(now, layer, call, &content_type, &body),
        }
    }

    pub(crate) fn fresh_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    pub(crate) fn fresh_tag(&mut self) -> String {
        self.random.alphanumeric(16)
    }

    fn local(
        &self,
        transport: Transport,
        peer: std::net::SocketAddr,
        at: Option<std::net::SocketAddr>,
    ) -> Option<LocalAddress> {
        let fits = |local: &&LocalAddress| local.transport == transport && local.address.is_ipv4() == peer.is_ipv4();
        let all = || self.config.local.iter().filter(fits);
        let exact = at.and_then(|at| all().find(|local| local.address == at || local.address.ip() == at.ip()));
        exact.or_else(|| all().next()).or_else(|| self.config.local.first()).copied()
    }

    /// Our sent-by for a request to a target.
    pub(crate) fn via(&self, target: &Target) -> ViaSpec {
        match self.local(target.transport, target.address, target.local) {
            Some(local) => ViaSpec::from(local.address),
            None => ViaSpec::new("invalid"),
        }
    }

    /// Our Contact towards a target.
    pub(crate) fn contact(&self, target: &Target) -> String {
        let Some(local) = self.local(target.transport, target.address, target.local) else {
            return "<sip:invalid>".to_owned();
        };
        let at = if self.config.contact_user.is_empty() { "" } else { "@" };
        let parameter = match local.transport {
            Transport::Udp => String::new(),
            other => format!(";transport={}", other.as_str().to_ascii_lowercase()),
        };
        format!("<sip:{}{at}{}{parameter}>", self.config.contact_user, local.address)
    }

    /// Sends a request in a transaction and remembers what for.
    pub(crate) fn send(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        (purpose, request, target): (Purpose, Message, Target),
        login: Option<Login>,
    ) -> Result<ClientKey, Refused> {
        let attempt = Attempt {
            purpose,
            request,
            target,
            login,
            challenges: 0,
            answered: Vec::new(),
            stale_seen: false,
            acks: Vec::new(),
            done: false,
        };
        self.send_attempt(now, layer, attempt)
    }

    pub(crate) fn send_attempt(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        attempt: Attempt,
    ) -> Result<ClientKey, Refused> {
        let via = self.via(&attempt.target);
        let sent = layer.request(now, attempt.request.clone(), attempt.target, &via);
        let key = sent.map_err(|_| Refused::LayerFull)?;
        if let Some(call) = attempt.purpose.call().and_then(|call| self.calls.get_mut(&call)) {
            call.transactions += 1;
        }
        self.attempts.insert(key, attempt);
        Ok(key)
    }

    /// Sends the ACK of a 2xx: outside transactions, with a Via of its own (§13.2.2.4, §17.1.1.3).
    pub(crate) fn send_ack(&mut self, layer: &mut Layer, ack: &Message, target: Target) {
        let value = layer.via(&self.via(&target), target.transport);
        let mut edit = ack.edit();
        edit.push_front(Header::Via, &value);
        layer.send_stateless(edit.finish(), target);
    }

    /// A response with what every response of ours has.
    pub(crate) fn response(&self, request: &Message, status: u16, reason: Option<&str>, tag: &str) -> Builder {
        let response = Builder::response(request, status, reason);
        let response = if status > 100 { response.to_tag(tag) } else { response };
        if self.config.user_agent.is_empty() {
            response
        } else {
            response.header(Header::Server, &self.config.user_agent)
        }
    }

    fn refuse(&mut self, now: Moment, layer: &mut Layer, key: ServerKey, request: &Message, status: u16) {
        let tag = self.fresh_tag();
        let response = self.response(request, status, None, &tag);
        let response = match status {
            405 | 501 => response.header(Header::Allow, ALLOW),
            415 => response.header(Header::Accept, SDP),
            503 => response.header(Header::RetryAfter, "10"),
            _ => response,
        };
        layer.respond(now, key, response.build());
    }

    /// Tells the end of a call, once, and lets its record go when its transactions are gone.
    pub(crate) fn end(&mut self, id: CallId32, event: Option<UserAgentEvent>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.state == State::Over {
            return;
        }
        call.state = State::Over;
        call.incoming = None;
        if let Some(unacknowledged) = call.unacknowledged.take() {
            self.timers.cancel(unacknowledged.retransmit);
            self.timers.cancel(unacknowledged.give_up);
        }
        call.offer = None;
        if let Some(postponed) = call.postponed.take() {
            self.timers.cancel(postponed.timer);
        }
        self.live = self.live.saturating_sub(1);
        self.events.extend(event);
        self.forget(id);
    }

    pub(crate) fn end_with(&mut self, id: CallId32, reason: EndReason) {
        self.end(id, Some(UserAgentEvent::Ended { call: id, reason }));
    }

    fn forget(&mut self, id: CallId32) {
        if let Some(call) = self.calls.get(&id)
            && call.state == State::Over
            && call.transactions == 0
        {
            self.by_tag.remove(&call.local_tag);
            self.calls.remove(&id);
        }
    }

    fn release(&mut self, id: CallId32) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.transactions = call.transactions.saturating_sub(1);
        }
        self.forget(id);
    }

    /// Ties a server transaction to a call.
    pub(crate) fn hold(&mut self, key: ServerKey, id: CallId32) {
        if self.servers.insert(key, id).is_none()
            && let Some(call) = self.calls.get_mut(&id)
        {
            call.transactions += 1;
        }
    }

    /// The call that an in-dialog request belongs to (§12.2.2).
    pub(crate) fn call_of(&mut self, request: &Message) -> Option<CallId32> {
        let tag = request.to().ok()?.tag()?.to_owned();
        let id = *self.by_tag.get(&tag)?;
        let call = self.calls.get_mut(&id)?;
        call.dialog_of(request).map(|_| id)
    }

    fn request_in(&mut self, now: Moment, layer: &mut Layer, key: ServerKey, request: Message, flow: Flow) {
        let method = request.method();
        // §8.2.1 before §8.2.2: what we do not know we do not look at further
        if let Method::Other(_) = method {
            return self.refuse(now, layer, key, &request, 501);
        }
        let known = matches!(method, Method::Invite | Method::Bye | Method::Options | Method::Info | Method::Update);
        if !known {
            return self.refuse(now, layer, key, &request, 405);
        }
        // §8.2.2.3
        let required = request.values(Header::Require).collect::<Vec<_>>().join(", ");
        if !required.is_empty() {
            let tag = self.fresh_tag();
            let response = self.response(&request, 420, None, &tag).header(Header::Unsupported, &required);
            return layer.respond(now, key, response.build());
        }
        let in_dialog = request.to().is_ok_and(|to| to.tag().is_some());
        if in_dialog {
            return match self.call_of(&request) {
                Some(call) => self.in_dialog(now, layer, (call, key), request, flow),
                None => self.refuse(now, layer, key, &request, 481),
            };
        }
        match method {
            Method::Invite => self.incoming(now, layer, key, request, flow),
            Method::Options => {
                let tag = self.fresh_tag();
                let full = self.live >= self.config.calls_max;
                // §11.2: as an INVITE would be answered
                let status = if full { self.config.busy_status } else { 200 };
                let response = self
                    .response(&request, status, None, &tag)
                    .header(Header::Allow, ALLOW)
                    .header(Header::Accept, SDP)
                    .header(Header::Contact, &self.contact(&flow.reply_target()));
                layer.respond(now, key, response.build());
            }
            _ => self.refuse(now, layer, key, &request, 481),
        }
    }

    /// Answers an INVITE for which there is no room, or whose body we cannot read.
    pub(crate) fn refuse_invite(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        key: ServerKey,
        request: &Message,
        status: u16,
    ) {
        self.refuse(now, layer, key, request, status);
    }

    fn response_in(&mut self, now: Moment, layer: &mut Layer, key: ClientKey, response: Message, flow: Flow) {
        let Some(attempt) = self.attempts.get(&key) else { return };
        let status = response.status().unwrap_or_default();
        let purpose = attempt.purpose;
        if matches!(status, 401 | 407) && !attempt.done && self.answer_challenge(now, layer, key, &response) {
            return;
        }
        match purpose {
            Purpose::Invite(call) => self.invite_response(now, layer, (call, key), response, flow),
            Purpose::Reinvite(call) => self.reinvite_response(now, layer, (call, key), response, flow),
            Purpose::Bye(call) if status >= 200 => self.bye_done(key, call),
            Purpose::Info(call) if status >= 200 => self.info_done(now, layer, (call, key), status),
            Purpose::Register(registration) if status >= 200 => {
                self.register_response(now, layer, (registration, key), Ok(&response));
            }
            _ => {}
        }
    }

    fn client_failed(&mut self, now: Moment, layer: &mut Layer, key: ClientKey, why: Failure) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        // an ACK that could not be sent after a final response changes nothing
        if std::mem::replace(&mut attempt.done, true) {
            return;
        }
        let status = match why {
            Failure::Timeout => 408,
            Failure::Transport => 503,
        };
        match attempt.purpose {
            Purpose::Invite(call) => self.invite_failed(call, status),
            Purpose::Reinvite(call) => self.reinvite_failed(now, layer, call, status),
            Purpose::Bye(call) => self.bye_done(key, call),
            Purpose::Info(call) => self.info_done(now, layer, (call, key), status),
            Purpose::Register(registration) => {
                self.register_response(now, layer, (registration, key), Err(status));
            }
        }
    }

    /// The dialog of a call, for the next request of ours in it.
    pub(crate) fn dialog_mut(&mut self, id: CallId32) -> Option<&mut Dialog> {
        self.calls.get_mut(&id)?.dialog.as_mut()
    }
}

impl TransactionUser for UserAgent {
    type Input = Command;
    type Effect = UserAgentEvent;

    fn event(&mut self, now: Moment, event: Event, layer: &mut Layer) {
        match event {
            Event::Request { key, message, flow } => self.request_in(now, layer, key, message, flow),
            Event::Ack { message, .. } => self.ack_in(now, layer, &message),
            Event::Cancel { invite, message } => self.cancel_in(now, layer, invite, &message),
            Event::Response { key, message, flow } => self.response_in(now, layer, key, message, flow),
            Event::StrayResponse { .. } => {}
            Event::ClientFailed { key, why } => self.client_failed(now, layer, key, why),
            // a response that could not be sent is sent again when the peer asks again; a 2xx by its own timer
            Event::ServerFailed { .. } => {}
            Event::ClientTerminated { key } => {
                if let Some(attempt) = self.attempts.remove(&key)
                    && let Some(call) = attempt.purpose.call()
                {
                    self.release(call);
                }
            }
            Event::ServerTerminated { key } => {
                if let Some(call) = self.servers.remove(&key) {
                    self.release(call);
                }
            }
        }
    }

    fn input(&mut self, now: Moment, input: Command, layer: &mut Layer) {
        let (reference, call) = match &input {
            Command::Register { reference, .. } | Command::Invite { reference, .. } => (*reference, None),
            Command::Unregister { .. } => (0, None),
            Command::Ring { call, .. }
            | Command::Answer { call, .. }
            | Command::Acknowledge { call, .. }
            | Command::Reject { call, .. }
            | Command::HangUp { call, .. }
            | Command::Reinvite { call, .. }
            | Command::AnswerReoffer { call, .. }
            | Command::RejectReoffer { call, .. }
            | Command::SendInfo { call, .. } => (0, Some(*call)),
        };
        if let Err(why) = self.command(now, layer, input) {
            self.events.push_back(UserAgentEvent::CommandRefused { reference, call, why });
        }
    }

    fn timeout(&mut self, now: Moment, layer: &mut Layer) {
        while let Some((_, timer)) = self.timers.pop_expired(now) {
            match timer {
                Timer::Retransmit(call) => self.retransmit(now, layer, call),
                Timer::GiveUp(call) => self.give_up(now, layer, call),
                Timer::Glare(call) => self.after_glare(now, layer, call),
                Timer::Refresh(registration) => self.refresh(now, layer, registration),
            }
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.timers.next_deadline()
    }

    fn poll_effect(&mut self) -> Option<UserAgentEvent> {
        self.events.pop_front()
    }
}
