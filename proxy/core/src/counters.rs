//! What the core has done, in numbers.

/// Counters since start, and gauges.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Requests that began a transaction.
    pub requests: u64,
    /// Challenges sent (401, 407).
    pub challenges: u64,
    /// Credentials that did not verify.
    pub credentials_refused: u64,
    /// REGISTERs answered 200.
    pub registrations: u64,
    /// INVITEs that began a call.
    pub calls: u64,
    /// Calls that were answered.
    pub calls_answered: u64,
    /// Calls refused by the policy server.
    pub calls_refused_policy: u64,
    /// Calls refused by the clearinghouse.
    pub calls_refused_clearing: u64,
    /// Times that a call went on to its next destination.
    pub destinations_failed: u64,
    /// Requests found looping (482, 483).
    pub loops: u64,
    /// ACKs and stray messages dropped because they had nowhere to go.
    pub dropped: u64,
    /// Gauge: calls now.
    pub calls_now: usize,
    /// Gauge: response contexts now.
    pub contexts_now: usize,
    /// Gauge: bindings now.
    pub bindings_now: usize,
}

/// How full the core's tables are. Every number but that of bindings returns to zero when calls and requests are over.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Gauge {
    /// Calls, those over included whose last answer from another server is still to come.
    pub calls: usize,
    /// Call-IDs of these calls.
    pub call_ids: usize,
    /// Response contexts.
    pub contexts: usize,
    /// Server transactions with a context.
    pub server_transactions: usize,
    /// Client transactions of branches.
    pub client_transactions: usize,
    /// Timers running, without the one that always does.
    pub timers: usize,
    /// Bindings.
    pub bindings: usize,
}
