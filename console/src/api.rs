//! The endpoints. All are read with `GET` (or `HEAD`); all but `/` and `/metrics` give JSON; every refusal is `{"error": "one sentence"}`.
//!
//! | path | 200 |
//! |---|---|
//! | `/api/v1/status` | `{version, uptime_seconds, roles: [name], addresses: [text], gauges: [{role, instance, metrics: {name: number}}], clearinghouse: null or {currency, customers, devices, open_calls, transfers, audits_suppressed}}` |
//! | `/api/v1/accounts` | `{accounts: [{id, name, kind, currency, posted, posted_nanos, pending_debits…, pending_credits…, available…, credit_limit…}], sums: [{currency, posted, posted_nanos, pending, pending_nanos}]}` |
//! | `/api/v1/transfers` | `{transfers: [{sequence, group, group_size, at, id, kind, pending, expires, debit, debit_name, credit, credit_name, amount, nanos, currency, code, transaction}], next}` |
//! | `/api/v1/cdrs` | `{cdrs: [{transaction, call_id, calling, called, source, destination, start, alert, connect, end, source_seconds, destination_seconds, rated_seconds, rule, cause, disagreement, difference_seconds, state, outcome, sell, cost, beyond_grant, closed_at, attempts}], next}` |
//! | `/api/v1/cdrs/{transaction}` | one of them, and `usage`: every report of it with its `xml`, oldest first |
//! | `/api/v1/authorizations` | `{authorizations: [{transaction, state, at, calling, called, source, gateways, dropped, granted_seconds, valid_after, valid_until, expires, reserved, pendings}], next}` |
//! | `/api/v1/calls/open` | `{calls: [an authorization and its bill, or null before the first charge message], open, next}`, oldest first |
//! | `/api/v1/audit` | `{audit: [{sequence, at, what, transaction, detail}], next}` |
//! | `/api/v1/bill/{transaction}` | `{transaction, state: "silent", "running", "stopped" or "settled", total, seconds, outcome when settled}` |
//! | `/api/v1/prove` | `{ok: true, transfers, sums}`; 500 with `{ok: false, error, sums}` when the books do not balance |
//! | `/api/v1/certificates` | `{certificates: [{serial, customer, device, issued_at, revoked_at}]}` |
//! | `/metrics` | `strowger_<role>_<metric>{instance="…"} number`, a line each |
//!
//! Lists take `limit` (1 to 1000, 100 without it) and `after` (the `next` of the page before); `next` is `null` on the last page. Money is
//! `{amount: "0.012", nanos: 12000000, currency: "USD"}`, or such fields beside each other; transaction numbers are strings.
//!
//! **Numbers of people:** records and usage show them in full, for bills are made of them. Authorizations and open calls hide the last four digits.
//!
//! **Refusals:** 400 for a parameter that cannot be read, 403 for a foreign `Host` on loopback, 404 for what is not there (also: everything about
//! money, in a process without the clearinghouse), 405 for another method, 413 for a request with a body, 431 for a head too large, 500 and 503
//! when the store does not serve.

use crate::metrics::{CONTENT_TYPE, Exposition};
use crate::{Sources, page, views};
use axum::Json;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strowger_clearinghouse_server::Clearinghouse;
use strowger_ledger::Imbalance;
use strowger_store::{Page, StoreError};

/// How many entries a page has when it is not said.
pub const DEFAULT_PAGE_ENTRIES: usize = 100;

/// How long an answer may take to be found.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A proof goes through every transfer while calls wait for the books. One asked for sooner than this after the last gets the last.
const PROOF_KEPT: Duration = Duration::from_secs(1);

/// When the books were proved, and how that went.
type Proved = (Instant, Result<(), Imbalance>);

/// A role, which one, and its numbers.
type Numbers = (&'static str, String, Vec<(&'static str, u64)>);

/// What requests are answered from.
pub(crate) struct Shown {
    sources: Sources,
    started: Instant,
    loopback: bool,
    connections: AtomicU64,
    refused: AtomicU64,
    requests: AtomicU64,
    proof: Arc<tokio::sync::Mutex<Option<Proved>>>,
}

