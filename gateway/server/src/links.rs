//! The ways out of the core: its effects, carried to the media engine, the clearinghouse and whoever watches.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strowger_clearinghouse_client::UsageReporter;
use strowger_clock::{Moment, Timestamp};
use strowger_gateway_core::{
    CallNumber, CallState, CallSummary, Counters, Effect, GatewayCore, Input, Law, MediaStatistics, Stream,
};
use strowger_net::SystemClock;
use strowger_transaction::{Event, Layer, TransactionUser};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::charging::{Notice, Said};
use crate::clearing;
use crate::events::GatewayEvent;
use crate::media::{MediaHandle, OpenCall, PayloadTypes, Statistics, Update};

/// What others may see of a running gateway. Locks are held for a copy.
#[derive(Debug, Default)]
pub(crate) struct View {
    counters: Mutex<Counters>,
    calls: Mutex<BTreeMap<CallNumber, CallSummary>>,
    /// Calls whose silence counts: answered, and not held.
    pub(crate) listening: Mutex<HashMap<CallNumber, Listening>>,
}

/// Since when nothing has come from a caller.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Listening {
    pub(crate) packets: u64,
    pub(crate) since: Option<Moment>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // values are whole between statements; a panic elsewhere cannot have broken them
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl View {
    pub(crate) fn counters(&self) -> Counters {
        lock(&self.counters).clone()
    }

    pub(crate) fn calls(&self) -> Vec<CallSummary> {
        lock(&self.calls).values().cloned().collect()
    }
}

/// The core, with its counters shown to others after every step.
pub(crate) struct Observed {
    pub(crate) core: GatewayCore,
    pub(crate) view: Arc<View>,
}

impl Observed {
    fn show(&self) {
        *lock(&self.view.counters) = self.core.counters();
    }
}

impl TransactionUser for Observed {
    type Input = Input;
    type Effect = Effect;

    fn event(&mut self, now: Moment, event: Event, layer: &mut Layer) {
        self.core.event(now, event, layer);
        self.show();
    }

    fn input(&mut self, now: Moment, input: Input, layer: &mut Layer) {
        self.core.input(now, input, layer);
        self.show();
    }

    fn timeout(&mut self, now: Moment, layer: &mut Layer) {
        self.core.timeout(now, layer);
        self.show();
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.core.next_deadline()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.core.poll_effect()
    }
}

pub(crate) struct Links {
    pub(crate) media: MediaHandle,
    pub(crate) media_address: IpAddr,
    pub(crate) here: Option<SocketAddr>,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) reporter: Option<UsageReporter>,
    pub(crate) charges: Option<mpsc::Sender<Notice>>,
    pub(crate) events: broadcast::Sender<GatewayEvent>,
    pub(crate) view: Arc<View>,
    pub(crate) tasks: TaskTracker,
    pub(crate) drained: watch::Sender<bool>,
}

