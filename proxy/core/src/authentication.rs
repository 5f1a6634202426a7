//! Digest authentication of callers (RFC 3261 §22, RFC 7616, RFC 8760), and the cookie of our Record-Route.

use std::time::Duration;

use strowger_clock::{Moment, Random, Timestamp};
use strowger_sip::digest::{Algorithm, Challenge, Credentials, Ha1, NonceKey, NonceState, Replay, ReplayWindow};
use strowger_sip::{Builder, Header, Message};
use strowger_transaction::{Layer, ServerKey};

use crate::config::{Config, PasswordHash, Subscriber};
use crate::core::ProxyCore;

/// A nonce is accepted for this long; after it, `stale=true` makes the client answer again without asking its user.
const NONCE_VALIDITY: Duration = Duration::from_secs(300);
/// Nonces whose counts are remembered at a time; older ones are forgotten, and answered `stale=true`.
const NONCES_REMEMBERED_MAX: usize = 100_000;

/// What came of checking a request's credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Checked {
    /// They are this user's.
    User(String),
    /// None for our realm, or not acceptable: challenge.
    Challenge {
        /// They were right but the nonce was old or used up.
        stale: bool,
    },
    /// They are wrong.
    Wrong,
}

/// Checks credentials and makes challenges. Issued nonces need no table; only used ones are remembered, against replay.
pub struct Authenticator {
    key: NonceKey,
    secret: [u8; 32],
    random: Random,
    window: ReplayWindow,
    realm: String,
    digest: Vec<Algorithm>,
}

impl Authenticator {
    /// From the configuration's secret and realm.
    pub fn new(config: &Config, random: Random) -> Self {
        Authenticator {
            key: NonceKey::new(config.secret),
            secret: config.secret,
            random,
            window: ReplayWindow::new(NONCES_REMEMBERED_MAX),
            realm: config.realm().to_owned(),
            digest: config.digest.clone(),
        }
    }

    /// Takes a new realm and secret; nonces of an unchanged secret stay good.
    pub fn reload(&mut self, config: &Config) {
        self.key = NonceKey::new(config.secret);
        self.secret = config.secret;
        self.realm = config.realm().to_owned();
        self.digest.clone_from(&config.digest);
    }

    /// Forgets the uses of nonces that are stale by now.
    pub fn expire(&mut self, now: Timestamp) {
        let validity = u64::try_from(NONCE_VALIDITY.as_nanos()).unwrap_or(u64::MAX);
        self.window.expire(Timestamp::from_unix_nanos(now.unix_nanos().saturating_sub(validity)));
    }

    /// Keyed hash of a Call-ID, 16 hexadecimal digits: proof in a Record-Route that we wrote it.
    pub fn cookie(&self, call_id: &str) -> String {
        let digest = strowger_sip::digest::hmac_sha256(&self.secret, &[b"record-route", call_id.as_bytes()]);
        digest.iter().take(8).map(|octet| format!("{octet:02x}")).collect()
    }

    /// Challenges for a user: the algorithms that its stored password allows, strongest first.
    pub fn challenges(&mut self, now: Timestamp, subscriber: Option<&Subscriber>, stale: bool) -> Vec<Challenge> {
        let algorithms: &[Algorithm] = match subscriber.map(|subscriber| &subscriber.password) {
            Some(PasswordHash::Ha1Md5(_)) => &[Algorithm::Md5],
            // an unknown user is challenged like a known one: names are not to be found out
            _ => &self.digest,
        };
        let nonce = self.key.issue(now, self.random.next_u64());
        Challenge::offers(&self.realm, &nonce, algorithms, stale)
    }

