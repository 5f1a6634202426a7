//! The phone itself: the agent's task, its registration, and which call an event belongs to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strowger_clock::Random;
use strowger_dialog::{
    CallId32, Command, Config, Invite, LocalAddress, Login, Register, RegistrationId, UserAgent, UserAgentEvent,
};
use strowger_net::{BoundEndpoint, Counters, ListenAddress};
use strowger_sip::Uri;
use strowger_transaction::{Target, Transport};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call::{self, CallTask};
use crate::config::{AnswerOptions, CallOptions, PhoneConfig, PhoneError};
use crate::outcome::CallOutcome;
use crate::user::{Gauges, PhoneUser};

/// Commands that wait for the agent.
const COMMANDS_MAX: usize = 1024;
/// Events that wait for one call's task.
const CALL_EVENTS_MAX: usize = 64;
/// Outcomes of answered calls that nobody has asked for yet; older ones are kept, newer ones dropped.
const OUTCOMES_MAX: usize = 1024;

type Registering = oneshot::Sender<Result<u32, PhoneError>>;

/// How full a phone is; every number returns to zero when its calls are over.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct PhoneGauge {
    /// The user agent's.
    pub agent: strowger_dialog::Gauge,
    /// The transaction layer's.
    pub layer: strowger_transaction::Gauge,
    /// Tasks of calls.
    pub call_tasks: usize,
}

#[derive(Default)]
struct Tables {
    dialing: HashMap<u64, mpsc::Sender<UserAgentEvent>>,
    calls: HashMap<CallId32, mpsc::Sender<UserAgentEvent>>,
    registration: Option<(RegistrationId, u32)>,
    registering: Vec<Registering>,
    unregistering: Vec<oneshot::Sender<()>>,
    next_reference: u64,
}

/// What the phone and its calls share.
pub(crate) struct Inner {
    pub(crate) config: PhoneConfig,
    pub(crate) local: ListenAddress,
    random: Mutex<Random>,
    commands: mpsc::Sender<Command>,
    tables: Mutex<Tables>,
    gauges: Gauges,
    counters: Arc<Counters>,
    finished: mpsc::Sender<CallOutcome>,
    /// Calls are to end.
    pub(crate) stop: CancellationToken,
    /// The sockets are to be closed.
    close: CancellationToken,
    tasks: TaskTracker,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(crate) fn random_u64(&self) -> u64 {
        lock(&self.random).next_u64()
    }

    pub(crate) async fn command(&self, command: Command) {
        // a phone that has stopped has no calls to command
        let _ = self.commands.send(command).await;
    }

    /// Announces a call to make: its events come by the receiver.
    pub(crate) fn dial(&self) -> (u64, mpsc::Receiver<UserAgentEvent>) {
        let (events, received) = mpsc::channel(CALL_EVENTS_MAX);
        let mut tables = lock(&self.tables);
        tables.next_reference += 1;
        let reference = tables.next_reference;
        tables.dialing.insert(reference, events);
        (reference, received)
    }

    pub(crate) fn own_address(&self) -> String {
        match &self.config.display_name {
            Some(name) => format!("{} <{}>", strowger_sip::quote(name), self.config.aor),
            None => format!("<{}>", self.config.aor),
        }
    }

    pub(crate) fn login(&self) -> Option<Login> {
        let user = || Uri::parse(&self.config.aor).ok().and_then(|aor| aor.user.map(str::to_owned));
        let username = self.config.username.clone().or_else(user)?;
        let password = self.config.password.clone()?;
        Some(Login { username, password })
    }

    /// The first hop of a call: the proxy, or what the URI says; a name is looked up here, off the agent's task.
    pub(crate) async fn first_hop(&self, uri: &str) -> Option<Target> {
        if let Some(proxy) = self.config.proxy {
            return Some(Target::new(proxy.transport, proxy.address));
        }
        let uri = Uri::parse(uri).ok()?;
        let transport = match uri.transport() {
            Some(name) => Transport::parse(name)?,
            None => self.local.transport,
        };
        let port = uri.port.unwrap_or(transport.default_port());
        let bare = uri.host.trim_start_matches('[').trim_end_matches(']');
        let address = match bare.parse() {
            Ok(ip) => SocketAddr::new(ip, port),
            Err(_) => tokio::net::lookup_host((bare, port)).await.ok()?.next()?,
        };
        Some(Target::new(transport, address))
    }

