//! One circuit: where its call is, who blocked it, which timers run.

use crate::config::CIRCUITS;
use crate::group::Setup;
use strowger_clock::Moment;

/// A circuit of the span, 0..=29.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Circuit(u8);

impl Circuit {
    /// By index, 0..=29.
    pub const fn new(index: usize) -> Option<Self> {
        if index < CIRCUITS { Some(Self(index as u8)) } else { None }
    }

    /// By timeslot: 1–15 and 17–31.
    pub const fn from_timeslot(timeslot: u8) -> Option<Self> {
        match timeslot {
            1..=15 => Some(Self(timeslot - 1)),
            17..=31 => Some(Self(timeslot - 2)),
            _ => None,
        }
    }

    /// 0..=29.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Timeslot in the E1 frame (G.704).
    pub const fn timeslot(self) -> u8 {
        if self.0 < 15 { self.0 + 1 } else { self.0 + 2 }
    }

    /// Every circuit of a span.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..CIRCUITS as u8).map(Self)
    }
}

/// Where a circuit's call is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// The other end's view is not known; a reset is under way (T16, T17).
    Resetting,
    /// Free.
    Idle,
    /// We sent IAM; nothing came back (T7).
    WaitAddressComplete,
    /// We had ACM (T9).
    WaitAnswer,
    /// IAM came; we sent nothing back (T11, or T35 while digits lack).
    IncomingSetup,
    /// We sent ACM.
    IncomingAlerting,
    /// Answered. Charging and speech go on.
    Answered,
    /// Answered, and suspended by the network: the called party hung up for now (T6).
    Suspended,
    /// We sent REL (T1, T5).
    WaitReleaseComplete,
}

impl CircuitState {
    /// Whether a call that its user knows of is on the circuit.
    pub fn has_call(self) -> bool {
        !matches!(self, Self::Resetting | Self::Idle | Self::WaitReleaseComplete)
    }
}

/// Which of the call's timers runs; one at a time, besides the release's second.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallTimer {
    T1,
    T6,
    T7,
    T9,
    T11,
    T16,
    T35,
}

/// A supervision message whose acknowledgement is awaited.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Awaiting {
    Nothing,
    Blocked { since: Moment, next: Moment },
    Unblocked { since: Moment, next: Moment },
}

#[derive(Debug)]
pub(crate) struct Line {
    pub state: CircuitState,
    pub timer: Option<(Moment, CallTimer)>,
    /// T5 while releasing, T17 while resetting.
    pub long_timer: Option<Moment>,
    pub reset_is_slow: bool,
    pub release: Option<strowger_isup::CauseIndicators>,
    pub setup: Option<Box<Setup>>,
    /// An incoming call not yet told to the user.
    pub incoming: Option<Box<Setup>>,
    pub attempts: u8,
    pub outgoing: bool,
    pub digits: String,
    pub locally_blocked: bool,
    pub remotely_blocked: bool,
    pub awaiting: Awaiting,
}

impl Line {
    pub fn new() -> Self {
        Self {
            state: CircuitState::Idle,
            timer: None,
            long_timer: None,
            reset_is_slow: false,
            release: None,
            setup: None,
            incoming: None,
            attempts: 0,
            outgoing: false,
            digits: String::new(),
            locally_blocked: false,
            remotely_blocked: false,
            awaiting: Awaiting::Nothing,
        }
    }

    pub fn can_be_seized(&self) -> bool {
        self.state == CircuitState::Idle && !self.locally_blocked && !self.remotely_blocked
    }

    /// Ends whatever was on the circuit; blocking stays.
    pub fn make_idle(&mut self) {
        let (locally_blocked, remotely_blocked, awaiting) =
            (self.locally_blocked, self.remotely_blocked, self.awaiting);
        *self = Self { locally_blocked, remotely_blocked, awaiting, ..Self::new() };
    }

    pub fn deadline(&self) -> Option<Moment> {
        let awaiting = match self.awaiting {
            Awaiting::Nothing => None,
            Awaiting::Blocked { next, .. } | Awaiting::Unblocked { next, .. } => Some(next),
        };
        [self.timer.map(|(at, _)| at), self.long_timer, awaiting].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circuits_are_the_timeslots_without_0_and_16() {
        let slots: Vec<u8> = Circuit::all().map(Circuit::timeslot).collect();
        assert_eq!(slots, (1..=15).chain(17..=31).collect::<Vec<u8>>());
        assert!(Circuit::all().all(|circuit| Circuit::from_timeslot(circuit.timeslot()) == Some(circuit)));
        assert_eq!([0, 16, 32].map(Circuit::from_timeslot), [None; 3]);
        assert!(Circuit::new(CIRCUITS - 1).is_some() && Circuit::new(CIRCUITS).is_none());
    }
}
