//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 §22), both sides.
//!
//! Server: [`Challenge::offers`] makes the challenges, [`NonceKey`] nonces that need no table, [`Credentials::parse`] and
//! [`Credentials::verify`] check the answer, [`ReplayWindow`] the nonce count. Client: [`strongest`] chooses a challenge,
//! [`answer`] answers it. Without qop the computation is that of RFC 2069. Secrets never show in `Debug`.

mod nonce;
mod parameters;

use std::fmt;

use md5::Md5;
use sha2::{Sha256, Sha512_256};
use subtle::ConstantTimeEq;

use crate::method::Method;
use crate::text::quote;

pub use nonce::{Nonce, NonceKey, NonceState, Replay, ReplayWindow, hmac_sha256};
use parameters::Parameters;

/// Why a challenge or credentials cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The scheme is not Digest.
    #[error("not the Digest scheme")]
    Scheme,
    /// The parameters are ill-formed, too many, or one stands twice.
    #[error("ill-formed digest parameters")]
    Syntax,
    /// A parameter that must be there is missing.
    #[error("digest parameter {0} missing")]
    Missing(&'static str),
    /// An algorithm this crate does not know.
    #[error("unknown digest algorithm")]
    Algorithm,
    /// Protections of which none is known.
    #[error("unknown quality of protection")]
    Qop,
    /// A nonce count that is not eight hexadecimal digits.
    #[error("ill-formed nonce count")]
    NonceCount,
}

/// A hash; the order is that of strength (RFC 8760 §2.2), weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// MD5, for peers that know nothing else.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512_256,
}

impl Algorithm {
    /// All of them, strongest first and MD5 last: the order to offer them in (RFC 8760 §2.4).
    pub const STRONGEST_FIRST: [Algorithm; 3] = [Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5];

    /// The name on the wire, without `-sess`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512_256 => "SHA-512-256",
        }
    }

    /// Hexadecimal digits of a hash.
    pub const fn hex_digits(self) -> usize {
        match self {
            Algorithm::Md5 => 32,
            Algorithm::Sha256 | Algorithm::Sha512_256 => 64,
        }
    }

    /// The algorithm of a name and whether it is the session variant.
    ///
    /// # Errors
    /// [`DigestError::Algorithm`].
    pub fn parse(name: &str) -> Result<(Algorithm, bool), DigestError> {
        let cut = name.len().saturating_sub(5);
        let (plain, session) = match (name.get(..cut), name.get(cut..)) {
            (Some(plain), Some(tail)) if tail.eq_ignore_ascii_case("-sess") => (plain, true),
            _ => (name, false),
        };
        let known = Algorithm::STRONGEST_FIRST.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(plain));
        known.map(|known| (known, session)).ok_or(DigestError::Algorithm)
    }

    /// Hash of the parts joined with colons, in lower-case hexadecimal digits.
    fn hash(self, parts: &[&[u8]]) -> String {
        fn run<D: sha2::Digest>(parts: &[&[u8]]) -> String {
            let mut hash = D::new();
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    hash.update(b":");
                }
                hash.update(part);
            }
            hex::encode(hash.finalize().as_slice())
        }
        match self {
            Algorithm::Md5 => run::<Md5>(parts),
            Algorithm::Sha256 => run::<Sha256>(parts),
            Algorithm::Sha512_256 => run::<Sha512_256>(parts),
        }
    }
}

/// Quality of protection: what the hash covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qop {
    /// Method and URI.
    Auth,
    /// Method, URI and body.
    AuthInt,
}

impl Qop {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Qop::Auth => "auth",
            Qop::AuthInt => "auth-int",
        }
    }

    fn parse(name: &str) -> Option<Qop> {
        [Qop::Auth, Qop::AuthInt].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name))
    }
}

/// H(username:realm:password): what a server stores instead of the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    algorithm: Algorithm,
    hex: String,
}

impl Ha1 {
    /// From a password.
    pub fn from_password(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> Ha1 {
        let hex = algorithm.hash(&[username.as_bytes(), realm.as_bytes(), password.as_bytes()]);
        Ha1 { algorithm, hex }
    }

    /// From its hexadecimal digits; `None` unless there are as many as the algorithm makes.
    pub fn from_hex(algorithm: Algorithm, digits: &str) -> Option<Ha1> {
        let good = digits.len() == algorithm.hex_digits() && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
        good.then(|| Ha1 { algorithm, hex: digits.to_ascii_lowercase() })
    }

    /// The algorithm it was made with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its lower-case hexadecimal digits, a secret.
    pub fn as_hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ha1({}, secret)", self.algorithm.as_str())
    }
}

