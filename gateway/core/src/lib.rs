//! The gateway's call bridge.
