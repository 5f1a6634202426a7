//! Responses of branches, their failures, CANCEL, and the answer to the caller (RFC 3261 §16.7 to §16.10).

use strowger_clock::Moment;
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::{ClientKey, Layer, ServerKey, Target};

use crate::call::Held;
use crate::clearing::peer_of;
use crate::context::BranchState;
use crate::core::{ProxyCore, Timer};
use crate::effect::{Cause, ReleaseSource};
use crate::in_dialog::to_strict_router;

/// Dialogs of one branch that are hung up at most; further ones are sent a BYE for each 2xx that comes again.
const HUNG_UP_MAX: usize = 16;

impl ProxyCore {
    /// A response to a request of ours.
    pub(crate) fn response(&mut self, now: Moment, layer: &mut Layer, key: ClientKey, message: Message) {
        let Some(&(id, index)) = self.by_client.get(&key) else {
            // the answer to a BYE of ours (a context outlives its branches' transactions)
            return;
        };
        let status = message.status().unwrap_or(500);
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let invite = context.request.method() == Method::Invite;
        let (call, cancelled) = (context.call, context.cancelled);
        let Some(branch) = context.branches.get_mut(index) else { return };
        let trial = branch.trial;
        if let Some(timer) = branch.silence.take() {
            self.timers.cancel(timer);
        }
        if status < 200 {
            if branch.state == BranchState::Calling {
                branch.state = BranchState::Proceeding;
            }
            if status == 100 {
                return;
            }
            if let Some(timer) = branch.timer_c.take() {
                self.timers.cancel(timer);
                // §16.7 step 2: a provisional other than 100 sets it anew
                branch.timer_c =
                    Some(self.timers.insert(now + self.config.timer_c, Timer::C { context: id, branch: index }));
            }
            if branch.abandoned || branch.state == BranchState::Done || context.answered {
                // nobody waits for it
                return;
            }
            if let (Some(call), Some(trial)) = (call, trial) {
                self.trial_alerted(now, call, trial);
            }
            return self.promise(now, layer, Held { context: id, branch: index, message });
        }
        if let Some(timer) = branch.timer_c.take() {
            self.timers.cancel(timer);
        }
        let was_done = branch.state == BranchState::Done;
        branch.state = BranchState::Done;
        if (200..300).contains(&status) {
            let held = Held { context: id, branch: index, message };
            let refused = held.message.to().is_ok_and(|to| branch.has_hung_up(to.tag()));
            if context.opens_call && (refused || branch.abandoned || (context.answered && !context.accepted)) {
                return self.hang_up_branch(now, layer, &held);
            }
            branch.accepted = true;
            let is_first = !context.accepted;
            context.accepted = true;
            context.waiting.clear();
            if let (Some(call), Some(trial), true) = (call, trial, is_first) {
                self.trial_connected(now, call, trial);
            }
            if invite && is_first {
                self.cancel_branches(now, layer, id, Some(index));
            }
            return self.promise(now, layer, held);
        }
        if branch.abandoned || was_done {
            return self.finish_if_done(now, layer, id);
        }
        if let (Some(call), Some(trial)) = (call, trial) {
            let cause = q850_of(&message).map_or(Cause::Sip(status), Cause::Q850);
            let release = if cancelled { ReleaseSource::Source } else { ReleaseSource::Destination };
            self.trial_ended(now, call, trial, cause, release);
        }
        self.final_failure(now, layer, id, index, message);
    }

    /// A branch got no answer, or could not be sent.
    pub(crate) fn branch_failed(&mut self, now: Moment, layer: &mut Layer, key: ClientKey, status: u16) {
        let Some(&(id, index)) = self.by_client.get(&key) else { return };
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let call = context.call;
        let Some(branch) = context.branches.get_mut(index) else { return };
        if branch.state == BranchState::Done {
            return;
        }
        branch.state = BranchState::Done;
        let (trial, abandoned) = (branch.trial, branch.abandoned);
        for timer in [branch.timer_c.take(), branch.silence.take()].into_iter().flatten() {
            self.timers.cancel(timer);
        }
        // §16.9: as if the branch had answered so
        let response = Builder::response(&context.request, status, None).build();
        if abandoned {
            return self.finish_if_done(now, layer, id);
        }
        if let (Some(call), Some(trial)) = (call, trial) {
            self.trial_ended(now, call, trial, Cause::Sip(status), ReleaseSource::Intermediate);
        }
        self.final_failure(now, layer, id, index, response);
    }

