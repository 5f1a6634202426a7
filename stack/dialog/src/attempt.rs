//! Challenges (RFC 3261 §22.2, §22.3): a request that is answered 401 or 407 is sent again with credentials.

use strowger_clock::Moment;
use strowger_sip::digest;
use strowger_sip::{CSeq, Header, Message};
use strowger_transaction::{ClientKey, Layer};

use crate::agent::UserAgent;
use crate::call::Purpose;

/// A proxy, a second proxy and the callee may each want credentials, and one of them may find its nonce stale.
const CHALLENGES_MAX: u8 = 4;

impl UserAgent {
    /// Answers a challenge; false when that cannot or must not be done, and the challenge is the request's final response.
    pub(crate) fn answer_challenge(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        key: ClientKey,
        response: &Message,
    ) -> bool {
        let status = response.status().unwrap_or_default();
        let cnonce = self.random.alphanumeric(16);
        let Some(attempt) = self.attempts.get(&key) else { return false };
        let Some(login) = &attempt.login else { return false };
        let (asked_by, answered_by) = match status {
            401 => (Header::WwwAuthenticate, Header::Authorization),
            _ => (Header::ProxyAuthenticate, Header::ProxyAuthorization),
        };
        let Some(challenge) = digest::strongest(response.values(asked_by)) else { return false };
        let again = attempt.answered.contains(&status);
        // the same credentials would be refused again, unless only the nonce was too old; and that may happen once
        if attempt.challenges >= CHALLENGES_MAX || (again && (!challenge.stale || attempt.stale_seen)) {
            return false;
        }
        let request = &attempt.request;
        let method = request.method();
        // a fresh client nonce for each answer: its count is always 1
        let credentials = digest::answer(&challenge, login, &method, request.request_uri(), request.body(), &cnonce, 1);
        let Ok(old) = request.cseq() else { return false };
        let purpose = attempt.purpose;
        let target = attempt.target;
        let Some(sequence) = self.sequence_after(purpose, old.number) else { return false };
        let Some(attempt) = self.attempts.get_mut(&key) else { return false };
        attempt.done = true;
        let mut edit = attempt.request.edit();
        edit.set(Header::CSeq, &CSeq { number: sequence, method }.to_string());
        edit.remove(answered_by);
        edit.push_back(answered_by, &credentials.to_string());
        let mut answered = attempt.answered.clone();
        answered.push(status);
        let next = crate::call::Attempt {
            purpose,
            request: edit.finish(),
            target,
            login: attempt.login.clone(),
            challenges: attempt.challenges + 1,
            stale_seen: attempt.stale_seen || (again && challenge.stale),
            answered,
            acks: Vec::new(),
            done: false,
        };
        match self.send_attempt(now, layer, next) {
            Ok(next) => {
                self.resent(purpose, next);
                true
            }
            Err(_) => false,
        }
    }

    /// The sequence number of the request that is sent again; `None` when it is not wanted any more.
    fn sequence_after(&mut self, purpose: Purpose, old: u32) -> Option<u32> {
        match purpose {
            Purpose::Register(id) => self.registrations.get_mut(&id).map(|registration| {
                registration.sequence += 1;
                registration.sequence
            }),
            Purpose::Invite(call) => {
                let call = self.calls.get_mut(&call)?;
                // what was given up is not asked for again
                if call.state != crate::call::State::Calling {
                    return None;
                }
                call.forks.clear();
                Some(old + 1)
            }
            Purpose::Reinvite(call) | Purpose::Bye(call) | Purpose::Info(call) => {
                self.dialog_mut(call).map(|dialog| dialog.next_sequence())
            }
        }
    }

    fn resent(&mut self, purpose: Purpose, key: ClientKey) {
        match purpose {
            Purpose::Invite(call) => {
                if let Some(call) = self.calls.get_mut(&call) {
                    call.inviting = Some(key);
                }
            }
            Purpose::Register(id) => {
                if let Some(registration) = self.registrations.get_mut(&id) {
                    registration.request = Some(key);
                }
            }
            _ => {}
        }
    }
}
