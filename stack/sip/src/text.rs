//! The small grammar of RFC 3261 §25.1 that every header shares: tokens, white space, quoted strings, comma lists.

use std::borrow::Cow;

/// A character of a token (RFC 3261 §25.1).
pub(crate) const fn is_token_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(octet, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_octet)
}

/// A character of a word (Call-ID): a token's and those that tokens leave out, without white space.
pub(crate) const fn is_word_octet(octet: u8) -> bool {
    is_token_octet(octet)
        || matches!(octet, b'(' | b')' | b'<' | b'>' | b':' | b'\\' | b'"' | b'/' | b'[' | b']' | b'?' | b'{' | b'}')
}

const fn is_white(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

/// The text without white space (also line ends) at its ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_white)
}

pub(crate) fn trim_start(text: &str) -> &str {
    text.trim_start_matches(is_white)
}

/// Folding undone: each line end with the white space after it becomes one space (RFC 3261 §7.3.1).
pub(crate) fn unfold(value: &str) -> Cow<'_, str> {
    if !value.contains('\n') {
        return Cow::Borrowed(value);
    }
    let mut whole = String::with_capacity(value.len());
    for (index, line) in value.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if index == 0 {
            whole.push_str(line);
        } else {
            whole.push(' ');
            whole.push_str(line.trim_start_matches([' ', '\t']));
        }
    }
    Cow::Owned(whole)
}

/// Where the first of `stops` stands outside quoted strings and angle brackets; `None` if nowhere.
pub(crate) fn find_outside(text: &str, stops: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut bracketed = false;
    let mut escaped = false;
    for (index, octet) in text.bytes().enumerate() {
        if quoted {
            match octet {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if bracketed {
            bracketed = octet != b'>';
        } else if stops.contains(&octet) {
            return Some(index);
        } else if octet == b'"' {
            quoted = true;
        } else if octet == b'<' {
            bracketed = true;
        }
    }
    None
}

/// The text before a place that `find` or [`find_outside`] gave and the text from it on; all of it and nothing without a place.
pub(crate) fn split_at(text: &str, at: Option<usize>) -> (&str, &str) {
    at.and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

/// Splits at the first comma outside quotes and brackets: the first value, trimmed, and what follows the comma.
pub(crate) fn split_comma(list: &str) -> (&str, Option<&str>) {
    match find_outside(list, b",") {
        Some(at) => (trim(list.get(..at).unwrap_or_default()), list.get(at + 1..)),
        None => (trim(list), None),
    }
}

/// The length of the quoted string that `text` starts with, both quotes included; `None` if it does not start or never ends.
pub(crate) fn quoted_length(text: &str) -> Option<usize> {
    if !text.starts_with('"') {
        return None;
    }
    let mut escaped = false;
    for (index, octet) in text.bytes().enumerate().skip(1) {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// The content of a quoted string: quotes and backslashes taken off (RFC 3261 §25.1). Text without quotes comes back as it is.
pub fn unquote(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(text);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut escaped = false;
    for character in inner.chars() {
        if escaped || character != '\\' {
            plain.push(character);
            escaped = false;
        } else {
            escaped = true;
        }
    }
    Cow::Owned(plain)
}

/// The text as a quoted string, quotes and backslashes escaped. Line ends, which a quoted string cannot hold, become spaces.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            '\r' | '\n' => quoted.push(' '),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A decimal number within a bound: digits only, no sign, no white space.
pub(crate) fn number(text: &str, maximum: u64) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|value| *value <= maximum)
}

/// A header value that cannot leave its line: line ends and NUL become spaces, the ends are trimmed.
pub(crate) fn one_line(value: &str) -> String {
    let clean: String =
        value.chars().map(|character| if matches!(character, '\r' | '\n' | '\0') { ' ' } else { character }).collect();
    trim(&clean).to_owned()
}
