//! Client transactions (RFC 3261 §17.1) and CANCEL from the client's side (§9.1).

use strowger_clock::Moment;
use strowger_sip::{Builder, Header, Message, Method, Via};

use super::timers::{Interval, Running};
use super::{Layer, signal_of, via_value};
use crate::branch::BranchOwner;
use crate::event::Owner;
use crate::machine::{Action, ClientInvite, ClientNonInvite, Signal, Timer};
use crate::{ClientKey, Dropped, Event, Failure, Flow, Full, Target, ViaSpec};

/// One client transaction.
#[derive(Debug)]
pub(super) struct Client {
    machine: Machine,
    /// As sent: with our Via.
    request: Message,
    pub(super) target: Target,
    branch: String,
    /// How many Vias a response must bear.
    vias: usize,
    pub(super) running: Running,
    cancel: Cancel,
    /// The layer's own CANCEL: the user hears nothing of it.
    is_internal: bool,
}

#[derive(Copy, Clone, PartialEq, Debug)]
enum Machine {
    Invite(ClientInvite),
    NonInvite(ClientNonInvite),
}

impl Machine {
    fn on(self, signal: Signal) -> Option<(Machine, &'static [Action])> {
        match self {
            Machine::Invite(state) => state.on(signal).map(|(next, actions)| (Machine::Invite(next), actions)),
            Machine::NonInvite(state) => state.on(signal).map(|(next, actions)| (Machine::NonInvite(next), actions)),
        }
    }

    fn is_terminated(self) -> bool {
        matches!(self, Machine::Invite(ClientInvite::Terminated) | Machine::NonInvite(ClientNonInvite::Terminated))
    }
}

/// Whether the user wants the INVITE cancelled.
#[derive(Debug)]
enum Cancel {
    No,
    /// Yes, once a provisional response has come (§9.1); with this Reason.
    Waiting(Option<String>),
    Sent,
}

impl Layer {
    /// Begins a client transaction: pushes our Via with a fresh branch onto `message` (which must not have it yet) and sends it.
    /// Not for ACK, which has no transaction of its own (§17.1.1.3), nor for CANCEL ([`Layer::cancel`]).
    ///
    /// # Errors
    /// [`Full`]: the table is at its maximum; nothing was done.
    pub fn request(&mut self, now: Moment, message: Message, target: Target, via: &ViaSpec) -> Result<ClientKey, Full> {
        let client_transactions_max = self.config.client_transactions_max;
        if self.clients.len() >= client_transactions_max as usize {
            self.counters.requests_full += 1;
            return Err(Full { client_transactions_max });
        }
        let (shard, random) = (self.config.shard, &mut self.random);
        let (slot, generation) = self.clients.insert_with(|slot, generation| {
            let branch = BranchOwner { shard, slot, generation }.write(random, &via.branch_suffix);
            let mut edit = message.edit();
            edit.push_front(Header::Via, &via_value(via, target.transport, &branch));
            Client::new(edit.finish(), target, branch)
        });
        let key = ClientKey { slot, generation };
        self.begin_client(now, key);
        Ok(key)
    }

    /// Cancels an INVITE (§9.1): at once if a provisional response has come, else when one comes; not at all when a final
    /// response comes first. The outcome is the INVITE's own: 487, a 2xx that crossed, or [`Failure::Timeout`] when nothing
    /// comes 64*T1 after the CANCEL. A key that is gone or no INVITE's is ignored.
    pub fn cancel(&mut self, now: Moment, key: ClientKey) {
        self.cancel_with_reason(now, key, None);
    }

    /// As [`Layer::cancel`], with a Reason header in the CANCEL (RFC 3326), such as `SIP;cause=200;text="Call completed elsewhere"`.
    pub fn cancel_with_reason(&mut self, now: Moment, key: ClientKey, reason: Option<&str>) {
        let Some(client) = self.clients.find_mut(key.slot, key.generation) else { return };
        if !matches!(client.cancel, Cancel::No) {
            return;
        }
        match client.machine {
            Machine::Invite(ClientInvite::Calling) => client.cancel = Cancel::Waiting(reason.map(str::to_owned)),
            Machine::Invite(ClientInvite::Proceeding) => self.send_cancel(now, key, reason),
            _ => {}
        }
    }

