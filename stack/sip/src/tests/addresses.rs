//! name-addr, addr-spec, Via and their parameters: which characters belong to whom.

use super::{read, with};
use crate::{Header, HeaderError, NameAddr, Params, UriError, Via, quote, unquote};

#[test]
fn addresses() {
    let bare = NameAddr::parse("sip:a@b;tag=1;x").unwrap();
    assert_eq!((bare.uri, bare.tag()), ("sip:a@b", Some("1")), "without brackets parameters are the header's (§20)");
    let bracketed = NameAddr::parse("<sip:a@b;tag=1>;x").unwrap();
    assert_eq!((bracketed.uri, bracketed.tag()), ("sip:a@b;tag=1", None));
    let quoted = NameAddr::parse(r#""A \"<x>, \\" <sip:a@b>;expires=60;q=0.5"#).unwrap();
    assert_eq!(quoted.display_name().as_deref(), Some(r#"A "<x>, \"#));
    assert_eq!((quoted.expires(), quoted.q_thousandths()), (Some(60), Some(500)));
    assert_eq!(quoted.to_string(), r#""A \"<x>, \\" <sip:a@b>;expires=60;q=0.5"#);
    let tel = NameAddr::parse("<tel:+12125550100>;tag=2").unwrap();
    assert_eq!(tel.uri().unwrap().phone_number().as_deref(), Some("12125550100"));
    assert_eq!(NameAddr::parse("tel:7042;phone-context=b").unwrap().uri, "tel:7042");
    assert!(NameAddr::parse_contact(" * ").unwrap().is_wildcard());
    for (text, error) in [
        ("", HeaderError::Uri(UriError::Scheme)),
        ("*", HeaderError::Uri(UriError::Scheme)),
        ("\"A <sip:a@b>", HeaderError::Quote),
        ("\"A\" sip:a@b", HeaderError::Address),
        ("A. B, C <sip:a@b>", HeaderError::Address),
        ("<sip:a@b", HeaderError::Address),
        ("<sip:a@b> x", HeaderError::Parameter),
        ("<sip:a@b>;", HeaderError::Parameter),
        ("<sip:a@b>;tag=\"x", HeaderError::Parameter),
        ("sip:a@b?x=y", HeaderError::Brackets),
        ("sip:a,b@c", HeaderError::Brackets),
        ("< sip:a@b >", HeaderError::Uri(UriError::Character)),
        ("tel:7042", HeaderError::Uri(UriError::PhoneContext)),
    ] {
        assert_eq!(NameAddr::parse(text), Err(error), "{text}");
    }
}

#[test]
fn preferences() {
    for (text, thousandths) in [
        ("1", Some(1000)),
        ("1.000", Some(1000)),
        ("0", Some(0)),
        ("0.05", Some(50)),
        ("1.001", None),
        ("0.1234", None),
        ("x", None),
        ("2", None),
    ] {
        let contact = format!("<sip:a@b>;q={text}");
        assert_eq!(NameAddr::parse(&contact).unwrap().q_thousandths(), thousandths, "{text}");
    }
}

#[test]
fn vias() {
    let via =
        Via::parse("SIP / 2.0 / TCP  [2001:db8::9:1] : 5070 ;branch = z9hG4bK1; received=2001:db8::5 ;rport").unwrap();
    assert_eq!((via.transport, via.host, via.port), ("TCP", "[2001:db8::9:1]", Some(5070)));
    assert_eq!(via.branch(), Some("z9hG4bK1"));
    assert_eq!(via.received(), "2001:db8::5".parse().ok());
    assert_eq!(via.rport(), Some(None));
    assert_eq!(Via::parse("SIP/2.0/UDP a;rport=5").unwrap().rport(), Some(Some(5)));
    assert_eq!(Via::parse("SIP/2.0/UDP a;received=[::1]").unwrap().received(), "::1".parse().ok());
    assert_eq!(Via::parse("SIP/2.0/UDP a").unwrap().rport(), None);
    assert_eq!(via.to_string(), "SIP/2.0/TCP [2001:db8::9:1]:5070;branch = z9hG4bK1; received=2001:db8::5 ;rport");
    for text in [
        "",
        "SIP/2.0",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0/U P a",
        "/2.0/UDP a",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP 2001:db8::1",
    ] {
        assert_eq!(Via::parse(text), Err(HeaderError::Via), "{text}");
    }
}

#[test]
fn parameters() {
    let params = Params::parse(" ; a = 1 ;B;c=\"x;\\\"y\" ; d=[::1]").unwrap();
    let list: Vec<_> = params.iter().map(|param| (param.name, param.value)).collect();
    assert_eq!(list, [("a", Some("1")), ("B", None), ("c", Some("\"x;\\\"y\"")), ("d", Some("[::1]"))]);
    assert_eq!(params.value("C").map(unquote).as_deref(), Some("x;\"y"));
    assert!(params.has("b") && params.value("b").is_none() && !params.has("e"));
    for text in ["a", ";", ";;a", ";a=", ";=a", ";a=\"", ";a=b c", ";a=<b>", ";a b"] {
        assert_eq!(Params::parse(text), Err(HeaderError::Parameter), "{text}");
    }
    assert_eq!(unquote(&quote("a\"\\b\r\n")), "a\"\\b  ");
}

#[test]
fn lists_are_split_outside_quotes_and_brackets() {
    let line =
        "m: \"a, b\" <sip:c,d@e>,, sip:f@g;x=\"1,2\"\r\nContact: <sip:h@i>\r\nDate: Sat, 13 Nov 2010 23:29:00 GMT";
    let message = read(with("Contact", line)).unwrap();
    assert_eq!(
        message.values(Header::Contact).collect::<Vec<_>>(),
        ["\"a, b\" <sip:c,d@e>", "", "sip:f@g;x=\"1,2\"", "<sip:h@i>"]
    );
    assert_eq!(message.values(Header::Date).count(), 1, "no list");
    assert_eq!(read(with("Contact", "Supported:")).unwrap().values(Header::Contact).count(), 0);
    assert_eq!(message.check_all(), Err((Header::Contact, HeaderError::Uri(UriError::Scheme))));
}

#[test]
fn every_header_is_found_by_its_names() {
    for header in Header::KNOWN {
        assert_eq!(Header::from_name(header.as_str()), *header);
        assert_eq!(Header::from_name(&header.as_str().to_ascii_uppercase()), *header);
        if let Some(compact) = header.compact() {
            assert_eq!(Header::from_name(compact), *header);
            assert_eq!(Header::from_name(&compact.to_ascii_uppercase()), *header);
        }
    }
    assert_eq!(Header::from_name("q"), Header::Other);
    assert_eq!(Header::from_name(""), Header::Other);
}
