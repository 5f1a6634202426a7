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
    /// User names by what equivalent contacts have in common ([`Uri::address_of_record`]).
    by_contact: HashMap<String, Vec<String>>,
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
        let users = self.by_contact.get(&uri.address_of_record())?;
        users
            .iter()
            .filter_map(|user| self.bindings.get(user))
            .flatten()
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
            // equivalent: the index holds it already
            Some(old) => *old = binding,
            None => {
                self.by_contact.entry(contact_key(&binding)).or_default().push(user.to_owned());
                all.push(binding);
                self.total += 1;
            }
        }
    }

    pub(crate) fn retain(&mut self, user: &str, keep: impl Fn(&Binding) -> bool) {
        let Some(all) = self.bindings.get_mut(user) else { return };
        let gone: Vec<Binding> = all.extract_if(.., |binding| !keep(binding)).collect();
        if all.is_empty() {
            self.bindings.remove(user);
        }
        for binding in gone {
            self.forget(user, &binding);
        }
    }

    fn forget(&mut self, user: &str, binding: &Binding) {
        self.total = self.total.saturating_sub(1);
        let key = contact_key(binding);
        let Some(users) = self.by_contact.get_mut(&key) else { return };
        if let Some(at) = users.iter().position(|name| name == user) {
            users.swap_remove(at);
        }
        if users.is_empty() {
            self.by_contact.remove(&key);
        }
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&mut self, now: Moment) {
        let mut gone = Vec::new();
        self.bindings.retain(|user, all| {
            gone.extend(all.extract_if(.., |binding| binding.expires <= now).map(|binding| (user.clone(), binding)));
            !all.is_empty()
        });
        for (user, binding) in gone {
            self.forget(&user, &binding);
        }
    }
}

fn contact_key(binding: &Binding) -> String {
    Uri::parse(&binding.contact).map(|uri| uri.address_of_record()).unwrap_or_default()
}
