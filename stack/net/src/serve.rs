//! The task that owns the machines.

use std::io;
use std::sync::Arc;

use strowger_clock::Moment;
use strowger_clock::Random;
use strowger_transaction::{Config, Layer, Output, TransactionUser};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bind::BoundEndpoint;
use crate::clock::SystemClock;
use crate::connection::{Arrival, Shared};
use crate::flows::Flows;
use crate::limits::Counters;

/// Arrivals handled before the user's inputs and timers get a turn.
const BATCH: usize = 64;

/// Runs a transaction layer and its user on the endpoint's sockets until `shutdown` is cancelled.
///
/// One task (the caller's) owns both machines. What peers send is given to the layer, the layer's events to the user, the
/// user's effects to `effects`, which must not wait. When every sender of `inputs` is gone, serving goes on without inputs.
/// At the end all sockets and connections are closed; a request that was not answered is not answered. Randomness of the
/// layer comes from the operating system.
///
/// # Errors
/// Only what the runtime says when it takes the sockets over.
pub async fn serve<U: TransactionUser>(
    bound: BoundEndpoint,
    layer_config: Config,
    user: U,
    inputs: mpsc::Receiver<U::Input>,
    effects: impl FnMut(U::Effect) + Send,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut key = [0u8; 32];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let (arrivals, arrived) = mpsc::channel(bound.limits.arrivals.max(1));
    let sockets = shutdown.child_token();
    let shared =
        Shared { arrivals, limits: bound.limits, counters: bound.counters, tap: bound.tap, shutdown: sockets.clone() };
    let _close_all = sockets.drop_guard();
    let counters = Arc::clone(&shared.counters);
    let flows = Flows::start(bound.udp, bound.tcp, shared)?;
    let layer = Layer::new(layer_config, Random::from_key(key));
    Shard { clock: SystemClock::new(), layer, user, flows, effects, counters }.run(arrived, inputs, shutdown).await;
    Ok(())
}

struct Shard<U, F> {
    clock: SystemClock,
    layer: Layer,
    user: U,
    flows: Flows,
    effects: F,
    counters: Arc<Counters>,
}

impl<U: TransactionUser, F: FnMut(U::Effect) + Send> Shard<U, F> {
    async fn run(
        mut self,
        mut arrived: mpsc::Receiver<Arrival>,
        mut inputs: mpsc::Receiver<U::Input>,
        shutdown: CancellationToken,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut inputs_open = true;
        let mut waiting_for = None;
        let sleep = tokio::time::sleep(std::time::Duration::ZERO);
        tokio::pin!(sleep);
        self.drain(self.clock.now());
        loop {
            let deadline = earlier(self.layer.next_deadline(), self.user.next_deadline());
            if let Some(deadline) = deadline
                && waiting_for != Some(deadline)
            {
                sleep.as_mut().reset(self.clock.instant(deadline));
            }
            waiting_for = deadline;
            tokio::select! {
                _ = shutdown.cancelled() => return,
                _ = &mut sleep, if deadline.is_some() => waiting_for = None,
                input = inputs.recv(), if inputs_open => match input {
                    Some(input) => {
                        let now = self.clock.now();
                        self.user.input(now, input, &mut self.layer);
                        self.drain(now);
                    }
                    None => inputs_open = false,
                },
                _ = arrived.recv_many(&mut batch, BATCH) => {
                    for arrival in batch.drain(..) {
                        let now = self.clock.now();
                        self.arrival(now, arrival);
                        self.drain(now);
                    }
                }
            }
            self.expire();
            self.show();
        }
    }

    fn arrival(&mut self, now: Moment, arrival: Arrival) {
        match arrival {
            Arrival::Message(message, flow) => self.layer.received(now, message, flow),
            Arrival::Opened(connection) => self.flows.opened(connection),
            Arrival::Connected(key, connection) => self.flows.connected(key, connection),
            Arrival::Closed(flow, unsent) => {
                self.flows.closed(flow);
                self.flows.failed.extend(unsent);
                self.layer.flow_closed(now, flow);
            }
            Arrival::SendFailed(id) => self.flows.failed.push(id),
            Arrival::Unreachable(peer) => self.flows.unreachable(peer),
        }
    }

    fn expire(&mut self) {
        let now = self.clock.now();
        if self.layer.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.layer.timeout(now);
            self.drain(now);
        }
        if self.user.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.user.timeout(now, &mut self.layer);
            self.drain(now);
        }
    }

    fn show(&self) {
        let gauge = self.layer.gauge();
        self.counters.client_transactions.set(gauge.client);
        self.counters.server_transactions.set(gauge.server);
        self.counters.transaction_timers.set(gauge.timers);
    }

    /// Carries every output to where it belongs until the machines have none left.
    fn drain(&mut self, now: Moment) {
        loop {
            while let Some(output) = self.layer.poll_output() {
                match output {
                    Output::Transmit { id, message, target } => self.flows.send(id, message, target),
                    Output::Event(event) => self.user.event(now, event, &mut self.layer),
                }
            }
            while let Some(effect) = self.user.poll_effect() {
                (self.effects)(effect);
            }
            let failed = std::mem::take(&mut self.flows.failed);
            if failed.is_empty() {
                return;
            }
            for id in failed {
                self.layer.transport_failed(now, id);
            }
        }
    }
}

fn earlier(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
