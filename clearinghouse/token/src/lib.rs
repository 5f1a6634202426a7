//! Signed authorization tokens: the clearinghouse's word to a gateway that it will pay for one call.
//!
//! - **In:** on the clearinghouse's side a [`TokenInfo`] and a [`Signer`]; on the gateway's side the DER that came with the INVITE, the
//!   time, the called number and the call id.
//! - **Out:** DER of a CMS `SignedData` (367 octets for a usual call); on the other side a verified [`TokenInfo`], and whether the call that
//!   brought it [is the one](Check) that it was given for.
//! - **Never:** sockets, clocks, files. The nonce of an ECDSA signature is drawn inside the cryptographic library: signatures are the one
//!   thing here that is not reproducible.
//! - **Source:** ETSI TS 101 321 annex D (token), RFC 5652 §5 (SignedData), RFC 5754 §3.3 (ECDSA with SHA-256), and what OSP Toolkit 4.13 accepts:
//!   ASCII content below 1000 octets, every field below 200, signed by the authority itself, no certificates inside.

mod check;
mod info;
mod signed;

pub use check::{Check, MAX_REMEMBERED_TOKENS, Refusal};
pub use info::{FormatError, MAX_CONTENT_OCTETS, MAX_FIELD_OCTETS, TokenInfo};
pub use signed::{KeyError, MAX_TOKEN_OCTETS, Signer, TokenError, Verifier, VerifyingKey};
