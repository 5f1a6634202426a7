//! Which socket or connection a message leaves by.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strowger_sip::Message;
use strowger_transaction::{Flow, FlowId, Target, TransmitId, Transport};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::bind::Direction;
use crate::connection::{self, Arrival, Connection, Key, Outgoing, Shared};
use crate::udp::UdpListener;

/// Datagrams remembered so that an ICMP error finds its transaction.
const RECENT_DATAGRAMS: usize = 1024;

/// A message that waits for its connection.
struct Pending {
    messages: Vec<(TransmitId, Message)>,
}

/// The sockets and connections of an endpoint, owned by the task that owns the machines.
pub(crate) struct Flows {
    shared: Shared,
    udp: Vec<UdpListener>,
    ids: Arc<AtomicU64>,
    room: Arc<Semaphore>,
    connections: HashMap<FlowId, Connection>,
    by_peer: HashMap<Key, FlowId>,
    connecting: HashMap<Key, Pending>,
    recent: VecDeque<(SocketAddr, TransmitId)>,
    /// Transmissions that failed at once; the owner tells the layer when the layer is not in the middle of its output.
    pub(crate) failed: Vec<TransmitId>,
}

impl Flows {
    pub(crate) fn start(
        udp: Vec<(std::net::UdpSocket, SocketAddr)>,
        tcp: Vec<(std::net::TcpListener, SocketAddr)>,
        shared: Shared,
    ) -> io::Result<Flows> {
        let ids = Arc::new(AtomicU64::new(1));
        let room = Arc::new(Semaphore::new(shared.limits.connections));
        let udp = udp
            .into_iter()
            .map(|(socket, local)| UdpListener::start(socket, local, next(&ids), &shared))
            .collect::<io::Result<Vec<_>>>()?;
        for (listener, _) in tcp {
            let listener = TcpListener::from_std(listener)?;
            tokio::spawn(accept(listener, shared.clone(), Arc::clone(&ids), Arc::clone(&room)));
        }
        Ok(Flows {
            shared,
            udp,
            ids,
            room,
            connections: HashMap::new(),
            by_peer: HashMap::new(),
            connecting: HashMap::new(),
            recent: VecDeque::new(),
            failed: Vec::new(),
        })
    }

    /// Sends a message, or notes in `failed` that it cannot be.
    pub(crate) fn send(&mut self, id: TransmitId, message: Message, target: Target) {
        let sent = match target.transport {
            Transport::Udp => self.send_datagram(id, &message, &target),
            _ => self.send_connected(id, message, &target),
        };
        if sent.is_err() {
            self.shared.counters.send_failures.one();
            self.failed.push(id);
        }
    }

    fn send_datagram(&mut self, id: TransmitId, message: &Message, target: &Target) -> Result<(), ()> {
        let listener = choose(&self.udp, target).ok_or(())?;
        let peer = target.address;
        listener.send(id, message.as_bytes(), peer)?;
        let flow = Flow { id: listener.flow, transport: Transport::Udp, local: listener.local, peer };
        self.shared.counters.messages_out.one();
        self.shared.saw(Direction::Out, message, &flow);
        if self.recent.len() == RECENT_DATAGRAMS {
            self.recent.pop_front();
        }
        self.recent.push_back((peer, id));
        Ok(())
    }

    fn send_connected(&mut self, id: TransmitId, message: Message, target: &Target) -> Result<(), ()> {
        // the flow it is meant for; when that is gone a request goes to its peer's address, a response to where §18.2.2 says
        if let Some(flow) = target.flow.filter(|flow| self.connections.contains_key(flow)) {
            return self.send_on(flow, id, &message);
        }
        let address = match (target.flow, message.is_request()) {
            (Some(_), false) => response_address(&message, target),
            _ => target.address,
        };
        let key = (target.transport, address);
        if let Some(flow) = self.by_peer.get(&key).copied() {
            return self.send_on(flow, id, &message);
        }
        match self.connecting.get_mut(&key) {
            Some(pending) if pending.messages.len() >= self.shared.limits.connecting_messages => Err(()),
            Some(pending) => {
                pending.messages.push((id, message));
                Ok(())
            }
            None => self.connect(key, target.local, (id, message)),
        }
    }

    fn send_on(&mut self, flow: FlowId, id: TransmitId, message: &Message) -> Result<(), ()> {
        let connection = self.connections.get(&flow).ok_or(())?;
        connection.writer.send(Outgoing { id: Some(id), bytes: message.as_bytes().clone() })?;
        self.shared.counters.messages_out.one();
        self.shared.saw(Direction::Out, message, &connection.flow);
        Ok(())
    }

