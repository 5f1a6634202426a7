//! Reads captures, follows a call through every protocol, draws its ladder.
