//! Reads the REST interface, and what the tests want to know of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::wait_for;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A console.
pub struct Rest(SocketAddr);

impl Rest {
    /// The console at an address.
    pub fn new(address: SocketAddr) -> Rest {
        Rest(address)
    }

    /// Gets a path: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let text = self.exchange(path).unwrap_or_else(|error| panic!("GET {path} of the console {}: {error}", self.0));
        let (head, body) = text.split_once("\r\n\r\n").expect("an HTTP response");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an HTTP status");
        (status, body.to_owned())
    }

    fn exchange(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.0, ANSWER_LIMIT)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.0)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Gets a path that answers 200 with JSON.
    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("GET {path}: {error}: {body}"))
    }

    /// A number of `/metrics`: that of `name` in its first instance.
    pub fn metric(&self, name: &str) -> u64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "GET /metrics: {text}");
        let line = text.lines().find(|line| line.split(['{', ' ']).next() == Some(name));
        let number = line.and_then(|line| line.rsplit(' ').next()).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("no metric {name} in:\n{text}"))
    }

    /// How many calls are authorized and not settled.
    pub fn open_calls(&self) -> u64 {
        self.json("/api/v1/calls/open")["open"].as_u64().expect("a number of open calls")
    }

    /// Waits until every authorized call is settled.
    pub fn settled(&self, limit: Duration) {
        wait_for("the settlement of every call", limit, || (self.open_calls() == 0).then_some(()));
    }

    /// The books prove themselves, and every currency's sums are zero.
    pub fn proves_the_books(&self) {
        let proof = self.json("/api/v1/prove");
        assert_eq!(proof["ok"], true, "{proof}");
        for sum in proof["sums"].as_array().expect("sums") {
            assert_eq!((&sum["posted_nanos"], &sum["pending_nanos"]), (&0.into(), &0.into()), "{proof}");
        }
    }

    /// What the account of a customer holds.
    pub fn account(&self, name: &str) -> Balance {
        let accounts = self.json("/api/v1/accounts");
        let all = accounts["accounts"].as_array().expect("accounts");
        let account = all.iter().find(|account| account["name"] == name);
        let account = account.unwrap_or_else(|| panic!("no account {name:?} in {accounts}"));
        let nanos = |key: &str| account[key].as_i64().expect("nanos");
        Balance {
            posted_nanos: nanos("posted_nanos"),
            pending_debits_nanos: nanos("pending_debits_nanos"),
            pending_credits_nanos: nanos("pending_credits_nanos"),
        }
    }

    /// The call detail records, newest first.
    pub fn cdrs(&self) -> Vec<Value> {
        self.json("/api/v1/cdrs")["cdrs"].as_array().expect("records").clone()
    }
}

/// What an account holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Booked for good.
    pub posted_nanos: i64,
    /// Reserved, to be paid.
    pub pending_debits_nanos: i64,
    /// Reserved, to be received.
    pub pending_credits_nanos: i64,
}
