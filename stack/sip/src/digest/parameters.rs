//! The `name=value` list behind the word Digest.

use super::{Algorithm, DigestError};
use crate::text;

/// More than any RFC defines.
const MAXIMUM: usize = 32;

pub(super) struct Parameters<'a> {
    list: Vec<(&'a str, &'a str)>,
}

impl<'a> Parameters<'a> {
    pub(super) fn parse(value: &'a str) -> Result<Self, DigestError> {
        let (scheme, rest) = text::trim(value).split_once([' ', '\t']).ok_or(DigestError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(DigestError::Scheme);
        }
        let mut list: Vec<(&str, &str)> = Vec::new();
        let mut rest = Some(rest);
        while let Some(text) = rest {
            let (part, after) = split_comma(text);
            rest = after;
            // empty elements of a list are skipped (RFC 9110 §5.6.1)
            if part.is_empty() {
                continue;
            }
            let (name, value) = part.split_once('=').ok_or(DigestError::Syntax)?;
            let (name, value) = (text::trim(name), text::trim(value));
            let value_good = match value.starts_with('"') {
                true => text::quoted_length(value) == Some(value.len()),
                false => !value.contains(['"', ' ', '\t']),
            };
            let twice = list.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
            if !text::is_token(name) || !value_good || twice || list.len() == MAXIMUM {
                return Err(DigestError::Syntax);
            }
            list.push((name, value));
        }
        Ok(Parameters { list })
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.list.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(text::unquote(value).into_owned())
    }

    pub(super) fn required(&self, name: &'static str) -> Result<String, DigestError> {
        self.text(name).ok_or(DigestError::Missing(name))
    }

    pub(super) fn algorithm(&self) -> Result<(Algorithm, bool), DigestError> {
        match self.text("algorithm") {
            Some(name) => Algorithm::parse(&name),
            None => Ok((Algorithm::Md5, false)),
        }
    }

    /// A value in the extended notation, `UTF-8''` and escaped octets (RFC 7616 §3.4, RFC 8187).
    pub(super) fn extended(&self, name: &str) -> Option<String> {
        let value = self.text(name)?;
        let (charset, rest) = value.split_once('\'')?;
        let (_, escaped) = rest.split_once('\'')?;
        charset.eq_ignore_ascii_case("UTF-8").then(|| crate::uri::unescape(escaped).into_owned())
    }
}

/// As for headers, but angle brackets mean nothing here.
fn split_comma(list: &str) -> (&str, Option<&str>) {
    let mut quoted = false;
    let mut escaped = false;
    for (index, octet) in list.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (text::trim(list.get(..index).unwrap_or_default()), list.get(index + 1..)),
            _ => {}
        }
    }
    (text::trim(list), None)
}
