//! Verbs that ask a running exchange: each fetches one thing from the console's REST interface (shapes: `strowger_console::api`) and prints it as
//! a table for people, or with `--json` exactly as it came.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// How long the console may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a whole answer may take. The proof of large books takes its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read: many times the longest page.
const MAXIMUM_ANSWER_OCTETS: usize = 64 * 1024 * 1024;

/// `strowger status`: version, roles, addresses, gauges.
pub async fn status(console_url: &str, json: bool) -> Result<()> {
    show(console_url, "/api/v1/status", json, status_text).await
}

/// `strowger ledger`: accounts with their balances and the sums. Fails when the books do not balance, after they were printed.
pub async fn ledger(console_url: &str, json: bool) -> Result<()> {
    let proof = fetch(console_url, "/api/v1/prove").await?;
    show(console_url, "/api/v1/accounts", json, accounts_text).await?;
    let proof = proof.proof()?;
    if proof["ok"] != true {
        bail!("the books do not balance: {}", cell(&proof["error"]));
    }
    if !json {
        print(&format!("proved: {} transfers add up to these balances\n", cell(&proof["transfers"])))?;
    }
    Ok(())
}

/// `strowger transfers`: the newest ones.
pub async fn transfers(console_url: &str, json: bool, limit: u32) -> Result<()> {
    show(console_url, &format!("/api/v1/transfers?limit={limit}"), json, transfers_text).await
}

/// `strowger cdrs`: the newest call detail records.
pub async fn cdrs(console_url: &str, json: bool, limit: u32) -> Result<()> {
    show(console_url, &format!("/api/v1/cdrs?limit={limit}"), json, cdrs_text).await
}

/// `strowger calls`: authorized and not settled, with their bills so far.
pub async fn calls(console_url: &str, json: bool) -> Result<()> {
    show(console_url, "/api/v1/calls/open?limit=1000", json, calls_text).await
}

/// `strowger bill TRANSACTION`: what one call costs so far, or did cost.
pub async fn bill(console_url: &str, json: bool, transaction: u64) -> Result<()> {
    show(console_url, &format!("/api/v1/bill/{transaction}"), json, bill_text).await
}

async fn show(console_url: &str, path: &str, json: bool, text: fn(&Value) -> String) -> Result<()> {
    let answer = fetch(console_url, path).await?;
    let value = answer.value()?;
    if json { print(&format!("{}\n", answer.body.trim_end())) } else { print(&text(&value)) }
}

/// Prints. A reader that has seen enough (`| head`) is no fault.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print"),
    }
}

/// What the console said.
struct Answer {
    url: String,
    status: http::StatusCode,
    body: String,
}

impl Answer {
    /// The answer, or the console's own sentence for a refusal.
    fn value(&self) -> Result<Value> {
        let value = self.parsed()?;
        match &value["error"] {
            _ if self.status.is_success() => Ok(value),
            Value::String(_) => bail!("the console at {}: {}", self.url, cell(&value["error"])),
            _ => Err(self.foreign()),
        }
    }

    /// A proof: books that do not balance are an answer, too.
    fn proof(&self) -> Result<Value> {
        let value = self.parsed()?;
        if value["ok"].is_boolean() { Ok(value) } else { self.value() }
    }

    fn parsed(&self) -> Result<Value> {
        serde_json::from_str(&self.body).ok().filter(Value::is_object).ok_or_else(|| self.foreign())
    }

    fn foreign(&self) -> anyhow::Error {
        anyhow!("what answers at {} is no Strowger console; --console URL names another", self.url)
    }
}

async fn fetch(console_url: &str, path: &str) -> Result<Answer> {
    let url = console_url.trim_end_matches('/').to_owned();
    let malformed = || anyhow!("--console {console_url:?} is not a URL such as http://127.0.0.1:8080");
    let uri: http::Uri = format!("{url}{path}").parse().map_err(|_| malformed())?;
    match uri.scheme_str() {
        Some("http") if uri.host().is_some_and(|host| !host.is_empty()) => {}
        Some("https") => bail!("--console {console_url:?}: https is not served by the console yet, use http://"),
        _ => return Err(malformed()),
    }
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let exchange = async {
        let response = client.get(uri).await.map_err(|error| {
            if error.is_connect() {
                anyhow!("no Strowger console answers at {url}; is `strowger up` running? --console URL names another")
            } else {
                anyhow!("what answers at {url} is no Strowger console; --console URL names another")
            }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAXIMUM_ANSWER_OCTETS).collect().await;
        let body = body.map_err(|error| anyhow!("the answer of the console at {url} broke off: {error}"))?.to_bytes();
        Ok(Answer { url: url.clone(), status, body: String::from_utf8_lossy(&body).into_owned() })
    };
    let late = || anyhow!("the console at {url} did not answer within {} seconds", ANSWER_TIMEOUT.as_secs());
    tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| late())?
}

