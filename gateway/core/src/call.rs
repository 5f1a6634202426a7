//! A call as the gateway knows it.

use std::net::SocketAddr;

use strowger_clock::{Moment, TimerId};
use strowger_dialog::CallId32;
use strowger_isup::Cause;
use strowger_token::TokenInfo;
use strowger_trunk::Circuit;

use crate::config::Config;
use crate::effect::{CallUsage, MediaStatistics, ReleaseSource};
use crate::session::Session;

/// How far a call has come.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum CallState {
    /// The token is good; the media driver has been asked for a port.
    OpeningMedia,
    /// IAM is out; the exchange has not said anything.
    AwaitingAddressComplete,
    /// ACM has come, and nobody is alerted yet (or the exchange does not say).
    Proceeding,
    /// The called telephone rings.
    Alerting,
    /// ANM or CON has come and the 200 is out, not acknowledged.
    Accepted,
    /// The ACK has come: both sides are connected.
    Connected,
    /// Over for both sides; the media port's last numbers are awaited.
    Releasing,
    /// Over.
    Ended,
}

impl CallState {
    /// Whether the telephone network has answered, and the call is not over.
    pub const fn is_answered(self) -> bool {
        matches!(self, CallState::Accepted | CallState::Connected)
    }

    /// Whether the call is over for both sides.
    pub const fn is_over(self) -> bool {
        matches!(self, CallState::Releasing | CallState::Ended)
    }
}

/// A call, for consoles and logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallSummary {
    /// Number of the call in this process.
    pub number: u64,
    /// Call-ID.
    pub call_id: String,
    /// Calling number, from the token.
    pub calling: String,
    /// Called number, from the token.
    pub called: String,
    /// Who sent the INVITE.
    pub peer: SocketAddr,
    /// State.
    pub state: CallState,
    /// The clearinghouse's transaction.
    pub transaction_id: u64,
    /// Timeslot of the circuit, once one is seized.
    pub timeslot: Option<u8>,
    /// Our media port, once it is open.
    pub media_port: Option<u16>,
    /// Why it ended, once it has.
    pub cause: Option<Cause>,
}

/// Why and by whom a call ended.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Release {
    pub at: Moment,
    pub cause: Cause,
    pub source: ReleaseSource,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub number: u64,
    pub agent: CallId32,
    pub call_id: String,
    pub token: TokenInfo,
    pub peer: SocketAddr,
    pub state: CallState,
    /// The circuit is ours until REL is sent or has come.
    pub circuit: Option<Circuit>,
    /// The last one we had.
    pub timeslot: Option<u8>,
    /// The media driver has been asked for a port.
    pub media_asked: bool,
    pub session: Session,
    /// The last provisional: sent again each minute (RFC 3261 §13.3.1.1).
    pub provisional: Option<(u16, bool)>,
    pub start: Moment,
    pub alert: Option<Moment>,
    pub connect: Option<Moment>,
    pub release: Option<Release>,
    /// Media driver, then answer, then granted time, then media driver again: one is awaited at a time.
    pub deadline: Option<TimerId>,
    pub ringing: Option<TimerId>,
}

impl Call {
    pub(crate) fn summary(&self) -> CallSummary {
        CallSummary {
            number: self.number,
            call_id: self.call_id.clone(),
            calling: self.token.calling.clone(),
            called: self.token.called.clone(),
            peer: self.peer,
            state: self.state,
            transaction_id: self.token.transaction_id,
            timeslot: self.timeslot,
            media_port: self.session.port,
            cause: self.release.map(|release| release.cause),
        }
    }

    pub(crate) fn usage(&self, config: &Config, now: Moment, media: Option<MediaStatistics>) -> CallUsage {
        let release =
            self.release.unwrap_or(Release { at: now, cause: Cause::NORMAL_CLEARING, source: ReleaseSource::Gateway });
        CallUsage {
            transaction_id: self.token.transaction_id,
            call_id: self.call_id.clone(),
            calling: self.token.calling.clone(),
            called: self.token.called.clone(),
            peer: self.peer,
            start: config.timestamp(self.start),
            alert: self.alert.map(|moment| config.timestamp(moment)),
            connect: self.connect.map(|moment| config.timestamp(moment)),
            end: config.timestamp(release.at),
            cause: release.cause,
            release: release.source,
            law: self.session.stream.map(|stream| stream.law),
            media,
        }
    }
}
