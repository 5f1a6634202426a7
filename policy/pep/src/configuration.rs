//! The provisioned PEP of a router: COPS-PR (RFC 3084).
//!
//! OPN -> CAT -> REQ (configuration, with what the device can do) -> DEC (base policy) -> RPT; then unsolicited DECs, each applied
//! as one transaction and answered by one solicited RPT, in order.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use strowger_clock::{Moment, Random};
use strowger_cops::{
    ClientSi, Command, Context, DECISION_REQUEST_STATE, Decision, DecodeError, Message, Object, Op, ReasonCode,
    ReportType, RequestType,
};
use strowger_pib::{
    Access, CLASSES, DsBaseIfCaps, FrwkCapabilitySet, FrwkDeviceId, FrwkFeedbackTraffic, FrwkIfRoleCombo,
    FrwkPrcSupport, FrwkRoleCombo, GlobalError, Oid, PibError, Row, flow, named,
};

use crate::installed::{Bindings, Installed, PlannedTransaction};
use crate::link::{Link, LinkConfig, LinkEvent, LinkOutput, LostReason};
use crate::sink::Transaction;

/// An interface that policy can be bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleInterface {
    /// MIB-II index.
    pub ifindex: u32,
    /// Role combination, such as `edge`.
    pub roles: String,
}

/// What the device says about itself in its REQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Hardware and software in words.
    pub device: String,
    /// Name of its capability set.
    pub capability_set: String,
    /// Its interfaces.
    pub interfaces: Vec<RoleInterface>,
}

impl Capabilities {
    /// The rows of the REQ.
    fn rows(&self, message_octets_max: usize) -> Vec<Row> {
        let installable = CLASSES.iter().filter(|class| class.access == Access::Install);
        let mut rows: Vec<Row> = (1u32..)
            .zip(installable)
            .map(|(instance, class)| {
                // The table is the entry's parent.
                let table = class.oid.split_last().map_or(&[][..], |(_, table)| table);
                let columns = class.columns.len() + usize::from(class.indexed);
                FrwkPrcSupport { instance, supported_prc: Oid::new(table), supported_attributes: all_bits(columns) }
                    .into()
            })
            .collect();
        rows.push(
            FrwkDeviceId {
                instance: 1,
                description: self.device.bytes().take(255).collect(),
                message_octets_max: u32::try_from(message_octets_max).unwrap_or(u32::MAX),
                contexts_max: 1,
            }
            .into(),
        );
        rows.push(DsBaseIfCaps { instance: 1, direction: 3 }.into());
        let set: Vec<u8> = self.capability_set.bytes().take(255).collect();
        rows.push(FrwkCapabilitySet { instance: 1, name: set.clone(), capability: DsBaseIfCaps::prid(1) }.into());
        for (instance, interface) in (1u32..).zip(&self.interfaces) {
            let roles = interface.roles.bytes().take(255).collect();
            rows.push(FrwkRoleCombo { instance, roles, capability_set: set.clone() }.into());
            rows.push(FrwkIfRoleCombo { instance, ifindex: interface.ifindex }.into());
        }
        rows
    }
}

fn all_bits(count: usize) -> Vec<u8> {
    let mut octets = vec![0xff; count / 8];
    if !count.is_multiple_of(8) {
        octets.push(0xffu8 << (8 - count % 8));
    }
    octets
}

/// A provisioned PEP's settings.
#[derive(Debug, Clone)]
pub struct ConfigurationConfig {
    /// Connection; the client type is [`strowger_cops::CLIENT_TYPE_PROVISIONING`].
    pub link: LinkConfig,
    /// What the device says about itself.
    pub capabilities: Capabilities,
    /// How long installed policy outlives its PDP, in seconds. Afterwards everything is removed.
    pub hold_seconds: u32,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum ConfigurationOutput {
    /// Open a TCP connection.
    Connect(SocketAddr),
    /// Write bytes.
    Send(Bytes),
    /// Close the connection.
    Close,
    /// Give this to the [`crate::PolicySink`] (with [`ConfigurationPep::installed`]) and call [`ConfigurationPep::applied`]
    /// before anything else.
    Apply(Transaction),
    /// Something to log.
    Event(ConfigurationEvent),
}

/// What happened, for logs and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigurationEvent {
    /// A PDP accepted us.
    Opened(SocketAddr),
    /// The PDP is gone; policy stays for the hold time.
    Lost(LostReason),
    /// A decision took effect.
    Applied {
        /// Rows removed.
        removes: usize,
        /// Rows installed.
        installs: usize,
    },
    /// A decision was refused and undone.
    Refused(PibError),
    /// The hold time is over: all policy was removed.
    Expired,
    /// The PDP could not read our request.
    RequestRefused,
    /// A message could not be read.
    Malformed(DecodeError),
    /// The sink refused what it must not (removing everything after the hold time).
    SinkFailed(PibError),
}

