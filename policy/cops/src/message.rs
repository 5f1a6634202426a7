//! The values: a message and its objects (RFC 2748 §2.1, §2.2).

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::code::{Command, ErrorCode, Op, ReasonCode, ReportType, RequestType};

/// One COPS message. The version is always 1, the length comes from the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The only flag of the header: this message answers another one (RFC 2748 §2.1).
    pub solicited: bool,
    /// Operation.
    pub op: Op,
    /// Client type.
    pub client_type: u16,
    /// The objects, in the order of the wire.
    pub objects: Vec<Object>,
}

/// One object (RFC 2748 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// C-Num 1: the request state's identifier, opaque to the PDP.
    Handle(Bytes),
    /// C-Num 2.
    Context(Context),
    /// C-Num 3.
    InInterface(Interface),
    /// C-Num 4.
    OutInterface(Interface),
    /// C-Num 5.
    Reason(Reason),
    /// C-Num 6.
    Decision(DecisionObject),
    /// C-Num 7.
    LpdpDecision(DecisionObject),
    /// C-Num 8.
    Error(ErrorObject),
    /// C-Num 9.
    ClientSi(ClientSi),
    /// C-Num 10: seconds; 0 is "no keep-alive needed".
    KeepAliveTimer(u16),
    /// C-Num 11: ASCII without the terminating NUL.
    PepId(String),
    /// C-Num 12.
    ReportType(ReportType),
    /// C-Num 13.
    PdpRedirectAddress(SocketAddr),
    /// C-Num 14.
    LastPdpAddress(SocketAddr),
    /// C-Num 15: seconds; 0 is "no unsolicited accounting".
    AccountingTimer(u16),
    /// C-Num 16. Always the last object.
    Integrity {
        /// Which shared key.
        key_id: u32,
        /// Sequence number of this direction.
        sequence: u32,
        /// Keyed message digest, 12 octets for HMAC-MD5-96.
        digest: Bytes,
    },
}

/// Context object (RFC 2748 §2.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Which kind of event asks.
    pub request_type: RequestType,
    /// Message type, defined by the client type.
    pub message_type: u16,
}

/// In- or Out-Interface (RFC 2748 §2.2.3, §2.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Where the message came from or goes to.
    pub address: IpAddr,
    /// The MIB-II index of the interface.
    pub ifindex: u32,
}

/// Reason object (RFC 2748 §2.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// Reason.
    pub code: ReasonCode,
    /// Detail, client specific.
    pub sub_code: u16,
}

/// Error object (RFC 2748 §2.2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorObject {
    /// Error.
    pub code: ErrorCode,
    /// Detail, client specific.
    pub sub_code: u16,
}

/// Client specific information (RFC 2748 §2.2.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientSi {
    /// C-Type 1.
    Signaled(Bytes),
    /// C-Type 2.
    Named(Bytes),
}

/// One object of a decision (RFC 2748 §2.2.6); LPDP decisions have the same shapes (§2.2.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecisionObject {
    /// C-Type 1, mandatory and first.
    Flags {
        /// What to do.
        command: Command,
        /// [`crate::DECISION_TRIGGER_ERROR`], [`crate::DECISION_REQUEST_STATE`].
        flags: u16,
    },
    /// C-Type 2.
    Stateless(Bytes),
    /// C-Type 3.
    Replacement(Bytes),
    /// C-Type 4.
    ClientSpecific(Bytes),
    /// C-Type 5.
    Named(Bytes),
}

/// One decision of a DEC: a context, flags, and the data that follows them (RFC 2748 §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The context all of it is meant in.
    pub context: Context,
    /// What to do.
    pub command: Command,
    /// Decision flags.
    pub flags: u16,
    /// Data objects in order, without the flags object.
    pub data: Vec<DecisionObject>,
}

impl Decision {
    /// The named data (COPS-PR), if there.
    pub fn named(&self) -> Option<&Bytes> {
        self.data.iter().find_map(|object| match object {
            DecisionObject::Named(bytes) => Some(bytes),
            _ => None,
        })
    }

    /// The client specific data, if there.
    pub fn client_specific(&self) -> Option<&Bytes> {
        self.data.iter().find_map(|object| match object {
            DecisionObject::ClientSpecific(bytes) => Some(bytes),
            _ => None,
        })
    }
}

impl Message {
    /// A message without objects and without the solicited flag.
    pub fn new(op: Op, client_type: u16) -> Message {
        Message { solicited: false, op, client_type, objects: Vec::new() }
    }

    /// The same with one more object.
    #[must_use]
    pub fn with(mut self, object: Object) -> Message {
        self.objects.push(object);
        self
    }

    /// The same as an answer.
    #[must_use]
    pub fn solicited(mut self, solicited: bool) -> Message {
        self.solicited = solicited;
        self
    }

    /// A KA: client type 0, no objects (RFC 2748 §3.9).
    pub fn keep_alive() -> Message {
        Message::new(Op::KeepAlive, crate::CLIENT_TYPE_CONNECTION)
    }

    /// A CC with its Error object (RFC 2748 §3.8).
    pub fn client_close(client_type: u16, code: ErrorCode, sub_code: u16) -> Message {
        Message::new(Op::ClientClose, client_type).with(Object::Error(ErrorObject { code, sub_code }))
    }

