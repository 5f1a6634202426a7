//! Server transactions (RFC 3261 §17.2), ACK and CANCEL from the server's side (§17.2.3, §9.2).

use strowger_clock::Moment;
use strowger_sip::{Builder, CSeq, Header, Message, Method};

use super::timers::{Interval, Running};
use super::{Layer, signal_of};
use crate::event::Owner;
use crate::machine::{Action, ServerInvite, ServerNonInvite, Signal, Timer};
use crate::matching::{Identity, merge_key};
use crate::routing::{mark_received, server_target};
use crate::{Dropped, Event, Failure, Flow, ServerKey, Target};

/// One server transaction.
#[derive(Debug)]
pub(super) struct Server {
    machine: Machine,
    /// For the 100 of our own; gone once a final response is there.
    request: Option<Message>,
    /// To tag of the request, for RFC 2543 peers.
    to_tag: Option<String>,
    /// The user's latest response.
    response: Option<Message>,
    is_reliable: bool,
    pub(super) target: Target,
    pub(super) running: Running,
    index_key: String,
    merge_key: Option<String>,
    /// Another transaction held the same merge key when this one began.
    is_merged: bool,
    /// A CANCEL, which the layer answers itself: the user hears nothing of it.
    is_internal: bool,
}

#[derive(Copy, Clone, PartialEq, Debug)]
enum Machine {
    Invite(ServerInvite),
    NonInvite(ServerNonInvite),
}

impl Machine {
    fn on(self, signal: Signal) -> Option<(Machine, &'static [Action])> {
        match self {
            Machine::Invite(state) => state.on(signal).map(|(next, actions)| (Machine::Invite(next), actions)),
            Machine::NonInvite(state) => state.on(signal).map(|(next, actions)| (Machine::NonInvite(next), actions)),
        }
    }

    fn is_terminated(self) -> bool {
        matches!(self, Machine::Invite(ServerInvite::Terminated) | Machine::NonInvite(ServerNonInvite::Terminated))
    }
}

/// A request on its way in.
struct Arrival<'a> {
    /// With `received` and `rport`.
    message: &'a Message,
    flow: Flow,
    identity: Identity,
    cseq: CSeq,
    target: Target,
    to_tag: Option<String>,
}

impl Layer {
    /// Sends the user's response. Provisional ones before a final one; after a 2xx to an INVITE further 2xx (RFC 6026 §8.7).
    /// Any other after a final one, and any for a transaction that is gone, is dropped and counted.
    pub fn respond(&mut self, now: Moment, key: ServerKey, response: Message) {
        if self.servers.find(key.slot, key.generation).is_none() {
            return self.drop_one(Dropped::NoTransaction);
        }
        let Some(signal) = response.status().and_then(signal_of) else { return self.drop_one(Dropped::Status) };
        if self.step_server(now, key, signal, Some((&response, None))).is_none() {
            self.drop_one(Dropped::Unexpected);
        }
    }

    /// Whether the request reached us by another path too (RFC 3261 §8.2.2.2): outside a dialog, with the From tag, Call-ID and
    /// CSeq of a transaction that was there when it came. A user agent answers it 482; a proxy forwards it.
    pub fn is_merged(&self, key: ServerKey) -> bool {
        self.servers.find(key.slot, key.generation).is_some_and(|server| server.is_merged)
    }

    pub(super) fn request_received(&mut self, now: Moment, message: &Message, flow: Flow) {
        let Ok(via) = message.top_via() else { return self.drop_one(Dropped::NoVia) };
        let method = message.method();
        let marked = mark_received(message, &via, flow.peer);
        let target = server_target(&via, &flow);
        let (Ok(cseq), Ok(to), true) =
            (message.cseq(), message.to(), message.from().is_ok() && message.call_id().is_some())
        else {
            self.refuse(&marked, target, 400, Some("Bad From, To, Call-ID or CSeq"));
            return self.drop_one(Dropped::NoIdentity);
        };
        if cseq.method != method {
            self.refuse(&marked, target, 400, Some("CSeq names another method"));
            return self.drop_one(Dropped::MethodMismatch);
        }
        let identity = Identity::of(message, &via, &cseq);
        let to_tag = to.tag().map(str::to_owned);
        let arrival = Arrival { message: &marked, flow, identity, cseq, target, to_tag };
        match method {
            Method::Ack => self.ack_received(now, &arrival),
            Method::Cancel => self.cancel_received(now, &arrival),
            _ => self.other_received(now, &arrival, &method),
        }
    }

