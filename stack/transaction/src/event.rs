//! What the layer says: to the transport and to the transaction user.

use std::fmt;

use strowger_sip::Message;

use crate::{Flow, Target};

/// Names a client transaction. Once it has terminated, the name matches nothing any more.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Names a server transaction. Once it has terminated, the name matches nothing any more.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.slot, self.generation)
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}.{}", self.slot, self.generation)
    }
}

/// Whose message a transmission is.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Owner {
    Client(ClientKey),
    Server(ServerKey),
    Nobody,
}

/// Names one transmission, for [`crate::Layer::transport_failed`].
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct TransmitId {
    pub(crate) owner: Owner,
    pub(crate) sequence: u64,
}

/// An output of the layer.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this.
    Transmit {
        /// To be given back when it could not be sent.
        id: TransmitId,
        /// What to send, byte for byte.
        message: Message,
        /// Where to.
        target: Target,
    },
    /// Tell the transaction user this.
    Event(Event),
}

/// What the transaction user is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request that began a server transaction (never ACK or CANCEL). The user owes it a final response by
    /// [`crate::Layer::respond`]; the transaction lives until then.
    Request {
        /// Its transaction.
        key: ServerKey,
        /// As received, with `received` and `rport` added to its top Via.
        message: Message,
        /// What it came by.
        flow: Flow,
    },
    /// An ACK for a 2xx: it belongs to no transaction, or to an INVITE already accepted (RFC 6026 §8.7).
    Ack {
        /// As received, with `received` and `rport` added to its top Via.
        message: Message,
        /// What it came by.
        flow: Flow,
    },
    /// An INVITE without a final response is cancelled. The CANCEL is answered; the user answers the INVITE 487.
    Cancel {
        /// The INVITE's transaction.
        invite: ServerKey,
        /// The CANCEL.
        message: Message,
    },
    /// A response to the user's request: provisional, final, and after a 2xx to an INVITE each further 2xx
    /// (retransmission or another branch of a fork: tell them apart by To tag).
    Response {
        /// The request's transaction.
        key: ClientKey,
        /// As received; its top Via is ours.
        message: Message,
        /// What it came by.
        flow: Flow,
    },
    /// A response that matches no client transaction. RFC 6026 §7.3: a stateful element drops it.
    StrayResponse {
        /// As received.
        message: Message,
        /// What it came by.
        flow: Flow,
    },
    /// The request got no final response, and no more will be passed up. [`Event::ClientTerminated`] follows.
    ///
    /// With [`Failure::Transport`] this can follow a final response of 300 to 699: its ACK could not be sent.
    ClientFailed {
        /// The request's transaction.
        key: ClientKey,
        /// Why.
        why: Failure,
    },
    /// With [`Failure::Timeout`] the INVITE's non-2xx final response was never acknowledged (timer H) and
    /// [`Event::ServerTerminated`] follows; with [`Failure::Transport`] a response could not be sent and the
    /// transaction remains (RFC 6026 §8.8).
    ServerFailed {
        /// The transaction.
        key: ServerKey,
        /// Why.
        why: Failure,
    },
    /// The client transaction is gone: the last event with this key.
    ClientTerminated {
        /// The transaction.
        key: ClientKey,
    },
    /// The server transaction is gone: the last event with this key.
    ServerTerminated {
        /// The transaction.
        key: ServerKey,
    },
}

/// Why a transaction failed.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    /// Nobody answered in time (timers B, F, H; or no final response 64*T1 after our CANCEL, RFC 3261 §9.1). To be
    /// treated as a 408 (RFC 3261 §8.1.3.1).
    Timeout,
    /// The transport could not send, or the connection closed. To be treated as a 503 (RFC 3261 §8.1.3.1).
    Transport,
}

/// The client table is full: nothing was sent and nothing is kept. Try again when transactions have ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Full {
    /// The maximum that was reached.
    pub client_transactions_max: u32,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all {} client transactions are in use", self.client_transactions_max)
    }
}

impl std::error::Error for Full {}
