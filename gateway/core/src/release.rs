//! The end of a call, whoever brings it about: both sides are told, the port is closed, usage is reported.

use strowger_clock::Moment;
use strowger_dialog::{CallId32, EndReason};
use strowger_isup::{Cause, Location, cause::cause_of_status};
use strowger_transaction::Layer;

use crate::call::{CallState, Release};
use crate::core::{GatewayCore, Timer};
use crate::effect::{CallNumber, Effect, MediaStatistics, ReleaseSource};

/// What the caller is told.
#[derive(Clone, Debug)]
pub(crate) struct Farewell {
    /// Nothing: the caller has ended the call itself.
    silent: bool,
    /// Before the answer.
    status: u16,
    cause: Cause,
    text: String,
    /// The gateway's own words: they are the reason phrase and a Warning, too.
    own_words: bool,
}

impl Farewell {
    pub(crate) fn none() -> Farewell {
        Farewell { silent: true, ..Farewell::from_network(480, Cause::NORMAL_CLEARING) }
    }

    /// The telephone network's cause.
    pub(crate) fn from_network(status: u16, cause: Cause) -> Farewell {
        Farewell { silent: false, status, cause, text: cause.text().to_owned(), own_words: false }
    }

    /// Refused before a circuit was taken.
    pub(crate) fn refusal(status: u16, cause: Cause, text: &str) -> Farewell {
        Farewell { silent: false, status, cause, text: text.to_owned(), own_words: true }
    }

    /// Ended by the gateway, answered or not.
    pub(crate) fn by_gateway(cause: Cause, text: &str) -> Farewell {
        let status = strowger_isup::cause::status_of_cause(cause, Location::PrivateLocal, false).unwrap_or(480);
        Farewell { silent: false, status, cause, text: text.to_owned(), own_words: true }
    }

    /// RFC 3326.
    fn reason(&self) -> String {
        format!("Q.850;cause={};text=\"{}\"", self.cause.0, self.text)
    }

    fn phrase(&self) -> Option<String> {
        let mut letters = self.text.chars();
        let first = letters.next().filter(|_| self.own_words)?;
        Some(first.to_uppercase().chain(letters).collect())
    }
}

impl GatewayCore {
    /// Ends a call that is not over.
    pub(crate) fn end(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        number: CallNumber,
        (cause, source): (Cause, ReleaseSource),
        farewell: Farewell,
    ) {
        let Some(call) = self.calls.get_mut(&number).filter(|call| !call.state.is_over()) else { return };
        let (agent, answered) = (call.agent, call.state.is_answered());
        let (opened, transaction_id) = (call.media_asked, call.token.transaction_id);
        call.state = CallState::Releasing;
        call.release = Some(Release { at: now, cause, source });
        self.await_until(number, None);
        self.ring_timer(now, number, false);
        let location = if source == ReleaseSource::Source { Location::User } else { Location::PrivateLocal };
        self.release_circuit(now, number, location, cause);
        self.by_agent.remove(&agent);
        if answered {
            self.effects.push_back(Effect::ChargeStop { call: number, transaction_id });
            if !farewell.silent {
                let _ = self.agent.hang_up(now, layer, agent, Some(&farewell.reason()));
            }
        } else if !farewell.silent {
            self.turn_away(now, layer, agent, &farewell);
        }
        self.tell(number);
        if opened {
            self.effects.push_back(Effect::CloseMedia { call: number });
            self.await_until(number, Some((now + self.config.media_timeout, Timer::MediaClose(number))));
        } else {
            self.media_closed(now, number, None);
        }
    }

    /// Refuses an INVITE with Reason (RFC 3326, RFC 6432) and, in our own words, phrase and Warning.
    pub(crate) fn turn_away(&mut self, now: Moment, layer: &mut Layer, agent: CallId32, farewell: &Farewell) {
        let mut headers = vec![("Reason".to_owned(), farewell.reason())];
        if farewell.own_words {
            let agent =
                self.config.local.first().map_or_else(|| "gateway".to_owned(), |local| local.address.to_string());
            headers.push(("Warning".to_owned(), format!("399 {agent} \"{}\"", farewell.text)));
        }
        let _ = self.agent.reject(now, layer, agent, farewell.status, farewell.phrase().as_deref(), &headers);
    }

