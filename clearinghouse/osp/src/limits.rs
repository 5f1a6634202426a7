//! What a message may measure at most. Reaching a limit is status 411 ([`Status::PARSE_ERROR`](crate::Status::PARSE_ERROR)).

/// Octets of one XML document. The longest request recorded from a client has 16 thousand.
pub const MAX_MESSAGE_OCTETS: usize = 256 * 1024;
/// Nesting of elements. The deepest element of the standard is the seventh (`Message/UsageIndication/UsageDetail/Statistics/Metrics/Jitter/Mean`).
pub const MAX_DEPTH: usize = 12;
/// Attributes of one element.
pub const MAX_ATTRIBUTES: usize = 8;
/// Elements of one document, all levels together.
pub const MAX_ELEMENTS: usize = 8192;
/// Components of one message: a call that tried N gateways reports N usages at once.
pub const MAX_COMPONENTS: usize = 64;
/// Octets of the text of one element, after entities are resolved.
pub const MAX_TEXT_OCTETS: usize = 64 * 1024;
