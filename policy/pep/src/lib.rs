//! Policy enforcement point machine.