/// Pause before a request is made again after it failed.
const REQUEST_RETRY: Duration = Duration::from_secs(5);
/// Most decisions that wait for the one being applied.
const DECISIONS_WAITING_MAX: usize = 1024;

#[derive(Debug)]
enum Applying {
    /// A decision under this handle; its RPT is due.
    Decision { planned: PlannedTransaction, handle: Bytes },
    /// The clean-up after the hold time.
    Expiry,
}

/// The machine.
#[derive(Debug)]
pub struct ConfigurationPep {
    config: ConfigurationConfig,
    link: Link,
    installed: Installed,
    applying: Option<Applying>,
    waiting: VecDeque<Message>,
    handle: Option<Bytes>,
    handles_used: u32,
    request_at: Option<Moment>,
    expires_at: Option<Moment>,
    accounting: Option<Duration>,
    accounting_at: Option<Moment>,
    outputs: VecDeque<ConfigurationOutput>,
}

impl ConfigurationPep {
    /// A PEP with nothing installed.
    pub fn new(config: ConfigurationConfig, random: Random) -> ConfigurationPep {
        ConfigurationPep {
            link: Link::new(config.link.clone(), random),
            config,
            installed: Installed::default(),
            applying: None,
            waiting: VecDeque::new(),
            handle: None,
            handles_used: 0,
            request_at: None,
            expires_at: None,
            accounting: None,
            accounting_at: None,
            outputs: VecDeque::new(),
        }
    }

    /// Begins to connect.
    pub fn start(&mut self, now: Moment) {
        self.link.start(now);
        self.drain(now);
    }

    /// The TCP connection stands.
    pub fn connected(&mut self, now: Moment) {
        self.link.connected(now);
        self.drain(now);
    }

    /// The TCP connection is gone, or could not be made.
    pub fn closed(&mut self, now: Moment) {
        self.link.closed(now);
        self.drain(now);
    }

    /// Bytes from the PDP.
    pub fn received(&mut self, now: Moment, bytes: &[u8]) {
        self.link.received(now, bytes);
        self.drain(now);
    }

    /// Says goodbye and stays down. Policy stays installed.
    pub fn shut_down(&mut self, now: Moment) {
        if let Some(handle) = self.handle.take() {
            self.link.send(&Message::delete_request(self.client_type(), handle, ReasonCode::Management, 0));
        }
        self.link.shut_down();
        self.drain(now);
    }

    /// What is in effect; while a transaction is being applied, what will be.
    pub fn installed(&self) -> &Installed {
        &self.installed
    }

    /// The sink's answer to the last [`ConfigurationOutput::Apply`], with the last counters of what was removed.
    pub fn applied(&mut self, now: Moment, result: Result<(), PibError>, last_usage: &[FrwkFeedbackTraffic]) {
        match self.applying.take() {
            None => return,
            Some(Applying::Expiry) => {
                let event = match result {
                    Ok(()) => ConfigurationEvent::Expired,
                    Err(error) => ConfigurationEvent::SinkFailed(error),
                };
                self.event(event);
            }
            Some(Applying::Decision { planned, handle }) => match result {
                Ok(()) => {
                    if !last_usage.is_empty() {
                        self.report_usage(last_usage);
                    }
                    self.event(ConfigurationEvent::Applied {
                        removes: planned.transaction.removes.len(),
                        installs: planned.transaction.installs.len(),
                    });
                    self.report(handle, Ok(()));
                }
                Err(error) => {
                    self.installed.roll_back(planned);
                    self.report(handle, Err(error));
                }
            },
        }
        self.link.set_cached_from(self.cached_from());
        while self.applying.is_none()
            && let Some(message) = self.waiting.pop_front()
        {
            self.decision(now, message);
        }
        self.drain(now);
    }

    /// Whether periodic accounting is due: ask the sink for its usage and call [`ConfigurationPep::account`].
    pub fn accounting_due(&self, now: Moment) -> bool {
        self.accounting_at.is_some_and(|at| at <= now) && self.link.is_open()
    }

    /// Sends usage as an accounting RPT and plans the next one.
    pub fn account(&mut self, now: Moment, usage: &[FrwkFeedbackTraffic]) {
        self.accounting_at = self.accounting.map(|pause| now + pause);
        if !usage.is_empty() {
            self.report_usage(usage);
        }
        self.drain(now);
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Moment) {
        self.link.timeout(now);
        if self.request_at.is_some_and(|at| at <= now) {
            self.request_at = None;
            self.request();
        }
        if self.expires_at.is_some_and(|at| at <= now) && self.applying.is_none() {
            self.expires_at = None;
            let planned = self.installed.plan_clear();
            self.applying = Some(Applying::Expiry);
            self.outputs.push_back(ConfigurationOutput::Apply(planned.transaction));
            self.link.set_cached_from(None);
        }
        self.drain(now);
    }

