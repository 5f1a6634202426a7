//! One COPS connection for one client type: connect, open, keep alive, notice loss, go to the next PDP (RFC 2748 §2.3, §3.6 to
//! §3.9, §4.3).
//!
//! ```text
//! Idle --start--> Connecting --connected--> Opening --CAT--> Open
//!   ^                 | fails                 | CC, loss       | CC, loss, silence
//!   |                 v                       v                v
//!   +-- shut down -- Waiting <----------------+----------------+   (primary first, then backups, then a growing pause)
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use strowger_clock::{Moment, Random};
use strowger_cops::{DecodeError, ErrorCode, Fault, Framer, MESSAGE_OCTETS_MAX, Message, Object, Op};

/// Whom to connect to and as whom.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// PDPs, the primary first. At least one.
    pub pdps: Vec<SocketAddr>,
    /// Our PEPID: printable ASCII, unique in the policy domain, the same after a restart.
    pub pep_id: String,
    /// The client type that is opened.
    pub client_type: u16,
    /// How long connecting and opening may take together, in milliseconds.
    pub open_time_ms: u64,
    /// First pause after every PDP has failed, in milliseconds; doubles up to the maximum.
    pub backoff_min_ms: u64,
    /// Longest pause, in milliseconds.
    pub backoff_max_ms: u64,
    /// Largest message accepted, in octets.
    pub message_octets_max: usize,
}

impl LinkConfig {
    /// The usual times: 5 s to open, pauses of 0.5 s to 30 s.
    pub fn new(pdps: Vec<SocketAddr>, pep_id: impl Into<String>, client_type: u16) -> LinkConfig {
        LinkConfig {
            pdps,
            pep_id: pep_id.into(),
            client_type,
            open_time_ms: 5_000,
            backoff_min_ms: 500,
            backoff_max_ms: 30_000,
            message_octets_max: MESSAGE_OCTETS_MAX,
        }
    }
}

/// What the driver has to do with the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkOutput {
    /// Open a TCP connection; then `connected` or `closed`.
    Connect(SocketAddr),
    /// Write these bytes.
    Send(bytes::Bytes),
    /// Close the connection after what was written.
    Close,
}

/// What the machine above the link learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// A CAT came: requests may be sent.
    Opened {
        /// The PDP.
        pdp: SocketAddr,
        /// Shortest pause between accounting reports in seconds; 0 forbids them, `None` leaves them free.
        accounting_seconds: Option<u16>,
    },
    /// A message of our client type that is not the link's own business.
    Message(Message),
    /// A message of our client type that could not be read; `handle` may be known.
    Malformed(DecodeError),
    /// The connection is gone; the link is already looking for the next one.
    Lost(LostReason),
}

/// Why a connection ended, or never came up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LostReason {
    /// No TCP connection.
    #[error("{0} cannot be reached")]
    Unreachable(SocketAddr),
    /// The PDP closed, or the transport broke.
    #[error("the connection was closed")]
    Closed,
    /// Nothing was heard for the keep-alive time, or opening took too long.
    #[error("nothing was heard in time")]
    Silent,
    /// The PDP sent a CC.
    #[error("the PDP closed the client: {0}")]
    ClientClosed(ErrorCode),
    /// What came is no COPS.
    #[error("what came is not COPS: {0}")]
    Garbage(String),
    /// We were told to stop.
    #[error("shut down")]
    ShutDown,
}

/// Redirections followed before the configured list is tried again.
const REDIRECTS_MAX: u8 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Waiting { until: Moment },
    Connecting { pdp: SocketAddr, deadline: Moment },
    Opening { pdp: SocketAddr, deadline: Moment },
    Open { pdp: SocketAddr },
    ShutDown,
}

/// The connection machine.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    random: Random,
    state: State,
    framer: Framer,
    next_pdp: usize,
    redirect: Option<SocketAddr>,
    redirects: u8,
    backoff_ms: u64,
    cached_from: Option<SocketAddr>,
    keep_alive: Option<KeepAlive>,
    outputs: VecDeque<LinkOutput>,
    events: VecDeque<LinkEvent>,
}

#[derive(Debug)]
struct KeepAlive {
    period: Duration,
    send_at: Moment,
    silent_at: Moment,
}