    /// Gives an event of the agent to whom it concerns. Runs on the agent's task and does not wait.
    fn route(self: &Arc<Self>, event: UserAgentEvent) {
        let mut tables = lock(&self.tables);
        match event {
            UserAgentEvent::Registered { registration, expires_seconds } => {
                tables.registration = Some((registration, expires_seconds));
                for waiting in tables.registering.drain(..) {
                    let _ = waiting.send(Ok(expires_seconds));
                }
            }
            UserAgentEvent::Unregistered { .. } => {
                tables.registration = None;
                tables.unregistering.clear();
            }
            UserAgentEvent::RegistrationFailed { status, reason, retrying, .. } => {
                if !retrying {
                    tables.registration = None;
                }
                tables.unregistering.clear();
                for waiting in tables.registering.drain(..) {
                    let _ = waiting.send(Err(PhoneError::Registration { status, reason: reason.clone() }));
                }
            }
            UserAgentEvent::Dialing { reference, call } => {
                if let Some(events) = tables.dialing.remove(&reference) {
                    let _ = events.try_send(UserAgentEvent::Dialing { reference, call });
                    tables.calls.insert(call, events);
                }
            }
            UserAgentEvent::CommandRefused { reference, call: None, why } => {
                if let Some(events) = tables.dialing.remove(&reference) {
                    let _ = events.try_send(UserAgentEvent::CommandRefused { reference, call: None, why });
                }
            }
            UserAgentEvent::IncomingCall { call, request, flow, sdp } => {
                let (events, received) = mpsc::channel(CALL_EVENTS_MAX);
                tables.calls.insert(call, events);
                drop(tables);
                let inner = Arc::clone(self);
                let options = self.config.answer.clone();
                self.tasks.spawn(async move {
                    let refused = AnswerOptions { refuse: Some(480), ..AnswerOptions::default() };
                    let options = options.unwrap_or(refused);
                    let task = CallTask::new(Arc::clone(&inner), received, false);
                    let outcome = task.answer(call, (request, flow, sdp), options).await;
                    let _ = inner.finished.try_send(outcome);
                });
            }
            event => {
                let Some(call) = call::call_of(&event) else { return };
                let last = call::is_last(&event);
                if let Some(events) = tables.calls.get(&call)
                    && events.try_send(event).is_err()
                {
                    tracing::debug!(?call, "an event of a call nobody follows");
                }
                if last {
                    tables.calls.remove(&call);
                }
            }
        }
    }
}

/// A running phone. [`Phone::stop`] hangs up and waits for the end of its calls; dropping it ends them without a word.
pub struct Phone {
    inner: Arc<Inner>,
    finished: tokio::sync::Mutex<mpsc::Receiver<CallOutcome>>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Phone {
    /// Starts a phone on the current runtime. Its SIP socket is bound on the calling thread.
    ///
    /// # Errors
    /// [`PhoneError::Bind`], [`PhoneError::AddressOfRecord`], [`PhoneError::System`].
    pub async fn start(config: PhoneConfig) -> Result<Phone, PhoneError> {
        let user = Uri::parse(&config.aor).ok().filter(|aor| !aor.host.is_empty());
        let user = user.ok_or_else(|| PhoneError::AddressOfRecord(config.aor.clone()))?;
        let contact_user = user.user.unwrap_or_default().to_owned();
        let mut bound = BoundEndpoint::bind(&[config.listen])?;
        if let Some(tap) = &config.tap {
            bound = bound.with_tap(Arc::clone(tap));
        }
        let local = bound.local_addresses().first().copied().unwrap_or(config.listen);
        let mut key = [0u8; 32];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        let mut random = Random::from_key(key);
        let agent_config = Config {
            local: vec![LocalAddress { transport: local.transport, address: local.address }],
            contact_user,
            user_agent: "strowger-phone".to_owned(),
            timing: config.timing,
            calls_max: config.calls_max,
            ..Config::default()
        };
        let agent = UserAgent::new(agent_config, random.fork());
        let layer_config = strowger_transaction::Config { timing: config.timing, ..Default::default() };
        let gauges = Gauges::default();
        let (commands, inputs) = mpsc::channel(COMMANDS_MAX);
        let (finished, outcomes) = mpsc::channel(OUTCOMES_MAX);
        let close = CancellationToken::new();
        let inner = Arc::new(Inner {
            config,
            local,
            random: Mutex::new(random),
            commands,
            tables: Mutex::default(),
            gauges: Arc::clone(&gauges),
            counters: bound.counters(),
            finished,
            stop: CancellationToken::new(),
            close: close.clone(),
            tasks: TaskTracker::new(),
        });
        let routed = Arc::clone(&inner);
        let serving = tokio::spawn(strowger_net::serve(
            bound,
            layer_config,
            PhoneUser { agent, gauges },
            inputs,
            move |event| routed.route(event),
            close,
        ));
        Ok(Phone { inner, finished: tokio::sync::Mutex::new(outcomes), serving })
    }

    /// Where the phone listens.
    pub fn address(&self) -> ListenAddress {
        self.inner.local
    }

    /// Messages and connections of its endpoint.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.inner.counters)
    }

