//! The router's thread, and the handle that commands reach it by.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use strowger_clock::{Moment, Random};
use strowger_diffserv::{FlowInstall, FlowSnapshot, InstanceId, Transaction, TransactionError};
use strowger_packet::pcapng::LinkType;
use strowger_packet::{PortConfig, PortError, PortSet, TapRecorder, Waker};

use crate::config::RouterConfig;
use crate::engine::{Engine, RouterCounters};
use crate::routes::{ROUTES_MAXIMUM, Route, Routes};

/// Commands that may wait for the router's thread.
const COMMANDS_MAXIMUM: usize = 256;
/// How long a command may take before the router counts as stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a router cannot start, or a command was not done; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The interfaces cannot be opened.
    #[error(transparent)]
    Ports(#[from] PortError),
    /// A route whose next hop is on no connected network.
    #[error("the route to {0} goes by {1}, which is on no interface's network; add an interface or correct the route")]
    UnreachableNextHop(String, std::net::Ipv4Addr),
    /// More routes than the table holds.
    #[error("more than {ROUTES_MAXIMUM} routes")]
    TooManyRoutes,
    /// The transaction was rolled back.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The router has stopped, or does not answer.
    #[error("the router has stopped")]
    Stopped,
    /// No thread, or the capture file cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

enum Command {
    Apply(Transaction, Sender<Result<(), TransactionError>>),
    Counters(Sender<RouterCounters>),
    Flows(Sender<Vec<FlowSnapshot>>),
    Stop,
}

/// Starts routers.
#[derive(Debug)]
pub struct Router;

/// Commands for a running router; clones command the same one. The router stops when the last is dropped.
#[derive(Clone, Debug)]
pub struct RouterHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    commands: SyncSender<Command>,
    waker: Waker,
    thread: Mutex<Option<JoinHandle<()>>>,
    tiers: Vec<String>,
    /// In the order of the configuration: the kernel's index of each interface.
    indices: Vec<u32>,
}

impl Router {
    /// Opens the interfaces and starts forwarding. Returns when packets are being received.
    ///
    /// # Errors
    /// [`RouterError`]; nothing runs then.
    pub fn start(config: RouterConfig) -> Result<RouterHandle, RouterError> {
        let routes = routes(&config)?;
        let port_configs: Vec<PortConfig> = config
            .interfaces
            .iter()
            .map(|i| PortConfig { namespace: i.namespace.clone(), interface: i.name.clone() })
            .collect();
        let mut ports = PortSet::open(&port_configs, config.tier)?;
        let mut recorder = None;
        if let Some(writer) = &config.capture {
            let started = TapRecorder::start(writer.clone())?;
            for (number, interface) in config.interfaces.iter().enumerate() {
                let name = match &interface.namespace {
                    Some(namespace) => format!("{namespace}/{}", interface.name),
                    None => interface.name.clone(),
                };
                let mut file = writer.lock().unwrap_or_else(PoisonError::into_inner);
                let id = file.add_interface(&name, LinkType::Ethernet)?;
                drop(file);
                ports.set_tap(number, started.tap(id));
            }
            recorder = Some(started);
        }
        let waker = ports.waker();
        let tiers = ports.ports().iter().map(|port| format!("{}: {}", port.interface.name, port.tier)).collect();
        let indices = ports.ports().iter().map(|port| port.interface.index).collect();
        // early drop needs chances, not secrets
        let random = Random::from_seed(u64::from(std::process::id()));
        let engine = Engine::new(ports, &config.interfaces, routes, config.scheduler, random);
        let (commands, inbox) = sync_channel(COMMANDS_MAXIMUM);
        let thread = std::thread::Builder::new().name("router".into()).spawn(move || run(engine, &inbox, recorder))?;
        Ok(RouterHandle(Arc::new(Shared { commands, waker, thread: Mutex::new(Some(thread)), tiers, indices })))
    }
}

