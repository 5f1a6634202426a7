//! COPS (RFC 2748) messages.