/// Counts a connection for as long as it lives.
pub(crate) struct Connection(Arc<Shown>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shown {
    pub(crate) fn new(sources: Sources, loopback: bool) -> Shown {
        Shown {
            sources,
            started: Instant::now(),
            loopback,
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            proof: Arc::default(),
        }
    }

    pub(crate) fn connection(self: &Arc<Self>) -> Connection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connection(Arc::clone(self))
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn house(&self) -> Result<&Arc<Clearinghouse>, Refused> {
        let absent = || Refused::new(StatusCode::NOT_FOUND, "the clearinghouse does not run in this process");
        self.sources.clearinghouse.as_ref().ok_or_else(absent)
    }

    /// Every role's numbers, the console's own among them.
    fn gauges(&self) -> Vec<Numbers> {
        let read = |gauges: &crate::Gauges| (gauges.role, gauges.instance.clone(), (gauges.read)());
        let mut all: Vec<_> = self.sources.gauges.iter().map(read).collect();
        if let Some(house) = &self.sources.clearinghouse {
            let status = house.status();
            let numbers = vec![
                ("open_calls", status.open_calls as u64),
                ("transfers", status.transfers),
                ("audits_suppressed", status.audits_suppressed),
            ];
            all.push(("clearinghouse", "clearinghouse".to_owned(), numbers));
        }
        let numbers = vec![
            ("connections_now", self.connections.load(Ordering::Relaxed)),
            ("connections_refused", self.refused.load(Ordering::Relaxed)),
            ("requests", self.requests.load(Ordering::Relaxed)),
            ("uptime_seconds", self.started.elapsed().as_secs()),
        ];
        all.push(("console", "console".to_owned(), numbers));
        all
    }
}

/// The endpoints and what is before them.
pub(crate) fn router(shown: Arc<Shown>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/accounts", get(accounts))
        .route("/api/v1/transfers", get(transfers))
        .route("/api/v1/cdrs", get(cdrs))
        .route("/api/v1/cdrs/{transaction}", get(cdr))
        .route("/api/v1/authorizations", get(authorizations))
        .route("/api/v1/calls/open", get(open_calls))
        .route("/api/v1/audit", get(audit))
        .route("/api/v1/bill/{transaction}", get(bill))
        .route("/api/v1/prove", get(prove))
        .route("/api/v1/certificates", get(certificates))
        .fallback(nothing_here)
        .layer(from_fn_with_state(Arc::clone(&shown), gate))
        .with_state(shown)
}

/// A refusal: a status and one sentence.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    error: String,
}

impl Refused {
    fn new(status: StatusCode, error: impl Into<String>) -> Refused {
        Refused { status, error: error.into() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.error }))).into_response()
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        let status = match error {
            StoreError::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refused::new(status, error.to_string())
    }
}

type Answer = Result<Json<Value>, Refused>;

/// Before every endpoint: what may be asked at all, and what every answer carries.
async fn gate(State(shown): State<Arc<Shown>>, request: Request, next: Next) -> Response {
    shown.requests.fetch_add(1, Ordering::Relaxed);
    let mut response = match refusal(&shown, &request) {
        Some(refused) => refused.into_response(),
        None => match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long").into_response(),
        },
    };
    let status = response.status();
    let headers = response.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        // what remains of the body is not read: the connection cannot be used again
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    response
}

fn refusal(shown: &Shown, request: &Request) -> Option<Refused> {
    if shown.loopback && !host_is_local(request) {
        let error = "on loopback the console answers to an IP address or to localhost in Host";
        return Some(Refused::new(StatusCode::FORBIDDEN, error));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "the console is read with GET"));
    }
    if !Body::is_end_stream(request.body()) {
        return Some(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "the console takes no body"));
    }
    None
}

/// Whether `Host` is one that no foreign name server can point at us: a web page whose own name suddenly means 127.0.0.1 must not read the books.
/// No `Host` at all (HTTP/1.0) comes from no browser.
fn host_is_local(request: &Request) -> bool {
    let Some(host) = request.headers().get(header::HOST) else { return true };
    let Ok(authority) = host.to_str().unwrap_or_default().parse::<http::uri::Authority>() else { return false };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// `?limit=&after=`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Paging {
    limit: Option<String>,
    after: Option<String>,
}

type Asked = Result<Query<Paging>, QueryRejection>;

/// The page that is asked for. An empty value is as if it were not there.
fn page(asked: Asked) -> Result<Page, Refused> {
    let refused = |error: String| Refused::new(StatusCode::BAD_REQUEST, error);
    let Query(paging) = asked.map_err(|_| refused("the parameters are limit and after, each once".to_owned()))?;
    let entries = match paging.limit.as_deref().unwrap_or_default() {
        "" => DEFAULT_PAGE_ENTRIES,
        text => match text.parse() {
            Ok(entries @ 1..=Page::MAXIMUM_ENTRIES) => entries,
            _ => return Err(refused(format!("limit is a number from 1 to {}", Page::MAXIMUM_ENTRIES))),
        },
    };
    let before = match paging.after.as_deref().unwrap_or_default() {
        "" => None,
        text => Some(text.parse().map_err(|_| refused("after is the number that next was".to_owned()))?),
    };
    Ok(Page { before, entries })
}