    /// The caller's side is over by itself: BYE, CANCEL, silence.
    pub(crate) fn caller_ended(&mut self, now: Moment, layer: &mut Layer, agent: CallId32, reason: EndReason) {
        let Some(number) = self.number_of(agent) else { return };
        let (cause, source) = match reason {
            EndReason::Remote(reason) => {
                (reason.as_deref().and_then(q850_cause).unwrap_or(Cause::NORMAL_CLEARING), ReleaseSource::Source)
            }
            EndReason::Cancelled(_) => {
                self.counters.calls_cancelled += 1;
                (Cause::NORMAL_CLEARING, ReleaseSource::Source) // RFC 3398 §8.2.3
            }
            EndReason::NotAcknowledged => (Cause::RECOVERY_ON_TIMER, ReleaseSource::Gateway),
            EndReason::DialogLost(status) => {
                (cause_of_status(status).map_or(Cause::NORMAL_UNSPECIFIED, |(cause, _)| cause), ReleaseSource::Gateway)
            }
            EndReason::Local => return,
        };
        self.end(now, layer, number, (cause, source), Farewell::none());
    }

    /// Nothing has come from the caller for too long: it is gone, or cannot be heard. A caller that holds us may be silent.
    pub(crate) fn media_idle(&mut self, now: Moment, layer: &mut Layer, number: CallNumber) {
        let Some(call) = self.calls.get(&number).filter(|call| call.state.is_answered()) else { return };
        if call.session.stream.is_some_and(|stream| !stream.direction.receives()) {
            return;
        }
        self.counters.calls_idle += 1;
        let farewell = Farewell::by_gateway(Cause::NORMAL_UNSPECIFIED, "no media from the caller");
        self.end(now, layer, number, (Cause::NORMAL_UNSPECIFIED, ReleaseSource::Gateway), farewell);
    }

    /// The last numbers are there, or will never be: the call is reported and forgotten.
    pub(crate) fn media_closed(&mut self, now: Moment, number: CallNumber, statistics: Option<MediaStatistics>) {
        if self.state_of(number) != Some(CallState::Releasing) {
            return;
        }
        self.await_until(number, None);
        let Some(mut call) = self.calls.remove(&number) else { return };
        call.state = CallState::Ended;
        let usage = Box::new(call.usage(&self.config, now, statistics));
        self.effects.push_back(Effect::Usage { call: number, usage });
        self.effects.push_back(Effect::Call(Box::new(call.summary())));
    }
}

/// The cause of a Reason header's Q.850 value (RFC 3326 §2), 1 to 127.
fn q850_cause(reason: &str) -> Option<Cause> {
    let value = reason
        .split(',')
        .map(str::trim)
        .find(|value| value.get(..5).is_some_and(|protocol| protocol.eq_ignore_ascii_case("Q.850")))?;
    let cause = value.split(';').map(str::trim).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("cause").then(|| value.trim().parse().ok()).flatten()
    })?;
    (1..=127).contains(&cause).then_some(Cause(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_header_gives_its_q850_cause() {
        assert_eq!(q850_cause("Q.850;cause=17;text=\"busy\""), Some(Cause(17)));
        assert_eq!(q850_cause("SIP;cause=200, q.850 ; cause=31"), Some(Cause(31)));
        for wrong in ["SIP;cause=17", "Q.850", "Q.850;cause=0", "Q.850;cause=128", "Q.850;cause=x", "Q.85", ""] {
            assert_eq!(q850_cause(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_refusal_is_said_three_times_and_a_cause_once() {
        let refusal = Farewell::refusal(403, Cause::CALL_REJECTED, "authorization token missing");
        assert_eq!(refusal.reason(), "Q.850;cause=21;text=\"authorization token missing\"");
        assert_eq!(refusal.phrase().as_deref(), Some("Authorization token missing"));
        assert_eq!(Farewell::from_network(486, Cause::USER_BUSY).phrase(), None);
    }
}