    /// When [`ConfigurationPep::timeout`] (or accounting) is due.
    pub fn next_deadline(&self) -> Option<Moment> {
        [self.link.next_deadline(), self.request_at, self.expires_at, self.accounting_at].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<ConfigurationOutput> {
        self.outputs.pop_front()
    }

    fn client_type(&self) -> u16 {
        self.config.link.client_type
    }

    fn cached_from(&self) -> Option<SocketAddr> {
        if self.installed.is_empty() { None } else { self.link.pdp() }
    }

    fn event(&mut self, event: ConfigurationEvent) {
        self.outputs.push_back(ConfigurationOutput::Event(event));
    }

    fn drain(&mut self, now: Moment) {
        while let Some(event) = self.link.poll_event() {
            self.link_event(now, event);
        }
        while let Some(output) = self.link.poll_output() {
            self.outputs.push_back(match output {
                LinkOutput::Connect(pdp) => ConfigurationOutput::Connect(pdp),
                LinkOutput::Send(bytes) => ConfigurationOutput::Send(bytes),
                LinkOutput::Close => ConfigurationOutput::Close,
            });
        }
    }

    fn link_event(&mut self, now: Moment, event: LinkEvent) {
        match event {
            LinkEvent::Opened { pdp, accounting_seconds } => {
                self.expires_at = None;
                // 0 means none; a missing timer leaves the pace to us: once a minute.
                let seconds = accounting_seconds.unwrap_or(60);
                self.accounting = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
                self.accounting_at = self.accounting.map(|pause| now + pause);
                self.event(ConfigurationEvent::Opened(pdp));
                self.request();
            }
            LinkEvent::Message(message) => self.message(now, message),
            LinkEvent::Malformed(error) => self.malformed(now, error),
            LinkEvent::Lost(reason) => {
                if self.handle.take().is_some() && !self.installed.is_empty() {
                    self.expires_at = Some(now + Duration::from_secs(u64::from(self.config.hold_seconds)));
                }
                self.waiting.clear();
                self.request_at = None;
                self.accounting_at = None;
                self.event(ConfigurationEvent::Lost(reason));
            }
        }
    }

    /// REQ with the configuration context, under a fresh handle (RFC 3084 §3.1).
    fn request(&mut self) {
        self.handles_used = self.handles_used.wrapping_add(1);
        let handle = Bytes::copy_from_slice(&self.handles_used.to_be_bytes());
        self.handle = Some(handle);
        self.send_request();
    }

    fn send_request(&mut self) {
        let Some(handle) = self.handle.clone() else { return };
        let rows = self.config.capabilities.rows(self.config.link.message_octets_max);
        let message = Message::new(Op::Request, self.client_type())
            .with(Object::Handle(handle))
            .with(Object::Context(configuration_context()))
            .with(Object::ClientSi(ClientSi::Named(Bytes::from(flow::install_data(&rows)))));
        self.link.send(&message);
    }

    fn message(&mut self, now: Moment, message: Message) {
        match message.op {
            Op::Decision => self.decision(now, message),
            Op::SynchronizeState => self.synchronize(&message),
            // Nothing else comes from a PDP.
            _ => {}
        }
    }

    /// SSQ: the request state again, then SSC (RFC 2748 §3.5, §3.10).
    fn synchronize(&mut self, message: &Message) {
        let asked = message.handle().cloned();
        if let Some(asked) = &asked
            && Some(asked) != self.handle.as_ref()
        {
            let code = ReasonCode::SynchronizeHandleUnknown;
            let answer = Message::delete_request(self.client_type(), asked.clone(), code, 0);
            return self.link.send(&answer);
        }
        self.send_request();
        let mut complete = Message::new(Op::SynchronizeComplete, self.client_type());
        complete.objects.extend(asked.map(Object::Handle));
        self.link.send(&complete);
    }

    /// A DEC that cannot be read: DRQ, and the request again under a new handle a little later (RFC 2748 §3.4).
    fn malformed(&mut self, now: Moment, error: DecodeError) {
        if error.op == Some(Op::Decision)
            && let Some(handle) = error.handle.clone().or_else(|| self.handle.clone())
        {
            let reason = error.reason_object();
            self.link.send(&Message::delete_request(self.client_type(), handle.clone(), reason.code, reason.sub_code));
            if Some(&handle) == self.handle.as_ref() {
                self.handle = None;
                self.request_at = Some(now + REQUEST_RETRY);
            }
        }
        self.event(ConfigurationEvent::Malformed(error));
    }

    fn decision(&mut self, now: Moment, message: Message) {
        if self.applying.is_some() {
            if self.waiting.len() < DECISIONS_WAITING_MAX {
                return self.waiting.push_back(message);
            }
            // Answering out of order is not allowed, keeping more is not either: begin again.
            let reason = ReasonCode::InsufficientResources;
            if let Some(handle) = self.handle.take() {
                self.waiting.clear();
                self.link.send(&Message::delete_request(self.client_type(), handle, reason, 0));
                self.request_at = Some(now + REQUEST_RETRY);
            }
            return;
        }
        let Some(handle) = message.handle().cloned() else { return };
        if Some(&handle) != self.handle.as_ref() {
            let reason = ReasonCode::SynchronizeHandleUnknown;
            return self.link.send(&Message::delete_request(self.client_type(), handle, reason, 0));
        }
        if message.error().is_some() {
            self.handle = None;
            self.link.send(&Message::delete_request(self.client_type(), handle, ReasonCode::PdpDirective, 0));
            self.request_at = Some(now + REQUEST_RETRY);
            return self.event(ConfigurationEvent::RequestRefused);
        }
        let decisions = message.decisions();
        if let Some(decision) = decisions.iter().find(|decision| decision.flags & DECISION_REQUEST_STATE != 0) {
            return self.request_state(now, handle, decision.command);
        }
        match bindings(&decisions).and_then(|bindings| self.installed.plan(bindings)) {
            Ok(planned) if planned.transaction.is_empty() => {
                self.event(ConfigurationEvent::Applied { removes: 0, installs: 0 });
                self.report(handle, Ok(()));
            }
            Ok(planned) => {
                self.outputs.push_back(ConfigurationOutput::Apply(planned.transaction.clone()));
                self.applying = Some(Applying::Decision { planned, handle });
            }
            Err(error) => self.report(handle, Err(error)),
        }
    }

    /// The Request-State flag (RFC 3084 §3.2): we keep exactly one request state.
    fn request_state(&mut self, now: Moment, handle: Bytes, command: Command) {
        match command {
            Command::Remove => {
                self.report(handle.clone(), Ok(()));
                self.handle = None;
                self.link.send(&Message::delete_request(self.client_type(), handle, ReasonCode::PdpDirective, 0));
                // Without a request state nothing governs what is installed.
                self.expires_at = Some(now);
                self.request_at = Some(now + REQUEST_RETRY);
            }
            Command::Install | Command::Null => {
                self.report(handle, Err(PibError::global(GlobalError::MaxRequestStatesOpen, 0)));
            }
        }
    }

    /// The one solicited RPT of a DEC.
    fn report(&mut self, handle: Bytes, result: Result<(), PibError>) {
        let kind = if result.is_ok() { ReportType::Success } else { ReportType::Failure };
        let mut message = Message::report(self.client_type(), handle, kind, true);
        if let Err(error) = result {
            let data = named::encode(&named::error_objects(&error));
            message.objects.push(Object::ClientSi(ClientSi::Named(Bytes::from(data))));
            self.event(ConfigurationEvent::Refused(error));
        }
        self.link.send(&message);
        // The report belongs before what the link says next.
        while let Some(output) = self.link.poll_output() {
            self.outputs.push_back(match output {
                LinkOutput::Connect(pdp) => ConfigurationOutput::Connect(pdp),
                LinkOutput::Send(bytes) => ConfigurationOutput::Send(bytes),
                LinkOutput::Close => ConfigurationOutput::Close,
            });
        }
    }

    fn report_usage(&mut self, usage: &[FrwkFeedbackTraffic]) {
        let Some(handle) = self.handle.clone() else { return };
        // One object holds 65,531 octets; a row takes under 64.
        for part in usage.chunks(512) {
            let rows: Vec<Row> = part.iter().cloned().map(Row::from).collect();
            let message = Message::report(self.client_type(), handle.clone(), ReportType::Accounting, false)
                .with(Object::ClientSi(ClientSi::Named(Bytes::from(flow::install_data(&rows)))));
            self.link.send(&message);
        }
    }
}

/// The context of COPS-PR requests and decisions.
fn configuration_context() -> Context {
    Context { request_type: RequestType::CONFIGURATION, message_type: 0 }
}

fn bindings(decisions: &[Decision]) -> Result<Bindings, PibError> {
    let mut bindings = Bindings::default();
    for decision in decisions {
        let malformed = PibError::global(GlobalError::MalformedDecision, 0);
        match (decision.command, decision.named()) {
            (Command::Null, None) => {}
            (Command::Null, Some(_)) | (Command::Install | Command::Remove, None) => return Err(malformed),
            (Command::Install, Some(data)) => bindings.add_installs(named::decode(data)?)?,
            (Command::Remove, Some(data)) => bindings.add_removes(named::decode(data)?)?,
        }
    }
    Ok(bindings)
}