    fn other_received(&mut self, now: Moment, arrival: &Arrival<'_>, method: &Method) {
        let index_key = arrival.identity.with_method(method);
        if let Some(key) = self.server_index.get(&index_key).copied() {
            return self.request_again(now, key, arrival);
        }
        if self.is_full_for(arrival) {
            self.counters.refused_full += 1;
            return self.refuse(arrival.message, arrival.target, 503, None);
        }
        let key = self.insert_server(arrival, method, index_key, false);
        self.begin_server(now, key, arrival);
    }

    /// A retransmission (§17.2.1, §17.2.2).
    fn request_again(&mut self, now: Moment, key: ServerKey, arrival: &Arrival<'_>) {
        let Some(server) = self.servers.find(key.slot, key.generation) else { return };
        if arrival.identity.is_rfc2543 && server.to_tag != arrival.to_tag {
            return self.drop_one(Dropped::ToTagMismatch);
        }
        self.counters.absorbed += 1;
        self.step_server(now, key, Signal::Request, None);
    }

    /// Requests inside a dialog have places of their own: an established call can always be ended.
    fn is_full_for(&self, arrival: &Arrival<'_>) -> bool {
        let reserve = if arrival.to_tag.is_some() { self.config.in_dialog_reserve } else { 0 };
        self.servers.len() >= self.config.server_transactions_max as usize + reserve as usize
    }

    fn ack_received(&mut self, now: Moment, arrival: &Arrival<'_>) {
        let tag = arrival.to_tag.as_deref();
        if tag == Some(self.stateless_tag.as_str()) {
            // for a 4xx or 5xx of refuse()
            self.counters.absorbed += 1;
            return;
        }
        let index_key = arrival.identity.with_method(&Method::Invite);
        let found = self.server_index.get(&index_key).copied().filter(|key| {
            // a branch identifies; an RFC 2543 ACK must besides bear the To tag that our response bore (§17.2.3)
            let server = self.servers.find(key.slot, key.generation);
            let answered = server.and_then(|server| server.response.as_ref()).and_then(|response| response.to().ok());
            !arrival.identity.is_rfc2543 || answered.is_some_and(|to| to.tag() == tag)
        });
        match found {
            None => self.emit(Event::Ack { message: arrival.message.clone(), flow: arrival.flow }),
            Some(key) => {
                let step = self.step_server(now, key, Signal::Ack, Some((arrival.message, Some(arrival.flow))));
                if step.is_none() {
                    self.drop_one(Dropped::Unexpected);
                }
            }
        }
    }

    /// §9.2: 200 when what it cancels is there, else 481; the user hears of it while the INVITE has no final response.
    fn cancel_received(&mut self, now: Moment, arrival: &Arrival<'_>) {
        let index_key = arrival.identity.with_method(&Method::Cancel);
        if let Some(key) = self.server_index.get(&index_key).copied() {
            return self.request_again(now, key, arrival);
        }
        let cancelled = self.find_cancelled(arrival);
        let server = cancelled.and_then(|key| self.servers.find(key.slot, key.generation));
        let status = if server.is_some() { 200 } else { 481 };
        let is_pending = server.is_some_and(|server| server.machine == Machine::Invite(ServerInvite::Proceeding));
        // §9.2: the To tag of the response to the original request, where there is one already
        let answered = server.and_then(|server| server.response.as_ref()).and_then(|response| response.to().ok());
        let tag = match answered.as_ref().and_then(|to| to.tag()) {
            Some(tag) => tag.to_owned(),
            None => self.random.alphanumeric(16),
        };
        let response = Builder::response(arrival.message, status, None).to_tag(&tag).build();
        if self.is_full_for(arrival) {
            // what it cancels frees a place: answered without one of its own
            self.counters.refused_full += 1;
            self.transmit(Owner::Nobody, response, arrival.target);
        } else {
            let key = self.insert_server(arrival, &Method::Cancel, index_key, true);
            self.step_server(now, key, signal_of(status).unwrap_or(Signal::Failure), Some((&response, None)));
        }
        if let Some(invite) = cancelled.filter(|_| is_pending) {
            self.emit(Event::Cancel { invite, message: arrival.message.clone() });
        }
    }

