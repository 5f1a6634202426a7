use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::params::Param;
use crate::text;

/// Why a URI was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// No scheme, or no character a scheme may hold.
    #[error("no scheme")]
    Scheme,
    /// A character that must not stand where it stands, or white space, or an angle bracket.
    #[error("character not allowed")]
    Character,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("ill-formed escape")]
    Escape,
    /// Empty or ill-formed user or password.
    #[error("ill-formed user part")]
    User,
    /// Empty or ill-formed host.
    #[error("ill-formed host")]
    Host,
    /// A port that is no number up to 65535.
    #[error("ill-formed port")]
    Port,
    /// An empty or ill-formed parameter.
    #[error("ill-formed parameter")]
    Parameter,
    /// Headers of a SIP URI that are ill-formed.
    #[error("ill-formed headers")]
    Headers,
    /// Headers stand in a Request-URI, where none may (RFC 3261 §19.1.1).
    #[error("headers not allowed here")]
    HeadersNotAllowed,
    /// A tel URI without a number.
    #[error("ill-formed telephone number")]
    Number,
    /// A local telephone number without a phone-context (RFC 3966 §5.1.5).
    #[error("local number without phone-context")]
    PhoneContext,
}

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966)
    Tel,
    /// Any other; nothing behind it is taken apart.
    Other(&'a str),
}

impl Scheme<'_> {
    /// The scheme in lower case where this crate knows it, else as it stands.
    pub fn as_str(&self) -> &str {
        match self {
            Scheme::Sip => "sip",
            Scheme::Sips => "sips",
            Scheme::Tel => "tel",
            Scheme::Other(name) => name,
        }
    }
}

/// A URI, taken apart without copying (RFC 3261 §19.1, RFC 3966).
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme<'a>,
    /// sip, sips: the user part, still escaped. tel: the number with its visual separators.
    pub user: Option<&'a str>,
    /// The password, still escaped (its use is discouraged).
    pub password: Option<&'a str>,
    /// sip, sips: host name, IPv4 address, or IPv6 address in brackets. Empty for other schemes.
    pub host: &'a str,
    /// The port, if one is written.
    pub port: Option<u16>,
    /// What follows the host or number, from the first `;`, up to the headers.
    params: &'a str,
    /// What follows `?`.
    headers: Option<&'a str>,
    whole: &'a str,
}

