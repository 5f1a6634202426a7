//! How SIP calls use COPS here: client type 0x4001 of the private range (no number was ever assigned).
//!
//! One handle is one call, chosen by the proxy. A REQ carries:
//! - Context: R-Type 0x01 (admission) for the setup and 0x02 (resource allocation) for what follows; M-Type is the [`Phase`];
//! - one signaled ClientSI: the SIP message verbatim, as it came.
//!
//! The DEC is Install or Remove. Its client specific data is [`DecisionData`]: UTF-8 lines `name: value` ended by LF, unknown
//! names are skipped, so that either side can grow.
//! ```text
//! reason: marks installed on 2 routers
//! dscp: 46
//! routers: 2
//! token: <base64>
//! ```

use bytes::Bytes;

use crate::code::RequestType;
use crate::message::Context;

/// Where in its life the call asks: the M-Type of the Context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The INVITE: may this call be made at all? M-Type 1.
    Setup,
    /// A response (or ACK) with the SDP answer: mark these flows. M-Type 2.
    Answer,
    /// A re-INVITE or UPDATE with a new offer. M-Type 3.
    Modify,
    /// BYE, CANCEL or a final error: give everything back. M-Type 4.
    Teardown,
}

impl Phase {
    /// The phase of an M-Type.
    pub const fn from_message_type(number: u16) -> Option<Phase> {
        match number {
            1 => Some(Phase::Setup),
            2 => Some(Phase::Answer),
            3 => Some(Phase::Modify),
            4 => Some(Phase::Teardown),
            _ => None,
        }
    }

    /// The M-Type.
    pub const fn message_type(self) -> u16 {
        match self {
            Phase::Setup => 1,
            Phase::Answer => 2,
            Phase::Modify => 3,
            Phase::Teardown => 4,
        }
    }

    /// The Context object of a REQ in this phase.
    pub const fn context(self) -> Context {
        let request_type = match self {
            Phase::Setup => RequestType::INCOMING_MESSAGE,
            _ => RequestType::RESOURCE_ALLOCATION,
        };
        Context { request_type, message_type: self.message_type() }
    }
}

impl core::fmt::Display for Phase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Phase::Setup => "setup",
            Phase::Answer => "answer",
            Phase::Modify => "modify",
            Phase::Teardown => "teardown",
        })
    }
}

/// What a decision says beyond its command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DecisionData {
    /// Why, in one sentence.
    pub reason: String,
    /// The DSCP that the call's media gets, when marks are installed.
    pub dscp: Option<u8>,
    /// Routers that confirmed.
    pub routers: u32,
    /// An authorization token (base64), when the PDP got one for the call.
    pub token: Option<String>,
}

impl DecisionData {
    /// The lines.
    pub fn encode(&self) -> Bytes {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            text.push_str(name);
            text.push_str(": ");
            text.extend(value.chars().filter(|c| !c.is_control()));
            text.push('\n');
        };
        line("reason", &self.reason);
        if let Some(dscp) = self.dscp {
            line("dscp", &dscp.to_string());
        }
        line("routers", &self.routers.to_string());
        if let Some(token) = &self.token {
            line("token", token);
        }
        Bytes::from(text)
    }

    /// Reads the lines; what is not understood is skipped.
    pub fn parse(bytes: &[u8]) -> DecisionData {
        let mut data = DecisionData::default();
        for line in String::from_utf8_lossy(bytes).lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.trim() {
                "reason" => data.reason = value.to_owned(),
                "dscp" => data.dscp = value.parse().ok().filter(|dscp| *dscp < 64),
                "routers" => data.routers = value.parse().unwrap_or(0),
                "token" => data.token = Some(value.to_owned()),
                _ => {}
            }
        }
        data
    }
}
