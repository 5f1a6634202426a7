//! The engine's thread and the handle that commands it.

use super::leg::{Leg, Statistics};
use super::ports::PortPool;
use super::{LocalPort, MAX_CALLS, MAX_COMMANDS, MediaConfig, MediaError, OpenCall, Update};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::HashSet;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strowger_clock::{Moment, Random};
use strowger_isup::Cause;
use strowger_net::SystemClock;
use strowger_trunk::{BLOCK_MS, Circuit, Setup, SpanDriver};
use tokio::sync::oneshot;

const TICK: Duration = Duration::from_millis(BLOCK_MS);
/// Ticks missed in a row (the machine slept) that are made up for; more are skipped and counted.
const MAX_CATCH_UP: u32 = 10;
/// Without calls the thread looks up this often, to see whether its handles are gone.
const IDLE: Duration = Duration::from_millis(500);
const WAKE: Token = Token(usize::MAX);

enum Command {
    Open(Box<Leg>),
    Update(u64, Update),
    Close(u64, oneshot::Sender<Statistics>),
    Look(u64, oneshot::Sender<Statistics>),
    Signal(Vec<u8>),
    Originate(Setup, oneshot::Sender<Result<Circuit, strowger_trunk::NoCircuit>>),
    HangUp(Circuit, Cause),
    Stop,
}

#[derive(Debug, Default)]
struct Counters {
    ticks: AtomicU64,
    skipped: AtomicU64,
    late_max_micros: AtomicU64,
}

/// How the engine does.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaGauge {
    /// Calls open now.
    pub calls: usize,
    /// Port pairs in use now.
    pub ports: usize,
    /// Ticks since the start.
    pub ticks: u64,
    /// Ticks given up because the thread did not run for too long.
    pub skipped_ticks: u64,
    /// The latest that a tick ever was, in µs.
    pub late_max_micros: u64,
}

/// Starts engines.
#[derive(Debug)]
pub struct MediaEngine;

/// Commands an engine; clones command the same. The engine ends when the last is gone, or at [`MediaHandle::stop`].
#[derive(Clone)]
pub struct MediaHandle {
    config: Arc<MediaConfig>,
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    ports: PortPool,
    random: Arc<Mutex<Random>>,
    open: Arc<Mutex<HashSet<u64>>>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for MediaHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaHandle").field("gauge", &self.gauge()).finish_non_exhaustive()
    }
}

impl MediaEngine {
    /// Starts the thread. `signals` is given each message signal unit of the exchange on that thread: it must not wait.
    ///
    /// # Errors
    /// When the kernel gives no poll descriptor or thread.
    pub fn start(
        config: MediaConfig,
        span: SpanDriver,
        signals: impl FnMut(Vec<u8>) + Send + 'static,
    ) -> io::Result<MediaHandle> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (sender, commands) = sync_channel(MAX_COMMANDS);
        let config = Arc::new(config);
        let (counters, open) = (Arc::new(Counters::default()), Arc::new(Mutex::new(HashSet::new())));
        let thread = Thread {
            config: Arc::clone(&config),
            clock: SystemClock::new(),
            poll,
            commands,
            span,
            signals: Box::new(signals),
            legs: Vec::with_capacity(MAX_CALLS),
            open: Arc::clone(&open),
            counters: Arc::clone(&counters),
        };
        std::thread::Builder::new().name("media".to_owned()).spawn(move || thread.run())?;
        Ok(MediaHandle {
            ports: PortPool::new(&config.ports),
            random: Arc::new(Mutex::new(Random::from_seed(config.seed))),
            config,
            commands: sender,
            waker,
            open,
            counters,
        })
    }
}

impl MediaHandle {
    fn command(&self, command: Command) -> Result<(), MediaError> {
        self.commands.try_send(command).map_err(|_| MediaError::Unavailable)?;
        // a wake that fails is made up for by the next tick
        let _ = self.waker.wake();
        Ok(())
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds a port pair and opens the call's media; returns the RTP port for SDP.
    ///
    /// # Errors
    /// No port, too many calls, the name in use, or an engine that takes no commands. Nothing stays open then.
    pub fn open(&self, open: &OpenCall) -> Result<LocalPort, MediaError> {
        {
            let mut calls = self.opened();
            if calls.contains(&open.call) {
                return Err(MediaError::AlreadyOpen);
            }
            if calls.len() >= MAX_CALLS {
                return Err(MediaError::TooManyCalls);
            }
            calls.insert(open.call);
        }
        let result = self.bind_and_open(open);
        if result.is_err() {
            self.opened().remove(&open.call);
        }
        result
    }

    fn bind_and_open(&self, open: &OpenCall) -> Result<LocalPort, MediaError> {
        let bound = self.ports.bind(open.local)?;
        let port = LocalPort(bound.0.port);
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner).fork();
        let leg = Leg::new(&self.config, open, bound, &mut random, SystemClock::new().now())
            .map_err(|error| MediaError::Bind(open.local, error))?;
        self.command(Command::Open(Box::new(leg)))?;
        Ok(port)
    }

