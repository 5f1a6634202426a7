//! Dialogs, registration and calls of a SIP user agent.
