//! What happened to the packets.

use std::fmt;
use std::net::SocketAddr;

use strowger_clock::Moment;

/// How many lines a trace keeps; older ones go.
pub const TRACE_MAX: usize = 20_000;

/// What became of a packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It will arrive then.
    Sent {
        /// When.
        arrives: Moment,
    },
    /// The link doubled it; the second copy will arrive then.
    Doubled {
        /// When.
        arrives: Moment,
    },
    /// The link lost it.
    Lost,
    /// No node has its address.
    NoNode,
    /// More than [`crate::IN_FLIGHT_MAX`] were under way.
    Overflow,
    /// It arrived.
    Arrived,
}

/// One line of the trace.
#[derive(Clone, Debug)]
pub struct TraceLine {
    /// When.
    pub at: Moment,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// What became of it.
    pub fate: Fate,
    /// Its first line of text.
    pub label: String,
}

impl fmt::Display for TraceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceLine { at, from, to, fate, label } = self;
        write!(f, "{at} {from} -> {to} ")?;
        match fate {
            Fate::Sent { arrives } => write!(f, "sent, arrives {arrives}")?,
            Fate::Doubled { arrives } => write!(f, "doubled, arrives {arrives}")?,
            Fate::Lost => f.write_str("LOST")?,
            Fate::NoNode => f.write_str("NO SUCH NODE")?,
            Fate::Overflow => f.write_str("OVERFLOW")?,
            Fate::Arrived => f.write_str("arrived")?,
        }
        write!(f, ": {label}")
    }
}