    /// A branch has brought a final response other than 2xx, in `message`, without a Via of ours or with it.
    fn final_failure(&mut self, now: Moment, layer: &mut Layer, id: u64, index: usize, message: Message) {
        let status = message.status().unwrap_or(500);
        let Some(context) = self.contexts.get_mut(&id) else { return };
        context.finals.push(message);
        if context.answered || context.accepted || context.cancelled {
            return self.finish_if_done(now, layer, id);
        }
        if status >= 600 {
            context.waiting.clear();
            self.cancel_branches(now, layer, id, Some(index));
            return self.finish_if_done(now, layer, id);
        }
        let to_gateway = context.branches.get(index).is_some_and(|branch| branch.trial.is_some());
        if to_gateway && !tries_next(status) {
            context.waiting.clear();
        }
        if context.is_waiting() {
            return;
        }
        if !context.waiting.is_empty() {
            self.counters.destinations_failed += 1;
        }
        self.next_group(now, layer, id);
    }

    /// Nothing was heard from a gateway: it is left alone and the next one tried.
    pub(crate) fn silence(&mut self, now: Moment, layer: &mut Layer, id: u64, index: usize) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let Some(branch) = context.branches.get_mut(index) else { return };
        branch.silence = None;
        // the last resort is waited for as long as RFC 3261 says
        if branch.state != BranchState::Calling || context.waiting.is_empty() {
            return;
        }
        branch.abandoned = true;
        let (key, trial, call) = (branch.key, branch.trial, context.call);
        layer.cancel(now, key);
        let response = Builder::response(&context.request, 408, None).build();
        if let (Some(call), Some(trial)) = (call, trial) {
            self.trial_ended(now, call, trial, Cause::Sip(408), ReleaseSource::Intermediate);
        }
        self.final_failure(now, layer, id, index, response);
    }

    /// §16.8.
    pub(crate) fn timer_c(&mut self, now: Moment, layer: &mut Layer, id: u64, index: usize) {
        let Some(branch) = self.contexts.get_mut(&id).and_then(|context| context.branches.get_mut(index)) else {
            return;
        };
        branch.timer_c = None;
        let key = branch.key;
        if branch.state != BranchState::Done {
            layer.cancel(now, key);
        }
        if branch.state == BranchState::Calling {
            // no CANCEL can be sent yet: as if it had answered 408, and a 2xx that comes all the same is hung up
            self.branch_failed(now, layer, key, 408);
            if let Some(branch) = self.contexts.get_mut(&id).and_then(|context| context.branches.get_mut(index)) {
                branch.abandoned = true;
            }
        }
    }

    /// The caller has hung up before an answer (§16.10). The layer has answered the CANCEL.
    pub(crate) fn cancel(&mut self, now: Moment, layer: &mut Layer, invite: ServerKey) {
        let Some(&id) = self.by_server.get(&invite) else { return };
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if context.answered {
            return;
        }
        context.cancelled = true;
        context.waiting.clear();
        self.cancel_branches(now, layer, id, None);
        // a 2xx that is held has won: it is passed on when the policy server agrees, and the caller hangs up
        self.finish_if_done(now, layer, id);
    }

    pub(crate) fn cancel_branches(&mut self, now: Moment, layer: &mut Layer, id: u64, but: Option<usize>) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        for (index, branch) in context.branches.iter_mut().enumerate() {
            if Some(index) != but && branch.state != BranchState::Done {
                layer.cancel(now, branch.key);
            }
        }
    }

    /// When nothing more can come: the best final goes to the caller (§16.7 step 6 to 9).
    pub(crate) fn finish_if_done(&mut self, now: Moment, layer: &mut Layer, id: u64) {
        let Some(context) = self.contexts.get(&id) else { return };
        if context.answered || context.accepted || context.is_waiting() || !context.waiting.is_empty() {
            return;
        }
        if context.cancelled {
            return self.finish_with(now, layer, id, 487);
        }
        let Some(best) = context.best().cloned() else {
            // nothing could be sent to anybody
            let status = if context.overloaded { 503 } else { 480 };
            return self.finish_with(now, layer, id, status);
        };
        let status = best.status().unwrap_or(500);
        let own = best.vias().count() <= context.request.vias().count();
        let response = match status {
            // §16.7 step 6: a 503 speaks of one server, not of all the caller's requests
            503 => {
                let mut response = Builder::response(&context.request, 500, None);
                response = response.copy(Header::Reason, &best);
                response.to_tag(&self.tag()).build()
            }
            _ if own => Builder::response(&context.request, status, None).to_tag(&self.tag()).build(),
            401 | 407 => {
                // §16.7 step 7: the challenges of all branches together
                let mut edit = best.edit();
                edit.remove_first_value(Header::Via);
                for other in context.finals.iter().filter(|other| **other != best) {
                    for name in [Header::WwwAuthenticate, Header::ProxyAuthenticate] {
                        for challenge in other.values(name) {
                            edit.push_back(name, challenge);
                        }
                    }
                }
                edit.finish()
            }
            _ => {
                let mut edit = best.edit();
                edit.remove_first_value(Header::Via);
                edit.finish()
            }
        };
        self.send_final(now, layer, id, response);
    }

    /// Answers the caller ourselves.
    pub(crate) fn finish_with(&mut self, now: Moment, layer: &mut Layer, id: u64, status: u16) {
        let tag = self.tag();
        let Some(context) = self.contexts.get(&id) else { return };
        let mut response = Builder::response(&context.request, status, None).to_tag(&tag);
        if status == 503 {
            response = response.header(Header::RetryAfter, "5");
        }
        let response = response.build();
        self.send_final(now, layer, id, response);
    }

    /// Sends a final response other than 2xx and ends the call in the books.
    pub(crate) fn send_final(&mut self, now: Moment, layer: &mut Layer, id: u64, response: Message) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if context.answered {
            return;
        }
        context.answered = true;
        context.waiting.clear();
        let (key, cancelled) = (context.key, context.cancelled);
        let call = context.call.filter(|_| context.opens_call);
        let status = response.status().unwrap_or(500);
        layer.respond(now, key, response);
        if let Some(call) = call {
            let release = if cancelled { ReleaseSource::Source } else { ReleaseSource::Destination };
            self.call_failed(now, call, Cause::Sip(status), release);
        }
    }

    /// A response that goes to the caller: our Via off, everything else as it came.
    pub(crate) fn forward_response(&mut self, now: Moment, layer: &mut Layer, held: &Held) {
        let Held { context: id, branch: index, message } = held;
        let Some(context) = self.contexts.get_mut(id) else { return };
        let Some(branch) = context.branches.get(*index) else { return };
        let status = message.status().unwrap_or(500);
        // what was held may have been overtaken: by the failure of its branch, or by the answer of another
        let overtaken = if status < 200 {
            context.answered || branch.abandoned || (branch.state == BranchState::Done && !branch.accepted)
        } else {
            context.answered && !context.accepted
        };
        if overtaken {
            if status >= 200 && context.opens_call {
                self.hang_up_branch(now, layer, held);
            }
            return;
        }
        if status >= 200 {
            context.answered = true;
        }
        let (key, came_by) = (context.key, branch.target);
        let call = context.call.filter(|_| context.opens_call);
        let mut edit = message.edit();
        edit.remove_first_value(Header::Via);
        layer.respond(now, key, edit.finish());
        if (200..300).contains(&status)
            && let Some(call) = call
        {
            let callee_tag = message.to().ok().and_then(|to| to.tag().map(str::to_owned));
            self.call_answered(now, call, callee_tag, peer_of(message, came_by));
        }
    }

    /// A callee has answered a branch that nobody waits for: ACK it and hang up (RFC 3261 §13.2.2.4 asks this of a UAC; the
    /// caller will never see this 2xx, so we do it in its place).
    pub(crate) fn hang_up_branch(&mut self, now: Moment, layer: &mut Layer, held: &Held) {
        let Held { context: id, branch: index, message: answer } = held;
        let tag = answer.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default();
        let Some(branch) = self.contexts.get_mut(id).and_then(|context| context.branches.get_mut(*index)) else {
            return;
        };
        let is_again = branch.has_hung_up(Some(&tag));
        if !is_again && branch.hung_up.len() < HUNG_UP_MAX {
            branch.hung_up.push(tag);
        }
        let (sent, target) = (branch.sent.clone(), branch.target);
        let Ok(cseq) = sent.cseq() else { return };
        let contact = match answer.contacts().next() {
            Some(Ok(contact)) => contact.uri.to_owned(),
            _ => sent.request_uri().to_owned(),
        };
        // the route set from here on: what the callee's side recorded above what we sent
        let recorded: Vec<&str> = answer.values(Header::RecordRoute).collect();
        let above = recorded.len().saturating_sub(sent.values(Header::RecordRoute).count());
        let routes = recorded.get(..above).unwrap_or_default().iter().rev();
        let build = |method: Method, sequence: u32| {
            let mut builder = Builder::request(method.clone(), &contact)
                .copy(Header::From, &sent)
                .copy(Header::To, answer)
                .copy(Header::CallId, &sent)
                .header(Header::MaxForwards, "70")
                .header(Header::CSeq, &format!("{sequence} {method}"));
            for route in routes.clone() {
                builder = builder.header(Header::Route, route);
            }
            builder.build()
        };
        let (ack, target) = self.towards_peer(now, build(Method::Ack, cseq.number), target);
        self.send_ack(layer, ack, target);
        if !is_again {
            let (bye, target) = self.towards_peer(now, build(Method::Bye, cseq.number.saturating_add(1)), target);
            let via = self.via_for(&target);
            // its answer needs nobody: a transaction without a context
            let _ = layer.request(now, bye, target, &via);
        }
        self.finish_if_done(now, layer, *id);
    }

    /// A request of ours inside a dialog that a branch opened, and where it goes: over the branch's connection where it has
    /// one, else where its route set or remote target says.
    fn towards_peer(&self, now: Moment, request: Message, branch: Target) -> (Message, Target) {
        let by_connection = branch.transport.is_reliable() && branch.flow.is_some();
        let elsewhere = if by_connection { None } else { self.next_hop(now, &request, branch.local) };
        (to_strict_router(request), elsewhere.unwrap_or(branch))
    }

    pub(crate) fn client_terminated(&mut self, key: ClientKey) {
        if let Some((id, index)) = self.by_client.remove(&key) {
            if let Some(branch) = self.contexts.get_mut(&id).and_then(|context| context.branches.get_mut(index)) {
                branch.state = BranchState::Done;
            }
            self.drop_context_if_over(id);
        }
    }

    pub(crate) fn server_terminated(&mut self, key: ServerKey) {
        if let Some(id) = self.by_server.remove(&key) {
            if let Some(context) = self.contexts.get_mut(&id) {
                context.answered = true;
            }
            self.drop_context_if_over(id);
        }
    }

    /// A context lives until its server transaction and every client transaction have gone.
    fn drop_context_if_over(&mut self, id: u64) {
        let Some(context) = self.contexts.get(&id) else { return };
        if self.by_server.contains_key(&context.key)
            || context.branches.iter().any(|branch| self.by_client.contains_key(&branch.key))
        {
            return;
        }
        if let Some(context) = self.contexts.remove(&id) {
            for branch in context.branches {
                for timer in [branch.timer_c, branch.silence].into_iter().flatten() {
                    self.timers.cancel(timer);
                }
            }
            let call = context.call.filter(|_| context.opens_call);
            if let Some(call) = call.and_then(|call| self.calls.get_mut(&call)) {
                call.context = None;
            }
        }
    }
}

/// Whether another gateway may do better: this one is down, full, or does not accept us. A busy, absent or unknown callee stays
/// so whoever calls it.
fn tries_next(status: u16) -> bool {
    matches!(status, 401 | 402 | 403 | 405 | 407 | 408 | 415 | 420 | 488 | 500..=599)
}

/// Q.850 cause of a Reason header (RFC 3326).
pub(crate) fn q850_of(message: &Message) -> Option<u8> {
    message.values(Header::Reason).find_map(|value| {
        let (protocol, params) = value.split_once(';')?;
        if !protocol.trim().eq_ignore_ascii_case("Q.850") {
            return None;
        }
        params.split(';').find_map(|param| param.trim().strip_prefix("cause=")?.trim().parse().ok())
    })
}
