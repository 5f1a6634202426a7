//! Messages: mandatory fixed part, mandatory variable part by pointers, optional part (Q.763 §1, tables 20 ff.).

use crate::charge::Charge;
use crate::parameters::{
    BackwardCallIndicators, CalledPartyNumber, CallingPartyNumber, CauseIndicators, EventInformation, NumberError,
    RangeAndStatus, push_digits, read_digits,
};
use thiserror::Error;

/// Codes of optional parameters that are made or read here (table 5).
pub mod parameter {
    /// Calling party number.
    pub const CALLING_PARTY_NUMBER: u8 = 0x0a;
    /// Optional forward call indicators.
    pub const OPTIONAL_FORWARD_CALL_INDICATORS: u8 = 0x08;
    /// Optional backward call indicators: bit A in-band information available.
    pub const OPTIONAL_BACKWARD_CALL_INDICATORS: u8 = 0x29;
    /// Cause indicators, optional in ACM and CPG.
    pub const CAUSE_INDICATORS: u8 = 0x12;
    /// Backward call indicators, optional in ANM and CPG.
    pub const BACKWARD_CALL_INDICATORS: u8 = 0x11;
}

/// Most optional parameters of one message.
pub const MAX_OPTIONAL_PARAMETERS: usize = 64;

/// Why a message cannot be read. The peer erred.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// No message type, or the fixed part is cut short.
    #[error("the mandatory part of message type {0:#04x} is cut short")]
    Truncated(u8),
    /// A type not known here; CFN answers it with cause 97.
    #[error("message type {0:#04x} is not known")]
    UnknownType(u8),
    /// A pointer leads past the end.
    #[error("a pointer of message type {0:#04x} leads past the end")]
    Pointer(u8),
    /// An optional parameter runs past the end, or the end octet is missing.
    #[error("the optional part of message type {0:#04x} runs past the end")]
    Optional(u8),
    /// More than [`MAX_OPTIONAL_PARAMETERS`].
    #[error("message type {0:#04x} has too many optional parameters")]
    TooManyOptional(u8),
    /// A number.
    #[error("a number of message type {0:#04x}: {1}")]
    Number(u8, NumberError),
    /// A mandatory parameter has a wrong length.
    #[error("a mandatory parameter of message type {0:#04x} has a wrong length")]
    Parameter(u8),
}

/// Why a message cannot be sent. Our side erred.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A parameter is longer than its length octet or pointer can say.
    #[error("a parameter of {length} octets cannot be sent")]
    Parameter {
        /// Octets.
        length: usize,
    },
    /// Longer than a message signal unit.
    #[error("a unit of {length} octets is longer than a message signal unit")]
    TooLong {
        /// Octets.
        length: usize,
    },
}

/// An optional parameter as it came: those nobody here knows are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalParameter {
    /// Parameter name code (table 5).
    pub code: u8,
    /// Its content.
    pub value: Vec<u8>,
}

/// Initial address message (table 32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialAddress {
    /// Nature of connection indicators (§3.35).
    pub nature_of_connection: u8,
    /// Forward call indicators (§3.23).
    pub forward_call: [u8; 2],
    /// Calling party's category (§3.11); 10 is ordinary.
    pub category: u8,
    /// Transmission medium requirement (§3.54); 3 is 3.1 kHz audio, 0 speech.
    pub medium: u8,
    /// Called party number.
    pub called: CalledPartyNumber,
    /// Optional parameters in order.
    pub optional: Vec<OptionalParameter>,
}

impl InitialAddress {
    /// An ordinary subscriber's call: ISUP preferred all the way, ISDN access at the origin, 3.1 kHz audio, no satellite, no
    /// continuity check.
    pub fn new(called: CalledPartyNumber, calling: Option<&CallingPartyNumber>) -> Self {
        let optional = calling
            .map(|number| OptionalParameter { code: parameter::CALLING_PARTY_NUMBER, value: number.encode() })
            .into_iter()
            .collect();
        Self { nature_of_connection: 0, forward_call: [0x60, 0x01], category: 10, medium: 3, called, optional }
    }

