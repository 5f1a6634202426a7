//! What the layer counted: why messages were dropped, and how full its tables are.

/// Why a message was dropped without an event and without an answer.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Dropped {
    /// Its top Via is missing or cannot be read.
    NoVia,
    /// From, To, Call-ID or CSeq is missing or cannot be read.
    NoIdentity,
    /// A request whose CSeq names another method (RFC 3261 §8.1.1.5).
    MethodMismatch,
    /// A response whose top Via bears our branch but another sent-by (RFC 3261 §18.1.2).
    ForeignSentBy,
    /// A response with more or fewer Vias than the request had (RFC 3261 §8.1.3.3).
    ViaCount,
    /// A response with a status outside 100 to 699.
    Status,
    /// A response of the user for a transaction that is gone.
    NoTransaction,
    /// A message that the transaction's present state does not expect, such as a provisional response after a final one.
    Unexpected,
    /// An RFC 2543 request that matches a transaction in all but the To tag (RFC 3261 §17.2.3).
    ToTagMismatch,
    /// A response that could not be addressed: the Via's host is a name, and there is no `received`.
    NoAddress,
}

impl Dropped {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Dropped; 10] = [
        Dropped::NoVia,
        Dropped::NoIdentity,
        Dropped::MethodMismatch,
        Dropped::ForeignSentBy,
        Dropped::ViaCount,
        Dropped::Status,
        Dropped::NoTransaction,
        Dropped::Unexpected,
        Dropped::ToTagMismatch,
        Dropped::NoAddress,
    ];

    /// A name for metrics: `no_via`, `method_mismatch` and so on.
    pub const fn as_str(self) -> &'static str {
        match self {
            Dropped::NoVia => "no_via",
            Dropped::NoIdentity => "no_identity",
            Dropped::MethodMismatch => "method_mismatch",
            Dropped::ForeignSentBy => "foreign_sent_by",
            Dropped::ViaCount => "via_count",
            Dropped::Status => "status",
            Dropped::NoTransaction => "no_transaction",
            Dropped::Unexpected => "unexpected",
            Dropped::ToTagMismatch => "to_tag_mismatch",
            Dropped::NoAddress => "no_address",
        }
    }
}

/// Counts since the layer was made.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Requests answered 503 because the server table was full.
    pub refused_full: u64,
    /// Requests of ours refused because the client table was full.
    pub requests_full: u64,
    /// Requests received again and absorbed by their transaction.
    pub absorbed: u64,
    /// Requests and responses that timers A, E and G sent again.
    pub retransmitted: u64,
    /// Responses that matched no transaction.
    pub stray_responses: u64,
    /// 100 (Trying) sent because the user had not answered.
    pub trying_sent: u64,
    dropped: [u64; Dropped::ALL.len()],
}

impl Counters {
    /// How many messages were dropped for this reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize]
    }

    pub(crate) fn drop_one(&mut self, why: Dropped) {
        self.dropped[why as usize] += 1;
    }
}

/// How full the layer is. Every number returns to zero when the load has gone.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct Gauge {
    /// Client transactions.
    pub client: usize,
    /// Server transactions.
    pub server: usize,
    /// Timers running.
    pub timers: usize,
}

impl Gauge {
    /// Whether nothing is held.
    pub fn is_zero(&self) -> bool {
        *self == Gauge::default()
    }
}