impl<'a> Uri<'a> {
    /// Takes a URI apart. Unknown schemes are accepted when their characters are those of a URI.
    ///
    /// # Errors
    /// [`UriError`], the first thing that is wrong.
    pub fn parse(whole: &'a str) -> Result<Uri<'a>, UriError> {
        check_characters(whole)?;
        let (scheme, rest) = whole.split_once(':').ok_or(UriError::Scheme)?;
        let scheme_good = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'-' | b'.'));
        if !scheme_good {
            return Err(UriError::Scheme);
        }
        if scheme.eq_ignore_ascii_case("sip") {
            Self::parse_sip(Scheme::Sip, whole, rest)
        } else if scheme.eq_ignore_ascii_case("sips") {
            Self::parse_sip(Scheme::Sips, whole, rest)
        } else if scheme.eq_ignore_ascii_case("tel") {
            Self::parse_tel(whole, rest)
        } else if rest.is_empty() {
            Err(UriError::Character)
        } else {
            let scheme = Scheme::Other(scheme);
            Ok(Uri { scheme, user: None, password: None, host: "", port: None, params: "", headers: None, whole })
        }
    }

    fn parse_sip(scheme: Scheme<'a>, whole: &'a str, rest: &'a str) -> Result<Uri<'a>, UriError> {
        let (user, password, rest) = match rest.split_once('@') {
            None => (None, None, rest),
            Some((userinfo, rest)) => {
                let (user, password) = match userinfo.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (userinfo, None),
                };
                let user_good =
                    !user.is_empty() && user.bytes().all(|octet| is_unreserved(octet) || b"&=+$,;?/%".contains(&octet));
                let password_good = password.is_none_or(|password| {
                    password.bytes().all(|octet| is_unreserved(octet) || b"&=+$,%".contains(&octet))
                });
                if !user_good || !password_good {
                    return Err(UriError::User);
                }
                (Some(user), password, rest)
            }
        };
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        let (sent_by, params) = text::split_at(rest, rest.find(';'));
        let (host, port) = host_port(sent_by, false).ok_or(UriError::Host)?;
        check_params(params, |octet| is_unreserved(octet) || b"[]/:&+$%".contains(&octet))?;
        if let Some(headers) = headers {
            check_headers(headers)?;
        }
        Ok(Uri { scheme, user, password, host, port, params, headers, whole })
    }

    fn parse_tel(whole: &'a str, rest: &'a str) -> Result<Uri<'a>, UriError> {
        let (number, params) = text::split_at(rest, rest.find(';'));
        check_params(params, |octet| is_unreserved(octet) || b"[]/:&+$%".contains(&octet))?;
        let uri = Uri {
            scheme: Scheme::Tel,
            user: Some(number),
            password: None,
            host: "",
            port: None,
            params,
            headers: None,
            whole,
        };
        if let Some(digits) = number.strip_prefix('+') {
            let digits_good = digits.bytes().any(|octet| octet.is_ascii_digit())
                && digits.bytes().all(|octet| octet.is_ascii_digit() || is_visual_separator(octet));
            return if digits_good { Ok(uri) } else { Err(UriError::Number) };
        }
        let local_good = number.bytes().any(|octet| !is_visual_separator(octet))
            && number
                .bytes()
                .all(|octet| octet.is_ascii_hexdigit() || matches!(octet, b'*' | b'#') || is_visual_separator(octet));
        if !local_good {
            return Err(UriError::Number);
        }
        match uri.param("phone-context") {
            Some(Param { value: Some(context), .. }) if is_phone_context(context) => Ok(uri),
            _ => Err(UriError::PhoneContext),
        }
    }

    /// The URI as it stands.
    pub fn as_str(&self) -> &'a str {
        self.whole
    }

    /// The URI's own parameters, in order; values still escaped.
    pub fn params(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        self.params.split(';').skip(1).map(|part| match part.split_once('=') {
            Some((name, value)) => Param { name, value: Some(value) },
            None => Param { name: part, value: None },
        })
    }

    /// The first parameter of a name, in any case.
    pub fn param(&self, name: &str) -> Option<Param<'a>> {
        self.params().find(|param| param.name.eq_ignore_ascii_case(name))
    }

    /// The parameters as they stand, from the first `;`.
    pub fn params_str(&self) -> &'a str {
        self.params
    }

    /// The headers as they stand, without the `?`.
    pub fn headers(&self) -> Option<&'a str> {
        self.headers
    }

    /// Whether the loose-routing parameter is there (§19.1.1).
    pub fn is_loose_router(&self) -> bool {
        self.param("lr").is_some()
    }

    /// The transport parameter.
    pub fn transport(&self) -> Option<&'a str> {
        self.param("transport")?.value
    }

    /// The user part with its escapes undone.
    pub fn user_unescaped(&self) -> Option<Cow<'a, str>> {
        self.user.map(unescape)
    }

    /// The digits of the telephone number this URI names, without `+` and visual separators: of a tel URI, or of a SIP URI
    /// whose user part is a number (with or without `user=phone`; parameters of RFC 3966 in the user part are left off).
    /// `None` for names and for numbers with letters, `*` or `#`.
    pub fn phone_number(&self) -> Option<String> {
        let user = self.user_unescaped()?;
        let number = user.split(';').next().unwrap_or_default();
        let number = number.strip_prefix('+').unwrap_or(number);
        if !number.bytes().all(|octet| octet.is_ascii_digit() || is_visual_separator(octet)) {
            return None;
        }
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    }

    /// Whether the number is a global one, written with `+`.
    pub fn is_global_number(&self) -> bool {
        self.user_unescaped().is_some_and(|user| user.starts_with('+')) && self.phone_number().is_some()
    }

    /// What a registrar keys its bindings by (RFC 3261 §10.3 step 5): scheme, unescaped user and host in lower case, without
    /// password, port 5060 of `sip`/5061 of `sips` dropped as the scheme's default, parameters and headers.
    /// For tel: `tel:+` or `tel:` and the digits. Other schemes as they stand.
    pub fn address_of_record(&self) -> String {
        match self.scheme {
            Scheme::Sip | Scheme::Sips => {
                let mut text = format!("{}:", self.scheme.as_str());
                if let Some(user) = self.user {
                    text.push_str(&normalize(user));
                    text.push('@');
                }
                text.push_str(&self.host.to_ascii_lowercase());
                let default = if self.scheme == Scheme::Sip { 5060 } else { 5061 };
                if let Some(port) = self.port.filter(|port| *port != default) {
                    text.push_str(&format!(":{port}"));
                }
                text
            }
            Scheme::Tel => format!("tel:{}", strip_separators(self.user.unwrap_or_default())),
            Scheme::Other(_) => self.whole.to_owned(),
        }
    }

    /// Whether two URIs are equal by RFC 3261 §19.1.4 (sip, sips) or RFC 3966 §4 (tel); other schemes by their octets.
    /// The relation is not transitive, so it is no `Eq`.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        match (self.scheme, other.scheme) {
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => self.same_sip(other),
            (Scheme::Tel, Scheme::Tel) => self.same_tel(other),
            _ => self.whole == other.whole,
        }
    }

    fn same_sip(&self, other: &Uri<'_>) -> bool {
        let same_user = self.user.map(normalize) == other.user.map(normalize);
        let same_password = self.password.map(normalize) == other.password.map(normalize);
        same_user
            && same_password
            && same_host(self.host, other.host)
            && self.port == other.port
            && params_agree(self, other)
            && params_agree(other, self)
            && headers_agree(self.headers, other.headers)
    }

    fn same_tel(&self, other: &Uri<'_>) -> bool {
        let same_number = strip_separators(self.user.unwrap_or_default())
            .eq_ignore_ascii_case(&strip_separators(other.user.unwrap_or_default()));
        let covers = |one: &Uri<'_>, two: &Uri<'_>| {
            one.params().all(|param| two.param(param.name).is_some_and(|twin| same_tel_value(param, twin)))
        };
        same_number && covers(self, other) && covers(other, self)
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.whole)
    }
}

const fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
}

const fn is_visual_separator(octet: u8) -> bool {
    matches!(octet, b'-' | b'.' | b'(' | b')')
}

fn strip_separators(number: &str) -> String {
    number.chars().filter(|character| !matches!(character, '-' | '.' | '(' | ')')).collect()
}

/// A domain name, or the leading digits of a global number (RFC 3966 §3).
fn is_phone_context(context: &str) -> bool {
    match context.strip_prefix('+') {
        Some(digits) => {
            digits.bytes().any(|octet| octet.is_ascii_digit())
                && digits.bytes().all(|octet| octet.is_ascii_digit() || is_visual_separator(octet))
        }
        None => is_host(context) && !context.starts_with('['),
    }
}

/// Visible ASCII without delimiters that no URI holds, and escapes that are whole.
fn check_characters(text: &str) -> Result<(), UriError> {
    let octets = text.as_bytes();
    for (index, octet) in octets.iter().enumerate() {
        match octet {
            b'%' => {
                let digits = octets.get(index + 1..index + 3).ok_or(UriError::Escape)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(UriError::Escape);
                }
            }
            b'<' | b'>' | b'"' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => return Err(UriError::Character),
            octet if !octet.is_ascii_graphic() => return Err(UriError::Character),
            _ => {}
        }
    }
    Ok(())
}

fn check_params(params: &str, allowed: impl Fn(u8) -> bool) -> Result<(), UriError> {
    let good = params.split(';').skip(1).all(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, "-"));
        !name.is_empty() && !value.is_empty() && name.bytes().chain(value.bytes()).all(&allowed)
    });
    if good { Ok(()) } else { Err(UriError::Parameter) }
}

