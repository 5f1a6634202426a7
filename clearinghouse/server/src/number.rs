//! Numbers and addresses as OSP carries them.

use strowger_osp::{AddressKind, Typed};

/// E.164 has 15 digits at most.
const MAXIMUM_DIGITS: usize = 15;
/// A caller without a number: the longest name that a token carries comfortably.
const MAXIMUM_NAME_OCTETS: usize = 64;

/// The digits of a number written as E.164 (a plus and visual separators are dropped) or as a SIP or tel URI.
pub(crate) fn digits(party: &Typed) -> Option<String> {
    let user = user_part(&party.value);
    let digits: String = user.chars().filter(|letter| !matches!(letter, '+' | '-' | '.' | '(' | ')' | ' ')).collect();
    let is_number = (1..=MAXIMUM_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(digits)
}

/// The calling party: its digits, or, where it is no E.164 number by its own account, its name.
pub(crate) fn calling(party: &Typed) -> Option<String> {
    let name = || {
        let user = user_part(&party.value);
        let fits = (1..=MAXIMUM_NAME_OCTETS).contains(&user.len()) && user.bytes().all(|byte| byte.is_ascii_graphic());
        (party.kind != AddressKind::E164.as_str() && !party.kind.is_empty() && fits).then(|| user.to_owned())
    };
    digits(party).or_else(name)
}

fn user_part(value: &str) -> &str {
    let value = value.trim().trim_matches(['<', '>']);
    let value = ["sips:", "sip:", "tel:"].iter().find_map(|scheme| value.strip_prefix(scheme)).unwrap_or(value);
    value.split(['@', ';']).next().unwrap_or(value)
}

/// `ip:port`, without the brackets that OSP writes around IPv4 addresses.
pub(crate) fn bare_address(address: &str) -> String {
    let address = address.trim();
    match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, port)) if !ip.contains(':') => format!("{ip}{port}"),
        _ => address.to_owned(),
    }
}

/// `[ip]:port`.
pub(crate) fn bracketed_address(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((ip, port)) if !ip.starts_with('[') => format!("[{ip}]:{port}"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_writing() {
        for (kind, value) in [
            ("e164", "12125550100"),
            ("e164", "+1 (212) 555-0100"),
            ("sip", "sip:+12125550100@example.test;user=phone"),
            ("sip", "12125550100@example.test"),
            ("url", "tel:+1-212-555-0100;phone-context=x"),
        ] {
            assert_eq!(digits(&Typed::new(kind, value)).as_deref(), Some("12125550100"), "{value}");
        }
        for (kind, value) in [("e164", ""), ("e164", "alice"), ("e164", "1234567890123456"), ("sip", "sip:@x")] {
            assert_eq!(digits(&Typed::new(kind, value)), None, "{value}");
        }
    }

    #[test]
    fn callers_may_have_names_where_they_claim_no_number() {
        assert_eq!(calling(&Typed::new("sip", "sip:alice@example.test")).as_deref(), Some("alice"));
        assert_eq!(calling(&Typed::new("e164", "alice")), None);
        assert_eq!(calling(&Typed::new("sip", "sip:a\nb@example.test")), None);
    }

    #[test]
    fn addresses_in_both_writings() {
        assert_eq!(bare_address(" [127.0.0.1]:5070"), "127.0.0.1:5070");
        assert_eq!(bare_address("[::1]:5070"), "[::1]:5070");
        assert_eq!(bracketed_address("127.0.0.1:5070"), "[127.0.0.1]:5070");
        assert_eq!(bracketed_address("[::1]:5070"), "[::1]:5070");
    }
}
