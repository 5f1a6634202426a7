//! The policy server's part in a call: asked at the INVITE, at the SDP answer, and at the end. A response with SDP waits until
//! the policy server has confirmed that the routers are ready.

use strowger_clock::Moment;
use strowger_sip::{Builder, Message, Method};
use strowger_transaction::Layer;

use crate::call::CallState;
use crate::context::BranchState;
use crate::core::ProxyCore;
use crate::effect::{Effect, Phase, Verdict};

/// Responses of one call that may wait for a decision; more are dropped (they are retransmissions).
const HELD_RESPONSES_MAX: usize = 16;

impl ProxyCore {
    /// A provisional or 2xx of a branch: passes on at once when it promises no media, or none that is new.
    pub(crate) fn promise(&mut self, now: Moment, layer: &mut Layer, id: u64, index: usize, message: Message) {
        let invite = matches!(message.method(), Method::Invite);
        let number = self.contexts.get(&id).and_then(|context| context.call);
        let policy = self.config.policy;
        let has_sdp = !message.body().is_empty() && message.has_body_of("application/sdp");
        let call = number.and_then(|number| self.calls.get_mut(&number));
        let Some(call) = call.filter(|call| policy && invite && call.at_policy) else {
            return self.forward_response(now, layer, id, &message);
        };
        if call.media.pending {
            // order is kept: a 200 behind a held 183 waits with it
            let known = call.media.held.iter().any(|(_, held)| held == &message);
            if !known && call.media.held.len() < HELD_RESPONSES_MAX {
                call.media.held.push((index, message));
            }
            return;
        }
        let sdp_is_new = has_sdp && call.media.asked.as_deref() != Some(message.body());
        if !sdp_is_new {
            return self.forward_response(now, layer, id, &message);
        }
        call.media.asked = Some(message.body().to_vec());
        call.media.pending = true;
        let effect = Effect::Admission { call: call.number, phase: Phase::Answer, sip: message.as_bytes().clone() };
        call.media.held.push((index, message));
        self.effects.push_back(effect);
    }

    /// A re-INVITE or UPDATE with a new offer: the policy server learns of it before it sees the answer.
    pub(crate) fn offer_changed(&mut self, number: u64, offer: &Message) {
        let has_sdp = !offer.body().is_empty() && offer.has_body_of("application/sdp");
        if let Some(call) = self.calls.get_mut(&number).filter(|call| call.at_policy && has_sdp) {
            call.media.asked = None;
            let sip = offer.as_bytes().clone();
            self.effects.push_back(Effect::Admission { call: number, phase: Phase::Modify, sip });
        }
    }

    /// An ACK with SDP answers an offer that came in the 2xx. The ACK itself is not held: the call is up already.
    pub(crate) fn answered_in_ack(&mut self, number: u64, ack: &Message) {
        let has_sdp = !ack.body().is_empty() && ack.has_body_of("application/sdp");
        let new = |call: &&mut crate::call::Call| {
            call.at_policy && has_sdp && !call.media.pending && call.media.asked.as_deref() != Some(ack.body())
        };
        if let Some(call) = self.calls.get_mut(&number).filter(new) {
            call.media.asked = Some(ack.body().to_vec());
            call.media.pending = true;
            let sip = ack.as_bytes().clone();
            self.effects.push_back(Effect::Admission { call: number, phase: Phase::Answer, sip });
        }
    }

    /// The policy server has decided.
    pub(crate) fn admission(&mut self, now: Moment, layer: &mut Layer, number: u64, phase: Phase, verdict: Verdict) {
        let admitted = match &verdict {
            Verdict::Install => true,
            Verdict::Remove { .. } => false,
            Verdict::Unavailable => self.config.policy_optional,
        };
        let Some(call) = self.calls.get_mut(&number) else {
            if verdict == Verdict::Install && phase != Phase::Teardown {
                self.effects.push_back(Effect::AdmissionDelete { call: number });
            }
            return;
        };
        match phase {
            Phase::Setup => {
                call.at_policy = verdict == Verdict::Install;
                if call.state != CallState::Admission {
                    return self.forget_if_over(number);
                }
                if !admitted {
                    self.counters.calls_refused_policy += 1;
                    if let Some(context) = call.context {
                        // RFC 2748 leaves the signalling to us; ARCHITECTURE.md, "One call": a refused INVITE is a 503
                        self.finish_with(now, layer, context, 503);
                    }
                    return;
                }
                if call.at_policy {
                    self.effects.push_back(Effect::AdmissionReport { call: number, installed: true });
                }
                self.clear_or_fork(now, layer, number);
            }
            // a new offer inside the call: refused or not, its answer is asked for next, and that decides
            Phase::Modify => {
                if verdict == Verdict::Install {
                    self.effects.push_back(Effect::AdmissionReport { call: number, installed: true });
                }
                self.forget_if_over(number);
            }
            Phase::Answer => {
                call.media.pending = false;
                let held = std::mem::take(&mut call.media.held);
                let context = call.context;
                if call.state == CallState::Ended {
                    return self.forget_if_over(number);
                }
                if admitted {
                    call.media.installed |= verdict == Verdict::Install;
                    if verdict == Verdict::Install {
                        self.effects.push_back(Effect::AdmissionReport { call: number, installed: true });
                    }
                    if let Some(context) = context {
                        for (branch, message) in held {
                            // through the same gate: a 200 with other SDP than its 183 asks again
                            self.promise(now, layer, context, branch, message);
                        }
                    }
                    return;
                }
                self.counters.calls_refused_policy += 1;
                call.media.asked = None;
                if let Some(context) = context {
                    self.refuse_media(now, layer, context, &held);
                }
            }
            Phase::Teardown => {
                call.at_policy = false;
                self.effects.push_back(Effect::AdmissionDelete { call: number });
                self.forget_if_over(number);
            }
        }
    }

    /// No resources for the media: the callee is hung up or cancelled, the caller gets a 503.
    fn refuse_media(&mut self, now: Moment, layer: &mut Layer, id: u64, held: &[(usize, Message)]) {
        let opens_dialog = self.contexts.get(&id).is_some_and(|context| context.opens_dialog);
        if !opens_dialog {
            // a re-INVITE: the session stays what it was (RFC 3261 §14.1), and both ends must agree that it does, so the new
            // answer is passed on and its media is best effort
            for (_, message) in held {
                self.forward_response(now, layer, id, message);
            }
            return;
        }
        self.cancel_branches(now, layer, id, None);
        let answered: Vec<(usize, Message)> =
            held.iter().filter(|(_, message)| message.status().is_some_and(|status| status >= 200)).cloned().collect();
        if let Some(context) = self.contexts.get_mut(&id) {
            for branch in &mut context.branches {
                if branch.state != BranchState::Done {
                    branch.abandoned = true;
                }
            }
        }
        let tag = self.tag();
        let Some(context) = self.contexts.get(&id) else { return };
        let response = Builder::response(&context.request, 503, Some("No Resources For Media"))
            .to_tag(&tag)
            .header(strowger_sip::Header::RetryAfter, "5")
            .build();
        self.send_final(now, layer, id, response);
        for (index, answer) in answered {
            self.hang_up_branch(now, layer, id, index, &answer);
        }
    }
}
