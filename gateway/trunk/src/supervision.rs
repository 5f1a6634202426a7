//! Blocking, reset and query of circuits, and messages nobody expected (Q.764 §2.8, §2.9).

use crate::circuit::{Awaiting, CallTimer, Circuit, CircuitState};
use crate::config::CIRCUITS;
use crate::group::{Event, TrunkGroup};
use strowger_clock::Moment;
use strowger_isup::{Cause, CauseIndicators, Location, Message, RangeAndStatus};

impl TrunkGroup {
    /// Aligns every circuit with the other end (GRS over the whole span); for the start, or after a failure of ours.
    /// Calls on them end with `Released`.
    pub fn reset_all(&mut self, now: Moment) {
        for circuit in Circuit::all() {
            self.begin_reset(now, circuit);
        }
        self.send_group_resets();
    }

    pub(crate) fn send_group_resets(&mut self) {
        // timeslots 0 and 16 are no circuits, so the span is two groups
        for first in [0, 15] {
            if let Some(circuit) = Circuit::new(first) {
                self.send(circuit, Message::CircuitGroupReset(RangeAndStatus::range(14)));
            }
        }
    }

    /// Resets one circuit (RSC). A call on it ends with `Released`.
    pub fn reset(&mut self, now: Moment, circuit: Circuit) {
        self.begin_reset(now, circuit);
        self.send(circuit, Message::ResetCircuit);
    }

    fn begin_reset(&mut self, now: Moment, circuit: Circuit) {
        self.end_call(circuit, Cause::TEMPORARY_FAILURE);
        let t17 = self.config.timers.t17;
        let line = self.line_mut(circuit);
        line.make_idle();
        line.remotely_blocked = false; // the other end tells it again
        line.state = CircuitState::Resetting;
        line.long_timer = Some(now + t17);
        self.start(circuit, now, CallTimer::T16);
    }

    fn end_call(&mut self, circuit: Circuit, cause: Cause) {
        if self.state(circuit).has_call() {
            let cause = CauseIndicators::new(Location::PublicLocal, cause);
            self.tell(Event::Released { circuit, cause });
        }
    }

    /// Blocks the circuit for the other end's calls (BLO). A call on it goes on.
    pub fn block(&mut self, now: Moment, circuit: Circuit) {
        let next = now + self.config.timers.t12;
        let line = self.line_mut(circuit);
        line.locally_blocked = true;
        line.awaiting = Awaiting::Blocked { since: now, next };
        self.send(circuit, Message::Blocking);
    }

    /// Lifts our blocking (UBL).
    pub fn unblock(&mut self, now: Moment, circuit: Circuit) {
        let next = now + self.config.timers.t12;
        let line = self.line_mut(circuit);
        line.locally_blocked = false;
        line.awaiting = Awaiting::Unblocked { since: now, next };
        self.send(circuit, Message::Unblocking);
    }

    pub(crate) fn supervision_or_unexpected(
        &mut self,
        now: Moment,
        circuit: Circuit,
        message: Message,
        state: CircuitState,
    ) {
        match message {
            Message::ResetCircuit => {
                self.was_reset(circuit);
                if self.line(circuit).locally_blocked {
                    self.send(circuit, Message::Blocking); // Q.764 §2.9.3.1 c
                }
                self.send(circuit, Message::ReleaseComplete { optional: Vec::new() });
            }
            Message::CircuitGroupReset(range) => self.group_was_reset(circuit, &range),
            Message::CircuitGroupResetAcknowledgement(range) => {
                for (offset, circuit) in group(circuit, range.range) {
                    if self.state(circuit) == CircuitState::Resetting {
                        self.line_mut(circuit).make_idle();
                        self.set_remotely_blocked(circuit, range.is_set(offset));
                        self.tell(Event::Idle { circuit });
                    }
                }
            }
            Message::Blocking => {
                self.set_remotely_blocked(circuit, true);
                self.send(circuit, Message::BlockingAcknowledgement);
                if state == CircuitState::WaitAddressComplete {
                    // the circuit cannot take our call: another one (Q.764 §2.8.2.1)
                    let cause = CauseIndicators::new(Location::PublicLocal, Cause::NO_CIRCUIT);
                    self.try_elsewhere(now, circuit, cause.clone());
                    self.send_release(now, circuit, cause);
                }
            }
            Message::Unblocking => {
                self.set_remotely_blocked(circuit, false);
                self.send(circuit, Message::UnblockingAcknowledgement);
            }
            Message::BlockingAcknowledgement => {
                if matches!(self.line(circuit).awaiting, Awaiting::Blocked { .. }) {
                    self.line_mut(circuit).awaiting = Awaiting::Nothing;
                } else if !self.line(circuit).locally_blocked {
                    self.send(circuit, Message::Unblocking); // Q.764 §2.8.2.3: the other end thinks we blocked
                }
            }
            Message::UnblockingAcknowledgement => {
                if matches!(self.line(circuit).awaiting, Awaiting::Unblocked { .. }) {
                    self.line_mut(circuit).awaiting = Awaiting::Nothing;
                } else if self.line(circuit).locally_blocked {
                    self.send(circuit, Message::Blocking);
                }
            }
            Message::CircuitGroupBlocking { supervision, range } => {
                self.group_blocking(circuit, &range, true);
                self.send(circuit, Message::CircuitGroupBlockingAcknowledgement { supervision, range });
            }
            Message::CircuitGroupUnblocking { supervision, range } => {
                self.group_blocking(circuit, &range, false);
                self.send(circuit, Message::CircuitGroupUnblockingAcknowledgement { supervision, range });
            }
            Message::CircuitGroupQuery(range) => self.query(circuit, range),
            Message::UnequippedCircuit => {
                self.set_remotely_blocked(circuit, true);
                if state == CircuitState::WaitAddressComplete {
                    self.try_elsewhere(now, circuit, CauseIndicators::new(Location::PublicLocal, Cause::NO_CIRCUIT));
                } else {
                    self.end_call(circuit, Cause::TEMPORARY_FAILURE);
                }
                self.line_mut(circuit).make_idle();
            }
            _ => {
                self.counters.unexpected += 1;
                // Q.764 §2.9.5.1: an unreasonable message on an idle circuit shows that the ends disagree
                if state == CircuitState::Idle && is_of_a_call(&message) {
                    self.reset(now, circuit);
                }
            }
        }
    }