    /// The calling party number, when there is one that can be read.
    pub fn calling(&self) -> Option<CallingPartyNumber> {
        let found = self.optional.iter().find(|p| p.code == parameter::CALLING_PARTY_NUMBER)?;
        CallingPartyNumber::parse(&found.value).ok()
    }
}

/// Who suspends or resumes (§3.52).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SuspendResume {
    /// ISDN subscriber initiated.
    Subscriber,
    /// Network initiated: the called analogue telephone was put down.
    Network,
}

/// One ISUP message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are the parameters by their names in Q.763
pub enum Message {
    /// IAM.
    InitialAddress(InitialAddress),
    /// SAM; digits as in a called party number.
    SubsequentAddress { digits: String, optional: Vec<OptionalParameter> },
    /// COT; whether the check succeeded.
    Continuity { successful: bool },
    /// ACM.
    AddressComplete { backward: BackwardCallIndicators, optional: Vec<OptionalParameter> },
    /// CON.
    Connect { backward: BackwardCallIndicators, optional: Vec<OptionalParameter> },
    /// CPG.
    CallProgress { event: EventInformation, optional: Vec<OptionalParameter> },
    /// ANM.
    Answer { optional: Vec<OptionalParameter> },
    /// REL.
    Release { cause: CauseIndicators, optional: Vec<OptionalParameter> },
    /// RLC.
    ReleaseComplete { optional: Vec<OptionalParameter> },
    /// SUS.
    Suspend { by: SuspendResume, optional: Vec<OptionalParameter> },
    /// RES.
    Resume { by: SuspendResume, optional: Vec<OptionalParameter> },
    /// RSC.
    ResetCircuit,
    /// BLO.
    Blocking,
    /// UBL.
    Unblocking,
    /// BLA.
    BlockingAcknowledgement,
    /// UBA.
    UnblockingAcknowledgement,
    /// CCR.
    ContinuityCheckRequest,
    /// UCIC (national use).
    UnequippedCircuit,
    /// GRS.
    CircuitGroupReset(RangeAndStatus),
    /// GRA.
    CircuitGroupResetAcknowledgement(RangeAndStatus),
    /// CGB; `supervision` 0 maintenance, 1 hardware failure.
    CircuitGroupBlocking { supervision: u8, range: RangeAndStatus },
    /// CGU.
    CircuitGroupUnblocking { supervision: u8, range: RangeAndStatus },
    /// CGBA.
    CircuitGroupBlockingAcknowledgement { supervision: u8, range: RangeAndStatus },
    /// CGUA.
    CircuitGroupUnblockingAcknowledgement { supervision: u8, range: RangeAndStatus },
    /// CQM (national use).
    CircuitGroupQuery(RangeAndStatus),
    /// CQR; one state octet (§3.14) a circuit.
    CircuitGroupQueryResponse { range: RangeAndStatus, states: Vec<u8> },
    /// CFN.
    Confusion { cause: CauseIndicators, optional: Vec<OptionalParameter> },
    /// CRG (national use): ours, read.
    Charge(Charge),
    /// CRG of another network's format, kept.
    ForeignCharge(Vec<u8>),
}

const IAM: u8 = 0x01;
const SAM: u8 = 0x02;
const COT: u8 = 0x05;
const ACM: u8 = 0x06;
const CON: u8 = 0x07;
const ANM: u8 = 0x09;
const REL: u8 = 0x0c;
const SUS: u8 = 0x0d;
const RES: u8 = 0x0e;
const RLC: u8 = 0x10;
const CCR: u8 = 0x11;
const RSC: u8 = 0x12;
const BLO: u8 = 0x13;
const UBL: u8 = 0x14;
const BLA: u8 = 0x15;
const UBA: u8 = 0x16;
const GRS: u8 = 0x17;
const CGB: u8 = 0x18;
const CGU: u8 = 0x19;
const CGBA: u8 = 0x1a;
const CGUA: u8 = 0x1b;
const GRA: u8 = 0x29;
const CQM: u8 = 0x2a;
const CQR: u8 = 0x2b;
const CPG: u8 = 0x2c;
const UCIC: u8 = 0x2e;
const CFN: u8 = 0x2f;
const CRG: u8 = 0x31;

