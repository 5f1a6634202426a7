//! The role: sockets, the core, and the tasks that ask other servers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use strowger_clearinghouse_client::{ClientIdentity, OspClient, UrlError, UsageReporter};
use strowger_clock::Random;
use strowger_net::{BindError, BoundEndpoint, ListenAddress, SystemClock, Tap};
use strowger_policy_server::{
    OutsourcingClient, OutsourcingClientConfig, Phase as CopsPhase, ReasonCode, Verdict as CopsVerdict,
};
use strowger_proxy_core::{
    CallState, CallSummary, Config, Counters, Effect, Input, Limits, Listener, Phase, ProxyCore, Subscriber, Verdict,
};
use strowger_sip::digest::Algorithm;
use strowger_transaction::{Timing, TransactionUser};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clearing;

/// Answers of other servers that may wait for the core.
const INPUTS_WAITING_MAX: usize = 65_536;
/// Call events that a slow listener may fall behind.
const EVENTS_KEPT_MAX: usize = 4_096;
/// How long the policy server is waited for at the end, when running calls are closed.
const CLOSE_DRAIN: Duration = Duration::from_secs(2);
/// How often it is then looked whether they are.
const CLOSE_LOOK: Duration = Duration::from_millis(20);
/// How long usage that is still unreported is waited for at the end.
const USAGE_DRAIN: Duration = Duration::from_secs(3);

/// What the role is told.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Our domains; the first is the realm.
    pub domains: Vec<String>,
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// `host:port` to write into Via and Record-Route instead of the bound address, by listener; may be empty.
    pub advertise: HashMap<SocketAddr, String>,
    /// Users.
    pub subscribers: HashMap<String, Subscriber>,
    /// Key for nonces and Record-Route cookies, kept over restarts.
    pub secret: [u8; 32],
    /// Digest algorithms offered.
    pub digest: Vec<Algorithm>,
    /// Clearinghouse URLs, in order; empty for none.
    pub clearinghouses: Vec<String>,
    /// Who we are to the clearinghouse.
    pub identity: ClientIdentity,
    /// Policy servers, the primary first; empty for none.
    pub policy_servers: Vec<SocketAddr>,
    /// Calls go on unmarked while no policy server answers.
    pub policy_optional: bool,
    /// Most destinations asked for.
    pub destinations_max: u32,
    /// See [`Config::gateway_silence`].
    pub gateway_silence: Duration,
    /// Maxima.
    pub limits: Limits,
}

/// Why the role cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// A socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A clearinghouse's URL.
    #[error("proxy.clearinghouse: {0}")]
    Url(#[from] UrlError),
    /// The operating system gives no randomness.
    #[error("no randomness from the operating system: {0}")]
    Random(String),
}

/// The role with its sockets open, not yet serving.
pub struct BoundProxy {
    endpoint: BoundEndpoint,
    core: ProxyCore,
    client: Option<OspClient>,
    config: ProxyConfig,
    inputs: mpsc::Sender<Input>,
    queue: mpsc::Receiver<Input>,
    events: broadcast::Sender<CallSummary>,
    snapshot: Arc<Mutex<Counters>>,
    timing: Timing,
}

/// A view of the running role, for consoles and for reload.
#[derive(Clone)]
pub struct ProxyHandle {
    inputs: mpsc::Sender<Input>,
    events: broadcast::Sender<CallSummary>,
    snapshot: Arc<Mutex<Counters>>,
    base: Config,
}

impl BoundProxy {
    /// Opens the sockets.
    ///
    /// # Errors
    /// One clear sentence each: an address that cannot be bound, a URL that is none.
    pub fn bind(config: ProxyConfig) -> Result<BoundProxy, ProxyError> {
        let endpoint = BoundEndpoint::bind(&config.listen)?;
        let client = match config.clearinghouses.is_empty() {
            true => None,
            false => Some(OspClient::new(config.clearinghouses.clone(), config.identity.clone())?),
        };
        let mut key = [0u8; 32];
        getrandom::fill(&mut key).map_err(|error| ProxyError::Random(error.to_string()))?;
        let mut random = Random::from_key(key);
        let clock = SystemClock::new();
        let now = clock.now();
        // calls are COPS handles: another process of ours must not reuse them, so numbering begins at the time of day
        let first_call = (clock.timestamp().unix_nanos() / 1_000) ^ u64::from(random.next_u32() >> 12);
        let core_config = core_config(&config, endpoint.local_addresses(), &clock);
        let core = ProxyCore::new(now, core_config, random, first_call);
        let (inputs, queue) = mpsc::channel(INPUTS_WAITING_MAX);
        let (events, _) = broadcast::channel(EVENTS_KEPT_MAX);
        let snapshot = Arc::new(Mutex::new(Counters::default()));
        Ok(BoundProxy { endpoint, core, client, config, inputs, queue, events, snapshot, timing: Timing::default() })
    }

