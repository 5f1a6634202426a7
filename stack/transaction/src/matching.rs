//! Which transaction a request belongs to (RFC 3261 §17.2.3), and the hash that the indices use.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

use strowger_clock::Random;
use strowger_sip::{CSeq, Header, Message, Method, Via};

/// Between the parts of a key: stands in no header value.
const SEPARATOR: char = '\0';

/// Keyed with our own randomness: a peer cannot choose branches that collide.
#[derive(Clone, Debug)]
pub(crate) struct Keyed(u64, u64);

impl Keyed {
    pub(crate) fn new(random: &mut Random) -> Self {
        Keyed(random.next_u64(), random.next_u64())
    }
}

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher.write_u64(self.1);
        hasher
    }
}

/// What of a request identifies its transaction, whatever the method.
pub(crate) struct Identity {
    key: String,
    /// The peer follows RFC 2543: its branch, if any, does not identify; To tags are compared besides (§17.2.3).
    pub(crate) is_rfc2543: bool,
}

impl Identity {
    /// `via` is the request's top Via before `received` and `rport` were added.
    pub(crate) fn of(message: &Message, via: &Via<'_>, cseq: &CSeq) -> Identity {
        let cookie = via.branch().filter(|branch| has_cookie(branch));
        if let Some(branch) = cookie {
            let host = via.host.to_ascii_lowercase();
            let port = via.port.map(|port| port.to_string()).unwrap_or_default();
            let key = format!("{branch}{SEPARATOR}{host}{SEPARATOR}{port}{SEPARATOR}");
            return Identity { key, is_rfc2543: false };
        }
        let from = message.from().ok();
        let parts = [
            "",
            message.request_uri(),
            from.as_ref().and_then(|from| from.tag()).unwrap_or(""),
            message.call_id().unwrap_or(""),
            &cseq.number.to_string(),
            message.values(Header::Via).next().unwrap_or(""),
            "",
        ];
        Identity { key: parts.join(&SEPARATOR.to_string()), is_rfc2543: true }
    }

    /// The index key of this request as one of the given method.
    pub(crate) fn with_method(&self, method: &Method) -> String {
        format!("{}{method}", self.key)
    }
}

/// The magic cookie, in any case, with something behind it.
fn has_cookie(branch: &str) -> bool {
    let cookie = Via::MAGIC_COOKIE;
    branch.len() > cookie.len() && branch.get(..cookie.len()).is_some_and(|head| head.eq_ignore_ascii_case(cookie))
}

/// What two copies of a request that came by different paths share (RFC 3261 §8.2.2.2). `None` inside a dialog.
pub(crate) fn merge_key(message: &Message, cseq: &CSeq) -> Option<String> {
    if message.to().ok()?.tag().is_some() {
        return None;
    }
    let from = message.from().ok()?;
    let call_id = message.call_id()?;
    Some(format!("{}{SEPARATOR}{call_id}{SEPARATOR}{cseq}", from.tag().unwrap_or("")))
}
