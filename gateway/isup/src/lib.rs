//! ISUP messages in MTP3 routing labels, and what their causes mean to SIP.
//!
//! - **What comes in:** the octets of one message signal unit from the service information octet on (what a capture of
//!   link type 141 holds), or a [`Message`] to be sent.
//! - **What goes out:** typed messages, with the optional parameters nobody here knows kept as they came; octets.
//! - **What it never does:** keep state of a circuit (`gateway/trunk` does), run MTP2 or MTP3 procedures, read clocks.
//! - **Which sections:** ITU-T Q.704 §2.2 (routing label), Q.763 (formats: §1 structure, §3 parameters, tables 20 ff.),
//!   Q.850 (causes), RFC 3398 §7.2.4.1 and §8.2.6.1 (cause and status).
//!
//! The charge message is CRG, whose content Q.763 leaves to the national network: ours is written down in [`charge`].

pub mod cause;
pub mod charge;
mod message;
mod mtp3;
mod parameters;

pub use cause::{Cause, Location};
pub use charge::{Charge, Tariff};
pub use message::{EncodeError, InitialAddress, Message, MessageError, OptionalParameter, SuspendResume, parameter};
pub use mtp3::{
    Cic, LabelError, MAX_MSU_OCTETS, MAX_POINT_CODE, Msu, MsuError, NetworkIndicator, PointCode, RoutingLabel,
};
pub use parameters::{
    BackwardCallIndicators, CalledPartyNumber, CalledPartyStatus, CallingPartyNumber, CauseIndicators,
    EventInformation, MAX_DIGITS, NatureOfAddress, NumberError, Presentation, RangeAndStatus, Screening,
};
