//! One connection: a task that reads and frames, a task that writes. Both are generic over the stream, so that TLS is a
//! connection whose stream was wrapped and WebSocket one with another framing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use strowger_sip::stream::{Frame, Framer};
use strowger_sip::{Message, ParseError};
use strowger_transaction::{Flow, FlowId, TransmitId, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bind::{Direction, Tap};
use crate::limits::{Counters, Limits};

/// Messages a connection's queue may hold; its bytes are limited by [`Limits::connection_queue_bytes`].
const QUEUE_MESSAGES: usize = 4096;
const READ_BYTES: usize = 16 * 1024;
/// RFC 5626 §3.5.1: the answer to a double CRLF.
const PONG: &[u8] = b"\r\n";

/// What the sockets' tasks tell the task that owns the machines.
pub(crate) enum Arrival {
    /// A message that could be read.
    Message(Message, Flow),
    /// A connection was accepted.
    Opened(Connection),
    /// A connection that was wanted is there, or is not.
    Connected(Key, Option<Connection>),
    /// A connection ended; these messages were never written.
    Closed(FlowId, Vec<TransmitId>),
    /// A datagram could not be sent.
    SendFailed(TransmitId),
    /// Datagrams to this address do not arrive.
    Unreachable(SocketAddr),
}

/// How a connection is found again.
pub(crate) type Key = (Transport, SocketAddr);

/// A message on its way out of a connection; keep-alive answers have no id.
pub(crate) struct Outgoing {
    pub(crate) id: Option<TransmitId>,
    pub(crate) bytes: Bytes,
}

/// The owner's end of a connection.
pub(crate) struct Connection {
    pub(crate) flow: Flow,
    pub(crate) writer: Writer,
}

/// The bounded queue to a connection's writing task.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Outgoing>,
    queued_bytes: Arc<AtomicUsize>,
    limit_bytes: usize,
    close: CancellationToken,
}

impl Writer {
    /// Queues a message, or says that it cannot be: the peer does not read. The connection is then of no use and ends.
    pub(crate) fn send(&self, outgoing: Outgoing) -> Result<(), ()> {
        let bytes = outgoing.bytes.len();
        let queued = self.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        if queued.saturating_add(bytes) > self.limit_bytes || self.queue.try_send(outgoing).is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.close.cancel();
            return Err(());
        }
        Ok(())
    }
}

/// What every connection of an endpoint shares.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tap: Option<Tap>,
    pub(crate) shutdown: CancellationToken,
}

impl Shared {
    pub(crate) fn saw(&self, direction: Direction, message: &Message, flow: &Flow) {
        if let Some(tap) = &self.tap {
            tap(direction, message, flow);
        }
    }
}

/// Starts the two tasks of a connection. The permit is held until both are gone.
pub(crate) fn start<S>(stream: S, flow: Flow, shared: Shared, permit: OwnedSemaphorePermit) -> Start
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (queue, waiting) = mpsc::channel(QUEUE_MESSAGES);
    let close = shared.shutdown.child_token();
    let writer = Writer {
        queue,
        queued_bytes: Arc::default(),
        limit_bytes: shared.limits.connection_queue_bytes,
        close: close.clone(),
    };
    let (read_half, write_half) = tokio::io::split(stream);
    let reading = Reading { flow, shared: shared.clone(), writer: writer.clone(), close: close.clone() };
    let writing =
        Writing { flow: flow.id, shared, waiting, queued_bytes: Arc::clone(&writer.queued_bytes), close, permit };
    let run = move || {
        tokio::spawn(reading.run(read_half));
        tokio::spawn(writing.run(write_half));
    };
    Start { connection: Connection { flow, writer }, run: Box::new(run) }
}

/// A connection that is ready but does not read yet: its owner must know it before its first message arrives.
pub(crate) struct Start {
    pub(crate) connection: Connection,
    pub(crate) run: Box<dyn FnOnce() + Send>,
}

struct Reading {
    flow: Flow,
    shared: Shared,
    writer: Writer,
    close: CancellationToken,
}