fn check_headers(headers: &str) -> Result<(), UriError> {
    let allowed = |octet: u8| is_unreserved(octet) || b"[]/?:+$%".contains(&octet);
    let good = headers.split('&').all(|header| {
        header
            .split_once('=')
            .is_some_and(|(name, value)| !name.is_empty() && name.bytes().chain(value.bytes()).all(allowed))
    });
    if good { Ok(()) } else { Err(UriError::Headers) }
}

/// `host [":" port]`; `spaced` allows white space around the colon, as Via does.
pub(crate) fn host_port(text: &str, spaced: bool) -> Option<(&str, Option<u16>)> {
    let trim = |part| if spaced { text::trim(part) } else { part };
    let host_end = match text.strip_prefix('[') {
        Some(_) => text.find(']')? + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(host_end);
    let (host, rest) = (trim(host), trim(rest));
    if !is_host(host) {
        return None;
    }
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = text::number(trim(rest.strip_prefix(':')?), u64::from(u16::MAX))?;
    Some((host, Some(u16::try_from(port).ok()?)))
}

/// hostname, IPv4address or IPv6reference (RFC 3261 §25.1). Underscores, which host names in private networks hold, pass.
pub(crate) fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let labels_good = !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
    // a name whose last label is a number can only be an IPv4 address
    let numeric = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|octet| octet.is_ascii_digit()));
    labels_good && (!numeric || host.parse::<Ipv4Addr>().is_ok())
}

fn hex_octet(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// Escapes undone; sequences that are no UTF-8 stay escaped.
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                plain.extend(hex_octet(*high, *low));
                rest = after;
            }
            _ => {
                plain.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(plain).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// §19.1.4: an escaped character equals its plain form unless it is reserved. The result has only the escapes that matter.
fn normalize(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut normal = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (plain, from_escape) = text::split_at(rest, Some(at));
        normal.push_str(plain);
        let escape = from_escape.get(..3).unwrap_or(from_escape);
        match escape.as_bytes() {
            [_, high, low] => match hex_octet(*high, *low) {
                Some(octet) if is_unreserved(octet) => normal.push(char::from(octet)),
                _ => normal.push_str(&escape.to_ascii_uppercase()),
            },
            _ => normal.push_str(escape),
        }
        rest = rest.get(at + escape.len()..).unwrap_or_default();
    }
    normal.push_str(rest);
    Cow::Owned(normal)
}

fn same_host(one: &str, two: &str) -> bool {
    let address = |host: &str| host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    match (address(one), address(two)) {
        (Some(one), Some(two)) => one == two,
        _ => one.eq_ignore_ascii_case(two),
    }
}

/// Each parameter of `one` that counts is in `two` with the same value.
fn params_agree(one: &Uri<'_>, two: &Uri<'_>) -> bool {
    one.params().all(|param| match two.param(param.name) {
        Some(twin) => same_value(param.value, twin.value),
        // the rule names user, ttl, method and maddr; its examples add transport
        None => {
            !["user", "ttl", "method", "maddr", "transport"].iter().any(|name| name.eq_ignore_ascii_case(param.name))
        }
    })
}

fn same_value(one: Option<&str>, two: Option<&str>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => normalize(one).eq_ignore_ascii_case(&normalize(two)),
        (None, None) => true,
        _ => false,
    }
}

fn same_tel_value(one: Param<'_>, two: Param<'_>) -> bool {
    let digits = |value: Option<&str>| value.map(|value| strip_separators(&normalize(value)).to_ascii_lowercase());
    let numeric = one.name.eq_ignore_ascii_case("ext")
        || (one.name.eq_ignore_ascii_case("phone-context") && one.value.is_some_and(|value| value.starts_with('+')));
    if numeric { digits(one.value) == digits(two.value) } else { same_value(one.value, two.value) }
}

/// Headers are never ignored: each stands in both, in any order.
fn headers_agree(one: Option<&str>, two: Option<&str>) -> bool {
    let list = |headers: Option<&str>| {
        let mut list: Vec<(String, String)> = headers
            .unwrap_or_default()
            .split('&')
            .filter_map(|header| header.split_once('='))
            .map(|(name, value)| (unescape(name).to_ascii_lowercase(), unescape(value).into_owned()))
            .collect();
        list.sort();
        list
    };
    list(one) == list(two)
}