    fn was_reset(&mut self, circuit: Circuit) {
        self.end_call(circuit, Cause::TEMPORARY_FAILURE);
        let was_idle = self.state(circuit) == CircuitState::Idle;
        self.line_mut(circuit).make_idle();
        self.set_remotely_blocked(circuit, false);
        if !was_idle {
            self.tell(Event::Idle { circuit });
        }
    }

    fn group_was_reset(&mut self, first: Circuit, range: &RangeAndStatus) {
        let mut answer = RangeAndStatus::clear(range.range);
        for (offset, circuit) in group(first, range.range) {
            self.was_reset(circuit);
            if self.line(circuit).locally_blocked
                && let Some(octet) = answer.status.get_mut(usize::from(offset) / 8)
            {
                *octet |= 1 << (offset % 8);
            }
        }
        self.send(first, Message::CircuitGroupResetAcknowledgement(answer));
    }

    fn group_blocking(&mut self, first: Circuit, range: &RangeAndStatus, blocked: bool) {
        for (offset, circuit) in group(first, range.range) {
            if range.is_set(offset) {
                self.set_remotely_blocked(circuit, blocked);
            }
        }
    }

    fn set_remotely_blocked(&mut self, circuit: Circuit, blocked: bool) {
        if std::mem::replace(&mut self.line_mut(circuit).remotely_blocked, blocked) != blocked {
            self.tell(Event::Blocking { circuit, blocked });
        }
    }

    /// CQR: one octet a circuit (Q.763 §3.14).
    fn query(&mut self, first: Circuit, range: RangeAndStatus) {
        let last = usize::from(first.timeslot()) + usize::from(range.range.min(CIRCUITS as u8 + 1));
        let states = (usize::from(first.timeslot())..=last)
            .map(|timeslot| match u8::try_from(timeslot).ok().and_then(Circuit::from_timeslot) {
                None => 3, // unequipped
                Some(circuit) => {
                    let line = self.line(circuit);
                    let blocking = u8::from(line.locally_blocked) | u8::from(line.remotely_blocked) << 1;
                    match line.state {
                        CircuitState::Idle => 3 << 2 | blocking,
                        CircuitState::Resetting | CircuitState::WaitReleaseComplete => 0, // transient
                        _ if line.outgoing => 2 << 2 | blocking,
                        _ => 1 << 2 | blocking,
                    }
                }
            })
            .collect::<Vec<u8>>();
        let range = RangeAndStatus::range(states.len().saturating_sub(1) as u8);
        self.send(first, Message::CircuitGroupQueryResponse { range, states });
    }
}

/// The circuits of a range with their offset from its first code; codes that are no circuits are passed over.
fn group(first: Circuit, range: u8) -> impl Iterator<Item = (u8, Circuit)> {
    (0..=range.min(31)).filter_map(move |offset| Some((offset, Circuit::from_timeslot(first.timeslot() + offset)?)))
}

fn is_of_a_call(message: &Message) -> bool {
    matches!(
        message,
        Message::AddressComplete { .. }
            | Message::Connect { .. }
            | Message::CallProgress { .. }
            | Message::Answer { .. }
            | Message::Suspend { .. }
            | Message::Resume { .. }
    )
}
