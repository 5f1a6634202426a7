//! The policy server's part in a call: asked at the INVITE, at the SDP answer, and at the end. A response with SDP waits until
//! the policy server has confirmed that the routers are ready.

use strowger_clock::Moment;
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::Layer;

use crate::call::{Asked, CallState, Held};
use crate::context::BranchState;
use crate::core::ProxyCore;
use crate::effect::{Effect, Phase, Verdict};

/// Responses of one call that may wait for a decision; more are dropped (their senders repeat those that matter).
const HELD_RESPONSES_MAX: usize = 16;

impl ProxyCore {
    /// A provisional or 2xx of a branch: passes on at once when it promises no media, or none that is new.
    pub(crate) fn promise(&mut self, now: Moment, layer: &mut Layer, held: Held) {
        let number = self.contexts.get(&held.context).and_then(|context| context.call);
        let can_answer_offer = matches!(held.message.method(), Method::Invite | Method::Update | Method::Prack);
        let call = number.and_then(|number| self.calls.get_mut(&number));
        let asks = |call: &&mut crate::call::Call| can_answer_offer && call.at_policy && call.state != CallState::Ended;
        let Some(call) = call.filter(asks) else { return self.forward_response(now, layer, &held) };
        if call.media.pending.is_some() {
            // order is kept: a 200 behind a held 183 waits with it
            let known = call.media.held.iter().any(|other| other.message == held.message);
            if !known && call.media.held.len() < HELD_RESPONSES_MAX {
                call.media.held.push(held);
            }
            return;
        }
        let sdp = held.message.has_body_of("application/sdp").then(|| held.message.body());
        if sdp.is_none() || call.media.asked.as_deref() == sdp {
            return self.forward_response(now, layer, &held);
        }
        call.media.asked = sdp.map(<[u8]>::to_vec);
        call.media.pending = Some(Asked::Response);
        let (number, sip) = (call.number, held.message.as_bytes().clone());
        call.media.held.push(held);
        self.ask_policy(number, Phase::Answer, sip);
    }

    /// A re-INVITE, UPDATE or PRACK with a new offer: the policy server learns of it before it sees the answer.
    pub(crate) fn offer_changed(&mut self, number: u64, offer: &Message) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        if call.at_policy && call.state != CallState::Ended && offer.has_body_of("application/sdp") {
            call.media.asked = None;
            self.ask_policy(number, Phase::Modify, offer.as_bytes().clone());
        }
    }

    /// An ACK with SDP answers an offer that came in the 2xx. The ACK itself is not held: the call is up already.
    pub(crate) fn answered_in_ack(&mut self, number: u64, ack: &Message) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let runs = call.at_policy && call.state == CallState::Answered;
        let is_new = ack.has_body_of("application/sdp") && call.media.asked.as_deref() != Some(ack.body());
        if runs && is_new && call.media.pending.is_none() {
            call.media.asked = Some(ack.body().to_vec());
            call.media.pending = Some(Asked::Ack);
            self.ask_policy(number, Phase::Answer, ack.as_bytes().clone());
        }
    }

    /// The policy server has decided.
    pub(crate) fn admission(&mut self, now: Moment, layer: &mut Layer, number: u64, phase: Phase, verdict: &Verdict) {
        let admitted = match verdict {
            Verdict::Install => true,
            Verdict::Remove { .. } => false,
            Verdict::Unavailable => self.config.policy_optional,
        };
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.outstanding = call.outstanding.saturating_sub(1);
        if *verdict == Verdict::Install || (phase == Phase::Teardown && *verdict != Verdict::Unavailable) {
            self.effects.push_back(Effect::AdmissionReport { call: number, installed: true });
        }
        match phase {
            Phase::Setup => {
                if call.state != CallState::Admission {
                    // over already: nothing is set up yet that a teardown had to confirm, the deletion is enough
                    return self.forget_if_over(number);
                }
                call.at_policy = *verdict == Verdict::Install;
                if admitted {
                    return self.clear_or_fork(now, layer, number);
                }
                self.counters.calls_refused_policy += 1;
                if let Some(context) = call.context {
                    // RFC 2748 leaves the signalling to us; ARCHITECTURE.md, "One call": a refused INVITE is a 503
                    self.finish_with(now, layer, context, 503);
                }
            }
            // a new offer inside the call: refused or not, its answer is asked for next, and that decides
            Phase::Modify => self.forget_if_over(number),
            Phase::Answer => self.answer_decided(now, layer, number, admitted),
            Phase::Teardown => self.forget_if_over(number),
        }
    }

    fn answer_decided(&mut self, now: Moment, layer: &mut Layer, number: u64, admitted: bool) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let asked = call.media.pending.take();
        let mut held = std::mem::take(&mut call.media.held);
        if call.state == CallState::Ended {
            // over while they waited: what still matters to an end (a 2xx) is not kept from it
            for held in held {
                self.forward_response(now, layer, &held);
            }
            return self.forget_if_over(number);
        }
        if !admitted {
            self.counters.calls_refused_policy += 1;
            if asked == Some(Asked::Response)
                && let Some(first) = held.first().cloned()
            {
                if self.contexts.get(&first.context).is_some_and(|context| context.opens_call) {
                    let (refused, others): (Vec<Held>, Vec<Held>) =
                        held.into_iter().partition(|held| held.context == first.context);
                    held = others;
                    self.refuse_media(now, layer, first.context, &refused);
                } else {
                    // inside a dialog: the session stays what it was (RFC 3261 §14.1), and both ends must agree on what it
                    // is, so the new answer is passed on and its media is best effort
                    held.remove(0);
                    self.forward_response(now, layer, &first);
                }
            }
        }
        for held in held {
            // through the same gate: a 200 with other SDP than its 183 asks again
            self.promise(now, layer, held);
        }
    }

    /// No resources for the media: the callee is hung up or cancelled, the caller gets a 503.
    fn refuse_media(&mut self, now: Moment, layer: &mut Layer, id: u64, held: &[Held]) {
        self.cancel_branches(now, layer, id, None);
        let tag = self.tag();
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let (call, was_answered) = (context.call, context.answered);
        for branch in &mut context.branches {
            branch.abandoned |= branch.state != BranchState::Done;
        }
        if !was_answered {
            context.accepted = false;
        }
        let trials: Vec<usize> = held.iter().filter_map(|held| context.branches.get(held.branch)?.trial).collect();
        let response = Builder::response(&context.request, 503, Some("No Resources For Media"))
            .to_tag(&tag)
            .header(Header::RetryAfter, "5")
            .build();
        if let Some(call) = call.filter(|_| !was_answered) {
            for trial in trials {
                self.trial_refused(now, call, trial);
            }
        }
        self.send_final(now, layer, id, response);
        for held in held.iter().filter(|held| held.message.status().is_some_and(|status| status >= 200)) {
            self.hang_up_branch(now, layer, held);
        }
    }
}