    /// Where it listens.
    pub fn local_addresses(&self) -> &[ListenAddress] {
        self.endpoint.local_addresses()
    }

    /// Shows every SIP message to a tap.
    #[must_use]
    pub fn with_tap(mut self, tap: Tap) -> BoundProxy {
        self.endpoint = self.endpoint.with_tap(tap);
        self
    }

    /// Other base timers than RFC 3261's.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> BoundProxy {
        self.timing = timing;
        self
    }

    /// A handle that outlives `self`.
    pub fn handle(&self) -> ProxyHandle {
        ProxyHandle {
            inputs: self.inputs.clone(),
            events: self.events.clone(),
            snapshot: Arc::clone(&self.snapshot),
            base: core_config(&self.config, self.endpoint.local_addresses(), &SystemClock::new()),
        }
    }

    /// Serves until `shutdown`. Calls that run then are closed in the books, and usage that is not yet reported is reported
    /// before this returns, within a few seconds.
    ///
    /// # Errors
    /// What the runtime says when it takes the sockets over.
    pub async fn serve(self, shutdown: CancellationToken) -> std::io::Result<()> {
        let stop = CancellationToken::new();
        // a caller that drops this future stops everything that it has started
        let _stops = stop.clone().drop_guard();
        let tasks = TaskTracker::new();
        let policy = (!self.config.policy_servers.is_empty()).then(|| {
            let pep_id = self.config.identity.device_id.clone();
            let settings = OutsourcingClientConfig::new(self.config.policy_servers.clone(), pep_id);
            OutsourcingClient::connect(settings, stop.clone())
        });
        let reporter = self.client.clone().map(UsageReporter::spawn);
        let close = close_calls(self.inputs.clone(), Arc::clone(&self.snapshot), shutdown, stop.clone());
        let links = Links {
            client: self.client,
            reporter: reporter.clone(),
            policy,
            inputs: self.inputs,
            events: self.events,
            tasks: tasks.clone(),
        };
        let core = Observed { core: self.core, snapshot: self.snapshot };
        let layer = strowger_transaction::Config { timing: self.timing, ..strowger_transaction::Config::default() };
        let effects = move |effect| links.carry_out(effect);
        let serve = strowger_net::serve(self.endpoint, layer, core, self.queue, effects, stop);
        tokio::pin!(serve);
        tokio::select! {
            served = &mut serve => served?,
            () = close => serve.await?,
        }
        tasks.close();
        if let Some(reporter) = reporter {
            let counts = reporter.drain(USAGE_DRAIN).await;
            if counts.queued > 0 {
                tracing::error!(unreported = counts.queued, "the clearinghouse did not take all usage before the end");
            }
        }
        Ok(())
    }
}

/// At `shutdown`: closes every call in the books, gives the policy server a moment to confirm, and then stops the rest.
async fn close_calls(
    inputs: mpsc::Sender<Input>,
    snapshot: Arc<Mutex<Counters>>,
    shutdown: CancellationToken,
    stop: CancellationToken,
) {
    shutdown.cancelled().await;
    let closed = async {
        if inputs.send(Input::Close).await.is_err() {
            return;
        }
        // the queue is in order: it is empty when the core has taken it
        while inputs.capacity() < inputs.max_capacity() {
            tokio::time::sleep(CLOSE_LOOK).await;
        }
        while snapshot.lock().unwrap_or_else(PoisonError::into_inner).calls_now > 0 {
            tokio::time::sleep(CLOSE_LOOK).await;
        }
    };
    if tokio::time::timeout(CLOSE_DRAIN, closed).await.is_err() {
        tracing::warn!("calls were still waiting for a policy or clearing answer at the end");
    }
    stop.cancel();
}

impl ProxyHandle {
    /// Counters and gauges, at most a moment old.
    pub fn counters(&self) -> Counters {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Call events from now on.
    pub fn events(&self) -> broadcast::Receiver<CallSummary> {
        self.events.subscribe()
    }

    /// Takes new users and limits; listeners stay as they are.
    pub async fn reload(&self, subscribers: HashMap<String, Subscriber>, limits: Limits) {
        let config = Config { subscribers, limits, ..self.base.clone() };
        let _ = self.inputs.send(Input::Reload(Box::new(config))).await;
    }

    /// Refuses new calls and registrations from now on.
    pub async fn drain(&self) {
        let _ = self.inputs.send(Input::Drain).await;
    }
}

fn core_config(config: &ProxyConfig, bound: &[ListenAddress], clock: &SystemClock) -> Config {
    let listeners = bound
        .iter()
        .map(|listener| Listener {
            transport: listener.transport,
            address: listener.address,
            advertised: config
                .advertise
                .get(&listener.address)
                .cloned()
                .unwrap_or_else(|| listener.address.to_string()),
        })
        .collect();
    Config {
        domains: config.domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(),
        listeners,
        subscribers: config.subscribers.clone(),
        secret: config.secret,
        digest: config.digest.clone(),
        clearing: !config.clearinghouses.is_empty(),
        policy: !config.policy_servers.is_empty(),
        policy_optional: config.policy_optional,
        destinations_max: config.destinations_max,
        gateway_silence: config.gateway_silence,
        timer_c: Duration::from_secs(181),
        call_grace: Duration::from_secs(60),
        wall: (clock.now(), clock.timestamp()),
        limits: config.limits,
    }
}

/// The core, with its counters shown to others after every step.
struct Observed {
    core: ProxyCore,
    snapshot: Arc<Mutex<Counters>>,
}

impl Observed {
    fn show(&self) {
        // nobody holds this lock for longer than a copy
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = self.core.counters();
    }
}

impl TransactionUser for Observed {
    type Input = Input;
    type Effect = Effect;

