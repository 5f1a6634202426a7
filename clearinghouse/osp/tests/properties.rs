//! Arbitrary and mutated input. Catches: a panic, and a value that does not survive being written and read.

use proptest::prelude::*;
use strowger_osp::multipart::Payload;
use strowger_osp::*;

const RECORDED: [&[u8]; 3] = [
    include_bytes!("data/authorization-every-element.xml"),
    include_bytes!("data/usage-from-scratch.xml"),
    include_bytes!("data/reauthorization.xml"),
];

/// Text as XML can carry it: trimmed, no control characters.
fn text() -> impl Strategy<Value = String> {
    "[ -~äß€]{0,20}".prop_map(|text| text.trim().to_owned())
}

fn octets() -> impl Strategy<Value = Base64> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Base64)
}

fn typed() -> impl Strategy<Value = Typed> {
    ("[a-zA-Z]{1,8}", text()).prop_map(|(kind, value)| Typed::new(kind, value))
}

prop_compose! {
    fn authorization()(
        call_ids in prop::collection::vec(octets(), 1..4),
        source_info in prop::collection::vec(typed(), 1..3),
        destination_info in prop::collection::vec(typed(), 1..3),
        user_agent in prop::option::of(text()),
        maximum_destinations in any::<Option<u32>>(),
        nanos in any::<i64>().prop_filter("magnitude", |nanos| *nanos != i64::MIN),
    ) -> Body {
        let pricing = vec![PricingIndication { amount: Some(Decimal { nanos }), ..PricingIndication::default() }];
        Body::AuthorizationRequest(AuthorizationRequest {
            call_ids, source_info, destination_info, user_agent, maximum_destinations, pricing, ..AuthorizationRequest::default()
        })
    }
}

prop_compose! {
    fn usage()(
        transaction_id in any::<u64>(),
        call_id in octets(),
        role in "[a-z]{1,11}",
        amount in any::<Option<u64>>(),
        packets in any::<Option<u64>>(),
    ) -> Body {
        let mut usage = UsageIndication::new(Role::from(role.as_str()), transaction_id, call_id);
        let lost = Loss { direction: Some("source-to-reporter".into()), packets, fraction: None };
        let metrics = vec![Metrics { kind: Some("rtp".into()), lost: vec![lost], ..Metrics::default() }];
        usage.usage_details.push(UsageDetail {
            amount,
            statistics: Some(Statistics { metrics, ..Statistics::default() }),
            ..UsageDetail::default()
        });
        Body::UsageIndication(usage)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_octets(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::parse(&bytes);
        let _ = Payload::parse(Some("multipart/signed; boundary=a"), &bytes);
    }

    #[test]
    fn any_markup(text in "(<|>|/|&|;|\"|'|=| |!|\\?|-|\\[|\\]|Message|CallId|messageId|critical|CDATA|DOCTYPE|#x|1|a){0,60}") {
        let _ = Message::parse(text.as_bytes());
    }

    #[test]
    fn any_parts(text in "(--a|\r\n|:|Content-Type|application/pkcs7-signature|base64|MQ==|x|-|;){0,40}") {
        let _ = Payload::parse(Some("multipart/signed; boundary=a"), text.as_bytes());
    }

    #[test]
    fn mutated_requests(
        which in 0..RECORDED.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = RECORDED[which].to_vec();
        for (index, octet, how) in changes {
            if bytes.is_empty() { break; }
            let at = index.index(bytes.len());
            match how { 0 => bytes[at] = octet, 1 => { bytes.remove(at); } _ => bytes.truncate(at) }
        }
        if let Ok(message) = Message::parse(&bytes) {
            let again = Message::parse(message.to_xml().as_bytes());
            prop_assert!(again.is_ok(), "{:?}", again);
        }
    }

    #[test]
    fn written_is_read(message_id in text(), random in prop::option::of(text()), bodies in prop::collection::vec(prop_oneof![authorization(), usage()], 1..4)) {
        let components = bodies.into_iter().enumerate().map(|(n, body)| Component { component_id: n.to_string(), body }).collect();
        let message = Message { message_id, random, components };
        prop_assert_eq!(Message::parse(message.to_xml().as_bytes()), Ok(message));
    }
}
