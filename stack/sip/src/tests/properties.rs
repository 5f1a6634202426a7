//! Arbitrary and mutated octets: never a panic, never an answer that cannot be read, never a lossy edit.

use bytes::Bytes;
use proptest::prelude::*;

use super::INVITE;
use crate::digest::{Challenge, Credentials, NonceKey};
use crate::stream::Framer;
use crate::{CSeq, Header, Limits, Message, NameAddr, Params, Uri, Via, quote, unquote};

/// Text made of the pieces that grammars turn on.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "\"",
        "\\",
        "<",
        ">",
        ",",
        ";",
        "=",
        ":",
        "@",
        "?",
        "%",
        "%41",
        "%zz",
        "/",
        "[",
        "]",
        " ",
        "\t",
        "\r\n",
        "\r\n ",
        "\n",
        "*",
        "+",
        "sip:",
        "sips:",
        "tel:",
        "a",
        "b.c",
        "1",
        "65536",
        "192.0.2.1",
        "[2001:db8::1]",
        "SIP/2.0",
        "UDP",
        "INVITE",
        "tag",
        "branch",
        "Via",
        "l",
        "Content-Length",
        "\u{e4}",
        "\0",
        "z9hG4bK",
        "Digest ",
        "realm",
        "nonce",
        "4294967296",
        "&",
        "lr",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Asks a message for all it has; each call must come back.
fn exercise(message: &Message) {
    let _ = (
        message.method(),
        message.request_uri(),
        message.status(),
        message.reason(),
        message.expires(),
        message.check_all(),
    );
    assert!(message.top_via().is_ok() && message.from().is_ok() && message.to().is_ok() && message.cseq().is_ok());
    assert!(message.call_id().is_some() && message.max_forwards().is_ok());
    for (id, name, value) in message.fields() {
        assert_eq!(Header::from_name(name), id);
        assert!(!value.contains(['\r', '\n']));
        let _ = message.values(id).count();
    }
    assert_eq!(message.edit().finish(), *message, "an edit without changes changes nothing");
    // what was accepted is accepted again
    assert_eq!(Message::parse(message.as_bytes().clone()).unwrap(), *message);
    if message.is_request() {
        let response = crate::Builder::response(message, 200, None).to_tag("t").build();
        let again = Message::parse(response.as_bytes().clone()).expect("a response to a good request is good");
        assert_eq!(again.method(), message.method());
        assert!(again.to().unwrap().tag().is_some());
    }
}

fn try_octets(octets: Vec<u8>) {
    match Message::parse(Bytes::from(octets)) {
        Ok(message) => exercise(&message),
        Err(error) => {
            if let Some((status, builder)) = error.answerable() {
                let answer = builder.build();
                assert_eq!(answer.status(), Some(status));
                assert!(answer.top_via().is_ok());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_octets(octets in prop::collection::vec(any::<u8>(), 0..512)) {
        try_octets(octets.clone());
        let mut framer = Framer::new(Limits { head_octets: 256, ..Limits::DEFAULT });
        framer.push(&octets);
        for _ in 0..octets.len() + 1 {
            let _ = framer.next();
        }
    }

    #[test]
    fn mutated_messages(cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, pieces()), 1..4)) {
        let mut octets = INVITE.as_bytes().to_vec();
        for (at, length, with) in cuts {
            let at = at.index(octets.len());
            let end = (at + length).min(octets.len());
            octets.splice(at..end, with.bytes());
        }
        try_octets(octets);
    }

    #[test]
    fn flipped_octets(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut octets = INVITE.as_bytes().to_vec();
        for (at, octet) in flips {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        try_octets(octets);
    }

    #[test]
    fn pieces_of_grammar(text in pieces()) {
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert!(uri.equivalent(&uri));
            prop_assert_eq!(uri.as_str(), &text);
            let _ = (uri.phone_number(), uri.address_of_record(), uri.user_unescaped(), uri.params().count());
        }
        if let Ok(address) = NameAddr::parse(&text) {
            let written = address.to_string();
            let again = NameAddr::parse(&written).unwrap();
            prop_assert_eq!(again.uri, address.uri);
            prop_assert_eq!(again.params, address.params);
            prop_assert_eq!(again.display_name(), address.display_name());
        }
        if let Ok(via) = Via::parse(&text) {
            let written = via.to_string();
            prop_assert_eq!(Via::parse(&written).unwrap(), via);
        }
        if let Ok(cseq) = CSeq::parse(&text) {
            prop_assert_eq!(CSeq::parse(&cseq.to_string()).unwrap(), cseq);
        }
        if let Ok(params) = Params::parse(&text) {
            prop_assert_eq!(Params::parse(params.as_str()).unwrap(), params);
        }
        if let Ok(challenge) = Challenge::parse(&text) {
            prop_assert_eq!(Challenge::parse(&challenge.to_string()).unwrap(), challenge);
        }
        let _ = Credentials::parse(&text);
        let key = NonceKey::new([0; 32]);
        let _ = key.check(&text, strowger_clock::Timestamp::from_unix_seconds(0), std::time::Duration::ZERO);
    }

    #[test]
    fn via_with_pieces(text in pieces()) {
        let line = format!("Via: SIP/2.0/UDP a{text}");
        try_octets(super::with("Via", &line).into_bytes());
        let line = format!("From: {text}<sip:a@b>{text}");
        try_octets(super::with("From", &line).into_bytes());
    }

    #[test]
    fn quoting_round_trips(text in "[^\r\n]{0,40}") {
        let quoted = quote(&text);
        prop_assert_eq!(unquote(&quoted), text.as_str());
        prop_assert_eq!(crate::text::quoted_length(&quoted), Some(quoted.len()));
    }

    /// Edits of any text: the result is readable whenever the headers all need are left alone.
    #[test]
    fn edits_of_any_text(name in pieces(), value in pieces(), uri in pieces()) {
        let mut edit = super::invite().edit();
        edit.push_by_name(&format!("X-{name}"), &value).push_back(Header::Subject, &value).set_request_uri(&uri);
        edit.set_body(&value, value.as_bytes());
        let message = edit.finish();
        prop_assert_eq!(message.body(), value.as_bytes());
        let fields = message.fields().count();
        let mut edit = message.edit();
        edit.set_request_uri("sip:a@b");
        let again = Message::parse(edit.finish().as_bytes().clone()).unwrap();
        prop_assert_eq!(again.fields().count(), fields);
        prop_assert_eq!(again.body(), value.as_bytes());
    }

    /// Where rsip takes a message and gives it back as it was, both read the same things in it.
    #[test]
    fn rsip_agrees(user in "[a-z0-9]{1,8}", number in 1u32..2_000_000_000, tag in "[a-z0-9]{1,8}", extra in "[ -~]{0,20}") {
        use rsip::prelude::{HeadersExt, UntypedHeader};
        let text = INVITE
            .replacen("alice@example.test", &format!("{user}@example.test"), 1)
            .replacen("1928301774", &tag, 1)
            .replacen("314159", &number.to_string(), 1)
            .replacen("as  it   stands", &extra, 1);
        let message = Message::parse(text.into()).unwrap();
        if let Ok(typed) = rsip::SipMessage::try_from(&message) {
            prop_assert_eq!(typed.call_id_header().unwrap().value(), message.call_id().unwrap());
            let cseq = typed.cseq_header().unwrap().value().to_owned();
            prop_assert_eq!(cseq, message.cseq().unwrap().to_string());
            prop_assert_eq!(typed.from_header().unwrap().value(), message.header(Header::From).unwrap());
            prop_assert_eq!(Message::try_from(&typed).unwrap(), message);
        }
    }
}