impl Links {
    pub(crate) fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::OpenMedia { call } => self.open(call),
            Effect::BridgeMedia { call, circuit, stream, answered } => {
                self.listen(call, stream, answered);
                let update = Update { circuit: Some(circuit), ..stream.map(update).unwrap_or_default() };
                if let Err(error) = self.media.update(call, update) {
                    tracing::warn!(call, %error, "media cannot be changed");
                }
            }
            Effect::CloseMedia { call } => {
                lock(&self.view.listening).remove(&call);
                let (media, inputs) = (self.media.clone(), self.inputs.clone());
                self.tasks.spawn(async move {
                    let statistics = media.close(call).await.ok().map(|statistics| told(&statistics));
                    let _ = inputs.send(Input::MediaClosed { call, statistics }).await;
                });
            }
            Effect::Msu(unit) => {
                // ISUP's own timers make up for a unit that is lost
                if let Err(error) = self.media.signal(unit) {
                    tracing::error!(%error, "a signal unit was not sent");
                }
            }
            Effect::Charge { call, transaction_id, charge } => {
                self.charge(call, transaction_id, Said::Charge(charge));
                self.tell(GatewayEvent::Charge { call, transaction_id, charge });
            }
            Effect::ChargeStart { call, transaction_id } => self.charge(call, transaction_id, Said::Start),
            Effect::ChargeStop { call, transaction_id } => self.charge(call, transaction_id, Said::Stop),
            Effect::Usage { call, usage } => {
                self.charge(call, usage.transaction_id, Said::Over);
                if let Some(reporter) = &self.reporter {
                    let report = clearing::usage(&usage, self.here, now());
                    if reporter.report(report).is_err() {
                        tracing::error!(
                            call,
                            transaction = usage.transaction_id,
                            "usage report lost: the queue is full"
                        );
                    }
                }
                self.tell(GatewayEvent::Usage { call, usage });
            }
            Effect::Refused(refused) => {
                tracing::info!(status = refused.status, peer = %refused.peer, "refused: {}", refused.reason.text());
                self.tell(GatewayEvent::Refused(refused));
            }
            Effect::Call(summary) => {
                if matches!(summary.state, CallState::Accepted | CallState::Ended) {
                    let (call, transaction) = (summary.number, summary.transaction_id);
                    tracing::info!(call, transaction, state = ?summary.state, cause = ?summary.cause, "call");
                }
                let mut calls = lock(&self.view.calls);
                if summary.state == CallState::Ended {
                    calls.remove(&summary.number);
                } else {
                    calls.insert(summary.number, (*summary).clone());
                }
                drop(calls);
                self.tell(GatewayEvent::Call(summary));
            }
            Effect::Drained => {
                self.drained.send_replace(true);
                self.tell(GatewayEvent::Drained);
            }
        }
    }

    fn tell(&self, event: GatewayEvent) {
        // an error only says that nobody listens
        let _ = self.events.send(event);
    }

    /// Sends an answer to the core. This runs in the core's own task, which must not wait for itself.
    fn answer(&self, input: Input) {
        if let Err(mpsc::error::TrySendError::Full(input)) = self.inputs.try_send(input) {
            let inputs = self.inputs.clone();
            self.tasks.spawn(async move { inputs.send(input).await });
        }
    }

    fn open(&self, call: CallNumber) {
        let open = OpenCall {
            call,
            local: self.media_address,
            payload_types: PayloadTypes::PCMA,
            remote: None,
            circuit: None,
        };
        self.answer(match self.media.open(&open) {
            Ok(port) => Input::MediaOpened { call, port: port.0 },
            Err(error) => {
                tracing::warn!(call, %error, "no media port");
                Input::MediaFailed { call }
            }
        });
    }

    fn listen(&self, call: CallNumber, stream: Option<Stream>, answered: bool) {
        let mut listening = lock(&self.view.listening);
        if answered && stream.is_some_and(|stream| stream.direction.receives()) {
            listening.entry(call).or_default();
        } else {
            listening.remove(&call);
        }
    }

    fn charge(&self, call: CallNumber, transaction_id: u64, said: Said) {
        let Some(charges) = &self.charges else { return };
        if charges.try_send(Notice { call, transaction_id, said }).is_err() {
            tracing::warn!(call, transaction = transaction_id, "a charge message was not posted: too many wait");
        }
    }
}

pub(crate) fn now() -> Timestamp {
    SystemClock::new().timestamp()
}

fn update(stream: Stream) -> Update {
    let law = match stream.law {
        Law::A => strowger_rtp::g711::Law::A,
        Law::Mu => strowger_rtp::g711::Law::Mu,
    };
    Update {
        remote: stream.remote,
        payload_types: Some(PayloadTypes { law, audio: stream.payload_type, telephone_event: stream.telephone_event }),
        circuit: None,
        sending: Some(stream.direction.sends() && stream.remote.is_some()),
    }
}

fn told(statistics: &Statistics) -> MediaStatistics {
    MediaStatistics {
        packets_sent: statistics.packets_sent,
        octets_sent: statistics.octets_sent,
        packets_received: statistics.packets_received,
        octets_received: statistics.octets_received,
        packets_lost: statistics.lost,
        jitter_ms: statistics.jitter_ms,
        round_trip_ms: statistics.round_trip_ms,
        mos: statistics.mos,
        remote_loss: statistics.remote_loss,
    }
}
