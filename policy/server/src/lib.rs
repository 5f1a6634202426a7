//! COPS over TCP: the policy role and the client side of COPS.