    /// How full it is.
    pub fn gauge(&self) -> PhoneGauge {
        let agent = *lock(&self.inner.gauges);
        let counters = &self.inner.counters;
        let layer = strowger_transaction::Gauge {
            client: counters.client_transactions.value() as usize,
            server: counters.server_transactions.value() as usize,
            timers: counters.transaction_timers.value() as usize,
        };
        PhoneGauge { agent, layer, call_tasks: self.inner.tasks.len() }
    }

    /// Registers with the configured proxy and keeps the registration; gives the seconds granted.
    ///
    /// # Errors
    /// [`PhoneError::NoRegistrar`], [`PhoneError::Registration`], [`PhoneError::Stopped`].
    pub async fn register(&self) -> Result<u32, PhoneError> {
        let config = &self.inner.config;
        let proxy = config.proxy.ok_or(PhoneError::NoRegistrar)?;
        let domain = Uri::parse(&config.aor).map(|aor| aor.host.to_owned()).unwrap_or_default();
        let (told, outcome) = oneshot::channel();
        {
            let mut tables = lock(&self.inner.tables);
            if let Some((_, expires_seconds)) = tables.registration {
                return Ok(expires_seconds);
            }
            tables.registering.push(told);
        }
        let register = Register {
            registrar: format!("sip:{domain}"),
            aor: config.aor.clone(),
            target: Target::new(proxy.transport, proxy.address),
            expires_seconds: config.expires_seconds,
            login: self.inner.login(),
        };
        self.inner.command(Command::Register { reference: 0, register }).await;
        tokio::select! {
            outcome = outcome => outcome.unwrap_or(Err(PhoneError::Stopped)),
            _ = self.inner.stop.cancelled() => Err(PhoneError::Stopped),
        }
    }

    /// Takes the registration back and waits for the registrar's answer.
    pub async fn unregister(&self) {
        let (told, done) = oneshot::channel();
        let registration = {
            let mut tables = lock(&self.inner.tables);
            let Some((registration, _)) = tables.registration else { return };
            tables.unregistering.push(told);
            registration
        };
        self.inner.command(Command::Unregister { registration }).await;
        tokio::select! {
            _ = done => {}
            _ = self.inner.stop.cancelled() => {}
        }
    }

    /// Calls a URI and gives what came of it when it is over. Several calls can be made at once.
    pub async fn call(&self, uri: &str, options: CallOptions) -> CallOutcome {
        let (reference, events) = self.inner.dial();
        let task = CallTask::new(Arc::clone(&self.inner), events, true);
        let inner = Arc::clone(&self.inner);
        let uri = uri.to_owned();
        let peer = uri.clone();
        // a task of its own: the call ends in order even when the caller does not wait for it
        let call = self.inner.tasks.spawn(async move {
            let outcome = task.call(reference, &uri, options).await;
            lock(&inner.tables).dialing.remove(&reference);
            outcome
        });
        call.await.unwrap_or_else(|_| CallOutcome::new(true, &peer))
    }

    /// The outcome of the next call that was answered (or refused) here; `None` when the phone has stopped.
    pub async fn next_outcome(&self) -> Option<CallOutcome> {
        let mut finished = self.finished.lock().await;
        tokio::select! {
            outcome = finished.recv() => outcome,
            _ = self.inner.stop.cancelled() => finished.try_recv().ok(),
        }
    }

    /// Stops: hangs up running calls, waits for their end (two seconds at most) and closes the sockets.
    pub async fn stop(mut self) {
        self.inner.tasks.close();
        self.inner.stop.cancel();
        self.inner.tasks.wait().await;
        self.inner.close.cancel();
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.inner.stop.cancel();
        self.inner.close.cancel();
    }
}

/// The INVITE of a call.
pub(crate) fn invite(inner: &Inner, uri: &str, target: Target, sdp: bytes::Bytes, options: &CallOptions) -> Invite {
    Invite {
        uri: uri.to_owned(),
        to: None,
        from: inner.own_address(),
        target,
        route: Vec::new(),
        sdp: Some(sdp),
        headers: options.headers.clone(),
        login: inner.login(),
        call_id: options.call_id.clone(),
    }
}