/// What to ask for the page behind this one; `None` when there is none: a page that is not full is the last.
fn next<T>(page: Page, entries: &[T], key: impl Fn(&T) -> u64) -> Option<String> {
    entries.last().filter(|_| entries.len() >= page.entries).map(|last| key(last).to_string())
}

fn transaction(path: Result<Path<String>, PathRejection>) -> Result<u64, Refused> {
    let number = path.ok().and_then(|Path(text)| text.parse().ok());
    number.ok_or_else(|| Refused::new(StatusCode::BAD_REQUEST, "a transaction is a number"))
}

fn written(value: &impl Serialize) -> Answer {
    let failed = |error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}"));
    serde_json::to_value(value).map(Json).map_err(failed)
}

fn list<T, V: Serialize>(entries: Vec<T>, view: impl FnMut(T) -> V) -> Vec<V> {
    entries.into_iter().map(view).collect()
}

async fn nothing_here() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "there is nothing here; / names the endpoints")
}

async fn index() -> Html<String> {
    Html(page::html())
}

async fn metrics(State(shown): State<Arc<Shown>>) -> Response {
    let mut metrics = Exposition::default();
    for (role, instance, numbers) in shown.gauges() {
        for (metric, value) in numbers {
            metrics.add(role, metric, &[("instance", &instance)], value);
        }
    }
    metrics.add("build", "info", &[("instance", "console"), ("version", env!("CARGO_PKG_VERSION"))], 1);
    for sum in shown.sources.clearinghouse.iter().flat_map(|house| house.sums()) {
        let labels = [("instance", "clearinghouse"), ("currency", sum.currency.as_str())];
        metrics.add("clearinghouse", "sum_posted_nanos", &labels, sum.posted_nanos);
        metrics.add("clearinghouse", "sum_pending_nanos", &labels, sum.pending_nanos);
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.to_text()).into_response()
}

async fn status(State(shown): State<Arc<Shown>>) -> Json<Value> {
    let gauges = shown.gauges();
    let listening = shown.sources.addresses.iter().filter_map(|line| line.split_whitespace().next());
    let roles: BTreeSet<&str> = gauges.iter().map(|(role, ..)| *role).chain(listening).collect();
    let clearinghouse = shown.sources.clearinghouse.as_ref().map(|house| {
        let (config, status) = (house.config(), house.status());
        json!({
            "currency": config.currency,
            "customers": config.customers.len(),
            "devices": config.devices.len(),
            "open_calls": status.open_calls,
            "transfers": status.transfers,
            "audits_suppressed": status.audits_suppressed,
        })
    });
    let gauges = list(gauges, |(role, instance, numbers)| {
        let metrics: BTreeMap<_, _> = numbers.into_iter().collect();
        json!({ "role": role, "instance": instance, "metrics": metrics })
    });
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": shown.started.elapsed().as_secs(),
        "roles": roles,
        "addresses": shown.sources.addresses,
        "gauges": gauges,
        "clearinghouse": clearinghouse,
    }))
}

/// A sum that does not fit a JSON number of `serde_json::Value` is no reason to say nothing: written straight, not through a value.
#[derive(Serialize)]
struct Accounts {
    accounts: Vec<views::Account>,
    sums: Vec<views::Sum>,
}

async fn accounts(State(shown): State<Arc<Shown>>) -> Result<Json<Accounts>, Refused> {
    let house = shown.house()?;
    let (accounts, sums) = (house.accounts(), house.sums());
    Ok(Json(Accounts { accounts: list(accounts, views::Account::from), sums: list(sums, views::Sum::from) }))
}

async fn transfers(State(shown): State<Arc<Shown>>, asked: Asked) -> Answer {
    let (house, page) = (shown.house()?, page(asked)?);
    let names = house.accounts().into_iter().map(|account| (account.id, account.name)).collect();
    let transfers = house.transfers(page).await?;
    let next = next(page, &transfers, |record| record.sequence);
    written(&json!({ "transfers": list(transfers, |record| views::Transfer::new(&record, &names)), "next": next }))
}