impl Reading {
    async fn run<R: AsyncRead + Send>(self, half: R) {
        let close = self.close.clone();
        tokio::select! {
            _ = close.cancelled() => {}
            _ = self.read(half) => {}
        }
        close.cancel();
    }

    async fn read<R: AsyncRead + Send>(&self, half: R) {
        tokio::pin!(half);
        let limits = &self.shared.limits;
        let mut framer = Framer::new(crate::wire_limits(limits));
        let mut chunk = BytesMut::with_capacity(READ_BYTES);
        let mut patience = limits.unfinished_timeout;
        let mut greeted = false;
        loop {
            chunk.clear();
            chunk.reserve(READ_BYTES);
            match timeout(patience, half.read_buf(&mut chunk)).await {
                Ok(Ok(0)) | Ok(Err(_)) => return,
                Ok(Ok(_)) => framer.push(&chunk),
                Err(_) => {
                    self.shared.counters.connections_timed_out.one();
                    return;
                }
            }
            loop {
                let frame = match framer.next() {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(error) => {
                        self.refuse(error.error());
                        if error.is_fatal() {
                            self.shared.counters.framing_lost.one();
                            // the answer, if any, is still to be written
                            tokio::time::sleep(LINGER).await;
                            return;
                        }
                        continue;
                    }
                };
                if !self.frame(frame).await {
                    return;
                }
                greeted = true;
            }
            patience = if greeted && framer.pending() == 0 { limits.idle_timeout } else { limits.unfinished_timeout };
        }
    }

    fn refuse(&self, error: &ParseError) {
        tracing::debug!(%error, peer = %self.flow.peer, "message refused");
        let Some(answer) = crate::refusal(error) else {
            self.shared.counters.malformed_dropped.one();
            return;
        };
        self.shared.counters.malformed_answered.one();
        self.shared.saw(Direction::Out, &answer, &self.flow);
        // a peer that does not read its answers loses the connection with them
        let _ = self.writer.send(Outgoing { id: None, bytes: answer.as_bytes().clone() });
    }

    async fn frame(&self, frame: Frame) -> bool {
        match frame {
            Frame::KeepAlive => {
                self.shared.counters.keep_alives.one();
                self.writer.send(Outgoing { id: None, bytes: Bytes::from_static(PONG) }).is_ok()
            }
            Frame::Message(message) => {
                self.shared.counters.messages_in.one();
                self.shared.saw(Direction::In, &message, &self.flow);
                self.shared.arrivals.send(Arrival::Message(message, self.flow)).await.is_ok()
            }
        }
    }
}

/// How long a connection whose framing is lost stays open for the answer that says so.
const LINGER: Duration = Duration::from_millis(200);

struct Writing {
    flow: FlowId,
    shared: Shared,
    waiting: mpsc::Receiver<Outgoing>,
    queued_bytes: Arc<AtomicUsize>,
    close: CancellationToken,
    permit: OwnedSemaphorePermit,
}

impl Writing {
    async fn run<W: AsyncWrite + Send>(mut self, half: W) {
        let close = self.close.clone();
        let mut unsent = VecDeque::new();
        tokio::pin!(half);
        loop {
            let outgoing = tokio::select! {
                biased;
                outgoing = self.waiting.recv() => outgoing,
                _ = close.cancelled() => None,
            };
            let Some(outgoing) = outgoing else { break };
            self.queued_bytes.fetch_sub(outgoing.bytes.len(), Ordering::AcqRel);
            let written = timeout(self.shared.limits.write_timeout, half.write_all(&outgoing.bytes)).await;
            match written {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    unsent.push_back(outgoing.id);
                    break;
                }
                Err(_) => {
                    self.shared.counters.connections_timed_out.one();
                    unsent.push_back(outgoing.id);
                    break;
                }
            }
        }
        close.cancel();
        self.waiting.close();
        while let Ok(outgoing) = self.waiting.try_recv() {
            unsent.push_back(outgoing.id);
        }
        let _ = timeout(LINGER, half.shutdown()).await;
        self.shared.counters.connections_open.less();
        drop(self.permit);
        let unsent = unsent.into_iter().flatten().collect();
        let _ = self.shared.arrivals.send(Arrival::Closed(self.flow, unsent)).await;
    }
}
