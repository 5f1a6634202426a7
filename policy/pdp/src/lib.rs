//! Policy decision point machine.
