//! Charge messages to a bill that grows.
