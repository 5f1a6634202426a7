//! OSP (ETSI TS 101 321) messages.
