//! What is looked at again and again: callers that have gone silent, and how full the gateway is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use strowger_clearinghouse_client::OspClient;
use strowger_clock::Moment;
use strowger_gateway_core::Input;
use strowger_net::SystemClock;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::clearing;
use crate::gateway::GatewayHandle;
use crate::links::{Listening, View, lock, now};
use crate::media::MediaHandle;

/// How often fullness is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A clearinghouse that did not take an indication is told again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// And one that did, after this: it forgets, or has been started anew.
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// From this share of circuits or calls in use on, new calls should go elsewhere.
const NEARLY_FULL_PERCENT: usize = 90;

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Tells the core which callers have sent nothing for `limit`.
pub(crate) async fn idle_media(media: MediaHandle, view: Arc<View>, inputs: mpsc::Sender<Input>, limit: Duration) {
    let clock = SystemClock::new();
    let mut interval = ticks((limit / 4).clamp(Duration::from_millis(50), Duration::from_secs(5)));
    loop {
        interval.tick().await;
        let calls: Vec<u64> = lock(&view.listening).keys().copied().collect();
        for call in calls {
            let Ok(statistics) = media.statistics(call).await else { continue };
            let idle = match lock(&view.listening).get_mut(&call) {
                Some(listening) => listening.is_idle(clock.now(), statistics.packets_received, limit),
                None => false,
            };
            if idle && inputs.send(Input::MediaIdle { call }).await.is_err() {
                return;
            }
        }
    }
}

impl Listening {
    fn is_idle(&mut self, now: Moment, packets: u64, limit: Duration) -> bool {
        match self.since {
            Some(since) if packets == self.packets => now.saturating_since(since) >= limit,
            _ => {
                *self = Listening { packets, since: Some(now) };
                false
            }
        }
    }
}

/// Indicates to the clearinghouse that the gateway is there and how full it is: at the start, when that changes, when it
/// goes out of service.
pub(crate) async fn capabilities(
    client: Option<OspClient>,
    handle: GatewayHandle,
    here: Option<SocketAddr>,
    calls_max: usize,
) {
    let Some(client) = client else { return };
    let clock = SystemClock::new();
    let mut interval = ticks(LOOK_EVERY);
    let mut told: Option<bool> = None;
    let mut not_before = clock.now();
    let mut repeat_at = clock.now();
    loop {
        interval.tick().await;
        let almost_out = handle.is_draining() || is_nearly_full(&handle, calls_max);
        let at = clock.now();
        if (told == Some(almost_out) && at < repeat_at) || at < not_before {
            continue;
        }
        let idle = handle.counters().circuits_idle;
        let channels = u32::try_from(idle).unwrap_or(u32::MAX);
        let indication = clearing::capabilities(here, channels, almost_out, now());
        match client.indicate_capabilities(indication).await {
            Ok(()) => {
                told = Some(almost_out);
                repeat_at = clock.now() + REPEAT_AFTER;
            }
            Err(error) => {
                tracing::debug!(%error, "the clearinghouse was not told of the gateway's capabilities");
                not_before = clock.now() + AGAIN_AFTER;
            }
        }
    }
}

/// The last indication: no calls any more. Tried once, for a second at most.
pub(crate) async fn say_goodbye(client: Option<OspClient>, here: Option<SocketAddr>) {
    let Some(client) = client else { return };
    let told = client.indicate_capabilities(clearing::capabilities(here, 0, true, now()));
    if !matches!(tokio::time::timeout(Duration::from_secs(1), told).await, Ok(Ok(()))) {
        tracing::debug!("the clearinghouse was not told that the gateway goes out of service");
    }
}

fn is_nearly_full(handle: &GatewayHandle, calls_max: usize) -> bool {
    let counters = handle.counters();
    let share = |used: usize, all: usize| used.saturating_mul(100) >= all.saturating_mul(NEARLY_FULL_PERCENT);
    let circuits = counters.circuits_now + counters.circuits_idle;
    // before the first step of the core, and while the circuits are being aligned, there are none: that is not full
    (counters.circuits_now > 0 && share(counters.circuits_now, circuits)) || share(counters.calls_now, calls_max.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_idle_after_the_limit_and_a_packet_begins_it_anew() {
        let mut listening = Listening::default();
        let limit = Duration::from_secs(10);
        let mut look = |seconds: u64, packets| listening.is_idle(Moment::from_millis(seconds * 1000), packets, limit);
        assert!(!look(5, 0));
        assert!(!look(14, 0));
        assert!(look(15, 0));
        assert!(!look(16, 1));
        assert!(!look(25, 1));
        assert!(look(26, 1));
    }
}
