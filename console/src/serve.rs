//! The listener and its connections.

use crate::{Sources, api};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections are served at once. One more is answered 503 and closed.
pub const MAXIMUM_CONNECTIONS: usize = 128;

/// The longest head of a request (request line and headers). A longer one is answered 431 and closed.
pub const MAXIMUM_HEAD_OCTETS: usize = 16 * 1024;

/// How many headers a request may have. More are answered 431 and closed.
pub const MAXIMUM_HEADERS: usize = 64;

/// How many connections beyond the maximum are told so at once; more are closed without a word.
const MAXIMUM_REFUSALS: usize = 16;

/// How long a request's head may take, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection may live: one that never reads its answers does not keep its place.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a refused connection has to take its answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long running requests may take after the shutdown was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the console cannot listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "console: cannot listen on {address}: {error}; choose another port under [console] listen, or stop the program that has it"
)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub error: std::io::Error,
}

/// The console role.
#[derive(Debug)]
pub struct Console;

impl Console {
    /// Listens, and serves nothing yet. Port 0: any free one. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address is taken or not ours: one sentence that names it.
    pub async fn bind(listen: SocketAddr) -> Result<BoundConsole, BindError> {
        let failed = |error| BindError { address: listen, error };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(BoundConsole { listener, address })
    }
}

/// A console that listens.
#[derive(Debug)]
pub struct BoundConsole {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundConsole {
    /// The address, with the port that was chosen.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; then takes no new connections, finishes what runs (for five seconds at most), and returns.
    ///
    /// # Errors
    /// None so far: a connection that cannot be accepted is logged, and the next one is waited for.
    pub async fn serve(self, sources: Sources, shutdown: CancellationToken) -> std::io::Result<()> {
        let shown = Arc::new(api::Shown::new(sources, self.address.ip().is_loopback()));
        let service = TowerToHyperService::new(api::router(Arc::clone(&shown)));
        let tasks = TaskTracker::new();
        let permits = Arc::new(Semaphore::new(MAXIMUM_CONNECTIONS));
        let refusals = Arc::new(Semaphore::new(MAXIMUM_REFUSALS));
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // out of descriptors, mostly: it passes
                    tracing::warn!(%error, "a connection to the console cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
                let open = shown.connection();
                let serving = connection(stream, service.clone(), shutdown.clone());
                tasks.spawn(async move {
                    serving.await;
                    drop((open, permit));
                });
            } else {
                shown.refused();
                if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                    tasks.spawn(async move {
                        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refuse(stream)).await;
                        drop(permit);
                    });
                }
            }
        }
        drop(self.listener);
        tasks.close();
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, tasks.wait()).await;
        Ok(())
    }
}

async fn connection(stream: TcpStream, service: TowerToHyperService<axum::Router>, shutdown: CancellationToken) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAXIMUM_HEAD_OCTETS)
        .max_headers(MAXIMUM_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection to the console ended");
            }
            return;
        }
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_TIMEOUT) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, connection).await;
}

/// Says 503 to a connection that is one too many. What it asked is read and dropped: closing over unread octets would reset the connection and
/// take the answer with it.
async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    let body = format!("{{\"error\":\"the console serves {MAXIMUM_CONNECTIONS} connections at once: try again\"}}\n");
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\nRetry-After: 1\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await?;
    let mut dropped = [0; 1024];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}
