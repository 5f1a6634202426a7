//! What the console is shown of the roles, and how trunks record their signalling.

use std::sync::Arc;

use anyhow::Result;
use strowger_console::{Gauges, Sources};
use strowger_net::SystemClock;
use strowger_packet::pcapng::{LinkType, SharedWriter};
use strowger_trunk::SignalTap;

use crate::exchange::Exchange;

/// A tap that records each MSU of a gateway's trunk as its own pcapng interface (link type MTP3).
pub fn msu_tap(writer: SharedWriter, gateway: &str) -> Result<SignalTap> {
    let interface = match writer.lock() {
        Ok(mut writer) => writer.add_interface(&format!("trunk of {gateway}"), LinkType::Mtp3)?,
        Err(_) => anyhow::bail!("the capture's writer has failed"),
    };
    let clock = SystemClock::new();
    Ok(Arc::new(move |_, msu: &[u8]| {
        // a capture that cannot be written any more must not stop a call
        if let Ok(mut writer) = writer.lock() {
            let _ = writer.packet(interface, clock.timestamp(), None, msu);
        }
    }))
}

/// The roles' gauges.
pub fn sources(running: &Exchange) -> Sources {
    let mut gauges = Vec::new();
    if let Some(proxy) = running.proxy.clone() {
        let read = move || {
            let now = proxy.counters();
            vec![
                ("requests", now.requests),
                ("challenges", now.challenges),
                ("credentials_refused", now.credentials_refused),
                ("registrations", now.registrations),
                ("calls", now.calls),
                ("calls_answered", now.calls_answered),
                ("calls_refused_policy", now.calls_refused_policy),
                ("calls_refused_clearing", now.calls_refused_clearing),
                ("destinations_failed", now.destinations_failed),
                ("loops", now.loops),
                ("dropped", now.dropped),
                ("calls_now", now.calls_now as u64),
                ("contexts_now", now.contexts_now as u64),
                ("bindings_now", now.bindings_now as u64),
            ]
        };
        gauges.push(Gauges { role: "proxy", instance: "proxy".to_owned(), read: Box::new(read) });
    }
    for (instance, gateway) in &running.gateways {
        let (instance, gateway) = (instance.clone(), gateway.clone());
        let read = move || {
            let now = gateway.counters();
            vec![
                ("invites", now.invites),
                ("calls", now.calls),
                ("calls_answered", now.calls_answered),
                ("calls_failed", now.calls_failed),
                ("refused", now.refused_total()),
                ("calls_now", now.calls_now as u64),
                ("circuits_now", now.circuits_now as u64),
            ]
        };
        gauges.push(Gauges { role: "gateway", instance, read: Box::new(read) });
    }
    Sources { clearinghouse: running.clearinghouse.clone(), gauges, addresses: running.addresses.clone() }
}
