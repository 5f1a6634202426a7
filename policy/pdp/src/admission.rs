//! The budget: how many calls and how much bandwidth are given away, in all and to each caller.

use std::collections::HashMap;

use crate::config::Config;

#[derive(Debug, Default)]
struct Share {
    calls: usize,
    kbps: u64,
}

/// What is given away.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    total: Share,
    callers: HashMap<String, Share>,
}

impl Budget {
    /// Admits one more call of `caller`, or says why not.
    pub(crate) fn admit(&mut self, config: &Config, caller: &str, kbps: u32) -> Result<(), String> {
        let share = self.callers.get(caller);
        let (calls, caller_kbps) = share.map_or((0, 0), |share| (share.calls, share.kbps));
        if self.total.calls >= config.calls_max {
            return Err(format!("the limit of {} calls is reached", config.calls_max));
        }
        if calls >= config.calls_per_caller_max {
            return Err(format!("the caller's limit of {} calls is reached", config.calls_per_caller_max));
        }
        check(config, self.total.kbps, caller_kbps, kbps)?;
        let share = self.callers.entry(caller.to_owned()).or_default();
        for share in [share, &mut self.total] {
            share.calls += 1;
            share.kbps += u64::from(kbps);
        }
        Ok(())
    }

    /// Changes the bandwidth of an admitted call, or says why not and leaves it.
    pub(crate) fn change(&mut self, config: &Config, caller: &str, old_kbps: u32, kbps: u32) -> Result<(), String> {
        let Some(share) = self.callers.get_mut(caller) else { return Ok(()) };
        let total = self.total.kbps.saturating_sub(u64::from(old_kbps));
        let own = share.kbps.saturating_sub(u64::from(old_kbps));
        if kbps > old_kbps {
            check(config, total, own, kbps)?;
        }
        self.total.kbps = total + u64::from(kbps);
        share.kbps = own + u64::from(kbps);
        Ok(())
    }

    /// Gives a call's share back.
    pub(crate) fn release(&mut self, caller: &str, kbps: u32) {
        self.total.calls = self.total.calls.saturating_sub(1);
        self.total.kbps = self.total.kbps.saturating_sub(u64::from(kbps));
        if let Some(share) = self.callers.get_mut(caller) {
            share.calls = share.calls.saturating_sub(1);
            share.kbps = share.kbps.saturating_sub(u64::from(kbps));
            if share.calls == 0 {
                self.callers.remove(caller);
            }
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.total.calls
    }

    pub(crate) fn kbps(&self) -> u64 {
        self.total.kbps
    }
}

fn check(config: &Config, total_kbps: u64, caller_kbps: u64, kbps: u32) -> Result<(), String> {
    let kbps = u64::from(kbps);
    if total_kbps + kbps > config.total_kbps_max {
        let left = config.total_kbps_max.saturating_sub(total_kbps);
        return Err(format!("the call needs {kbps} kbit/s and {left} are left of {}", config.total_kbps_max));
    }
    if caller_kbps + kbps > config.caller_kbps_max {
        let left = config.caller_kbps_max.saturating_sub(caller_kbps);
        return Err(format!(
            "the call needs {kbps} kbit/s and the caller has {left} left of {}",
            config.caller_kbps_max
        ));
    }
    Ok(())
}
