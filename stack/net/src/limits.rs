//! What the endpoint allows, and what it counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Maxima of an endpoint. Reaching one is counted in [`Counters`] and answered as each says.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once, both directions. One more accepted is closed at once; one more wanted fails its message.
    pub connections: usize,
    /// Bytes of one message; larger ones end the connection, larger datagrams are dropped.
    pub message_bytes: usize,
    /// Bytes waiting to be written on one connection; one message more fails and ends the connection (the peer does not read).
    pub connection_queue_bytes: usize,
    /// Messages waiting for one connection to be opened; one more fails.
    pub connecting_messages: usize,
    /// Messages that came in and wait for the machine; readers wait (and then the kernel drops datagrams) beyond it.
    pub arrivals: usize,
    /// Datagrams waiting for room in a socket's send buffer; one more fails.
    pub datagram_backlog: usize,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long a connection may be silent in both directions.
    pub idle_timeout: Duration,
    /// How long a message may stay unfinished, and a new connection without any message.
    pub unfinished_timeout: Duration,
    /// How long the peer of a connection may refuse to read.
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            message_bytes: 65_535,
            connection_queue_bytes: 1 << 20,
            connecting_messages: 256,
            arrivals: 4096,
            datagram_backlog: 1024,
            connect_timeout: Duration::from_secs(4),
            // longer than the usual registration, whose flow must outlive it
            idle_timeout: Duration::from_secs(3900),
            unfinished_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
        }
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What an endpoint did since it was bound; read from anywhere, written by the endpoint. `connections_open`,
        /// `client_transactions`, `server_transactions` and `transaction_timers` are gauges, everything else only grows.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[doc = $doc])+ pub $name: Count,)+ }

        impl Counters {
            /// Every counter with its name, for a metrics page.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.value()),)+]
            }
        }
    };
}

counters! {
    /// Messages that came in and could be read.
    messages_in,
    /// Messages handed to the kernel or to a connection's queue.
    messages_out,
    /// Datagrams and framed messages that were not SIP, dropped without an answer.
    malformed_dropped,
    /// Requests that could not be read but answered (400, 505, …).
    malformed_answered,
    /// Keep-alives of RFC 5626 §3.5.1 that were answered (connections) or ignored (datagrams).
    keep_alives,
    /// Connections open now.
    connections_open,
    /// Connections accepted.
    connections_accepted,
    /// Connections opened by us.
    connections_opened,
    /// Connections refused because of [`Limits::connections`].
    connections_refused,
    /// Connections that could not be opened.
    connect_failures,
    /// Connections ended by a time-out of [`Limits`].
    connections_timed_out,
    /// Connections ended because framing was lost.
    framing_lost,
    /// Messages that could not be sent: error, limit, or no listener of the transport.
    send_failures,
    /// Client transactions of the layer now.
    client_transactions,
    /// Server transactions of the layer now.
    server_transactions,
    /// Timers of the layer that run now.
    transaction_timers,
    /// ICMP errors that came back for datagrams (RFC 3261 §18.4).
    icmp_errors,
}

/// A number that many threads may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    pub(crate) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn set(&self, value: usize) {
        self.0.store(value as u64, Ordering::Relaxed);
    }
    pub(crate) fn less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