    /// The transaction of the same identity and any method but ACK and CANCEL; nearly always an INVITE.
    fn find_cancelled(&self, arrival: &Arrival<'_>) -> Option<ServerKey> {
        let candidates = Method::KNOWN.iter().filter(|method| !matches!(method, Method::Ack | Method::Cancel));
        let key = candidates
            .map(|method| arrival.identity.with_method(method))
            .find_map(|key| self.server_index.get(&key))?;
        let server = self.servers.find(key.slot, key.generation)?;
        (!arrival.identity.is_rfc2543 || server.to_tag == arrival.to_tag).then_some(*key)
    }

    /// Answers without state. The tag is ours, so that the ACK is known again; ACK itself is never answered.
    fn refuse(&mut self, request: &Message, target: Target, status: u16, reason: Option<&str>) {
        if request.method() == Method::Ack {
            return;
        }
        let mut builder = Builder::response(request, status, reason).to_tag(&self.stateless_tag);
        if status == 503 {
            builder = builder.header(Header::RetryAfter, &self.config.retry_after_seconds.to_string());
        }
        self.transmit(Owner::Nobody, builder.build(), target);
    }

    fn insert_server(
        &mut self,
        arrival: &Arrival<'_>,
        method: &Method,
        index_key: String,
        is_internal: bool,
    ) -> ServerKey {
        let merge_key = if is_internal { None } else { merge_key(arrival.message, &arrival.cseq) };
        let mut is_merged = false;
        if let Some(key) = &merge_key {
            let sharing = self.merges.entry(key.clone()).or_default();
            is_merged = *sharing > 0;
            *sharing += 1;
        }
        let is_invite = *method == Method::Invite;
        let (slot, generation) = self.servers.insert_with(|_, _| Server {
            machine: if is_invite {
                Machine::Invite(ServerInvite::Proceeding)
            } else {
                Machine::NonInvite(ServerNonInvite::Trying)
            },
            request: is_invite.then(|| arrival.message.clone()),
            to_tag: arrival.to_tag.clone(),
            response: None,
            is_reliable: arrival.flow.transport.is_reliable(),
            target: arrival.target,
            running: Running::default(),
            index_key: index_key.clone(),
            merge_key,
            is_merged,
            is_internal,
        });
        let key = ServerKey { slot, generation };
        self.server_index.insert(index_key, key);
        if let Some(flow) = arrival.target.flow.filter(|_| arrival.flow.transport.is_reliable()) {
            self.flows.insert((flow, Owner::Server(key)));
        }
        key
    }

    fn begin_server(&mut self, now: Moment, key: ServerKey, arrival: &Arrival<'_>) {
        let Some(server) = self.servers.find(key.slot, key.generation) else { return };
        let begin = match server.machine {
            Machine::Invite(_) => ServerInvite::BEGIN,
            Machine::NonInvite(_) => ServerNonInvite::BEGIN,
        };
        self.act_for_server(now, key, begin, Some((arrival.message, Some(arrival.flow))));
    }

