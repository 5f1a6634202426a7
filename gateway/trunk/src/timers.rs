//! What time does to a circuit (Q.764 table A.1).

use crate::circuit::{Awaiting, CallTimer, Circuit, CircuitState};
use crate::group::{Alert, Event, TrunkGroup};
use strowger_clock::Moment;
use strowger_isup::{Cause, CauseIndicators, Location, Message};

impl TrunkGroup {
    /// When [`Self::timeout`] is to be called next.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.lines.iter().filter_map(|line| line.deadline()).min()
    }

    /// Lets every timer that is due act.
    pub fn timeout(&mut self, now: Moment) {
        for circuit in Circuit::all() {
            if self.line(circuit).deadline().is_none_or(|at| at > now) {
                continue;
            }
            if let Some((at, timer)) = self.line(circuit).timer
                && at <= now
            {
                self.counters.expiries += 1;
                self.line_mut(circuit).timer = None;
                self.call_timer(now, circuit, timer);
            }
            if self.line(circuit).long_timer.is_some_and(|at| at <= now) {
                self.counters.expiries += 1;
                self.long_timer(now, circuit);
            }
            self.blocking_timer(now, circuit);
        }
    }

    fn call_timer(&mut self, now: Moment, circuit: Circuit, timer: CallTimer) {
        let fail = |group: &mut Self, cause| {
            let cause = CauseIndicators::new(Location::PublicLocal, cause);
            group.send_release(now, circuit, cause.clone());
            group.tell(Event::Released { circuit, cause });
        };
        match timer {
            CallTimer::T1 => {
                if let Some(cause) = self.line(circuit).release.clone() {
                    self.start(circuit, now, CallTimer::T1);
                    self.send(circuit, Message::Release { cause, optional: Vec::new() });
                }
            }
            CallTimer::T6 => fail(self, Cause::NORMAL_CLEARING),
            CallTimer::T7 => fail(self, Cause::RECOVERY_ON_TIMER), // 504 to SIP (RFC 3398 §7.2.4.1)
            CallTimer::T9 => fail(self, Cause::NO_ANSWER),
            CallTimer::T11 => {
                self.alert(circuit, Alert::Complete, false);
            }
            CallTimer::T35 => fail(self, Cause::INVALID_NUMBER_FORMAT),
            CallTimer::T16 => {
                if !self.line(circuit).reset_is_slow {
                    self.start(circuit, now, CallTimer::T16);
                }
                self.send(circuit, Message::ResetCircuit);
            }
        }
    }

    fn long_timer(&mut self, now: Moment, circuit: Circuit) {
        self.tell(Event::Alarm { circuit });
        if self.state(circuit) == CircuitState::WaitReleaseComplete {
            // T5: maintenance is told, REL is no longer sent, the circuit is reset
            self.reset(now, circuit);
        } else {
            self.send(circuit, Message::ResetCircuit);
        }
        let t17 = self.config.timers.t17;
        let line = self.line_mut(circuit);
        line.timer = None;
        line.reset_is_slow = true;
        line.long_timer = Some(now + t17);
    }

    fn blocking_timer(&mut self, now: Moment, circuit: Circuit) {
        let (since, next, blocked) = match self.line(circuit).awaiting {
            Awaiting::Nothing => return,
            Awaiting::Blocked { since, next } => (since, next, true),
            Awaiting::Unblocked { since, next } => (since, next, false),
        };
        if next > now {
            return;
        }
        self.counters.expiries += 1;
        let slow = now.saturating_since(since) >= self.config.timers.t13;
        let next = now + if slow { self.config.timers.t13 } else { self.config.timers.t12 };
        if slow {
            self.tell(Event::Alarm { circuit });
        }
        if blocked {
            self.line_mut(circuit).awaiting = Awaiting::Blocked { since, next };
            self.send(circuit, Message::Blocking);
        } else {
            self.line_mut(circuit).awaiting = Awaiting::Unblocked { since, next };
            self.send(circuit, Message::Unblocking);
        }
    }
}
