//! One UDP socket: a task that reads, a task that sends what the kernel had no room for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use strowger_sip::Message;
use strowger_transaction::{Flow, FlowId, TransmitId, Transport};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::bind::Direction;
use crate::connection::{Arrival, Shared};

/// Datagrams read before other tasks get a turn.
const BATCH: usize = 64;

type Datagram = (TransmitId, Bytes, SocketAddr);

/// The owner's end of a UDP socket.
pub(crate) struct UdpListener {
    pub(crate) flow: FlowId,
    pub(crate) local: SocketAddr,
    socket: Arc<UdpSocket>,
    backlog: mpsc::Sender<Datagram>,
}

impl UdpListener {
    pub(crate) fn start(
        socket: std::net::UdpSocket,
        local: SocketAddr,
        flow: FlowId,
        shared: &Shared,
    ) -> io::Result<UdpListener> {
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let (backlog, waiting) = mpsc::channel(shared.limits.datagram_backlog.max(1));
        tokio::spawn(cancelled(shared, read(Arc::clone(&socket), local, flow, shared.clone())));
        tokio::spawn(cancelled(shared, send_later(Arc::clone(&socket), waiting, shared.clone())));
        Ok(UdpListener { flow, local, socket, backlog })
    }

    /// Sends a datagram without waiting. `Err` when it will not be sent.
    pub(crate) fn send(&self, id: TransmitId, bytes: &Bytes, peer: SocketAddr) -> Result<(), ()> {
        let mut tries = 0;
        loop {
            match self.socket.try_send_to(bytes, peer) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.backlog.try_send((id, bytes.clone(), peer)).map_err(|_| ());
                }
                // an ICMP error for an earlier datagram is reported by the next call, whomever it sends to
                Err(_) if tries < 2 => tries += 1,
                Err(error) => {
                    tracing::debug!(%error, local = %self.local, "datagram not sent");
                    return Err(());
                }
            }
        }
    }
}

fn cancelled<W: Future<Output = ()> + Send>(shared: &Shared, work: W) -> impl Future<Output = ()> + Send + use<W> {
    let shutdown = shared.shutdown.clone();
    async move {
        tokio::select! {
            _ = shutdown.cancelled() => {}
            _ = work => {}
        }
    }
}

async fn send_later(socket: Arc<UdpSocket>, mut waiting: mpsc::Receiver<Datagram>, shared: Shared) {
    while let Some((id, bytes, peer)) = waiting.recv().await {
        if socket.send_to(&bytes, peer).await.is_err() && socket.send_to(&bytes, peer).await.is_err() {
            let _ = shared.arrivals.send(Arrival::SendFailed(id)).await;
        }
    }
}

async fn read(socket: Arc<UdpSocket>, local: SocketAddr, flow: FlowId, shared: Shared) {
    // one byte more than a message may have tells a cut datagram from a whole one
    let mut buffer = vec![0u8; shared.limits.message_bytes.saturating_add(1).min(65_536)];
    loop {
        let Ok(ready) = socket.ready(Interest::READABLE | Interest::ERROR).await else { return };
        if ready.is_error() {
            while let Ok(unreachable) = socket.try_io(Interest::ERROR, || crate::icmp::take(&socket)) {
                shared.counters.icmp_errors.one();
                if let Some(peer) = unreachable
                    && shared.arrivals.send(Arrival::Unreachable(peer)).await.is_err()
                {
                    return;
                }
            }
        }
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, peer)) => {
                    let Some(datagram) = buffer.get(..length) else { continue };
                    let flow = Flow { id: flow, transport: Transport::Udp, local, peer };
                    if !datagram_in(datagram, flow, &socket, &shared).await {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // the pending error of an earlier datagram; its details are in the error queue
                Err(_) => {}
            }
        }
    }
}

async fn datagram_in(datagram: &[u8], flow: Flow, socket: &UdpSocket, shared: &Shared) -> bool {
    let counters = &shared.counters;
    if datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        counters.keep_alives.one();
        return true;
    }
    let limits = crate::wire_limits(&shared.limits);
    match Message::parse_with(Bytes::copy_from_slice(datagram), &limits) {
        Ok(message) => {
            counters.messages_in.one();
            shared.saw(Direction::In, &message, &flow);
            shared.arrivals.send(Arrival::Message(message, flow)).await.is_ok()
        }
        Err(error) => {
            tracing::debug!(%error, peer = %flow.peer, "datagram refused");
            match crate::refusal(&error) {
                Some(answer) => {
                    counters.malformed_answered.one();
                    let peer = answer_address(&answer, flow.peer);
                    shared.saw(Direction::Out, &answer, &Flow { peer, ..flow });
                    let _ = socket.try_send_to(answer.as_bytes(), peer);
                }
                None => counters.malformed_dropped.one(),
            }
            true
        }
    }
}

/// Where the answer to a datagram goes: its source address, and its source port if `rport` asks for it, else the port of
/// sent-by (RFC 3261 §18.2.2, RFC 3581 §4).
fn answer_address(answer: &Message, source: SocketAddr) -> SocketAddr {
    match answer.top_via() {
        Ok(via) if via.rport().is_none() => {
            SocketAddr::new(source.ip(), via.port.unwrap_or(Transport::Udp.default_port()))
        }
        _ => source,
    }
}
