use std::borrow::Cow;
use std::fmt;

use crate::error::HeaderError;
use crate::params::Params;
use crate::text;
use crate::uri::{Uri, UriError};

/// An address with an optional display name and the header's parameters: `name-addr` or `addr-spec` (RFC 3261 §20.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as it stands, quotes included; [`NameAddr::display_name`] takes them off.
    pub display: Option<&'a str>,
    /// The URI, without angle brackets. Its grammar has been checked; [`NameAddr::uri`] takes it apart.
    pub uri: &'a str,
    /// The header's parameters (not the URI's).
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value (no commas outside quotes and brackets).
    ///
    /// # Errors
    /// [`HeaderError::Address`], [`HeaderError::Quote`], [`HeaderError::Uri`], [`HeaderError::Brackets`] (a URI with `,` or `?`
    /// must stand in angle brackets) or [`HeaderError::Parameter`].
    pub fn parse(value: &'a str) -> Result<NameAddr<'a>, HeaderError> {
        let value = text::trim(value);
        if value.starts_with('"') {
            let length = text::quoted_length(value).ok_or(HeaderError::Quote)?;
            let (display, rest) = value.split_at(length);
            return Self::bracketed(Some(display), text::trim_start(rest));
        }
        match value.find('<') {
            Some(0) => Self::bracketed(None, value),
            Some(at) => {
                let (display, rest) = value.split_at(at);
                let display = text::trim(display);
                // *(token LWS): words of tokens, nothing else, stand without quotes
                if !display.split([' ', '\t', '\r', '\n']).all(|word| word.is_empty() || text::is_token(word)) {
                    return Err(HeaderError::Address);
                }
                Self::bracketed(Some(display), rest)
            }
            None => Self::bare(value),
        }
    }

    /// Reads a Contact value, which may also be `*` (§10.2.2).
    ///
    /// # Errors
    /// As [`NameAddr::parse`].
    pub fn parse_contact(value: &'a str) -> Result<NameAddr<'a>, HeaderError> {
        match text::trim(value) {
            "*" => Ok(NameAddr { display: None, uri: "*", params: Params::default() }),
            value => Self::parse(value),
        }
    }

    fn bracketed(display: Option<&'a str>, rest: &'a str) -> Result<NameAddr<'a>, HeaderError> {
        let rest = rest.strip_prefix('<').ok_or(HeaderError::Address)?;
        let (uri, params) = rest.split_once('>').ok_or(HeaderError::Address)?;
        Uri::parse(uri)?;
        Ok(NameAddr { display, uri, params: Params::parse(params)? })
    }

    fn bare(value: &'a str) -> Result<NameAddr<'a>, HeaderError> {
        let (uri, params) = text::split_at(value, value.find(';'));
        let uri = text::trim(uri);
        if uri.contains([',', '?']) {
            return Err(HeaderError::Brackets);
        }
        match Uri::parse(uri) {
            Ok(_) => {}
            // the semicolon rule of §20 has taken a local number's phone-context for the header's parameter
            Err(UriError::PhoneContext) if params.to_ascii_lowercase().contains("phone-context") => {}
            Err(error) => return Err(error.into()),
        }
        Ok(NameAddr { display: None, uri, params: Params::parse(params)? })
    }

    /// The display name without quotes and escapes.
    pub fn display_name(&self) -> Option<Cow<'a, str>> {
        self.display.map(text::unquote).filter(|name| !name.is_empty())
    }

    /// The URI, taken apart.
    ///
    /// # Errors
    /// [`UriError`]; not for an address that [`NameAddr::parse`] gave, except the `*` of a Contact.
    pub fn uri(&self) -> Result<Uri<'a>, UriError> {
        Uri::parse(self.uri)
    }

    /// The tag (From, To).
    pub fn tag(&self) -> Option<&'a str> {
        self.params.value("tag")
    }

    /// Seconds a Contact asks for or is granted (§10.2.1.1); `None` when it is missing or no number.
    pub fn expires(&self) -> Option<u32> {
        self.params.value("expires").and_then(|value| value.parse().ok())
    }

    /// A Contact's preference in thousandths, 0 to 1000 (§20.10); `None` when it is missing or ill-formed.
    pub fn q_thousandths(&self) -> Option<u16> {
        let value = self.params.value("q")?;
        let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
        let digits_only = fraction.len() <= 3 && fraction.bytes().all(|octet| octet.is_ascii_digit());
        if !digits_only {
            return None;
        }
        let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
        match whole {
            "0" | "" => Some(thousandths),
            "1" if thousandths == 0 => Some(1000),
            _ => None,
        }
    }

    /// Whether this is the `*` of a REGISTER that removes all bindings.
    pub fn is_wildcard(&self) -> bool {
        self.uri == "*"
    }
}

impl fmt::Display for NameAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_wildcard() {
            return f.write_str("*");
        }
        match self.display {
            Some(display) if !display.is_empty() => write!(f, "{display} <{}>{}", self.uri, self.params),
            _ => write!(f, "<{}>{}", self.uri, self.params),
        }
    }
}
