//! The clearinghouse role.
