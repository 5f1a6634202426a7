//! REST interface and metrics.