    /// One step of a server transaction; `None`: its state does not know the signal. The message is the user's response (no flow)
    /// or what came from the network (with its flow).
    pub(super) fn step_server(
        &mut self,
        now: Moment,
        key: ServerKey,
        signal: Signal,
        message: Option<(&Message, Option<Flow>)>,
    ) -> Option<&'static [Action]> {
        let server = self.servers.find_mut(key.slot, key.generation)?;
        let (next, actions) = server.machine.on(signal)?;
        let is_change = server.machine != next;
        server.machine = next;
        if let Some((response, None)) = message {
            server.response = Some(response.clone());
            if signal != Signal::Provisional {
                server.request = None;
            }
        }
        if is_change {
            self.stop_timers(Owner::Server(key), |timer| next.on(Signal::Expired(timer)).is_none());
        }
        let expired = self.act_for_server(now, key, actions, message);
        if next.is_terminated() {
            self.end_server(key);
        } else if let Some(timer) = expired {
            self.step_server(now, key, Signal::Expired(timer), None);
        }
        Some(actions)
    }

    /// Does what a transition asks; gives back a timer that was started with zero.
    fn act_for_server(
        &mut self,
        now: Moment,
        key: ServerKey,
        actions: &[Action],
        message: Option<(&Message, Option<Flow>)>,
    ) -> Option<Timer> {
        let owner = Owner::Server(key);
        let mut expired = None;
        for action in actions {
            let server = self.servers.find(key.slot, key.generation)?;
            let (target, is_reliable, is_internal) = (server.target, server.is_reliable, server.is_internal);
            match *action {
                Action::SendResponse => {
                    if let Some(response) = server.response.clone() {
                        self.transmit(owner, response, target);
                    }
                }
                Action::SendTrying => self.send_trying(key),
                Action::PassUp => {
                    if let Some((message, Some(flow))) = message {
                        let message = message.clone();
                        self.emit(match message.method() {
                            Method::Ack => Event::Ack { message, flow },
                            _ => Event::Request { key, message, flow },
                        });
                    }
                }
                Action::InformTimeout if !is_internal => self.emit(Event::ServerFailed { key, why: Failure::Timeout }),
                Action::InformTransport if !is_internal => {
                    self.emit(Event::ServerFailed { key, why: Failure::Transport })
                }
                Action::Start(timer) => {
                    if self.start_timer(now, owner, timer, &Interval::First, is_reliable) {
                        expired = Some(timer);
                    }
                }
                Action::Double(timer) => drop(self.start_timer(now, owner, timer, &Interval::Double, is_reliable)),
                Action::Longest(timer) => drop(self.start_timer(now, owner, timer, &Interval::Longest, is_reliable)),
                Action::Stop(timer) => self.stop_timers(owner, |running| running == timer),
                Action::SendRequest | Action::SendAck | Action::InformTimeout | Action::InformTransport => {}
            }
        }
        expired
    }

    /// §17.2.1: a 100 without a To tag, repeated like one of the user's.
    fn send_trying(&mut self, key: ServerKey) {
        let Some(server) = self.servers.find_mut(key.slot, key.generation) else { return };
        let Some(request) = &server.request else { return };
        let trying = Builder::response(request, 100, None).build();
        server.response = Some(trying.clone());
        let target = server.target;
        self.counters.trying_sent += 1;
        self.transmit(Owner::Server(key), trying, target);
    }

    fn end_server(&mut self, key: ServerKey) {
        self.stop_timers(Owner::Server(key), |_| true);
        let Some(server) = self.servers.remove(key.slot, key.generation) else { return };
        self.server_index.remove(&server.index_key);
        if let Some(flow) = server.target.flow {
            self.flows.remove(&(flow, Owner::Server(key)));
        }
        if let Some(merge_key) = &server.merge_key
            && let Some(sharing) = self.merges.get_mut(merge_key)
        {
            *sharing -= 1;
            if *sharing == 0 {
                self.merges.remove(merge_key);
            }
        }
        if !server.is_internal {
            self.emit(Event::ServerTerminated { key });
        }
    }
}