/// The variable and optional parts: pointers count from their own octet.
struct Parts<'a> {
    message_type: u8,
    /// From the first pointer on.
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn variable(&self, index: usize) -> Result<&'a [u8], MessageError> {
        let error = MessageError::Pointer(self.message_type);
        let pointer = usize::from(*self.rest.get(index).ok_or(error.clone())?);
        if pointer == 0 {
            return Err(error);
        }
        let (length, tail) = self.rest.get(index + pointer..).and_then(<[u8]>::split_first).ok_or(error.clone())?;
        tail.get(..usize::from(*length)).ok_or(error)
    }

    /// A message may end before the pointer that later versions added to it: then there is no optional part.
    fn optional(&self, index: usize) -> Result<Vec<OptionalParameter>, MessageError> {
        let error = MessageError::Optional(self.message_type);
        let pointer = match self.rest.get(index) {
            None | Some(0) => return Ok(Vec::new()),
            Some(pointer) => usize::from(*pointer),
        };
        let mut rest = self.rest.get(index + pointer..).ok_or(MessageError::Pointer(self.message_type))?;
        let mut found = Vec::new();
        loop {
            match rest {
                [0, ..] => return Ok(found),
                [code, length, tail @ ..] => {
                    let (value, tail) = tail.split_at_checked(usize::from(*length)).ok_or(error.clone())?;
                    if found.len() == MAX_OPTIONAL_PARAMETERS {
                        return Err(MessageError::TooManyOptional(self.message_type));
                    }
                    found.push(OptionalParameter { code: *code, value: value.to_vec() });
                    rest = tail;
                }
                _ => return Err(error),
            }
        }
    }

    fn range(&self) -> Result<RangeAndStatus, MessageError> {
        RangeAndStatus::parse(self.variable(0)?).ok_or(MessageError::Parameter(self.message_type))
    }

    fn cause(&self) -> Result<CauseIndicators, MessageError> {
        CauseIndicators::parse(self.variable(0)?).ok_or(MessageError::Parameter(self.message_type))
    }
}

