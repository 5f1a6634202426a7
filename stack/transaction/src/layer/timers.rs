//! The timers of one transaction, and how long each runs.

use std::time::Duration;

use strowger_clock::{Moment, TimerId};

use super::Layer;
use crate::Timing;
use crate::event::Owner;
use crate::machine::Timer;

/// No state of any machine runs more timers at a time (A and B; E and F; G and H).
const TIMERS_MAX: usize = 2;

/// Which timers of a transaction run.
#[derive(Debug, Default)]
pub(super) struct Running {
    timers: [Option<(Timer, TimerId)>; TIMERS_MAX],
    /// The last interval of the retransmission timer.
    interval: Duration,
}

impl Running {
    fn take(&mut self, wanted: impl Fn(Timer) -> bool) -> Option<TimerId> {
        let place = self.timers.iter_mut().find(|place| place.is_some_and(|(timer, _)| wanted(timer)))?;
        place.take().map(|(_, id)| id)
    }

    fn put(&mut self, timer: Timer, id: TimerId) {
        debug_assert!(self.timers.iter().any(Option::is_none), "a state runs more than {TIMERS_MAX} timers");
        if let Some(place) = self.timers.iter_mut().find(|place| place.is_none()) {
            *place = Some((timer, id));
        }
    }
}

/// A timer's first interval; `None`: it does not run on this transport (RFC 3261 §17.1.1.2, §17.1.2.2, §17.2.1, §17.2.2).
fn first_interval(timing: &Timing, timer: Timer, is_reliable: bool) -> Option<Duration> {
    match timer {
        Timer::A | Timer::E | Timer::G => (!is_reliable).then_some(timing.t1),
        Timer::B | Timer::F | Timer::H | Timer::L | Timer::M | Timer::Canceled => Some(timing.give_up_after()),
        Timer::D => Some(if is_reliable { Duration::ZERO } else { timing.timer_d }),
        Timer::I | Timer::K => Some(if is_reliable { Duration::ZERO } else { timing.t4 }),
        Timer::J => Some(if is_reliable { Duration::ZERO } else { timing.give_up_after() }),
        Timer::Trying => Some(timing.trying_after),
    }
}

/// How a timer is started.
pub(super) enum Interval {
    First,
    Double,
    Longest,
}

impl Layer {
    /// Starts a timer; true when it is zero and has thus expired already.
    pub(super) fn start_timer(
        &mut self,
        now: Moment,
        owner: Owner,
        timer: Timer,
        kind: &Interval,
        is_reliable: bool,
    ) -> bool {
        let timing = self.config.timing;
        let Some(running) = self.running(owner) else { return false };
        let duration = match kind {
            Interval::First => match first_interval(&timing, timer, is_reliable) {
                Some(duration) => duration,
                None => return false,
            },
            Interval::Longest => timing.t2,
            // A doubles until B ends it; the others stop growing at T2
            Interval::Double if timer == Timer::A => running.interval.saturating_mul(2),
            Interval::Double => (running.interval.saturating_mul(2)).min(timing.t2),
        };
        if duration.is_zero() {
            return true;
        }
        if matches!(timer, Timer::A | Timer::E | Timer::G) {
            running.interval = duration;
        }
        let id = self.timers.insert(now + duration, (owner, timer));
        if let Some(running) = self.running(owner) {
            running.put(timer, id);
        }
        false
    }

    /// Stops every running timer of a transaction that `wanted` names.
    pub(super) fn stop_timers(&mut self, owner: Owner, wanted: impl Fn(Timer) -> bool) {
        while let Some(id) = self.running(owner).and_then(|running| running.take(&wanted)) {
            self.timers.cancel(id);
        }
    }

    /// A timer has left the wheel by itself.
    pub(super) fn timer_ran_out(&mut self, owner: Owner, timer: Timer) {
        if let Some(running) = self.running(owner) {
            running.take(|running| running == timer);
        }
    }

    fn running(&mut self, owner: Owner) -> Option<&mut Running> {
        match owner {
            Owner::Client(key) => self.clients.find_mut(key.slot, key.generation).map(|client| &mut client.running),
            Owner::Server(key) => self.servers.find_mut(key.slot, key.generation).map(|server| &mut server.running),
            Owner::Nobody => None,
        }
    }
}
