//! The one place where time enters the drivers.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use strowger_clock::{Moment, Timestamp};

/// Moments and timestamps of the machine the program runs on.
///
/// All clocks of a process share one epoch (the first use), so that a [`Moment`] taken by one driver can be compared with
/// one taken by another.
#[derive(Copy, Clone, Debug, Default)]
pub struct SystemClock;

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

impl SystemClock {
    /// A clock; all clocks are the same.
    pub fn new() -> SystemClock {
        epoch();
        SystemClock
    }

    /// Monotonic time since the process's epoch.
    pub fn now(&self) -> Moment {
        Moment::from_nanos(u64::try_from(epoch().elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Wall-clock time.
    pub fn timestamp(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The instant at which tokio should wake for `moment`; a moment too far away is a year from now.
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let wait = moment.saturating_since(self.now()).min(FAR);
        tokio::time::Instant::now() + wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_share_one_epoch_and_do_not_go_back() {
        let (a, b) = (SystemClock::new(), SystemClock::new());
        let first = a.now();
        let second = b.now();
        assert!(second >= first);
        assert!(a.timestamp().unix_seconds() > 1_700_000_000);
    }
}