    fn connect(&mut self, key: Key, local: Option<SocketAddr>, first: (TransmitId, Message)) -> Result<(), ()> {
        if key.0 != Transport::Tcp {
            return Err(());
        }
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            self.shared.counters.connections_refused.one();
            return Err(());
        };
        self.connecting.insert(key, Pending { messages: vec![first] });
        let shared = self.shared.clone();
        let id = next(&self.ids);
        tokio::spawn(async move {
            let opened = timeout(shared.limits.connect_timeout, open(key.1, local.map(|local| local.ip()))).await;
            let arrivals = shared.arrivals.clone();
            let opened = match opened {
                Ok(Ok(stream)) => match stream.local_addr() {
                    Ok(local) => Some((stream, local)),
                    Err(_) => None,
                },
                Ok(Err(error)) => {
                    tracing::debug!(%error, peer = %key.1, "connection not opened");
                    None
                }
                Err(_) => None,
            };
            let Some((stream, local)) = opened else {
                shared.counters.connect_failures.one();
                drop(permit);
                let _ = arrivals.send(Arrival::Connected(key, None)).await;
                return;
            };
            shared.counters.connections_opened.one();
            shared.counters.connections_open.one();
            let flow = Flow { id, transport: key.0, local, peer: key.1 };
            let start = connection::start(stream, flow, shared, permit);
            if arrivals.send(Arrival::Connected(key, Some(start.connection))).await.is_ok() {
                (start.run)();
            }
        });
        Ok(())
    }

    pub(crate) fn opened(&mut self, connection: Connection) {
        let flow = &connection.flow;
        self.by_peer.insert((flow.transport, flow.peer), flow.id);
        self.connections.insert(flow.id, connection);
    }

    pub(crate) fn connected(&mut self, key: Key, connection: Option<Connection>) {
        let pending = self.connecting.remove(&key);
        let flow = connection.map(|connection| {
            let flow = connection.flow.id;
            self.opened(connection);
            flow
        });
        for (id, message) in pending.into_iter().flat_map(|pending| pending.messages) {
            let sent = match flow {
                Some(flow) => self.send_on(flow, id, &message),
                None => Err(()),
            };
            if sent.is_err() {
                self.shared.counters.send_failures.one();
                self.failed.push(id);
            }
        }
    }

    /// Forgets a connection.
    pub(crate) fn closed(&mut self, flow: FlowId) {
        if let Some(connection) = self.connections.remove(&flow) {
            let key = (connection.flow.transport, connection.flow.peer);
            // a newer connection to the same peer stays
            if self.by_peer.get(&key) == Some(&flow) {
                self.by_peer.remove(&key);
            }
        }
    }

    /// Datagrams to `peer` do not arrive: what was lately sent there has failed.
    pub(crate) fn unreachable(&mut self, peer: SocketAddr) {
        let failed = &mut self.failed;
        self.recent.retain(|(to, id)| {
            if *to == peer {
                failed.push(*id);
            }
            *to != peer
        });
    }
}

fn next(ids: &AtomicU64) -> FlowId {
    FlowId(ids.fetch_add(1, Ordering::Relaxed))
}

/// The socket for a datagram: the one its flow names, the one its local address names, one whose address reaches the peer,
/// any of the peer's address family.
fn choose<'a>(sockets: &'a [UdpListener], target: &Target) -> Option<&'a UdpListener> {
    let peer = target.address;
    if let Some(flow) = target.flow
        && let Some(found) = sockets.iter().find(|socket| socket.flow == flow)
    {
        return Some(found);
    }
    if let Some(local) = target.local
        && let Some(found) = sockets.iter().find(|socket| socket.local == local)
    {
        return Some(found);
    }
    let family = |socket: &&UdpListener| socket.local.is_ipv4() == peer.is_ipv4();
    let reaches = |socket: &&UdpListener| {
        socket.local.ip().is_unspecified() || socket.local.ip().is_loopback() == peer.ip().is_loopback()
    };
    let candidates = || sockets.iter().filter(family);
    candidates().find(reaches).or_else(|| candidates().next())
}

/// RFC 3261 §18.2.2: where a response goes when the connection of its request is gone: the address the request came from,
/// at the port of sent-by.
fn response_address(response: &Message, target: &Target) -> SocketAddr {
    let Ok(via) = response.top_via() else { return target.address };
    let host = via.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(via.host);
    let ip = via.received().or_else(|| host.parse::<IpAddr>().ok()).unwrap_or(target.address.ip());
    SocketAddr::new(ip, via.port.unwrap_or(target.transport.default_port()))
}

async fn open(peer: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(ip) = local
        && !ip.is_unspecified()
    {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    let stream = socket.connect(peer).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn accept(listener: TcpListener, shared: Shared, ids: Arc<AtomicU64>, room: Arc<Semaphore>) {
    let shutdown = shared.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            _ = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // out of file descriptors, or a peer that was gone before we came: neither may spin
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            shared.counters.connections_refused.one();
            continue;
        };
        let (Ok(local), Ok(())) = (stream.local_addr(), stream.set_nodelay(true)) else { continue };
        shared.counters.connections_accepted.one();
        shared.counters.connections_open.one();
        let flow = Flow { id: next(&ids), transport: Transport::Tcp, local, peer };
        let start = connection::start(stream, flow, shared.clone(), permit);
        if shared.arrivals.send(Arrival::Opened(start.connection)).await.is_err() {
            return;
        }
        (start.run)();
    }
}
