//! Proxy core, registrar, location, authentication.
