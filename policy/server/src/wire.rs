//! One outgoing TCP connection at a time, as the link machine wants it: connect, write, close, and what comes back.

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Messages that may wait to be written to one peer; more means that it does not read.
pub(crate) const WRITES_WAITING_MAX: usize = 4096;
/// Reads that may wait for the machine.
const READS_WAITING_MAX: usize = 64;
const READ_OCTETS: usize = 16 * 1024;

/// What happened to the connection.
#[derive(Debug)]
pub(crate) enum WireEvent {
    Connected,
    Bytes(Bytes),
    Closed,
}

/// The connection; a new one replaces the old one, whose late events are dropped.
#[derive(Debug)]
pub(crate) struct Wire {
    generation: u64,
    events: mpsc::Sender<(u64, WireEvent)>,
    incoming: mpsc::Receiver<(u64, WireEvent)>,
    current: Option<mpsc::Sender<Bytes>>,
    reading: CancellationToken,
}

impl Wire {
    pub(crate) fn new() -> Wire {
        let (events, incoming) = mpsc::channel(READS_WAITING_MAX);
        Wire { generation: 0, events, incoming, current: None, reading: CancellationToken::new() }
    }

    /// Begins to connect; `Connected` or `Closed` follows.
    pub(crate) fn connect(&mut self, address: SocketAddr) {
        self.close();
        self.generation += 1;
        let (writes, queue) = mpsc::channel(WRITES_WAITING_MAX);
        self.current = Some(writes);
        self.reading = CancellationToken::new();
        tokio::spawn(connection(address, self.generation, self.events.clone(), queue, self.reading.clone()));
    }

    /// Queues bytes. A full queue means a peer that does not read: the connection is given up.
    pub(crate) fn send(&mut self, bytes: Bytes) {
        let Some(writes) = &self.current else { return };
        if writes.try_send(bytes).is_err() {
            self.reading.cancel();
        }
    }

    /// Writes out what is queued, then closes. Nothing of this connection is heard any more.
    pub(crate) fn close(&mut self) {
        self.generation += 1;
        self.current = None;
        self.reading.cancel();
    }

    /// The next event of the current connection.
    pub(crate) async fn next(&mut self) -> WireEvent {
        loop {
            match self.incoming.recv().await {
                Some((generation, event)) if generation == self.generation => return event,
                Some(_) => {}
                // `self.events` keeps the channel open.
                None => std::future::pending().await,
            }
        }
    }
}

async fn connection(
    address: SocketAddr,
    generation: u64,
    events: mpsc::Sender<(u64, WireEvent)>,
    queue: mpsc::Receiver<Bytes>,
    reading: CancellationToken,
) {
    let stream = tokio::select! {
        stream = TcpStream::connect(address) => stream,
        () = reading.cancelled() => return,
    };
    if let Ok(stream) = stream {
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        if events.send((generation, WireEvent::Connected)).await.is_ok() {
            let writer = tokio::spawn(write_all(write, queue));
            read_all(read, &reading, &events, |bytes| (generation, WireEvent::Bytes(bytes))).await;
            // What is queued (a CC, an RPT) still goes out; the machine drops its end of the queue to finish.
            let _ = events.send((generation, WireEvent::Closed)).await;
            let _ = writer.await;
            return;
        }
    }
    let _ = events.send((generation, WireEvent::Closed)).await;
}

/// Reads until the end, an error, or cancellation; what comes goes into `arrivals`.
pub(crate) async fn read_all<T>(
    mut read: OwnedReadHalf,
    stop: &CancellationToken,
    arrivals: &mpsc::Sender<T>,
    arrival: impl Fn(Bytes) -> T,
) {
    let mut buffer = BytesMut::with_capacity(READ_OCTETS);
    loop {
        buffer.reserve(READ_OCTETS);
        let count = tokio::select! {
            count = read.read_buf(&mut buffer) => count,
            () = stop.cancelled() => return,
        };
        match count {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if arrivals.send(arrival(buffer.split().freeze())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Writes what is queued until the queue is dropped, then ends the stream.
pub(crate) async fn write_all(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(bytes) = queue.recv().await {
        write.write_all(&bytes).await?;
    }
    write.shutdown().await
}