/// A WWW-Authenticate or Proxy-Authenticate value of the Digest scheme. `Display` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Whose password is wanted.
    pub realm: String,
    /// The nonce.
    pub nonce: String,
    /// To be sent back as it is.
    pub opaque: Option<String>,
    /// The hash; MD5 where the challenge names none.
    pub algorithm: Algorithm,
    /// The `-sess` variant.
    pub session: bool,
    /// The protections offered; empty is RFC 2069.
    pub qop: Vec<Qop>,
    /// The last credentials were right but their nonce was not fresh: answer again without asking the user.
    pub stale: bool,
    /// The URIs the credentials are for, as they stand.
    pub domain: Option<String>,
}

impl Challenge {
    /// A challenge with qop `auth`.
    pub fn new(realm: &str, nonce: &str, algorithm: Algorithm) -> Challenge {
        Challenge {
            realm: realm.to_owned(),
            nonce: nonce.to_owned(),
            opaque: None,
            algorithm,
            session: false,
            qop: vec![Qop::Auth],
            stale: false,
            domain: None,
        }
    }

    /// One challenge per algorithm, strongest first and MD5 last, whatever order they are given in (RFC 8760 §2.4).
    pub fn offers(realm: &str, nonce: &str, algorithms: &[Algorithm], stale: bool) -> Vec<Challenge> {
        let offered = Algorithm::STRONGEST_FIRST.into_iter().filter(|algorithm| algorithms.contains(algorithm));
        offered.map(|algorithm| Challenge { stale, ..Challenge::new(realm, nonce, algorithm) }).collect()
    }

    /// Reads a header value.
    ///
    /// # Errors
    /// [`DigestError`].
    pub fn parse(value: &str) -> Result<Challenge, DigestError> {
        let parameters = Parameters::parse(value)?;
        let (algorithm, session) = parameters.algorithm()?;
        let qop = match parameters.text("qop") {
            None => Vec::new(),
            Some(list) => {
                let known: Vec<Qop> = list.split(',').filter_map(|name| Qop::parse(name.trim())).collect();
                if known.is_empty() {
                    return Err(DigestError::Qop);
                }
                known
            }
        };
        Ok(Challenge {
            realm: parameters.required("realm")?,
            nonce: parameters.required("nonce")?,
            opaque: parameters.text("opaque"),
            algorithm,
            session,
            qop,
            stale: parameters.text("stale").is_some_and(|value| value.eq_ignore_ascii_case("true")),
            domain: parameters.text("domain"),
        })
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest realm={}, nonce={}", quote(&self.realm), quote(&self.nonce))?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quote(opaque))?;
        }
        if let Some(domain) = &self.domain {
            write!(f, ", domain={}", quote(domain))?;
        }
        write!(f, ", algorithm={}{}", self.algorithm.as_str(), if self.session { "-sess" } else { "" })?;
        if !self.qop.is_empty() {
            let names: Vec<&str> = self.qop.iter().map(|qop| qop.as_str()).collect();
            write!(f, ", qop=\"{}\"", names.join(","))?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        Ok(())
    }
}

/// The best of several challenges: the strongest algorithm this crate knows; of equals the first. Values of other schemes and
/// unknown algorithms are passed over.
pub fn strongest<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut best: Option<Challenge> = None;
    for challenge in values.into_iter().filter_map(|value| Challenge::parse(value).ok()) {
        if best.as_ref().is_none_or(|best| challenge.algorithm > best.algorithm) {
            best = Some(challenge);
        }
    }
    best
}

/// An Authorization or Proxy-Authorization value of the Digest scheme. `Display` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Who answers.
    pub username: String,
    /// The challenge's realm.
    pub realm: String,
    /// The challenge's nonce.
    pub nonce: String,
    /// The URI the hash covers; it should be equivalent to the Request-URI (RFC 3261 §22.4 item 8 lets proxies change that).
    pub uri: String,
    /// The hash, in hexadecimal digits.
    pub response: String,
    /// The hash's algorithm; MD5 where none is named.
    pub algorithm: Algorithm,
    /// The `-sess` variant.
    pub session: bool,
    /// The client's own nonce; there when `qop` is.
    pub cnonce: Option<String>,
    /// The challenge's opaque.
    pub opaque: Option<String>,
    /// The protection chosen; `None` is RFC 2069.
    pub qop: Option<Qop>,
    /// How often the nonce has been used, this time included; there when `qop` is.
    pub nonce_count: Option<u32>,
}

