//! The core against the simulated exchange and a user agent as the caller, on virtual time. Catches: a call that one side
//! believes in and the other does not, a circuit or report lost at any way a call can end, and a token that admits too much.

mod calls;
mod limits;
mod tokens;
mod world;