impl Link {
    /// A link that does nothing until [`Link::start`].
    pub fn new(config: LinkConfig, random: Random) -> Link {
        let framer = Framer::new(config.message_octets_max);
        Link {
            backoff_ms: config.backoff_min_ms,
            config,
            random,
            state: State::Idle,
            framer,
            next_pdp: 0,
            redirect: None,
            redirects: 0,
            cached_from: None,
            keep_alive: None,
            outputs: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Begins to connect.
    pub fn start(&mut self, now: Moment) {
        if self.state == State::Idle {
            self.connect(now);
        }
    }

    /// Whether requests can be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// The PDP that the link is open to.
    pub fn pdp(&self) -> Option<SocketAddr> {
        if let State::Open { pdp } = self.state { Some(pdp) } else { None }
    }

    /// Says whose decisions are still cached: goes into the next OPN as LastPDPAddr (RFC 2748 §2.5, §4.3).
    pub fn set_cached_from(&mut self, pdp: Option<SocketAddr>) {
        self.cached_from = pdp;
    }

    /// The TCP connection stands.
    pub fn connected(&mut self, _now: Moment) {
        let State::Connecting { pdp, deadline } = self.state else { return };
        self.state = State::Opening { pdp, deadline };
        self.framer = Framer::new(self.config.message_octets_max);
        let mut open =
            Message::new(Op::ClientOpen, self.config.client_type).with(Object::PepId(self.config.pep_id.clone()));
        if let Some(last) = self.cached_from {
            open.objects.push(Object::LastPdpAddress(last));
        }
        self.outputs.push_back(LinkOutput::Send(open.encode()));
    }

    /// The TCP connection is gone, or could not be made.
    pub fn closed(&mut self, now: Moment) {
        match self.state {
            State::Connecting { pdp, .. } => self.lost(now, LostReason::Unreachable(pdp)),
            State::Opening { .. } | State::Open { .. } => self.lost(now, LostReason::Closed),
            State::Idle | State::Waiting { .. } | State::ShutDown => {}
        }
    }

    /// Bytes from the PDP.
    pub fn received(&mut self, now: Moment, bytes: &[u8]) {
        if !matches!(self.state, State::Opening { .. } | State::Open { .. }) {
            return;
        }
        self.framer.push(bytes);
        loop {
            match self.framer.next() {
                Ok(Some(frame)) => {
                    if let Some(alive) = &mut self.keep_alive {
                        alive.silent_at = now + alive.period;
                    }
                    self.frame(now, &frame);
                }
                Ok(None) => return,
                Err(error) => {
                    self.send_close(ErrorCode::BadMessageFormat);
                    return self.drop_connection(now, LostReason::Garbage(error.to_string()));
                }
            }
            if !matches!(self.state, State::Opening { .. } | State::Open { .. }) {
                return;
            }
        }
    }

    fn frame(&mut self, now: Moment, frame: &bytes::Bytes) {
        let message = match Message::parse(frame) {
            Ok(message) => message,
            Err(error) => return self.malformed(now, error),
        };
        if message.op == Op::ClientClose && [0, self.config.client_type].contains(&message.client_type) {
            return self.client_closed(now, &message);
        }
        match (self.state, message.op) {
            // The PDP echoes our KA: silence is already over. We never echo, or two peers would echo for ever.
            (_, Op::KeepAlive) => {}
            (State::Opening { pdp, .. }, Op::ClientAccept) if message.client_type == self.config.client_type => {
                self.opened(now, pdp, &message);
            }
            (State::Open { .. }, _) if message.client_type == self.config.client_type => {
                self.events.push_back(LinkEvent::Message(message));
            }
            // Another client type, or a decision before the CAT: nothing of ours.
            _ => {}
        }
    }

    fn malformed(&mut self, now: Moment, error: DecodeError) {
        let opening = matches!(self.state, State::Opening { .. });
        if opening || error.op == Some(Op::ClientAccept) {
            // RFC 2748 §3.7: a malformed CAT is answered with a CC.
            let object = error.error_object();
            let close = Message::client_close(self.config.client_type, object.code, object.sub_code);
            self.outputs.push_back(LinkOutput::Send(close.encode()));
            return self.drop_connection(now, LostReason::Garbage(error.to_string()));
        }
        if matches!(error.fault, Fault::UnknownOp(_)) || error.client_type != self.config.client_type {
            return;
        }
        self.events.push_back(LinkEvent::Malformed(error));
    }

    fn opened(&mut self, now: Moment, pdp: SocketAddr, accept: &Message) {
        self.state = State::Open { pdp };
        self.backoff_ms = self.config.backoff_min_ms;
        self.redirects = 0;
        let seconds = accept.keep_alive_timer_seconds().unwrap_or(0);
        self.keep_alive = (seconds > 0).then(|| {
            let period = Duration::from_secs(u64::from(seconds));
            KeepAlive { period, send_at: now + keep_alive_wait(&mut self.random, period), silent_at: now + period }
        });
        self.events.push_back(LinkEvent::Opened { pdp, accounting_seconds: accept.accounting_timer_seconds() });
    }

    fn client_closed(&mut self, now: Moment, message: &Message) {
        let code = message.error().map_or(ErrorCode::Unspecified, |error| error.code);
        if let Some(elsewhere) = message.redirect()
            && self.redirects < REDIRECTS_MAX
        {
            self.redirects += 1;
            self.redirect = Some(elsewhere);
        }
        self.drop_connection(now, LostReason::ClientClosed(code));
    }

    /// Sends a message, when the link is open.
    pub fn send(&mut self, message: &Message) {
        if self.is_open() {
            self.outputs.push_back(LinkOutput::Send(message.encode()));
        }
    }

    /// Says goodbye (CC "shutting down") and stays down.
    pub fn shut_down(&mut self) {
        if matches!(self.state, State::Opening { .. } | State::Open { .. }) {
            self.send_close(ErrorCode::ShuttingDown);
        }
        if !matches!(self.state, State::Idle | State::Waiting { .. } | State::ShutDown) {
            self.outputs.push_back(LinkOutput::Close);
            self.events.push_back(LinkEvent::Lost(LostReason::ShutDown));
        }
        self.keep_alive = None;
        self.state = State::ShutDown;
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Moment) {
        match self.state {
            State::Waiting { until } if until <= now => self.connect(now),
            State::Connecting { pdp, deadline } if deadline <= now => {
                self.drop_connection(now, LostReason::Unreachable(pdp));
            }
            State::Opening { deadline, .. } if deadline <= now => {
                self.send_close(ErrorCode::CommunicationFailure);
                self.drop_connection(now, LostReason::Silent);
            }
            State::Open { .. } => self.keep_alive_timeout(now),
            _ => {}
        }
    }

    fn keep_alive_timeout(&mut self, now: Moment) {
        let Some(alive) = &mut self.keep_alive else { return };
        if alive.silent_at <= now {
            // RFC 2748 §2.3: on silence, CC with "communication failure".
            self.send_close(ErrorCode::CommunicationFailure);
            return self.drop_connection(now, LostReason::Silent);
        }
        if alive.send_at <= now {
            alive.send_at = now + keep_alive_wait(&mut self.random, alive.period);
            self.outputs.push_back(LinkOutput::Send(Message::keep_alive().encode()));
        }
    }

    /// When [`Link::timeout`] has to be called.
    pub fn next_deadline(&self) -> Option<Moment> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Connecting { deadline, .. } | State::Opening { deadline, .. } => Some(deadline),
            State::Open { .. } => self.keep_alive.as_ref().map(|alive| alive.send_at.min(alive.silent_at)),
            State::Idle | State::ShutDown => None,
        }
    }