/// How a column is aligned, and its title.
enum Column {
    Left(&'static str),
    Right(&'static str),
}
use Column::{Left, Right};

/// Rows under titles, as wide as needed; nothing but `empty` when there are none.
fn table<const N: usize>(columns: [Column; N], rows: &[[String; N]], empty: &str) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let title = |column: &Column| match column {
        Left(title) | Right(title) => (*title).to_owned(),
    };
    let titles: [String; N] = std::array::from_fn(|at| columns.get(at).map(title).unwrap_or_default());
    let lines = || std::iter::once(&titles).chain(rows);
    let mut text = String::new();
    let width = |at: usize| {
        lines().filter_map(|line| line.get(at)).map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    for line in lines() {
        let cells = line.iter().zip(&widths).zip(&columns).map(|((cell, &width), column)| match column {
            Left(_) => format!("{cell:<width$}"),
            Right(_) => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One value as a cell: nothing for null; control characters, which could move a terminal's cursor, are not passed on.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A time without its letters and milliseconds: `2026-11-21 10:00:00` (UTC).
fn time(value: &Value) -> String {
    let text = cell(value);
    match text.split_once('.') {
        Some((seconds, _)) => seconds.replace('T', " "),
        None => text,
    }
}

/// `0.012 USD`
fn money(value: &Value) -> String {
    if value.is_null() { String::new() } else { format!("{} {}", cell(&value["amount"]), cell(&value["currency"])) }
}

/// `2000/2001`: a customer's device.
fn party(value: &Value) -> String {
    if value.is_null() { String::new() } else { format!("{}/{}", cell(&value["customer"]), cell(&value["device"])) }
}

fn entries<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// A last line when the list goes on behind this page.
fn more(value: &Value) -> &'static str {
    if value["next"].is_null() { "" } else { "… and older ones: --limit N shows up to 1000\n" }
}

fn status_text(value: &Value) -> String {
    let words = |name| entries(value, name).iter().map(cell).collect::<Vec<_>>();
    let version = cell(&value["version"]);
    let up = duration(value["uptime_seconds"].as_u64().unwrap_or(0));
    let mut text = format!("strowger {version}, up {up}: {}\n", words("roles").join(", "));
    for address in words("addresses") {
        text.push_str(&format!("  {address}\n"));
    }
    let mut rows = Vec::new();
    for gauges in entries(value, "gauges") {
        for (name, number) in gauges["metrics"].as_object().into_iter().flatten() {
            rows.push([cell(&gauges["role"]), cell(&gauges["instance"]), name.clone(), cell(number)]);
        }
    }
    text.push('\n');
    text + &table([Left("ROLE"), Left("INSTANCE"), Left("GAUGE"), Right("VALUE")], &rows, "no gauges")
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn accounts_text(value: &Value) -> String {
    let row = |account: &Value| {
        ["name", "kind", "currency", "posted", "pending_debits", "pending_credits", "available"]
            .map(|name| cell(&account[name]))
    };
    let rows: Vec<_> = entries(value, "accounts").iter().map(row).collect();
    let columns = [
        Left("ACCOUNT"),
        Left("KIND"),
        Left("CURRENCY"),
        Right("POSTED"),
        Right("RESERVED"),
        Right("INCOMING"),
        Right("AVAILABLE"),
    ];
    let mut text = table(columns, &rows, "no accounts");
    for sum in entries(value, "sums") {
        let [currency, posted, pending] = ["currency", "posted", "pending"].map(|name| cell(&sum[name]));
        text.push_str(&format!("sum {currency}: {posted} posted, {pending} pending\n"));
    }
    text
}

fn transfers_text(value: &Value) -> String {
    let row = |transfer: &Value| {
        let account = |side: &str| match &transfer[format!("{side}_name")] {
            Value::Null => cell(&transfer[side]),
            name => cell(name),
        };
        [
            cell(&transfer["sequence"]),
            time(&transfer["at"]),
            cell(&transfer["kind"]),
            account("debit"),
            account("credit"),
            cell(&transfer["amount"]),
            cell(&transfer["currency"]),
            cell(&transfer["transaction"]),
        ]
    };
    let rows: Vec<_> = entries(value, "transfers").iter().map(row).collect();
    let columns = [
        Right("NUMBER"),
        Left("AT (UTC)"),
        Left("KIND"),
        Left("FROM"),
        Left("TO"),
        Right("AMOUNT"),
        Left("CURRENCY"),
        Left("TRANSACTION"),
    ];
    table(columns, &rows, "no transfers yet") + more(value)
}

fn cdrs_text(value: &Value) -> String {
    let row = |cdr: &Value| {
        let began = ["start", "connect", "closed_at"].into_iter().map(|name| &cdr[name]).find(|at| !at.is_null());
        [
            cell(&cdr["transaction"]),
            time(began.unwrap_or(&Value::Null)),
            cell(&cdr["calling"]),
            cell(&cdr["called"]),
            party(&cdr["source"]),
            party(&cdr["destination"]),
            cell(&cdr["rated_seconds"]),
            cell(&cdr["cause"]),
            cell(&cdr["state"]),
            cell(&cdr["outcome"]),
            money(&cdr["sell"]),
            money(&cdr["cost"]),
        ]
    };
    let rows: Vec<_> = entries(value, "cdrs").iter().map(row).collect();
    let columns = [
        Left("TRANSACTION"),
        Left("BEGAN (UTC)"),
        Left("CALLING"),
        Left("CALLED"),
        Left("FROM"),
        Left("TO"),
        Right("SECONDS"),
        Right("CAUSE"),
        Left("STATE"),
        Left("OUTCOME"),
        Right("SELL"),
        Right("COST"),
    ];
    table(columns, &rows, "no call detail records yet") + more(value)
}

fn calls_text(value: &Value) -> String {
    let row = |call: &Value| {
        let gateways: Vec<_> = entries(call, "gateways").iter().map(|gateway| cell(&gateway["device"])).collect();
        let bill = &call["bill"];
        [
            cell(&call["transaction"]),
            time(&call["at"]),
            cell(&call["calling"]),
            cell(&call["called"]),
            party(&call["source"]),
            gateways.join(" "),
            cell(&call["granted_seconds"]),
            money(&call["reserved"]),
            cell(&bill["seconds"]),
            money(&bill["total"]),
        ]
    };
    let rows: Vec<_> = entries(value, "calls").iter().map(row).collect();
    let columns = [
        Left("TRANSACTION"),
        Left("AUTHORIZED (UTC)"),
        Left("CALLING"),
        Left("CALLED"),
        Left("FROM"),
        Left("GATEWAYS"),
        Right("GRANTED S"),
        Right("RESERVED"),
        Right("BILLED S"),
        Right("BILL"),
    ];
    let text = table(columns, &rows, "no open calls");
    let beyond = if value["next"].is_null() { String::new() } else { format!("… of {}\n", cell(&value["open"])) };
    text + &beyond
}

fn bill_text(value: &Value) -> String {
    let (transaction, seconds) = (cell(&value["transaction"]), cell(&value["seconds"]));
    let total = money(&value["total"]);
    match value["state"].as_str() {
        Some("silent") => format!("call {transaction}: no charge message has come yet\n"),
        Some("settled") => format!("call {transaction}: {total} for {seconds} s, {}\n", cell(&value["outcome"])),
        state => format!("call {transaction}: {total} for {seconds} s, {}\n", state.unwrap_or("?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["märchen".to_owned(), "1000".to_owned()]];
        let text = table([Left("NAME"), Right("N")], &rows, "none");
        assert_eq!(text, "NAME        N\na           1\nmärchen  1000\n");
        assert_eq!(table([Left("NAME")], &[], "none"), "none\n");
    }

    #[test]
    fn a_terminal_is_not_moved_by_what_a_peer_wrote() {
        assert_eq!(cell(&json!("a\u{1b}[2Jb\n")), "a?[2Jb?");
    }

    #[test]
    fn whatever_object_comes_makes_a_text() {
        for value in [json!({}), json!({"gauges": [1], "cdrs": [null], "calls": {}, "bill": []})] {
            for text in [status_text, accounts_text, transfers_text, cdrs_text, calls_text, bill_text] {
                assert!(text(&value).ends_with('\n'));
            }
        }
    }

    #[test]
    fn accounts_and_their_sums() {
        let account = json!({"name": "1000", "kind": "customer", "currency": "USD", "posted": "9.98",
            "pending_debits": "0.30", "pending_credits": "0.00", "available": null});
        let sums = json!([{"currency": "USD", "posted": "0.00", "pending": "0.00"}]);
        assert_eq!(
            accounts_text(&json!({"accounts": [account], "sums": sums})),
            "ACCOUNT  KIND      CURRENCY  POSTED  RESERVED  INCOMING  AVAILABLE\n\
             1000     customer  USD         9.98      0.30      0.00\n\
             sum USD: 0.00 posted, 0.00 pending\n"
        );
    }

    #[tokio::test]
    async fn errors_are_one_sentence() {
        let sentence = async |url: &str| match fetch(url, "/api/v1/status").await {
            Ok(_) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        // bound and not listening: nobody answers there, and nobody else can take it
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let expected =
            format!("no Strowger console answers at {url}; is `strowger up` running? --console URL names another");
        assert_eq!(sentence(&format!("{url}/")).await, expected);
        assert!(sentence("https://127.0.0.1:8080").await.contains("https is not served"));
        for malformed in ["127.0.0.1:8080", "", "http://", "http:// x", "ftp://127.0.0.1"] {
            assert!(sentence(malformed).await.contains("is not a URL such as"), "{malformed}");
        }
    }
}
