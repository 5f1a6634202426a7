//! Charge messages to a bill that grows.
//!
//! **What comes in:** [`ChargeMessage`]s of a running call, as values or as `application/vnd.etsi.sci+xml`: tariffs (`crgt`: before the answer the
//! *rate token*, later ones *interval tokens*), add-on charges (`aocrg`), acknowledgements (`crga`), start and stop.
//!
//! **What goes out:** the bill at any moment ([`Bill::total`]), an integer number of billionths; the XML of a message.
//!
//! **What it never does:** move money (the call detail record does), use a float, saturate, read a clock.
//!
//! **Sources:** ETSI ES 201 296 (charging messages of ISUP) for the terms and what they mean; ETSI TS 29.658 for their carriage in SIP. The schema
//! of the latter was not at hand: the element names follow the ASN.1 of the former, and other implementations may write them differently.

mod bill;
mod message;
mod xml;

pub use bill::{Bill, BillError, MAXIMUM_TARIFF_CHANGES};
pub use message::{ChargeMessage, ChargeTariff, MAXIMUM_STEPS, Step};
pub use xml::{CONTENT_TYPE, MAXIMUM_XML_OCTETS, XmlError};