    /// A DRQ (RFC 2748 §3.4).
    pub fn delete_request(client_type: u16, handle: Bytes, code: ReasonCode, sub_code: u16) -> Message {
        Message::new(Op::DeleteRequestState, client_type)
            .with(Object::Handle(handle))
            .with(Object::Reason(Reason { code, sub_code }))
    }

    /// An RPT without data (RFC 2748 §3.3).
    pub fn report(client_type: u16, handle: Bytes, report: ReportType, solicited: bool) -> Message {
        Message::new(Op::ReportState, client_type)
            .with(Object::Handle(handle))
            .with(Object::ReportType(report))
            .solicited(solicited)
    }

    /// A solicited DEC that carries an Error object instead of decisions (RFC 2748 §3.2).
    pub fn decision_error(client_type: u16, handle: Bytes, error: ErrorObject) -> Message {
        Message::new(Op::Decision, client_type).with(Object::Handle(handle)).with(Object::Error(error)).solicited(true)
    }

    /// A DEC with one decision (RFC 2748 §3.2).
    pub fn decision(client_type: u16, handle: Bytes, solicited: bool, decisions: &[Decision]) -> Message {
        let mut message = Message::new(Op::Decision, client_type).with(Object::Handle(handle)).solicited(solicited);
        for decision in decisions {
            message.objects.push(Object::Context(decision.context));
            message
                .objects
                .push(Object::Decision(DecisionObject::Flags { command: decision.command, flags: decision.flags }));
            message.objects.extend(decision.data.iter().cloned().map(Object::Decision));
        }
        message
    }

    /// The handle.
    pub fn handle(&self) -> Option<&Bytes> {
        self.objects.iter().find_map(|object| if let Object::Handle(handle) = object { Some(handle) } else { None })
    }

    /// The first context.
    pub fn context(&self) -> Option<Context> {
        self.objects.iter().find_map(|object| if let Object::Context(context) = object { Some(*context) } else { None })
    }

    /// The Error object.
    pub fn error(&self) -> Option<ErrorObject> {
        self.objects.iter().find_map(|object| if let Object::Error(error) = object { Some(*error) } else { None })
    }

    /// The Reason object.
    pub fn reason(&self) -> Option<Reason> {
        self.objects.iter().find_map(|object| if let Object::Reason(reason) = object { Some(*reason) } else { None })
    }

    /// The report type.
    pub fn report_type(&self) -> Option<ReportType> {
        self.objects.iter().find_map(|object| if let Object::ReportType(kind) = object { Some(*kind) } else { None })
    }

    /// The PEPID.
    pub fn pep_id(&self) -> Option<&str> {
        self.objects.iter().find_map(|object| if let Object::PepId(id) = object { Some(id.as_str()) } else { None })
    }

    /// The keep-alive timer in seconds.
    pub fn keep_alive_timer_seconds(&self) -> Option<u16> {
        self.objects.iter().find_map(|object| if let Object::KeepAliveTimer(s) = object { Some(*s) } else { None })
    }

    /// The accounting timer in seconds.
    pub fn accounting_timer_seconds(&self) -> Option<u16> {
        self.objects.iter().find_map(|object| if let Object::AccountingTimer(s) = object { Some(*s) } else { None })
    }

    /// Where to go instead.
    pub fn redirect(&self) -> Option<SocketAddr> {
        self.objects
            .iter()
            .find_map(|object| if let Object::PdpRedirectAddress(address) = object { Some(*address) } else { None })
    }

    /// The last PDP that the PEP still caches decisions of.
    pub fn last_pdp(&self) -> Option<SocketAddr> {
        self.objects
            .iter()
            .find_map(|object| if let Object::LastPdpAddress(address) = object { Some(*address) } else { None })
    }

    /// Every signaled ClientSI.
    pub fn signaled_info(&self) -> impl Iterator<Item = &Bytes> {
        self.objects.iter().filter_map(|object| match object {
            Object::ClientSi(ClientSi::Signaled(bytes)) => Some(bytes),
            _ => None,
        })
    }

    /// Every named ClientSI.
    pub fn named_info(&self) -> impl Iterator<Item = &Bytes> {
        self.objects.iter().filter_map(|object| match object {
            Object::ClientSi(ClientSi::Named(bytes)) => Some(bytes),
            _ => None,
        })
    }

    /// The decisions of a DEC, grouped. The grammar check of [`Message::parse`] has made sure that flags come first.
    pub fn decisions(&self) -> Vec<Decision> {
        let mut context = None;
        let mut decisions: Vec<Decision> = Vec::new();
        for object in &self.objects {
            match object {
                Object::Context(found) => context = Some(*found),
                Object::Decision(DecisionObject::Flags { command, flags }) => {
                    if let Some(context) = context {
                        decisions.push(Decision { context, command: *command, flags: *flags, data: Vec::new() });
                    }
                }
                Object::Decision(data) => {
                    if let Some(last) = decisions.last_mut() {
                        last.data.push(data.clone());
                    }
                }
                _ => {}
            }
        }
        decisions
    }
}
