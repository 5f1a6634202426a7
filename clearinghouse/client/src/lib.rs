//! OSP over HTTP and HTTPS, the device's side: a proxy or gateway asks its clearinghouse, and reports what calls used.
//!
//! - **In:** typed requests of `strowger_osp`, the clearinghouse's URLs in order of preference, and whom to believe ([`Tls`]).
//! - **Out:** typed answers or a typed error; usage reports that are sent until they are taken; a device's key and certificates.
//! - **Never:** a decision about a call; a usage report dropped without being counted and named in the log; an `https://`
//!   server believed that nobody vouches for, unless the caller says so.
//! - **Source:** ETSI TS 101 321 clause 4 (HTTP/1.1, `POST`, `text/plain`), RFC 8446 and RFC 5246 through rustls, the enrollment protocol of OSP Toolkit 4.13.

mod client;
mod enroll;
mod http;
mod tls;
mod usage;

pub use client::{ANSWER_TIMEOUT, ClientIdentity, OspClient, OspClientError};
pub use enroll::{DeviceCredentials, EnrollError, enroll, enroll_with_tls};
pub use http::{TransportError, Url, UrlError};
pub use strowger_enrollment::DeviceKeyKind;
pub use tls::{Tls, TlsError};
pub use usage::{MAX_QUEUED_USAGE, MAX_USAGE_PER_MESSAGE, UsageCounts, UsageQueueFull, UsageReporter};
