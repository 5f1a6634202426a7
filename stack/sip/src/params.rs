use std::fmt;

use crate::error::HeaderError;
use crate::text;

/// One `;name=value` parameter, as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name; compare it without regard to case.
    pub name: &'a str,
    /// The value with its quotes, if it has any ([`crate::unquote`] takes them off); `None` for a flag.
    pub value: Option<&'a str>,
}

/// The `;`-separated parameters behind a header's value, checked when made, taken apart when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Params<'a> {
    /// Empty, or starts with the first `;`.
    raw: &'a str,
}

impl<'a> Params<'a> {
    /// Checks parameters: the text is empty or starts with `;` (white space around each part is allowed).
    ///
    /// # Errors
    /// [`HeaderError::Parameter`] for an empty or ill-formed parameter.
    pub fn parse(raw: &'a str) -> Result<Params<'a>, HeaderError> {
        let raw = text::trim(raw);
        if !raw.is_empty() && !raw.starts_with(';') {
            return Err(HeaderError::Parameter);
        }
        let mut rest = raw;
        while !rest.is_empty() {
            let (part, after) = next_part(rest);
            let param = split(part);
            let good = text::is_token(param.name) && param.value.is_none_or(is_value);
            if !good {
                return Err(HeaderError::Parameter);
            }
            rest = after;
        }
        Ok(Params { raw })
    }

    /// The parameters as they stand, the first `;` included.
    pub fn as_str(&self) -> &'a str {
        self.raw
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (part, after) = next_part(rest);
            rest = after;
            Some(split(part))
        })
    }

    /// The first parameter of a name, in any case.
    pub fn find(&self, name: &str) -> Option<Param<'a>> {
        self.iter().find(|param| param.name.eq_ignore_ascii_case(name))
    }

    /// The value of a parameter; `None` when it is missing or a flag.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.find(name)?.value
    }

    /// Whether a parameter is there, with a value or without.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}

impl fmt::Display for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.raw)
    }
}

/// `raw` starts with `;`: the part up to the next `;`, and the rest from that `;` on.
fn next_part(raw: &str) -> (&str, &str) {
    let body = raw.strip_prefix(';').unwrap_or(raw);
    text::split_at(body, text::find_outside(body, b";"))
}

fn split(part: &str) -> Param<'_> {
    match part.split_once('=') {
        Some((name, value)) => Param { name: text::trim(name), value: Some(text::trim(value)) },
        None => Param { name: text::trim(part), value: None },
    }
}

/// token, host or quoted-string (RFC 3261 §25.1, gen-value); beyond the grammar, the visible characters that separate nothing
/// here are let through, as with the bare IPv6 address in `received` (RFC 5118 §4.5).
fn is_value(value: &str) -> bool {
    if value.starts_with('"') {
        return text::quoted_length(value) == Some(value.len());
    }
    !value.is_empty()
        && value.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'<' | b'>' | b',' | b';'))
}