    /// The next thing for the driver.
    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        self.outputs.pop_front()
    }

    /// The next thing for the machine above.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    fn send_close(&mut self, code: ErrorCode) {
        let close = Message::client_close(self.config.client_type, code, 0);
        self.outputs.push_back(LinkOutput::Send(close.encode()));
    }

    fn drop_connection(&mut self, now: Moment, reason: LostReason) {
        self.outputs.push_back(LinkOutput::Close);
        self.lost(now, reason);
    }

    fn lost(&mut self, now: Moment, reason: LostReason) {
        let was_open = self.is_open();
        // A PDP that does not serve us is not asked again at once.
        let refused = matches!(reason, LostReason::ClientClosed(_) | LostReason::Garbage(_));
        self.keep_alive = None;
        self.events.push_back(LinkEvent::Lost(reason));
        if self.redirect.is_some() {
            return self.connect(now);
        }
        if was_open && !refused {
            // Primary first, then the backups (RFC 2748 §2.3).
            self.next_pdp = 0;
            return self.pause(now, self.config.backoff_min_ms.min(100));
        }
        self.next_pdp += 1;
        if self.next_pdp < self.config.pdps.len() {
            return self.connect(now);
        }
        self.next_pdp = 0;
        let pause_ms = self.backoff_ms;
        self.backoff_ms = (self.backoff_ms * 2).min(self.config.backoff_max_ms);
        self.pause(now, pause_ms);
    }

    /// A pause of 3/4 to 5/4 of `pause_ms`, so that a thousand clients do not come back in the same instant.
    fn pause(&mut self, now: Moment, pause_ms: u64) {
        let jittered = pause_ms - pause_ms / 4 + self.random.below(pause_ms / 2 + 1);
        self.state = State::Waiting { until: now + Duration::from_millis(jittered) };
    }

    fn connect(&mut self, now: Moment) {
        let listed = self.config.pdps.get(self.next_pdp).copied();
        let Some(pdp) = self.redirect.take().or(listed) else {
            self.state = State::Idle;
            return;
        };
        let deadline = now + Duration::from_millis(self.config.open_time_ms);
        self.state = State::Connecting { pdp, deadline };
        self.outputs.push_back(LinkOutput::Connect(pdp));
    }
}

/// A random time between 1/4 and 3/4 of the timer (RFC 2748 §3.9).
fn keep_alive_wait(random: &mut Random, period: Duration) -> Duration {
    let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX / 4);
    Duration::from_millis(period_ms / 4 + random.below(period_ms / 2 + 1))
}