    /// §9.1: the INVITE's Request-URI, top Via, From, To, Call-ID, CSeq number and Routes, sent where it went.
    ///
    /// It may stand above the table's maximum: each INVITE has at most one.
    fn send_cancel(&mut self, now: Moment, invite: ClientKey, reason: Option<&str>) {
        let Some(client) = self.clients.find_mut(invite.slot, invite.generation) else { return };
        client.cancel = Cancel::Sent;
        let mut builder = hop_request(Method::Cancel, &client.request).copy(Header::To, &client.request);
        if let Some(reason) = reason {
            builder = builder.header(Header::Reason, reason);
        }
        let mut cancel = Client::new(builder.build(), client.target, client.branch.clone());
        cancel.is_internal = true;
        let branch = cancel.branch.clone();
        let (slot, generation) = self.clients.insert_with(|_, _| cancel);
        let key = ClientKey { slot, generation };
        self.cancels.insert(branch, key);
        self.begin_client(now, key);
        self.start_timer(now, Owner::Client(invite), Timer::Canceled, &Interval::First, false);
    }

    fn begin_client(&mut self, now: Moment, key: ClientKey) {
        let Some(client) = self.clients.find(key.slot, key.generation) else { return };
        let begin = match client.machine {
            Machine::Invite(_) => ClientInvite::BEGIN,
            Machine::NonInvite(_) => ClientNonInvite::BEGIN,
        };
        if let Some(flow) = client.target.flow.filter(|_| client.target.transport.is_reliable()) {
            self.flows.insert((flow, Owner::Client(key)));
        }
        self.act_for_client(now, key, begin, None);
    }

    /// §17.1.3 with §18.1.2 and §8.1.3.3.
    pub(super) fn response_received(&mut self, now: Moment, status: u16, message: &Message, flow: Flow) {
        let Some(signal) = signal_of(status) else { return self.drop_one(Dropped::Status) };
        let Ok(via) = message.top_via() else { return self.drop_one(Dropped::NoVia) };
        let Some(key) = self.match_response(message, &via) else {
            self.counters.stray_responses += 1;
            return self.emit(Event::StrayResponse { message: message.clone(), flow });
        };
        let Some(client) = self.clients.find(key.slot, key.generation) else { return };
        let ours = client.request.top_via();
        if !ours.is_ok_and(|ours| ours.port == via.port && ours.host.eq_ignore_ascii_case(via.host)) {
            return self.drop_one(Dropped::ForeignSentBy);
        }
        if message.values(Header::Via).count() != client.vias {
            return self.drop_one(Dropped::ViaCount);
        }
        if message.to().is_err() {
            // the ACK copies it, the user's dialog is named by it
            return self.drop_one(Dropped::NoIdentity);
        }
        match self.step_client(now, key, signal, Some((message, flow))) {
            None => self.drop_one(Dropped::Unexpected),
            Some(actions) if !actions.contains(&Action::PassUp) => self.counters.absorbed += 1,
            Some(_) => {}
        }
        if signal == Signal::Provisional {
            self.cancel_if_waiting(now, key);
        }
    }

    /// §9.1: a provisional response is what a wanted CANCEL waits for.
    fn cancel_if_waiting(&mut self, now: Moment, key: ClientKey) {
        let Some(client) = self.clients.find_mut(key.slot, key.generation) else { return };
        // a provisional response that the final one overtook is none
        if client.machine != Machine::Invite(ClientInvite::Proceeding) {
            return;
        }
        if let Cancel::Waiting(reason) = &mut client.cancel {
            let reason = reason.take();
            self.send_cancel(now, key, reason.as_deref());
        }
    }

    fn match_response(&self, message: &Message, via: &Via<'_>) -> Option<ClientKey> {
        let branch = via.branch()?;
        let method = message.method();
        let key = if method == Method::Cancel {
            *self.cancels.get(branch)?
        } else {
            let owner = BranchOwner::parse(branch)?;
            ClientKey { slot: owner.slot, generation: owner.generation }
        };
        let client = self.clients.find(key.slot, key.generation)?;
        (client.branch == branch && client.request.method() == method).then_some(key)
    }

