//! The proxy's side: a handle that asks the PDP about calls.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use strowger_cops::sip::{DecisionData, Phase};
use strowger_cops::{CLIENT_TYPE_SIP, Command, ReasonCode};
use strowger_pep::{Failure, LinkConfig, LostReason, OutsourcingConfig, OutsourcingOutput, OutsourcingPep};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::wire::{Wire, WireEvent};
use crate::{Epoch, random, sleep_until};

/// Commands that may wait for the client's task.
const COMMANDS_WAITING_MAX: usize = 1024;

/// Settings of an [`OutsourcingClient`].
#[derive(Debug, Clone)]
pub struct OutsourcingClientConfig {
    /// PDPs, the primary first.
    pub pdp: Vec<SocketAddr>,
    /// Our PEPID: printable ASCII, the same after a restart.
    pub pep_id: String,
    /// Usually [`strowger_cops::CLIENT_TYPE_SIP`].
    pub client_type: u16,
    /// How long one decision may take, in milliseconds; above the PDP's own limit for its routers' reports.
    pub decision_time_ms: u64,
    /// Where revocations go: calls whose admission the PDP takes back. A full queue drops them.
    pub revocations: Option<mpsc::Sender<Revocation>>,
}

impl OutsourcingClientConfig {
    /// Client type 0x4001, 5 s for a decision, no revocations.
    pub fn new(pdp: Vec<SocketAddr>, pep_id: impl Into<String>) -> OutsourcingClientConfig {
        OutsourcingClientConfig {
            pdp,
            pep_id: pep_id.into(),
            client_type: CLIENT_TYPE_SIP,
            decision_time_ms: 5_000,
            revocations: None,
        }
    }
}

/// A call that the PDP no longer admits; the proxy ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The call.
    pub call: u64,
    /// Why.
    pub reason: String,
}

/// The PDP's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Admitted (setup), marked (answer, modify).
    Install {
        /// Reason, DSCP, number of routers, token.
        data: DecisionData,
    },
    /// Refused; for a teardown: everything is given back.
    Remove {
        /// Why, in one sentence.
        reason: String,
    },
}

/// There was no decision; what to do then is the caller's policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no policy decision: {reason}")]
pub struct PolicyUnavailable {
    /// Why.
    pub reason: String,
}

impl PolicyUnavailable {
    fn new(reason: impl ToString) -> PolicyUnavailable {
        PolicyUnavailable { reason: reason.to_string() }
    }
}

type Answer = oneshot::Sender<Result<Verdict, PolicyUnavailable>>;

enum Request {
    Decide { call: u64, phase: Phase, sip: Bytes, answer: Answer },
    Report { call: u64, ok: bool },
    Delete { call: u64, reason: ReasonCode },
}

/// Asks a PDP about calls, over one connection that is made again when it is lost. Clones share it.
#[derive(Debug, Clone)]
pub struct OutsourcingClient {
    commands: mpsc::Sender<Request>,
    open: watch::Receiver<bool>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

impl OutsourcingClient {
    /// Starts the client's task (inside a tokio runtime) and returns at once; it connects, and reconnects, by itself.
    pub fn connect(config: OutsourcingClientConfig, shutdown: CancellationToken) -> OutsourcingClient {
        let (commands, queue) = mpsc::channel(COMMANDS_WAITING_MAX);
        let (opened, open) = watch::channel(false);
        tokio::spawn(run(config, queue, opened, shutdown));
        OutsourcingClient { commands, open }
    }

    /// Waits until a PDP has accepted us. `false` when the client was shut down instead.
    pub async fn ready(&self) -> bool {
        self.open.clone().wait_for(|open| *open).await.is_ok()
    }

    /// Whether a PDP is connected now.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Asks about `call` (any number that is unique among running calls). The first question of a call makes its handle;
    /// [`OutsourcingClient::delete`] ends it. `sip` is the SIP message of this phase, verbatim.
    pub async fn decide(&self, call: u64, phase: Phase, sip: Bytes) -> Result<Verdict, PolicyUnavailable> {
        let (answer, verdict) = oneshot::channel();
        let command = Request::Decide { call, phase, sip, answer };
        self.commands.send(command).await.map_err(|_| PolicyUnavailable::new("the policy client is shut down"))?;
        verdict.await.map_err(|_| PolicyUnavailable::new("the policy client is shut down"))?
    }

    /// Reports that the last decision was carried out, or could not be.
    pub async fn report(&self, call: u64, ok: bool) {
        let _ = self.commands.send(Request::Report { call, ok }).await;
    }

