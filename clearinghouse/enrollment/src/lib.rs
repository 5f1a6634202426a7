//! Certificate authority of the clearinghouse and device enrollment.
