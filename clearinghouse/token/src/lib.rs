//! Signed authorization tokens.
