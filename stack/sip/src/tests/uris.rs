//! RFC 3261 §19.1 and RFC 3966: what a URI is, and when two are the same.

use crate::{Scheme, Uri, UriError};

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn sip_uris_are_taken_apart() {
    let whole = uri("sips:alice:secret@[2001:db8::1]:5061;transport=TCP;lr?subject=x&priority=urgent");
    assert_eq!(whole.scheme, Scheme::Sips);
    assert_eq!((whole.user, whole.password), (Some("alice"), Some("secret")));
    assert_eq!((whole.host, whole.port), ("[2001:db8::1]", Some(5061)));
    assert_eq!(whole.transport(), Some("TCP"));
    assert!(whole.is_loose_router());
    assert_eq!(whole.headers(), Some("subject=x&priority=urgent"));
    assert_eq!(uri("sip:example.test").user, None);
    assert_eq!(uri("SIP:alice@host.").host, "host.");
    assert_eq!(uri("sip:a;b=c@d;e").user, Some("a;b=c"));
    assert_eq!(uri("sip:a;b=c@d;e").params().map(|param| param.name).collect::<Vec<_>>(), ["e"]);
    assert_eq!(uri("urn:service:sos").scheme, Scheme::Other("urn"));
}

#[test]
fn ill_formed_uris() {
    for (text, error) in [
        ("", UriError::Scheme),
        ("alice", UriError::Scheme),
        ("1a:b", UriError::Scheme),
        ("sip:", UriError::Host),
        ("sip:@host", UriError::User),
        ("sip:a@", UriError::Host),
        ("sip:a@b@c", UriError::Host),
        ("sip:a b@c", UriError::Character),
        ("sip:a\u{e4}@c", UriError::Character),
        ("sip:a%4@c", UriError::Escape),
        ("sip:a%zz@c", UriError::Escape),
        ("sip:a%", UriError::Escape),
        ("sip:a[@c", UriError::User),
        ("sip:a@b:", UriError::Host),
        ("sip:a@b:65536", UriError::Host),
        ("sip:a@b:+1", UriError::Host),
        ("sip:a@1.2.3.400", UriError::Host),
        ("sip:a@1.2.3", UriError::Host),
        ("sip:a@-b", UriError::Host),
        ("sip:a@b..c", UriError::Host),
        ("sip:a@[::1", UriError::Host),
        ("sip:a@::1", UriError::Host),
        ("sip:a@[::g]", UriError::Host),
        ("sip:a@b;", UriError::Parameter),
        ("sip:a@b;=x", UriError::Parameter),
        ("sip:a@b;x=", UriError::Parameter),
        ("sip:a@b?", UriError::Headers),
        ("sip:a@b?x", UriError::Headers),
        ("tel:", UriError::Number),
        ("tel:+", UriError::Number),
        ("tel:+--", UriError::Number),
        ("tel:+1a", UriError::Number),
        ("tel:911", UriError::PhoneContext),
        ("tel:911;phone-context=+", UriError::PhoneContext),
        ("tel:911;phone-context=-x", UriError::PhoneContext),
        ("tel:9x1;phone-context=b", UriError::Number),
        ("data:", UriError::Character),
    ] {
        assert_eq!(Uri::parse(text).map(|uri| uri.as_str().to_owned()), Err(error), "{text}");
    }
}

#[test]
fn telephone_numbers() {
    for (text, digits) in [
        ("sip:+12125550100@example.test", Some("12125550100")),
        ("sip:12125550100@example.test;user=phone", Some("12125550100")),
        ("sip:+1-212-555-0100;ext=7@example.test;user=phone", Some("12125550100")),
        ("sip:%2B1(212)555.0100@example.test", Some("12125550100")),
        ("tel:+1-212-555-0100", Some("12125550100")),
        ("tel:0100;phone-context=+1212555", Some("0100")),
        ("tel:*69;phone-context=example.test", None),
        ("sip:alice@example.test", None),
        ("sip:alice1@example.test", None),
        ("sip:+@example.test", None),
        ("sip:example.test", None),
    ] {
        assert_eq!(uri(text).phone_number().as_deref(), digits, "{text}");
    }
    assert!(uri("tel:+12125550100").is_global_number());
    assert!(!uri("sip:12125550100@example.test").is_global_number());
}

/// The examples of §19.1.4, and each rule of it once.
#[test]
fn equal_and_unequal() {
    for (one, two) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ("sip:a%2fb@c", "sip:a%2Fb@c"),
        ("tel:+1-212-555-0100", "tel:+12125550100"),
        ("tel:7042;phone-context=example.com", "tel:7042;Phone-Context=EXAMPLE.com"),
        ("tel:+1;ext=1-2;isub=3", "tel:+1;isub=3;ext=12"),
        ("urn:service:sos", "urn:service:sos"),
    ] {
        assert!(uri(one).equivalent(&uri(two)) && uri(two).equivalent(&uri(one)), "{one} {two}");
    }
    for (one, two) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b", "sip:b"),
        ("sip:a:x@b", "sip:a@b"),
        ("sip:a@b;maddr=c", "sip:a@b"),
        ("sip:a@b;ttl=1", "sip:a@b"),
        ("sip:a@b;user=ip", "sip:a@b"),
        ("sip:a@b;lr", "sip:a@b;lr=on"),
        ("sip:a%2Fb@c", "sip:a/b@c"),
        ("tel:+1", "tel:1;phone-context=b"),
        ("tel:+1;ext=2", "tel:+1"),
        ("urn:service:sos", "urn:service:SOS"),
    ] {
        assert!(!uri(one).equivalent(&uri(two)) && !uri(two).equivalent(&uri(one)), "{one} {two}");
    }
}

#[test]
fn addresses_of_record() {
    for (text, key) in [
        ("SIP:%61lice:x@Example.TEST:5060;transport=tcp?a=b", "sip:alice@example.test"),
        ("sip:Alice@example.test:5070", "sip:Alice@example.test:5070"),
        ("sips:alice@example.test:5061", "sips:alice@example.test"),
        ("sip:example.test", "sip:example.test"),
        ("tel:+1-212-555-0100;ext=3", "tel:+12125550100"),
    ] {
        assert_eq!(uri(text).address_of_record(), key);
    }
}
