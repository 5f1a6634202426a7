//! A command-line softphone.
