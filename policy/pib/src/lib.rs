//! Named data of COPS-PR and the policy classes it carries: the Framework and DiffServ PIBs as tables.
//!
//! - **In:** the contents of a Named Decision Data or Named ClientSI object; typed rows.
//! - **Out:** PRID/EPD bindings ([`named`]), [`Row`]s checked against the tables of their class with the exact COPS-PR error
//!   otherwise, and the bytes to send; ready-made rows for a router's base policy and for one media flow ([`flow`]).
//! - **Never:** stores what is installed (the PEP does), sends anything, trusts a length it was given.
//! - **Sources:** RFC 3084 §4, §5 (BER objects), RFC 3159 (SPPI types), RFC 3318 (Framework PIB), RFC 3317 (DiffServ PIB),
//!   RFC 3571 (feedback), RFC 3289 (algorithm names).
//!
//! ```
//! use strowger_pib::{DsDscpMarkAct, Row};
//! let row = Row::from(DsDscpMarkAct { instance: 1, dscp: 46 });
//! assert_eq!(row.prid().to_string(), "1.3.6.1.2.2.4.2.7.1.1");
//! ```

mod ber;
mod class;
mod error;
pub mod flow;
pub mod named;
mod oid;

pub use ber::{BerError, Value};
pub use class::*;
pub use error::{ClassError, GlobalError, PibError};
pub use oid::Oid;
