//! SIP transports and flows.