fn routes(config: &RouterConfig) -> Result<Routes, RouterError> {
    if config.interfaces.len() + config.routes.len() > ROUTES_MAXIMUM {
        return Err(RouterError::TooManyRoutes);
    }
    let mut routes = Routes::default();
    for (port, interface) in config.interfaces.iter().enumerate() {
        routes.add(interface.network, Route { port, via: None });
    }
    for route in &config.routes {
        let Some(port) = config.interfaces.iter().position(|i| i.network.contains(route.via)) else {
            let destination = format!("{}/{}", route.destination.address, route.destination.bits);
            return Err(RouterError::UnreachableNextHop(destination, route.via));
        };
        routes.add(route.destination, Route { port, via: Some(route.via) });
    }
    Ok(routes)
}

fn run(mut engine: Engine, inbox: &Receiver<Command>, recorder: Option<TapRecorder>) {
    let start = Instant::now();
    let now = || Moment::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let mut more = true;
    'running: loop {
        if !more && let Err(error) = engine.ports.wait(engine.patience(now())) {
            tracing::error!(%error, "the router cannot wait for packets and stops");
            break;
        }
        loop {
            match inbox.try_recv() {
                // an asker that went away is no reason to stop
                Ok(Command::Apply(transaction, answer)) => drop(answer.send(engine.datapath.apply(&transaction))),
                Ok(Command::Flows(answer)) => drop(answer.send(engine.datapath.snapshot())),
                Ok(Command::Counters(answer)) => {
                    let mut counters = engine.counters();
                    counters.capture_dropped = recorder.as_ref().map_or(0, TapRecorder::dropped);
                    drop(answer.send(counters));
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => break 'running,
                Err(TryRecvError::Empty) => break,
            }
        }
        more = engine.turn(now());
    }
    engine.close();
    drop(engine); // the taps go first: the recorder ends when no tap is left
    if let Some(recorder) = recorder {
        recorder.finish();
    }
}

impl RouterHandle {
    /// Which tier applied to each interface, as `NAME: TIER`.
    pub fn tiers(&self) -> &[String] {
        &self.0.tiers
    }

    /// The kernel's index of each interface, in the order of the configuration.
    pub fn interface_indices(&self) -> &[u32] {
        &self.0.indices
    }

    /// Removes and installs rules, all or nothing; in effect for every packet received after it returns.
    ///
    /// # Errors
    /// [`RouterError::Transaction`] when it was rolled back, [`RouterError::Stopped`].
    pub fn apply(&self, transaction: Transaction) -> Result<(), RouterError> {
        Ok(self.ask(|answer| Command::Apply(transaction, answer))??)
    }

    /// Installs one flow, in the place of what its name was before.
    ///
    /// # Errors
    /// As [`RouterHandle::apply`].
    pub fn install(&self, flow: &FlowInstall) -> Result<(), RouterError> {
        self.apply(Transaction { removes: Vec::new(), installs: vec![(flow.id, flow.rule())] })
    }

    /// Removes one flow.
    ///
    /// # Errors
    /// As [`RouterHandle::apply`]; a name that is not installed is one.
    pub fn remove(&self, id: InstanceId) -> Result<(), RouterError> {
        self.apply(Transaction { removes: vec![id], installs: Vec::new() })
    }

    /// What the router counted since its start.
    ///
    /// # Errors
    /// [`RouterError::Stopped`].
    pub fn counters(&self) -> Result<RouterCounters, RouterError> {
        self.ask(Command::Counters)
    }

    /// Every rule with its counters, by name.
    ///
    /// # Errors
    /// [`RouterError::Stopped`].
    pub fn flows(&self) -> Result<Vec<FlowSnapshot>, RouterError> {
        self.ask(Command::Flows)
    }

    /// Stops forwarding, closes the interfaces, finishes the capture. Later commands find the router stopped.
    pub fn stop(&self) {
        self.0.stop();
    }

    fn ask<R>(&self, command: impl FnOnce(Sender<R>) -> Command) -> Result<R, RouterError> {
        let (answer, receiver) = channel();
        self.0.commands.send(command(answer)).map_err(|_| RouterError::Stopped)?;
        self.0.waker.wake();
        receiver.recv_timeout(ANSWER_TIMEOUT).map_err(|error: RecvTimeoutError| {
            if error == RecvTimeoutError::Timeout {
                tracing::error!("the router does not answer");
            }
            RouterError::Stopped
        })
    }
}

impl Shared {
    fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = self.commands.send(Command::Stop);
            self.waker.wake();
            let _ = thread.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}
