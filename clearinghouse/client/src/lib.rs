//! OSP over HTTP, client side.