    /// Changes an open call.
    ///
    /// # Errors
    /// The call is not open, or the engine takes no commands.
    pub fn update(&self, call: u64, update: Update) -> Result<(), MediaError> {
        if !self.opened().contains(&call) {
            return Err(MediaError::UnknownCall);
        }
        self.command(Command::Update(call, update))
    }

    fn ask(
        &self,
        call: u64,
        command: fn(u64, oneshot::Sender<Statistics>) -> Command,
    ) -> Result<oneshot::Receiver<Statistics>, MediaError> {
        if !self.opened().contains(&call) {
            return Err(MediaError::UnknownCall);
        }
        let (sender, receiver) = oneshot::channel();
        self.command(command(call, sender))?;
        Ok(receiver)
    }

    /// Ends a call's media: RTCP BYE goes out, the ports are given back.
    ///
    /// # Errors
    /// The call is not open, or the engine takes no commands.
    pub async fn close(&self, call: u64) -> Result<Statistics, MediaError> {
        self.ask(call, Command::Close)?.await.map_err(|_| MediaError::Unavailable)
    }

    /// The same for a caller that may wait (a few ms) and is not asynchronous.
    ///
    /// # Errors
    /// As [`Self::close`].
    pub fn close_blocking(&self, call: u64) -> Result<Statistics, MediaError> {
        self.ask(call, Command::Close)?.blocking_recv().map_err(|_| MediaError::Unavailable)
    }

    /// What is known of an open call now.
    ///
    /// # Errors
    /// The call is not open, or the engine takes no commands.
    pub async fn statistics(&self, call: u64) -> Result<Statistics, MediaError> {
        self.ask(call, Command::Look)?.await.map_err(|_| MediaError::Unavailable)
    }

    /// Carries a message signal unit of the gateway to the exchange.
    ///
    /// # Errors
    /// The engine takes no commands.
    pub fn signal(&self, bytes: Vec<u8>) -> Result<(), MediaError> {
        self.command(Command::Signal(bytes))
    }

    /// Lets the simulated exchange call into the gateway.
    ///
    /// # Errors
    /// No circuit is free, or the engine takes no commands.
    pub async fn originate(&self, setup: Setup) -> Result<Circuit, MediaError> {
        let (sender, receiver) = oneshot::channel();
        self.command(Command::Originate(setup, sender))?;
        Ok(receiver.await.map_err(|_| MediaError::Unavailable)??)
    }

    /// Lets the simulated exchange hang up.
    ///
    /// # Errors
    /// The engine takes no commands.
    pub fn hang_up(&self, circuit: Circuit, cause: Cause) -> Result<(), MediaError> {
        self.command(Command::HangUp(circuit, cause))
    }

    /// How the engine does.
    pub fn gauge(&self) -> MediaGauge {
        MediaGauge {
            calls: self.opened().len(),
            ports: self.ports.in_use(),
            ticks: self.counters.ticks.load(Ordering::Relaxed),
            skipped_ticks: self.counters.skipped.load(Ordering::Relaxed),
            late_max_micros: self.counters.late_max_micros.load(Ordering::Relaxed),
        }
    }

    /// Ends the engine: open calls are dropped.
    pub fn stop(&self) {
        let _ = self.command(Command::Stop);
    }
}

struct Thread {
    config: Arc<MediaConfig>,
    clock: SystemClock,
    poll: Poll,
    commands: Receiver<Command>,
    span: SpanDriver,
    signals: Box<dyn FnMut(Vec<u8>) + Send>,
    legs: Vec<Option<Box<Leg>>>, // the index is half of the poll tokens of the leg's sockets
    open: Arc<Mutex<HashSet<u64>>>,
    counters: Arc<Counters>,
}