    /// Checks the credentials that a request carries for our realm.
    pub fn check(
        &mut self,
        now: Timestamp,
        message: &Message,
        header: Header,
        subscriber: impl Fn(&str) -> Option<Subscriber>,
    ) -> Checked {
        let Some(credentials) = Credentials::for_realm(message.values(header), &self.realm) else {
            return Checked::Challenge { stale: false };
        };
        let user = user_of(&credentials.username);
        let Some(known) = subscriber(user) else { return Checked::Wrong };
        let ha1 = match &known.password {
            // one that is not offered is not taken either: an old answer is no way around a stronger demand
            PasswordHash::Clear(_) if !self.digest.contains(&credentials.algorithm) => {
                return Checked::Challenge { stale: false };
            }
            PasswordHash::Clear(password) => {
                Some(Ha1::from_password(credentials.algorithm, &credentials.username, &self.realm, password))
            }
            PasswordHash::Ha1Md5(digits) => Ha1::from_hex(Algorithm::Md5, digits),
        };
        let nonce = match self.key.check(&credentials.nonce, now, NONCE_VALIDITY) {
            NonceState::Fresh(nonce) => nonce,
            NonceState::Stale => return Checked::Challenge { stale: true },
            NonceState::Foreign => return Checked::Challenge { stale: false },
        };
        if !ha1.is_some_and(|ha1| credentials.verify(&ha1, &message.method(), message.body())) {
            return Checked::Wrong;
        }
        // without qop there is no count (RFC 2069 clients); the nonce's short life bounds a replay
        if let Some(count) = credentials.nonce_count {
            match self.window.accept(nonce, count) {
                Replay::New => {}
                Replay::Repeated | Replay::Forgotten => return Checked::Challenge { stale: true },
            }
        }
        Checked::User(user.to_owned())
    }
}

/// `alice` of `alice` and of `alice@example.test`: clients put either into `username`.
fn user_of(username: &str) -> &str {
    username.split_once('@').map_or(username, |(user, _)| user)
}

impl ProxyCore {
    /// The authenticated user of a request. Without one the request has been answered: challenged, or refused.
    pub(crate) fn authenticate(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        key: ServerKey,
        message: &Message,
        as_proxy: bool,
    ) -> Option<String> {
        let (status, credentials, challenge) = if as_proxy {
            (407, Header::ProxyAuthorization, Header::ProxyAuthenticate)
        } else {
            (401, Header::Authorization, Header::WwwAuthenticate)
        };
        let wall = self.config.timestamp(now);
        let subscribers = &self.config.subscribers;
        let checked = self.authenticator.check(wall, message, credentials, |user| subscribers.get(user).cloned());
        let claimed = message.from().ok().and_then(|from| Some(from.uri().ok()?.user_unescaped()?.into_owned()));
        let stale = match checked {
            // a user speaks in its own name (a REGISTER's To is checked by the registrar)
            Checked::User(user) if !as_proxy || claimed.as_deref() == Some(user.as_str()) => return Some(user),
            Checked::User(_) => {
                self.reject(now, layer, key, message, 403);
                return None;
            }
            Checked::Wrong => {
                self.counters.credentials_refused += 1;
                false
            }
            Checked::Challenge { stale } => stale,
        };
        self.counters.challenges += 1;
        let known = claimed.and_then(|user| self.config.subscribers.get(&user).cloned());
        let mut response = Builder::response(message, status, None).to_tag(&self.tag());
        for offer in self.authenticator.challenges(wall, known.as_ref(), stale) {
            response = response.header(challenge, &offer.to_string());
        }
        layer.respond(now, key, response.build());
        None
    }

    /// The request without the credentials that were for us (RFC 3261 §22.3: a proxy may take its own away).
    pub(crate) fn without_our_credentials(&self, message: &Message) -> Message {
        let realm = self.config.realm();
        let others: Vec<String> = message
            .values(Header::ProxyAuthorization)
            .filter(|value| !Credentials::parse(value).is_ok_and(|credentials| credentials.realm == realm))
            .map(str::to_owned)
            .collect();
        let mut edit = message.edit();
        edit.remove(Header::ProxyAuthorization);
        for other in others {
            edit.push_back(Header::ProxyAuthorization, &other);
        }
        edit.finish()
    }
}
