//! The console: the REST interface and the metrics of one process.
//!
//! **What comes in:** HTTP/1.1 `GET` requests, and [`Sources`]: the clearinghouse, if it runs in this process, and closures that read the other
//! roles' counters.
//!
//! **What goes out:** JSON, and Prometheus text. `GET /` names the endpoints; the [`api`] module has their shapes.
//!
//! **What it never does:** change anything, know a role (roles hand over numbers, not themselves), take a body, or let one reader hold it up:
//! connections, heads, pages and time are limited. It has no users and no passwords yet: listen on loopback, or put an authenticating proxy
//! before it. On loopback it answers only to names of loopback, so that a web page cannot read the books through a name of its own.
//!
//! **Sources:** RFC 9110 and 9112 for HTTP, RFC 8259 for JSON (numbers past 2^53 are strings: §6), RFC 3339 for times, the Prometheus text
//! exposition format 0.0.4.
//!
//! How many of each: one [`BoundConsole`] per process, one listener, one task per connection, at most [`MAXIMUM_CONNECTIONS`].
//!
//! ```no_run
//! # async fn example(shutdown: tokio_util::sync::CancellationToken) -> Result<(), Box<dyn std::error::Error>> {
//! use strowger_console::{Console, Gauges, Sources};
//! let bound = Console::bind("127.0.0.1:8080".parse()?).await?;
//! println!("console http://{}", bound.local_address());
//! let proxy = Gauges { role: "proxy", instance: "proxy".into(), read: Box::new(|| vec![("calls_now", 3)]) };
//! bound.serve(Sources { gauges: vec![proxy], ..Sources::default() }, shutdown).await?;
//! # Ok(()) }
//! ```

pub mod api;
mod metrics;
mod page;
mod redact;
mod serve;
mod views;

pub use serve::{BindError, BoundConsole, Console, MAXIMUM_CONNECTIONS, MAXIMUM_HEAD_OCTETS, MAXIMUM_HEADERS};

use std::sync::Arc;
use strowger_clearinghouse_server::Clearinghouse;

/// The numbers of one running role.
pub struct Gauges {
    /// The role: `proxy`, `gateway`, `policy`, `router`, …. Becomes part of the metrics' names.
    pub role: &'static str,
    /// Which one of that role: the gateway's device, say. Becomes the metrics' `instance` label.
    pub instance: String,
    /// Reads them all: name (`snake_case`, unit last) and value. Called for every scrape: it must be quick and must not block.
    #[allow(clippy::type_complexity)] // it is said in full once, here
    pub read: Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>,
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Gauges").field("role", &self.role).field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// What the console shows.
#[derive(Default)]
pub struct Sources {
    /// The clearinghouse, when it runs in this process: accounts, transfers, records. Without it their endpoints answer 404.
    pub clearinghouse: Option<Arc<Clearinghouse>>,
    /// The numbers of the other roles.
    pub gauges: Vec<Gauges>,
    /// Where the process listens, as it told at its start: `proxy udp://127.0.0.1:5060`. The first word is the role. Shown by the status.
    pub addresses: Vec<String>,
}
