//! The router's side: a provisioned PEP that drives a policy sink.

use strowger_pep::{
    ConfigurationConfig, ConfigurationEvent, ConfigurationOutput, ConfigurationPep, PolicySink, Transaction,
};
use strowger_pib::{DsMeter, Row};
use tokio_util::sync::CancellationToken;

use crate::wire::{Wire, WireEvent};
use crate::{Epoch, random, sleep_until};

/// Connects to the PDP (and again, for ever), keeps `sink` at the policy it decides. Ends after `shutdown` is cancelled; what
/// is installed in the sink stays. `events` hears what happens, for logs and tests; it must not block.
pub async fn run_configuration_pep<S>(
    config: ConfigurationConfig,
    mut sink: S,
    mut events: impl FnMut(ConfigurationEvent) + Send,
    shutdown: CancellationToken,
) where
    S: PolicySink + Send,
{
    let epoch = Epoch::new();
    let mut wire = Wire::new();
    let mut pep = ConfigurationPep::new(config, random());
    pep.start(epoch.now());
    loop {
        carry_out(epoch, &mut pep, &mut sink, &mut wire, &mut events);
        tokio::select! {
            event = wire.next() => match event {
                WireEvent::Connected => pep.connected(epoch.now()),
                WireEvent::Bytes(bytes) => pep.received(epoch.now(), &bytes),
                WireEvent::Closed => pep.closed(epoch.now()),
            },
            () = sleep_until(epoch, pep.next_deadline()) => {
                let now = epoch.now();
                if pep.accounting_due(now) {
                    let usage = sink.usage(None);
                    pep.account(now, &usage);
                }
                pep.timeout(now);
            }
            () = shutdown.cancelled() => break,
        }
    }
    pep.shut_down(epoch.now());
    carry_out(epoch, &mut pep, &mut sink, &mut wire, &mut events);
}

fn carry_out(
    epoch: Epoch,
    pep: &mut ConfigurationPep,
    sink: &mut impl PolicySink,
    wire: &mut Wire,
    events: &mut impl FnMut(ConfigurationEvent),
) {
    while let Some(output) = pep.poll_output() {
        match output {
            ConfigurationOutput::Connect(address) => wire.connect(address),
            ConfigurationOutput::Send(bytes) => wire.send(bytes),
            ConfigurationOutput::Close => wire.close(),
            ConfigurationOutput::Event(event) => events(event),
            ConfigurationOutput::Apply(transaction) => {
                let meters = removed_meters(&transaction);
                let usage = if meters.is_empty() { Vec::new() } else { sink.usage(Some(&meters)) };
                let result = sink.apply(&transaction, pep.installed());
                pep.applied(epoch.now(), result, &usage);
            }
        }
    }
}

/// Meters that go: their counters are asked for while they still exist.
fn removed_meters(transaction: &Transaction) -> Vec<u32> {
    let meter = |row: &Row| if let Row::DsMeter(DsMeter { instance, .. }) = row { Some(*instance) } else { None };
    transaction.removes.iter().filter_map(meter).collect()
}
