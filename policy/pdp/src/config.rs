//! What the policy is.

use strowger_pib::flow::{BasePolicy, SignallingPort};

use crate::media::FlowSettings;

/// The policy and the limits of a PDP.
#[derive(Debug, Clone)]
pub struct Config {
    /// Most connections at once.
    pub connections_max: usize,
    /// Keep-alive timer in seconds, given to every PEP; 0 switches it off.
    pub keep_alive_seconds: u16,
    /// Shortest pause between accounting reports of routers, in seconds.
    pub accounting_seconds: u16,
    /// Most calls with policy state.
    pub calls_max: usize,
    /// Most calls of one caller.
    pub calls_per_caller_max: usize,
    /// Bandwidth of all admitted calls in kbit/s of IP, one direction.
    pub total_kbps_max: u64,
    /// Bandwidth of one caller's calls in kbit/s of IP, one direction.
    pub caller_kbps_max: u64,
    /// What a call without a session description in its INVITE is taken for, in kbit/s.
    pub unknown_call_kbps: u32,
    /// Whether an answer is refused when no router is connected. Otherwise it is admitted without marks.
    pub require_router: bool,
    /// How long routers may take to report, in milliseconds.
    pub report_time_ms: u64,
    /// How long calls outlive the connection of their proxy, in seconds.
    pub hold_seconds: u32,
    /// How rates and flows are derived.
    pub flows: FlowSettings,
    /// What every router gets at boot. Capability set and roles are replaced by what the router reports.
    pub base: BasePolicy,
    /// Largest message accepted, in octets.
    pub message_octets_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        let sip = |protocol| SignallingPort { protocol, port: 5060 };
        Config {
            connections_max: 1024,
            keep_alive_seconds: 30,
            accounting_seconds: 30,
            calls_max: 10_000,
            calls_per_caller_max: 20,
            total_kbps_max: 1_000_000,
            caller_kbps_max: 4_000,
            unknown_call_kbps: 88,
            require_router: false,
            report_time_ms: 2_000,
            hold_seconds: 60,
            flows: FlowSettings::default(),
            base: BasePolicy {
                capability_set: "strowger".to_owned(),
                roles: "edge".to_owned(),
                media_dscp: 46,
                signalling_dscp: 40,
                signalling: vec![sip(17), sip(6)],
                media_rate_kbps_max: 0,
            },
            message_octets_max: strowger_cops::MESSAGE_OCTETS_MAX,
        }
    }
}
