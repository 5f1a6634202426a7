//! The decision point's side: listens, and feeds one machine.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use strowger_clock::Timestamp;
use strowger_pdp::{Config, ConnectionId, Event, Output, Pdp};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::wire::{WRITES_WAITING_MAX, read_all, write_all};
use crate::{Epoch, sleep_until, timestamp};

/// Most TCP connections the driver holds, whatever the policy says.
pub const CONNECTIONS_MAX: usize = 4096;
/// Reads of all connections together that may wait for the machine.
const READS_WAITING_MAX: usize = 1024;

/// The listening address could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has the port.
    #[error(
        "COPS cannot listen on {0}: the port is taken; stop the program that has it or set another address for policy.listen"
    )]
    Taken(SocketAddr),
    /// Anything else.
    #[error("COPS cannot listen on {address}: {error}; set another address for policy.listen")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

/// A listening decision point that does not serve yet: its address is known, its port is ours.
#[derive(Debug)]
pub struct BoundPdp {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundPdp {
    /// Listens on `address`; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> Result<BoundPdp, BindError> {
        let other = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(address),
            _ => BindError::Other { address, error },
        };
        let listener = TcpListener::bind(address).await.map_err(other)?;
        let address = listener.local_addr().map_err(other)?;
        Ok(BoundPdp { listener, address })
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }
}

enum Arrival {
    Bytes(ConnectionId, Bytes),
    Closed(ConnectionId),
}

struct Peer {
    writes: mpsc::Sender<Bytes>,
    reading: CancellationToken,
}

/// Serves until `shutdown` is cancelled. `events` hears every decision with its reason, and what calls used; it must not block.
pub async fn serve_pdp(
    bound: BoundPdp,
    config: Config,
    mut events: impl FnMut(Timestamp, Event) + Send,
    shutdown: CancellationToken,
) {
    let epoch = Epoch::new();
    let mut pdp = Pdp::new(config);
    let mut peers: BTreeMap<ConnectionId, Peer> = BTreeMap::new();
    let mut connections_used = 0u64;
    let (arrivals, mut arrived) = mpsc::channel(READS_WAITING_MAX);
    loop {
        while let Some(output) = pdp.poll_output() {
            match output {
                Output::Event(event) => events(timestamp(), event),
                Output::Send(id, bytes) => {
                    // A peer that does not read: its reader ends, which ends the connection.
                    if let Some(peer) = peers.get(&id)
                        && peer.writes.try_send(bytes).is_err()
                    {
                        peer.reading.cancel();
                    }
                }
                Output::Close(id) => {
                    if let Some(peer) = peers.remove(&id) {
                        peer.reading.cancel();
                    }
                }
            }
        }
        tokio::select! {
            accepted = bound.listener.accept() => match accepted {
                Ok((stream, address)) if peers.len() < CONNECTIONS_MAX => {
                    connections_used += 1;
                    let id = ConnectionId(connections_used);
                    peers.insert(id, spawn_peer(id, stream, arrivals.clone()));
                    pdp.connected(epoch.now(), id, address);
                }
                // Too many: dropped at once.
                Ok(_) => {}
                Err(error) => {
                    // Out of descriptors, mostly: give running connections the time to end.
                    tracing::warn!(%error, "a COPS connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            arrival = arrived.recv() => match arrival {
                Some(Arrival::Bytes(id, bytes)) => pdp.received(epoch.now(), id, &bytes),
                Some(Arrival::Closed(id)) => {
                    peers.remove(&id);
                    pdp.closed(epoch.now(), id);
                }
                None => {}
            },
            () = sleep_until(epoch, pdp.next_deadline()) => pdp.timeout(epoch.now()),
            () = shutdown.cancelled() => break,
        }
    }
    pdp.shut_down(epoch.now());
    while let Some(output) = pdp.poll_output() {
        match output {
            Output::Event(event) => events(timestamp(), event),
            Output::Send(id, bytes) => {
                if let Some(peer) = peers.get(&id) {
                    let _ = peer.writes.try_send(bytes);
                }
            }
            Output::Close(id) => {
                if let Some(peer) = peers.remove(&id) {
                    peer.reading.cancel();
                }
            }
        }
    }
}

fn spawn_peer(id: ConnectionId, stream: TcpStream, arrivals: mpsc::Sender<Arrival>) -> Peer {
    let (writes, queue) = mpsc::channel(WRITES_WAITING_MAX);
    let reading = CancellationToken::new();
    let stop = reading.clone();
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    tokio::spawn(write_all(write, queue));
    tokio::spawn(async move {
        read_all(read, &stop, &arrivals, |bytes| Arrival::Bytes(id, bytes)).await;
        let _ = arrivals.send(Arrival::Closed(id)).await;
    });
    Peer { writes, reading }
}