impl Message {
    /// Reads a message from its type octet on.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let (&message_type, body) = bytes.split_first().ok_or(MessageError::Truncated(0))?;
        let fixed_octets = match message_type {
            IAM => 5,
            ACM | CON => 2,
            COT | CPG | SUS | RES | CGB | CGU | CGBA | CGUA => 1,
            _ => 0,
        };
        let (fixed, rest) = body.split_at_checked(fixed_octets).ok_or(MessageError::Truncated(message_type))?;
        let parts = Parts { message_type, rest };
        let octet = |n: usize| fixed.get(n).copied().unwrap_or(0);
        let number = |error| MessageError::Number(message_type, error);
        let backward = BackwardCallIndicators([octet(0), octet(1)]);
        let by = if octet(0) & 1 == 0 { SuspendResume::Subscriber } else { SuspendResume::Network };
        let supervision = octet(0);
        Ok(match message_type {
            IAM => Self::InitialAddress(InitialAddress {
                nature_of_connection: octet(0),
                forward_call: [octet(1), octet(2)],
                category: octet(3),
                medium: octet(4),
                called: CalledPartyNumber::parse(parts.variable(0)?).map_err(number)?,
                optional: parts.optional(1)?,
            }),
            SAM => {
                let (first, digits) = parts.variable(0)?.split_first().ok_or(MessageError::Parameter(SAM))?;
                let digits = read_digits(digits, first & 0x80 != 0).map_err(number)?;
                Self::SubsequentAddress { digits, optional: parts.optional(1)? }
            }
            COT => Self::Continuity { successful: octet(0) & 1 != 0 },
            ACM => Self::AddressComplete { backward, optional: parts.optional(0)? },
            CON => Self::Connect { backward, optional: parts.optional(0)? },
            CPG => Self::CallProgress { event: EventInformation::from_octet(octet(0)), optional: parts.optional(0)? },
            ANM => Self::Answer { optional: parts.optional(0)? },
            REL => Self::Release { cause: parts.cause()?, optional: parts.optional(1)? },
            RLC => Self::ReleaseComplete { optional: parts.optional(0)? },
            SUS => Self::Suspend { by, optional: parts.optional(0)? },
            RES => Self::Resume { by, optional: parts.optional(0)? },
            RSC => Self::ResetCircuit,
            BLO => Self::Blocking,
            UBL => Self::Unblocking,
            BLA => Self::BlockingAcknowledgement,
            UBA => Self::UnblockingAcknowledgement,
            CCR => Self::ContinuityCheckRequest,
            UCIC => Self::UnequippedCircuit,
            GRS => Self::CircuitGroupReset(parts.range()?),
            GRA => Self::CircuitGroupResetAcknowledgement(parts.range()?),
            CGB => Self::CircuitGroupBlocking { supervision, range: parts.range()? },
            CGU => Self::CircuitGroupUnblocking { supervision, range: parts.range()? },
            CGBA => Self::CircuitGroupBlockingAcknowledgement { supervision, range: parts.range()? },
            CGUA => Self::CircuitGroupUnblockingAcknowledgement { supervision, range: parts.range()? },
            CQM => Self::CircuitGroupQuery(parts.range()?),
            CQR => Self::CircuitGroupQueryResponse { range: parts.range()?, states: parts.variable(1)?.to_vec() },
            CFN => Self::Confusion { cause: parts.cause()?, optional: parts.optional(1)? },
            CRG => Charge::parse(rest).map_or_else(|| Self::ForeignCharge(rest.to_vec()), Self::Charge),
            other => return Err(MessageError::UnknownType(other)),
        })
    }

    /// Appends the message from its type octet on.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(self.message_type());
        match self {
            Self::InitialAddress(iam) => {
                out.push(iam.nature_of_connection);
                out.extend(iam.forward_call);
                out.extend([iam.category, iam.medium]);
                write_parts(out, &[&iam.called.encode()], Some(&iam.optional))
            }
            Self::SubsequentAddress { digits, optional } => {
                let mut value = vec![u8::from(digits.len() % 2 == 1) << 7];
                push_digits(digits, &mut value);
                write_parts(out, &[&value], Some(optional))
            }
            Self::Continuity { successful } => {
                out.push(u8::from(*successful));
                Ok(())
            }
            Self::AddressComplete { backward, optional } | Self::Connect { backward, optional } => {
                out.extend(backward.0);
                write_parts(out, &[], Some(optional))
            }
            Self::CallProgress { event, optional } => {
                out.push(event.octet());
                write_parts(out, &[], Some(optional))
            }
            Self::Answer { optional } | Self::ReleaseComplete { optional } => write_parts(out, &[], Some(optional)),
            Self::Release { cause, optional } | Self::Confusion { cause, optional } => {
                write_parts(out, &[&cause.encode()], Some(optional))
            }
            Self::Suspend { by, optional } | Self::Resume { by, optional } => {
                out.push(u8::from(*by == SuspendResume::Network));
                write_parts(out, &[], Some(optional))
            }
            Self::ResetCircuit
            | Self::Blocking
            | Self::Unblocking
            | Self::BlockingAcknowledgement
            | Self::UnblockingAcknowledgement
            | Self::ContinuityCheckRequest
            | Self::UnequippedCircuit => Ok(()),
            Self::CircuitGroupReset(range)
            | Self::CircuitGroupResetAcknowledgement(range)
            | Self::CircuitGroupQuery(range) => write_parts(out, &[&range.encode()], None),
            Self::CircuitGroupBlocking { supervision, range }
            | Self::CircuitGroupUnblocking { supervision, range }
            | Self::CircuitGroupBlockingAcknowledgement { supervision, range }
            | Self::CircuitGroupUnblockingAcknowledgement { supervision, range } => {
                out.push(*supervision);
                write_parts(out, &[&range.encode()], None)
            }
            Self::CircuitGroupQueryResponse { range, states } => write_parts(out, &[&range.encode(), states], None),
            Self::Charge(charge) => {
                out.extend(charge.encode());
                Ok(())
            }
            Self::ForeignCharge(content) => {
                out.extend(content);
                Ok(())
            }
        }
    }

    fn message_type(&self) -> u8 {
        match self {
            Self::InitialAddress(_) => IAM,
            Self::SubsequentAddress { .. } => SAM,
            Self::Continuity { .. } => COT,
            Self::AddressComplete { .. } => ACM,
            Self::Connect { .. } => CON,
            Self::CallProgress { .. } => CPG,
            Self::Answer { .. } => ANM,
            Self::Release { .. } => REL,
            Self::ReleaseComplete { .. } => RLC,
            Self::Suspend { .. } => SUS,
            Self::Resume { .. } => RES,
            Self::ResetCircuit => RSC,
            Self::Blocking => BLO,
            Self::Unblocking => UBL,
            Self::BlockingAcknowledgement => BLA,
            Self::UnblockingAcknowledgement => UBA,
            Self::ContinuityCheckRequest => CCR,
            Self::UnequippedCircuit => UCIC,
            Self::CircuitGroupReset(_) => GRS,
            Self::CircuitGroupResetAcknowledgement(_) => GRA,
            Self::CircuitGroupBlocking { .. } => CGB,
            Self::CircuitGroupUnblocking { .. } => CGU,
            Self::CircuitGroupBlockingAcknowledgement { .. } => CGBA,
            Self::CircuitGroupUnblockingAcknowledgement { .. } => CGUA,
            Self::CircuitGroupQuery(_) => CQM,
            Self::CircuitGroupQueryResponse { .. } => CQR,
            Self::Confusion { .. } => CFN,
            Self::Charge(_) | Self::ForeignCharge(_) => CRG,
        }
    }

    /// Its acronym in Q.762, for ladders and logs.
    pub fn acronym(&self) -> &'static str {
        match self.message_type() {
            IAM => "IAM",
            SAM => "SAM",
            COT => "COT",
            ACM => "ACM",
            CON => "CON",
            CPG => "CPG",
            ANM => "ANM",
            REL => "REL",
            RLC => "RLC",
            SUS => "SUS",
            RES => "RES",
            RSC => "RSC",
            BLO => "BLO",
            UBL => "UBL",
            BLA => "BLA",
            UBA => "UBA",
            CCR => "CCR",
            UCIC => "UCIC",
            GRS => "GRS",
            GRA => "GRA",
            CGB => "CGB",
            CGU => "CGU",
            CGBA => "CGBA",
            CGUA => "CGUA",
            CQM => "CQM",
            CQR => "CQR",
            CFN => "CFN",
            _ => "CRG",
        }
    }
}

/// Pointers, variable parameters, optional part. `optional` is `None` for messages that have no pointer to one.
fn write_parts(
    out: &mut Vec<u8>,
    variable: &[&[u8]],
    optional: Option<&[OptionalParameter]>,
) -> Result<(), EncodeError> {
    let pointers = variable.len() + usize::from(optional.is_some());
    let mut distance = pointers; // from the first pointer to the next free octet
    let octet = |length: usize| u8::try_from(length).map_err(|_| EncodeError::Parameter { length });
    for (index, value) in variable.iter().enumerate() {
        out.push(octet(distance - index)?);
        distance += 1 + value.len();
    }
    if let Some(optional) = optional {
        out.push(if optional.is_empty() { 0 } else { octet(distance - variable.len())? });
    }
    for value in variable {
        out.push(octet(value.len())?);
        out.extend(*value);
    }
    if let Some(optional) = optional.filter(|list| !list.is_empty()) {
        for parameter in optional {
            out.extend([parameter.code, octet(parameter.value.len())?]);
            out.extend(&parameter.value);
        }
        out.push(0);
    }
    Ok(())
}
