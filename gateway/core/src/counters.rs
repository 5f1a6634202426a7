//! What the core has done, in numbers.

use crate::refusal::RefusalReason;

/// Counters since start, and gauges.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// INVITEs that began a call or were refused.
    pub invites: u64,
    /// Calls whose token was good.
    pub calls: u64,
    /// Calls that were answered.
    pub calls_answered: u64,
    /// Calls that the telephone network refused.
    pub calls_failed: u64,
    /// Calls that the caller gave up.
    pub calls_cancelled: u64,
    /// Calls hung up because the granted time was over.
    pub calls_out_of_time: u64,
    /// Calls hung up because the caller's media had stopped.
    pub calls_idle: u64,
    /// Charge messages taken from the telephone network.
    pub charges: u64,
    /// Signal units from the exchange that could not be read or did not fit.
    pub msus_dropped: u64,
    /// Refused INVITEs by reason.
    pub(crate) refused: [u64; RefusalReason::ALL.len()],
    /// Gauge: calls now.
    pub calls_now: usize,
    /// Gauge: circuits in use now.
    pub circuits_now: usize,
    /// Gauge: circuits that a call could take now.
    pub circuits_idle: usize,
    /// Gauge: dialogs of the user agent now.
    pub dialogs_now: usize,
    /// Gauge: used tokens remembered now.
    pub tokens_now: usize,
    /// Gauge: deadlines now.
    pub timers_now: usize,
}

impl Counters {
    /// INVITEs refused for a reason.
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refused.get(reason.index()).copied().unwrap_or_default()
    }

    /// INVITEs refused in all.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }

    pub(crate) fn count_refusal(&mut self, reason: RefusalReason) {
        if let Some(count) = self.refused.get_mut(reason.index()) {
            *count += 1;
        }
    }
}