async fn cdrs(State(shown): State<Arc<Shown>>, asked: Asked) -> Answer {
    let (house, page) = (shown.house()?, page(asked)?);
    let cdrs = house.cdrs(page).await?;
    let next = next(page, &cdrs, |record| record.cdr.transaction);
    written(&json!({ "cdrs": list(cdrs, |record| views::Cdr::new(record, None)), "next": next }))
}

async fn cdr(State(shown): State<Arc<Shown>>, path: Result<Path<String>, PathRejection>) -> Answer {
    let (house, transaction) = (shown.house()?, transaction(path)?);
    match house.cdr(transaction).await? {
        Some(record) => {
            let usage = house.usage_reports(transaction).await?;
            written(&views::Cdr::new(record, Some(usage)))
        }
        None if is_authorized(house, transaction).await? => {
            Err(Refused::new(StatusCode::NOT_FOUND, "the call is not settled yet: it has no record"))
        }
        None => Err(Refused::new(StatusCode::NOT_FOUND, "there is no call of this number")),
    }
}

async fn is_authorized(house: &Clearinghouse, transaction: u64) -> Result<bool, StoreError> {
    // the newest one that is not newer
    let page = Page { before: transaction.checked_add(1), entries: 1 };
    Ok(house.authorizations(page).await?.iter().any(|record| record.call.transaction == transaction))
}

async fn authorizations(State(shown): State<Arc<Shown>>, asked: Asked) -> Answer {
    let (house, page) = (shown.house()?, page(asked)?);
    let records = house.authorizations(page).await?;
    let next = next(page, &records, |record| record.call.transaction);
    written(&json!({ "authorizations": list(records, views::Authorization::new), "next": next }))
}

async fn open_calls(State(shown): State<Arc<Shown>>, asked: Asked) -> Answer {
    let (house, page) = (shown.house()?, page(asked)?);
    let all = house.open_calls();
    let open = all.len();
    let later = |transaction| page.before.is_none_or(|after| transaction > after);
    let mut calls: Vec<_> = all.into_iter().filter(|record| later(record.call.transaction)).collect();
    calls.truncate(page.entries);
    let next = next(page, &calls, |record| record.call.transaction);
    let calls = list(calls, |record| {
        let bill = house.live_bill(record.call.transaction);
        views::Authorization::new(record).with_bill(bill)
    });
    written(&json!({ "calls": calls, "open": open, "next": next }))
}

async fn audit(State(shown): State<Arc<Shown>>, asked: Asked) -> Answer {
    let (house, page) = (shown.house()?, page(asked)?);
    let entries = house.audit(page).await?;
    let next = next(page, &entries, |entry| entry.sequence);
    written(&json!({ "audit": list(entries, views::Audit::from), "next": next }))
}

async fn bill(State(shown): State<Arc<Shown>>, path: Result<Path<String>, PathRejection>) -> Answer {
    let (house, transaction) = (shown.house()?, transaction(path)?);
    if let Some(bill) = house.live_bill(transaction) {
        return written(&views::Bill::live(bill));
    }
    match house.cdr(transaction).await? {
        Some(record) => written(&views::Bill::settled(&record)),
        None if is_authorized(house, transaction).await? => written(&views::Bill::silent(transaction)),
        None => Err(Refused::new(StatusCode::NOT_FOUND, "there is no call of this number")),
    }
}

async fn certificates(State(shown): State<Arc<Shown>>) -> Answer {
    let certificates = shown.house()?.certificates().await?;
    written(&json!({ "certificates": list(certificates, views::Certificate::from) }))
}

#[derive(Serialize)]
struct Proof {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    transfers: u64,
    sums: Vec<views::Sum>,
}

async fn prove(State(shown): State<Arc<Shown>>) -> Result<(StatusCode, Json<Proof>), Refused> {
    let house = shown.house()?;
    // held by the proof itself: whoever asked may have gone, and the next one must not start a second
    let mut last = Arc::clone(&shown.proof).lock_owned().await;
    let proof = match &*last {
        Some((at, proof)) if at.elapsed() < PROOF_KEPT => proof.clone(),
        _ => {
            let proving = Arc::clone(house);
            let proved = tokio::task::spawn_blocking(move || {
                let proof = proving.prove();
                *last = Some((Instant::now(), proof.clone()));
                proof
            });
            let failed = |error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the proof failed: {error}"));
            proved.await.map_err(failed)?
        }
    };
    let status = if proof.is_ok() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    let (ok, error) = (proof.is_ok(), proof.err().map(|imbalance| imbalance.to_string()));
    let sums = list(house.sums(), views::Sum::from);
    Ok((status, Json(Proof { ok, error, transfers: house.status().transfers, sums })))
}
