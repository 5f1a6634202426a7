//! What is known of the devices' health: their own word (capabilities) and how calls to them went.

use std::collections::HashMap;
use std::time::Duration;
use strowger_clock::Moment;

/// So many failures in the window, and a device is tried after the others.
pub const FAILURES_TO_DEMOTE: u32 = 3;

/// How long a failure counts.
pub const FAILURE_WINDOW_SECONDS: u64 = 60;

/// How many devices are watched; reports of more are not remembered.
pub const MAXIMUM_DEVICES_WATCHED: usize = 100_000;

#[derive(Clone, Debug, Default)]
struct Watched {
    almost_out_of_resources: bool,
    /// When the latest failures were: a ring of the last [`FAILURES_TO_DEMOTE`].
    failures: [Option<Moment>; FAILURES_TO_DEMOTE as usize],
    next: usize,
    quality_penalty: u16,
}

/// Availability and quality of devices.
#[derive(Clone, Debug, Default)]
pub struct Health {
    devices: HashMap<String, Watched>,
}

impl Health {
    /// Nothing is known: every device is taken to be well.
    pub fn new() -> Health {
        Health::default()
    }

    /// What the device said of itself (CapabilitiesIndication).
    pub fn capabilities(&mut self, device: &str, almost_out_of_resources: bool) {
        if let Some(watched) = self.watched(device) {
            watched.almost_out_of_resources = almost_out_of_resources;
        }
    }

    /// A call to the device did not get through for a reason of the device or the network behind it.
    pub fn failed(&mut self, now: Moment, device: &str) {
        if let Some(watched) = self.watched(device) {
            let slot = watched.next % watched.failures.len();
            if let Some(failure) = watched.failures.get_mut(slot) {
                *failure = Some(now);
            }
            watched.next = slot + 1;
        }
    }

    /// A call to the device got through: earlier failures are over.
    pub fn succeeded(&mut self, device: &str) {
        if let Some(watched) = self.devices.get_mut(device) {
            watched.failures = Default::default();
        }
    }

    /// The quality hook: a penalty (0 is best) that decides between equal costs.
    pub fn quality(&mut self, device: &str, penalty: u16) {
        if let Some(watched) = self.watched(device) {
            watched.quality_penalty = penalty;
        }
    }

    /// Whether the device asked for fewer calls.
    pub fn almost_out_of_resources(&self, device: &str) -> bool {
        self.devices.get(device).is_some_and(|watched| watched.almost_out_of_resources)
    }

    /// Failures within the window, at most [`FAILURES_TO_DEMOTE`].
    pub fn recent_failures(&self, now: Moment, device: &str) -> u32 {
        let window = Duration::from_secs(FAILURE_WINDOW_SECONDS);
        let recent = |at: &&Option<Moment>| at.is_some_and(|at| now.saturating_since(at) < window);
        self.devices
            .get(device)
            .map_or(0, |watched| watched.failures.iter().filter(recent).fold(0, |count, _| count + 1))
    }

    /// The penalty set by [`Health::quality`].
    pub fn quality_penalty(&self, device: &str) -> u16 {
        self.devices.get(device).map_or(0, |watched| watched.quality_penalty)
    }

    fn watched(&mut self, device: &str) -> Option<&mut Watched> {
        if !self.devices.contains_key(device) {
            if self.devices.len() >= MAXIMUM_DEVICES_WATCHED {
                return None;
            }
            self.devices.insert(device.to_owned(), Watched::default());
        }
        self.devices.get_mut(device)
    }
}