impl Thread {
    fn run(mut self) {
        let mut events = Events::with_capacity(2 * MAX_CALLS + 1);
        let mut next_tick = self.clock.now() + TICK;
        loop {
            let active = self.legs.iter().any(Option::is_some);
            let now = self.clock.now();
            if !active {
                // nothing to pace: the next call begins a new row of ticks
                next_tick = now + TICK;
            }
            let deadline = if active { next_tick } else { now + IDLE };
            let deadline = self.span.next_deadline().map_or(deadline, |at| at.min(deadline));
            if let Err(error) = self.poll.poll(&mut events, Some(deadline.saturating_since(now)))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the media engine cannot wait for its sockets and ends");
                return;
            }
            let now = self.clock.now();
            for event in &events {
                if event.token() != WAKE {
                    self.readable(now, event.token().0);
                }
            }
            if !self.take_commands(now) {
                return;
            }
            self.span.timeout(now);
            self.pass_signals();
            next_tick = self.ticks(now, next_tick);
        }
    }

    fn readable(&mut self, now: Moment, token: usize) {
        let wall = self.clock.timestamp();
        if let Some(Some(leg)) = self.legs.get_mut(token / 2) {
            if token.is_multiple_of(2) { leg.receive_rtp(now, wall) } else { leg.receive_rtcp(now, wall) }
        }
    }

    fn ticks(&mut self, now: Moment, mut next_tick: Moment) -> Moment {
        if now < next_tick {
            return next_tick;
        }
        let late = now.saturating_since(next_tick);
        self.counters.late_max_micros.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if late > TICK * MAX_CATCH_UP {
            let missed = late.as_nanos() / TICK.as_nanos();
            self.counters.skipped.fetch_add(u64::try_from(missed).unwrap_or(u64::MAX), Ordering::Relaxed);
            next_tick = now;
        }
        while next_tick <= now {
            self.counters.ticks.fetch_add(1, Ordering::Relaxed);
            let wall = self.clock.timestamp();
            for leg in self.legs.iter_mut().flatten() {
                // edge-triggered readiness: what came between two wakes is taken before it is to be played
                leg.receive_rtp(now, wall);
                leg.tick(now, wall, &mut self.span, &self.config);
            }
            next_tick += TICK;
        }
        next_tick
    }

    fn pass_signals(&mut self) {
        while let Some(bytes) = self.span.poll_signal() {
            (self.signals)(bytes);
        }
    }

    /// False when the engine is to end.
    fn take_commands(&mut self, now: Moment) -> bool {
        loop {
            let command = match self.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            };
            match command {
                Command::Open(leg) => self.add(leg),
                Command::Update(call, update) => {
                    if let Some(leg) = self.leg(call) {
                        leg.update(update);
                    }
                }
                Command::Close(call, reply) => self.close(now, call, reply),
                Command::Look(call, reply) => {
                    if let Some(leg) = self.leg(call) {
                        let _ = reply.send(leg.statistics());
                    }
                }
                Command::Signal(bytes) => self.span.signal(now, &bytes),
                Command::Originate(setup, reply) => {
                    let _ = reply.send(self.span.exchange_mut().originate(now, setup));
                }
                Command::HangUp(circuit, cause) => self.span.exchange_mut().hang_up(now, circuit, cause),
                Command::Stop => return false,
            }
        }
    }

    fn leg(&mut self, call: u64) -> Option<&mut Leg> {
        self.legs.iter_mut().flatten().find(|leg| leg.call == call).map(AsMut::as_mut)
    }

    fn add(&mut self, leg: Box<Leg>) {
        let index = self.legs.iter().position(Option::is_none).unwrap_or(self.legs.len());
        for (n, socket) in leg.sockets().into_iter().enumerate() {
            let token = Token(index * 2 + n);
            // without readiness a leg is still read at each tick
            if let Err(error) =
                self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)
            {
                tracing::warn!(%error, "an RTP socket cannot be watched; it is read every 20 ms");
            }
        }
        match self.legs.get_mut(index) {
            Some(slot) => *slot = Some(leg),
            None => self.legs.push(Some(leg)),
        }
    }

    fn close(&mut self, now: Moment, call: u64, reply: oneshot::Sender<Statistics>) {
        let found = self.legs.iter_mut().find(|leg| leg.as_ref().is_some_and(|leg| leg.call == call));
        if let Some(mut leg) = found.and_then(Option::take) {
            let wall = self.clock.timestamp();
            leg.receive_rtp(now, wall);
            leg.say_goodbye(now, wall, &self.config);
            let statistics = leg.statistics();
            for socket in leg.sockets() {
                let _ = self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
            }
            drop(leg); // closes the sockets, then gives the port back
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
            let _ = reply.send(statistics);
        }
    }
}