    fn event(
        &mut self,
        now: strowger_clock::Moment,
        event: strowger_transaction::Event,
        layer: &mut strowger_transaction::Layer,
    ) {
        self.core.event(now, event, layer);
        self.show();
    }

    fn input(&mut self, now: strowger_clock::Moment, input: Input, layer: &mut strowger_transaction::Layer) {
        self.core.input(now, input, layer);
        self.show();
    }

    fn timeout(&mut self, now: strowger_clock::Moment, layer: &mut strowger_transaction::Layer) {
        self.core.timeout(now, layer);
        self.show();
    }

    fn next_deadline(&self) -> Option<strowger_clock::Moment> {
        self.core.next_deadline()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.core.poll_effect()
    }
}

/// The ways out of the core.
struct Links {
    client: Option<OspClient>,
    reporter: Option<UsageReporter>,
    policy: Option<OutsourcingClient>,
    inputs: mpsc::Sender<Input>,
    events: broadcast::Sender<CallSummary>,
    tasks: TaskTracker,
}

impl Links {
    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Admission { call, phase, sip } => {
                let Some(policy) = self.policy.clone() else { return };
                let inputs = self.inputs.clone();
                self.in_order(async move {
                    let verdict = match policy.decide(call, cops_phase(phase), sip).await {
                        Ok(CopsVerdict::Install { .. }) => Verdict::Install,
                        Ok(CopsVerdict::Remove { reason }) => {
                            if phase != Phase::Teardown {
                                tracing::info!(call, ?phase, reason, "policy server refuses");
                            }
                            Verdict::Remove { reason }
                        }
                        Err(error) => {
                            tracing::warn!(call, ?phase, %error, "no policy decision");
                            Verdict::Unavailable
                        }
                    };
                    let _ = inputs.send(Input::Admission { call, phase, verdict }).await;
                });
            }
            Effect::AdmissionReport { call, installed } => {
                if let Some(policy) = self.policy.clone() {
                    self.in_order(async move { policy.report(call, installed).await });
                }
            }
            Effect::AdmissionDelete { call } => {
                if let Some(policy) = self.policy.clone() {
                    self.in_order(async move { policy.delete(call, ReasonCode::Tear).await });
                }
            }
            Effect::Authorize { call, query } => {
                let Some(client) = self.client.clone() else { return };
                let inputs = self.inputs.clone();
                self.tasks.spawn(async move {
                    let outcome = clearing::authorize(&client, query, SystemClock::new().timestamp()).await;
                    let _ = inputs.send(Input::Authorization { call, outcome }).await;
                });
            }
            Effect::Usage { call, usage } => {
                let Some(reporter) = &self.reporter else { return };
                for report in clearing::usage_reports(&usage, SystemClock::new().timestamp()) {
                    if reporter.report(report).is_err() {
                        tracing::error!(
                            call,
                            transaction = usage.transaction_id,
                            "usage report lost: the queue is full"
                        );
                    }
                }
            }
            Effect::Call(summary) => {
                if matches!(summary.state, CallState::Answered | CallState::Ended) {
                    tracing::info!(call = summary.number, state = ?summary.state, transaction = summary.transaction_id, "call");
                }
                // an error only says that nobody listens
                let _ = self.events.send(summary);
            }
        }
    }
}

impl Links {
    /// A task whose first step is done at once, in the order of the effects: what it asks of the policy client stands in that
    /// client's queue (which is first come, first served, also when it is full) before the next effect is looked at. Tasks
    /// alone would overtake each other, and a teardown the answer before it.
    fn in_order(&self, task: impl Future<Output = ()> + Send + 'static) {
        // a task out of its scheduling budget would not even queue
        let mut task = Box::pin(tokio::task::unconstrained(task));
        let first = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if first.is_pending() {
            self.tasks.spawn(task);
        }
    }
}

fn cops_phase(phase: Phase) -> CopsPhase {
    match phase {
        Phase::Setup => CopsPhase::Setup,
        Phase::Answer => CopsPhase::Answer,
        Phase::Modify => CopsPhase::Modify,
        Phase::Teardown => CopsPhase::Teardown,
    }
}