impl Credentials {
    /// Reads a header value.
    ///
    /// # Errors
    /// [`DigestError`].
    pub fn parse(value: &str) -> Result<Credentials, DigestError> {
        let parameters = Parameters::parse(value)?;
        let (algorithm, session) = parameters.algorithm()?;
        let qop = match parameters.text("qop") {
            None => None,
            Some(name) => Some(Qop::parse(&name).ok_or(DigestError::Qop)?),
        };
        let nonce_count = match parameters.text("nc") {
            Some(digits) if digits.len() == 8 && digits.bytes().all(|octet| octet.is_ascii_hexdigit()) => {
                Some(u32::from_str_radix(&digits, 16).map_err(|_| DigestError::NonceCount)?)
            }
            Some(_) => return Err(DigestError::NonceCount),
            None => None,
        };
        let cnonce = parameters.text("cnonce");
        if qop.is_some() && nonce_count.is_none() {
            return Err(DigestError::Missing("nc"));
        }
        if (qop.is_some() || session) && cnonce.is_none() {
            return Err(DigestError::Missing("cnonce"));
        }
        let username = match parameters.text("username") {
            Some(username) => username,
            None => parameters.extended("username*").ok_or(DigestError::Missing("username"))?,
        };
        Ok(Credentials {
            username,
            realm: parameters.required("realm")?,
            nonce: parameters.required("nonce")?,
            uri: parameters.required("uri")?,
            response: parameters.required("response")?,
            algorithm,
            session,
            cnonce,
            opaque: parameters.text("opaque"),
            qop,
            nonce_count,
        })
    }

    /// The first value of Digest credentials for a realm.
    pub fn for_realm<'a>(values: impl IntoIterator<Item = &'a str>, realm: &str) -> Option<Credentials> {
        values
            .into_iter()
            .filter_map(|value| Credentials::parse(value).ok())
            .find(|credentials| credentials.realm == realm)
    }

    /// Whether the response is the one that the holder of the password would have given, compared in constant time.
    /// `ha1` must be of the credentials' algorithm. Realm, nonce and nonce count are for the caller to check.
    pub fn verify(&self, ha1: &Ha1, method: &Method, body: &[u8]) -> bool {
        if ha1.algorithm != self.algorithm {
            return false;
        }
        let expected = self.compute(ha1, method, body);
        expected.as_bytes().ct_eq(self.response.to_ascii_lowercase().as_bytes()).into()
    }

    /// The response for these parameters (RFC 7616 §3.4.1).
    fn compute(&self, ha1: &Ha1, method: &Method, body: &[u8]) -> String {
        let algorithm = self.algorithm;
        let nonce = self.nonce.as_bytes();
        let cnonce = self.cnonce.as_deref().unwrap_or_default().as_bytes();
        let ha1 = match self.session {
            true => algorithm.hash(&[ha1.hex.as_bytes(), nonce, cnonce]),
            false => ha1.hex.clone(),
        };
        let method = method.as_str().as_bytes();
        let ha2 = match self.qop {
            Some(Qop::AuthInt) => algorithm.hash(&[method, self.uri.as_bytes(), algorithm.hash(&[body]).as_bytes()]),
            _ => algorithm.hash(&[method, self.uri.as_bytes()]),
        };
        match self.qop {
            Some(qop) => {
                let count = format!("{:08x}", self.nonce_count.unwrap_or_default());
                let parts = [ha1.as_bytes(), nonce, count.as_bytes(), cnonce, qop.as_str().as_bytes(), ha2.as_bytes()];
                algorithm.hash(&parts)
            }
            None => algorithm.hash(&[ha1.as_bytes(), nonce, ha2.as_bytes()]),
        }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{}\", algorithm={}{}",
            quote(&self.username),
            quote(&self.realm),
            quote(&self.nonce),
            quote(&self.uri),
            self.response,
            self.algorithm.as_str(),
            if self.session { "-sess" } else { "" },
        )?;
        if let Some(cnonce) = &self.cnonce {
            write!(f, ", cnonce={}", quote(cnonce))?;
        }
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quote(opaque))?;
        }
        if let Some(qop) = self.qop {
            write!(f, ", qop={}, nc={:08x}", qop.as_str(), self.nonce_count.unwrap_or_default())?;
        }
        Ok(())
    }
}

/// What a client knows to answer challenges with.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}, secret)", self.username)
    }
}

/// Answers a challenge: `auth` where it is offered, else `auth-int`, else RFC 2069. `cnonce` is fresh random text, `nonce_count`
/// counts the uses of the challenge's nonce from 1.
pub fn answer(
    challenge: &Challenge,
    login: &Login,
    method: &Method,
    uri: &str,
    body: &[u8],
    cnonce: &str,
    nonce_count: u32,
) -> Credentials {
    let qop = challenge.qop.iter().copied().find(|qop| *qop == Qop::Auth).or(challenge.qop.first().copied());
    let mut credentials = Credentials {
        username: login.username.clone(),
        realm: challenge.realm.clone(),
        nonce: challenge.nonce.clone(),
        uri: uri.to_owned(),
        response: String::new(),
        algorithm: challenge.algorithm,
        session: challenge.session,
        cnonce: (qop.is_some() || challenge.session).then(|| cnonce.to_owned()),
        opaque: challenge.opaque.clone(),
        qop,
        nonce_count: qop.map(|_| nonce_count),
    };
    let ha1 = Ha1::from_password(challenge.algorithm, &login.username, &challenge.realm, &login.password);
    credentials.response = credentials.compute(&ha1, method, body);
    credentials
}

#[cfg(test)]
mod tests;
