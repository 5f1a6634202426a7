//! One change on every connected router, and what waits for its reports.

use std::collections::BTreeSet;

use strowger_clock::Moment;

use crate::call::CallId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OperationId(pub(crate) u64);

/// What happens when the reports are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Install for the proxy, or rows removed everywhere and Remove.
    AnswerInstall,
    /// Remove for the proxy, whatever the routers said.
    AnswerTeardown,
    /// The call is gone: only the usage is closed.
    Close,
}

#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) call: CallId,
    pub(crate) then: Then,
    /// Routers whose report is due.
    pub(crate) pending: BTreeSet<String>,
    /// Routers that confirmed.
    pub(crate) confirmed: u32,
    /// The first failure, in words.
    pub(crate) failure: Option<String>,
    pub(crate) deadline: Moment,
}
