//! Ranked routes by longest prefix.
//!
//! **What comes in:** the dial plan ([`Table`] of [`Route`]s), the terminating [`Device`]s, what is known of their health ([`Health`]),
//! and a [`Query`]: who calls which number, at which highest price.
//!
//! **What goes out:** a [`Ranking`]: the candidates in the order they are to be tried, and every route that was left out; each with its *why*.
//!
//! **What it never does:** send a call back to the customer it comes from, fall back from a longer dial code to a shorter one (a code that
//! was split off is normally the dearer one, so that the shorter code's price would be a loss), reserve money, or read a clock.
//!
//! **Sources:** dial codes and ranking are carriers' common practice (least-cost routing); price ceiling, preferred route, maximum of
//! destinations and `AlmostOutOfResources` are those of ETSI TS 101 321. No RFC.

mod health;
mod rank;
mod table;

pub use health::{FAILURE_WINDOW_SECONDS, FAILURES_TO_DEMOTE, Health, MAXIMUM_DEVICES_WATCHED};
pub use rank::{Candidate, Dropped, Query, Ranking, WhyDropped, WhyKept, rank};
pub use table::{Device, MAXIMUM_PREFIX_DIGITS, MAXIMUM_ROUTES, Route, RouteError, Table};