    /// One step of a client transaction; `None`: its state does not know the signal.
    pub(super) fn step_client(
        &mut self,
        now: Moment,
        key: ClientKey,
        signal: Signal,
        message: Option<(&Message, Flow)>,
    ) -> Option<&'static [Action]> {
        let client = self.clients.find_mut(key.slot, key.generation)?;
        let (next, actions) = client.machine.on(signal)?;
        let is_change = client.machine != next;
        client.machine = next;
        if is_change {
            self.stop_timers(Owner::Client(key), |timer| next.on(Signal::Expired(timer)).is_none());
        }
        let expired = self.act_for_client(now, key, actions, message);
        if next.is_terminated() {
            self.end_client(key);
        } else if let Some(timer) = expired {
            self.step_client(now, key, Signal::Expired(timer), None);
        }
        Some(actions)
    }

    /// Does what a transition asks; gives back a timer that was started with zero.
    fn act_for_client(
        &mut self,
        now: Moment,
        key: ClientKey,
        actions: &[Action],
        message: Option<(&Message, Flow)>,
    ) -> Option<Timer> {
        let owner = Owner::Client(key);
        let mut expired = None;
        for action in actions {
            let client = self.clients.find(key.slot, key.generation)?;
            let (target, is_internal) = (client.target, client.is_internal);
            let is_reliable = target.transport.is_reliable();
            match *action {
                Action::SendRequest => {
                    let request = client.request.clone();
                    self.transmit(owner, request, target);
                }
                Action::SendAck => {
                    if let Some((response, _)) = message {
                        let ack = ack(&client.request, response);
                        self.transmit(owner, ack, target);
                    }
                }
                Action::PassUp => {
                    if let Some((response, flow)) = message.filter(|_| !is_internal) {
                        self.emit(Event::Response { key, message: response.clone(), flow });
                    }
                }
                Action::InformTimeout if !is_internal => self.emit(Event::ClientFailed { key, why: Failure::Timeout }),
                Action::InformTransport if !is_internal => {
                    self.emit(Event::ClientFailed { key, why: Failure::Transport })
                }
                Action::Start(timer) => {
                    if self.start_timer(now, owner, timer, &Interval::First, is_reliable) {
                        expired = Some(timer);
                    }
                }
                Action::Double(timer) => drop(self.start_timer(now, owner, timer, &Interval::Double, is_reliable)),
                Action::Longest(timer) => drop(self.start_timer(now, owner, timer, &Interval::Longest, is_reliable)),
                Action::Stop(timer) => self.stop_timers(owner, |running| running == timer),
                Action::SendResponse | Action::SendTrying | Action::InformTimeout | Action::InformTransport => {}
            }
        }
        expired
    }

    fn end_client(&mut self, key: ClientKey) {
        self.stop_timers(Owner::Client(key), |_| true);
        let Some(client) = self.clients.remove(key.slot, key.generation) else { return };
        if let Some(flow) = client.target.flow {
            self.flows.remove(&(flow, Owner::Client(key)));
        }
        if client.is_internal {
            self.cancels.remove(&client.branch);
        } else {
            self.emit(Event::ClientTerminated { key });
        }
    }
}

impl Client {
    fn new(request: Message, target: Target, branch: String) -> Client {
        let machine = match request.method() {
            Method::Invite => Machine::Invite(ClientInvite::Calling),
            _ => Machine::NonInvite(ClientNonInvite::Trying),
        };
        let vias = request.values(Header::Via).count();
        let (running, cancel) = (Running::default(), Cancel::No);
        Client { machine, request, target, branch, vias, running, cancel, is_internal: false }
    }
}

/// §17.1.1.3: like [`hop_request`], with the response's To.
fn ack(invite: &Message, response: &Message) -> Message {
    hop_request(Method::Ack, invite).copy(Header::To, response).build()
}

/// What CANCEL and ACK share: Request-URI, a single Via, Routes, From, Call-ID and CSeq number of the INVITE.
fn hop_request(method: Method, invite: &Message) -> Builder {
    let number = invite.cseq().map_or(0, |cseq| cseq.number);
    let cseq = format!("{number} {method}");
    Builder::request(method, invite.request_uri())
        .header(Header::Via, invite.values(Header::Via).next().unwrap_or_default())
        .copy(Header::Route, invite)
        .copy(Header::From, invite)
        .copy(Header::CallId, invite)
        .header(Header::CSeq, &cseq)
}
