//! Where the users of the domain are: bindings of addresses of record to contacts (RFC 3261 §10).

use std::collections::HashMap;

use strowger_clock::Moment;
use strowger_sip::Uri;
use strowger_transaction::Target;

/// One contact of an address of record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The contact URI as registered.
    pub contact: String,
    /// Where requests for it go: the flow it was registered by.
    pub target: Target,
    /// Preference, 0 to 1000 (q 0.0 to 1.0).
    pub q_thousandths: u16,
    /// When it ends.
    pub expires: Moment,
    /// Call-ID of the REGISTER.
    pub call_id: String,
    /// CSeq of the REGISTER.
    pub cseq: u32,
}

/// The location service: bindings by user name.
#[derive(Default, Debug)]
pub struct Location {
    bindings: HashMap<String, Vec<Binding>>,
    total: usize,
}

impl Location {
    /// Bindings of a user that have not expired, highest q first.
    pub fn lookup(&self, user: &str, now: Moment) -> Vec<&Binding> {
        let mut found: Vec<&Binding> =
            self.bindings.get(user).into_iter().flatten().filter(|binding| binding.expires > now).collect();
        found.sort_by_key(|binding| std::cmp::Reverse(binding.q_thousandths));
        found
    }

    /// Where a request for this very contact goes, when a user has registered it: over the flow of the registration
    /// (a phone behind TCP or NAT cannot be reached otherwise).
    pub fn target_of_contact(&self, uri: &Uri<'_>, now: Moment) -> Option<Target> {
        let user = uri.user?;
        // a phone's contact nearly always carries the name it registers; others are asked one by one
        let same_name = self.bindings.get(user).into_iter().flatten();
        same_name
            .chain(self.bindings.iter().filter(|(name, _)| name.as_str() != user).flat_map(|(_, all)| all).take(1_000))
            .filter(|binding| binding.expires > now)
            .find(|binding| Uri::parse(&binding.contact).is_ok_and(|contact| contact.equivalent(uri)))
            .map(|binding| binding.target)
    }

    /// Number of bindings of a user, expired or not.
    pub fn count_of(&self, user: &str) -> usize {
        self.bindings.get(user).map_or(0, Vec::len)
    }

    /// Bindings in all.
    pub fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn find(&self, user: &str, contact: &Uri<'_>) -> Option<&Binding> {
        self.bindings
            .get(user)?
            .iter()
            .find(|binding| Uri::parse(&binding.contact).is_ok_and(|known| known.equivalent(contact)))
    }

    pub(crate) fn put(&mut self, user: &str, binding: Binding) {
        let all = self.bindings.entry(user.to_owned()).or_default();
        let known = Uri::parse(&binding.contact)
            .ok()
            .and_then(|new| all.iter().position(|old| Uri::parse(&old.contact).is_ok_and(|old| old.equivalent(&new))));
        match known.and_then(|at| all.get_mut(at)) {
            Some(old) => *old = binding,
            None => {
                all.push(binding);
                self.total += 1;
            }
        }
    }

    pub(crate) fn retain(&mut self, user: &str, keep: impl Fn(&Binding) -> bool) {
        let Some(all) = self.bindings.get_mut(user) else { return };
        let before = all.len();
        all.retain(keep);
        self.total -= before - all.len();
        if all.is_empty() {
            self.bindings.remove(user);
        }
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&mut self, now: Moment) {
        self.bindings.retain(|_, all| {
            all.retain(|binding| binding.expires > now);
            !all.is_empty()
        });
        self.total = self.bindings.values().map(Vec::len).sum();
    }
}
