//! HTTP/1.1, plain or over TLS: `POST /osp`, `POST /tep`, `POST /charging/<transaction>`.
//!
//! What the OSP Toolkit accepts as an answer: status exactly 200, `Content-Type` exactly `text/plain`, `Content-Length` and no chunking. So every
//! answer to a readable OSP message is that, refusals included: the OSP status inside says what happened.

use crate::bind::Listener;
use crate::tls::Tls;
use crate::{BoundHttp, Clearinghouse, Peer};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strowger_enrollment::Shown;
use strowger_osp::{Message, multipart};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest body that is read.
pub const MAXIMUM_BODY_OCTETS: usize = 256 * 1024;

/// How many connections are served at once, those in a TLS handshake included; more wait to be accepted.
pub const MAXIMUM_CONNECTIONS: usize = 1024;

/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long running requests may take after the shutdown was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until `shutdown`; then takes no new connections, finishes what runs, and returns. Runs the sweeper, too.
pub async fn serve(clearinghouse: Arc<Clearinghouse>, bound: BoundHttp, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(MAXIMUM_CONNECTIONS));
    if bound.listeners.iter().any(|listener| listener.names.is_some()) {
        let fingerprint = clearinghouse.authority_fingerprint();
        tracing::info!(fingerprint, "https is served with a certificate of this authority");
    }
    for Listener { socket, names } in bound.listeners {
        let tls = names.map(|names| Arc::new(Tls::new(Arc::clone(&clearinghouse), names)));
        if let Some(Err(error)) = tls.as_ref().map(|tls| tls.config()) {
            tracing::error!(%error, "there is no server certificate: https is not served");
            continue;
        }
        tasks.spawn(accept(
            socket,
            tls,
            Arc::clone(&clearinghouse),
            Arc::clone(&permits),
            tasks.clone(),
            shutdown.clone(),
        ));
    }
    tasks.spawn(sweep(clearinghouse, shutdown.clone()));
    tasks.close();
    shutdown.cancelled().await;
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, tasks.wait()).await;
}

async fn sweep(clearinghouse: Arc<Clearinghouse>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(clearinghouse.until_next_sweep()) => {}
        }
        if let Err(error) = clearinghouse.sweep().await {
            tracing::error!(%error, "what timed out cannot be kept");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    clearinghouse: Arc<Clearinghouse>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => return,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // out of descriptors, mostly: it passes
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (clearinghouse, shutdown, tls) = (Arc::clone(&clearinghouse), shutdown.clone(), tls.clone());
        tasks.spawn(async move {
            let _permit = permit;
            match tls {
                Some(tls) => secure(&tls, stream, address, clearinghouse, shutdown).await,
                None => converse(stream, Caller { address, shown: None }, clearinghouse, shutdown).await,
            }
        });
    }
}

/// Who is at the other end of a connection.
#[derive(Clone)]
struct Caller {
    address: SocketAddr,
    shown: Option<Shown>,
}

async fn secure(
    tls: &Tls,
    stream: TcpStream,
    address: SocketAddr,
    clearinghouse: Arc<Clearinghouse>,
    shutdown: CancellationToken,
) {
    let opened = tokio::select! {
        () = shutdown.cancelled() => return,
        opened = tls.accept(stream, address) => opened,
    };
    match opened {
        Ok((stream, shown)) => converse(stream, Caller { address, shown }, clearinghouse, shutdown).await,
        Err(error) => tracing::info!(%error, %address, "a TLS connection is refused"),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    caller: Caller,
    clearinghouse: Arc<Clearinghouse>,
    shutdown: CancellationToken,
) {
    let address = caller.address;
    let service = service_fn(move |request| respond(Arc::clone(&clearinghouse), caller.clone(), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => {
            if let Err(error) = served {
                tracing::debug!(%error, %address, "a connection ended");
            }
            return;
        }
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn respond(
    clearinghouse: Arc<Clearinghouse>,
    caller: Caller,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let charging = path.strip_prefix("/charging/").map(str::to_owned);
    if path != "/osp" && path != "/tep" && charging.is_none() {
        return Ok(answer(StatusCode::NOT_FOUND, "there is /osp, /tep and /charging/<transaction>\n"));
    }
    if request.method() != Method::POST {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, "POST only\n");
        response.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static("POST"));
        return Ok(response);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or("text/plain").to_owned();
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(response) => return Ok(*response),
    };
    // the connection may be older than the revocation
    if let Some(Err(why)) = caller.shown.as_ref().map(|shown| clearinghouse.still_holds(shown)) {
        clearinghouse.note("certificate-refused", format!("{}: {why}", caller.address)).await;
        return Ok(closing(answer(StatusCode::FORBIDDEN, format!("{why}\n"))));
    }
    let certified = caller.shown.map(|shown| (shown.identity.customer, shown.identity.device));
    let peer = Peer { address: Some(caller.address), certified };
    Ok(match charging {
        Some(transaction) => charge(&clearinghouse, &transaction, &body),
        None if path == "/tep" => answer(StatusCode::OK, clearinghouse.enroll(&body, &peer).await),
        None => osp(&clearinghouse, &content_type, &body, &peer).await,
    })
}

async fn read(body: Incoming) -> Result<Bytes, Box<Response<Full<Bytes>>>> {
    let limited = Limited::new(body, MAXIMUM_BODY_OCTETS).collect();
    match tokio::time::timeout(BODY_TIMEOUT, limited).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let what = format!("at most {MAXIMUM_BODY_OCTETS} octets\n");
            Err(Box::new(closing(answer(StatusCode::PAYLOAD_TOO_LARGE, what))))
        }
        Ok(Err(_)) => Err(Box::new(closing(answer(StatusCode::BAD_REQUEST, "the body cannot be read\n")))),
        Err(_) => Err(Box::new(closing(answer(StatusCode::REQUEST_TIMEOUT, "the body took too long\n")))),
    }
}

async fn osp(clearinghouse: &Clearinghouse, content_type: &str, body: &[u8], peer: &Peer) -> Response<Full<Bytes>> {
    let parsed = multipart::Payload::parse(Some(content_type), body).and_then(|payload| Message::parse(payload.xml()));
    match parsed {
        Ok(message) => answer(StatusCode::OK, clearinghouse.handle(message, peer).await.to_xml()),
        Err(error) => {
            tracing::info!(%error, "an OSP message is refused");
            match error.answer(clearinghouse.timestamp()) {
                Some(refusal) => answer(StatusCode::OK, refusal.to_xml()),
                None => answer(StatusCode::BAD_REQUEST, format!("{error}\n")),
            }
        }
    }
}

fn charge(clearinghouse: &Clearinghouse, transaction: &str, body: &[u8]) -> Response<Full<Bytes>> {
    let Ok(transaction) = transaction.parse() else {
        return answer(StatusCode::NOT_FOUND, "a transaction is a number\n");
    };
    let message = match strowger_charging::ChargeMessage::from_xml(body) {
        Ok(message) => message,
        Err(error) => return answer(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    match clearinghouse.charge(transaction, &message) {
        Ok(bill) => answer(StatusCode::OK, format!("{}\n", bill.total)),
        Err(error @ crate::charge::ChargeRefused::Unknown) => answer(StatusCode::NOT_FOUND, format!("{error}\n")),
        Err(error) => answer(StatusCode::CONFLICT, format!("{error}\n")),
    }
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    response
}

/// What remains of the body is not read: the connection cannot be used again.
fn closing(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
    response
}