    /// Ends the call's request state (DRQ). After a confirmed teardown, or instead of one when nobody can wait.
    pub async fn delete(&self, call: u64, reason: ReasonCode) {
        let _ = self.commands.send(Request::Delete { call, reason }).await;
    }
}

struct Driver {
    pep: OutsourcingPep,
    wire: Wire,
    opened: watch::Sender<bool>,
    answers: HashMap<u64, VecDeque<(Phase, Answer)>>,
    revocations: Option<mpsc::Sender<Revocation>>,
}

async fn run(
    config: OutsourcingClientConfig,
    mut queue: mpsc::Receiver<Request>,
    opened: watch::Sender<bool>,
    shutdown: CancellationToken,
) {
    let epoch = Epoch::new();
    let link = LinkConfig::new(config.pdp, config.pep_id, config.client_type);
    let pep = OutsourcingPep::new(OutsourcingConfig { link, decision_time_ms: config.decision_time_ms }, random());
    let mut driver =
        Driver { pep, wire: Wire::new(), opened, answers: HashMap::new(), revocations: config.revocations };
    driver.pep.start(epoch.now());
    loop {
        driver.carry_out();
        tokio::select! {
            event = driver.wire.next() => match event {
                WireEvent::Connected => driver.pep.connected(epoch.now()),
                WireEvent::Bytes(bytes) => driver.pep.received(epoch.now(), &bytes),
                WireEvent::Closed => driver.pep.closed(epoch.now()),
            },
            command = queue.recv() => match command {
                Some(command) => driver.command(epoch, command),
                // Every clone of the client is gone.
                None => break,
            },
            () = sleep_until(epoch, driver.pep.next_deadline()) => driver.pep.timeout(epoch.now()),
            () = shutdown.cancelled() => break,
        }
    }
    driver.pep.shut_down();
    driver.carry_out();
}

impl Driver {
    fn command(&mut self, epoch: Epoch, command: Request) {
        match command {
            Request::Report { call, ok } => self.pep.report(call, ok),
            Request::Delete { call, reason } => self.pep.delete(call, reason),
            Request::Decide { call, phase, sip, answer } => match self.pep.decide(epoch.now(), call, phase, sip) {
                Ok(()) => self.answers.entry(call).or_default().push_back((phase, answer)),
                Err(error) => drop(answer.send(Err(PolicyUnavailable::new(error)))),
            },
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.pep.poll_output() {
            match output {
                OutsourcingOutput::Connect(address) => self.wire.connect(address),
                OutsourcingOutput::Send(bytes) => self.wire.send(bytes),
                OutsourcingOutput::Close => self.wire.close(),
                OutsourcingOutput::Decided { call, phase, command, data } => {
                    let verdict = match command {
                        Command::Install => Verdict::Install { data },
                        Command::Remove | Command::Null => Verdict::Remove { reason: data.reason },
                    };
                    self.answer(call, phase, Ok(verdict));
                }
                OutsourcingOutput::Failed { call, phase, why } => {
                    self.answer(call, phase, Err(unavailable(why)));
                }
                OutsourcingOutput::Revoked { call, data } => {
                    if let Some(revocations) = &self.revocations
                        && revocations.try_send(Revocation { call, reason: data.reason }).is_err()
                    {
                        tracing::warn!(call, "a revocation was dropped: nobody takes them");
                    }
                }
                OutsourcingOutput::Opened(pdp) => {
                    tracing::info!(%pdp, "policy decision point connected");
                    self.opened.send_replace(true);
                }
                OutsourcingOutput::Lost(reason) => {
                    if reason != LostReason::ShutDown {
                        tracing::warn!(%reason, "policy decision point lost");
                    }
                    self.opened.send_replace(false);
                }
                OutsourcingOutput::Malformed(error) => tracing::warn!(%error, "a COPS message could not be read"),
            }
        }
    }

    /// The machine answers the questions of one call in the order they were asked.
    fn answer(&mut self, call: u64, phase: Phase, result: Result<Verdict, PolicyUnavailable>) {
        let Some(waiting) = self.answers.get_mut(&call) else { return };
        if waiting.front().is_some_and(|(asked, _)| *asked == phase)
            && let Some((_, answer)) = waiting.pop_front()
        {
            // The asker may have given up.
            let _ = answer.send(result);
        }
        if waiting.is_empty() {
            self.answers.remove(&call);
        }
    }
}

fn unavailable(why: Failure) -> PolicyUnavailable {
    PolicyUnavailable::new(why)
}
