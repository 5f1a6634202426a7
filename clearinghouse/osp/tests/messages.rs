//! Requests as OSP Toolkit 4.13 sends them, faults one by one, limits in pairs. Catches: a request of the field's client that is no longer
//! read, an element that is lost between reading and writing, a fault that gets the wrong status.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking, in its helpers too")]

use strowger_clock::Timestamp;
use strowger_osp::limits::{
    MAX_ATTRIBUTES, MAX_COMPONENTS, MAX_DEPTH, MAX_ELEMENTS, MAX_MESSAGE_OCTETS, MAX_TEXT_OCTETS,
};
use strowger_osp::multipart::{self, Payload};
use strowger_osp::*;

const FIXTURES: [(&str, &[u8]); 8] = [
    ("authorization-call", include_bytes!("data/authorization-call.xml")),
    ("authorization-every-element", include_bytes!("data/authorization-every-element.xml")),
    ("authorization-with-price", include_bytes!("data/authorization-with-price.xml")),
    ("capabilities", include_bytes!("data/capabilities.xml")),
    ("reauthorization", include_bytes!("data/reauthorization.xml")),
    ("usage-call", include_bytes!("data/usage-call.xml")),
    ("usage-every-element", include_bytes!("data/usage-every-element.xml")),
    ("usage-from-scratch", include_bytes!("data/usage-from-scratch.xml")),
];

fn fixture(name: &str) -> Message {
    let bytes = FIXTURES.iter().find(|(fixture, _)| *fixture == name).unwrap().1;
    Message::parse(bytes).unwrap()
}

fn status_of(xml: &str) -> u16 {
    Message::parse(xml.as_bytes()).unwrap_err().status.code
}

#[test]
fn recorded_requests_survive_reading_and_writing() {
    for (name, bytes) in FIXTURES {
        let message = Message::parse(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = Message::parse(message.to_xml().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(message, again, "{name}");
    }
}

/// Every element name and text of the recorded messages is in what we write: nothing is dropped silently.
#[test]
fn nothing_recorded_is_lost() {
    for (name, bytes) in FIXTURES {
        let written = fixture(name).to_xml();
        let recorded = std::str::from_utf8(bytes).unwrap();
        for piece in
            recorded.split(['<', '>', '\n']).filter(|piece| !piece.is_empty() && !piece.starts_with(['?', '/']))
        {
            let piece = piece.split(' ').next().unwrap();
            assert!(written.contains(piece), "{name}: {piece} is lost");
        }
        let count = |text: &str| text.matches("</").count() + text.matches("/>").count();
        assert_eq!(count(recorded), count(&written), "{name}: number of elements");
    }
}

#[test]
fn full_call_request() {
    let message = fixture("authorization-call");
    let [Component { component_id, body: Body::AuthorizationRequest(request) }] = message.components.as_slice() else {
        panic!("not one request")
    };
    assert_eq!(message.message_id, format!("{}1", component_id.strip_suffix('0').unwrap()));
    assert_eq!(request.calling(), Some(&Typed::new("e164", "14048724799")));
    assert_eq!(request.called(), Some(&Typed::new("e164", "1678")));
    assert_eq!(request.call_ids.len(), 8);
    assert_eq!(request.call_id_for(1).unwrap().as_ref(), b"2");
    assert_eq!(request.call_id_for(8).unwrap().as_ref(), b"1", "more destinations than call ids: the first");
    assert_eq!(request.maximum_destinations, Some(8));
    assert_eq!(message.components[0].body.sender(), (Some("1000"), Some("1000")));
    assert_eq!(request.service.as_ref().unwrap().name(), "voice");
}

#[test]
fn every_element_of_a_request() {
    let message = fixture("authorization-every-element");
    let Body::AuthorizationRequest(request) = &message.components[0].body else { panic!() };
    assert_eq!(request.destination_info.len(), 8);
    assert_eq!(request.remote_party_id[1].value, "\"'Eric Smith' of AT&T\" <sip:2001@att.com>;privacy=off;screen=no");
    assert_eq!(request.custom[0].index, "1");
    assert_eq!(request.custom[0].octets.as_ref(), b"CustomInfo_first");
    assert_eq!(request.sdp_fingerprints, ["fingerprint1", "fingerprint2", "fingerprint3"]);
    assert_eq!(request.identity.as_ref().unwrap().signature.as_ref().unwrap().as_ref(), b"Signature");
    assert_eq!(request.charging_vector, [Typed::new("icidvalue", "PCVICID")]);
}

#[test]
fn prices_of_a_request() {
    let message = fixture("authorization-with-price");
    let Body::AuthorizationRequest(request) = &message.components[0].body else { panic!() };
    let price = &request.pricing[1];
    assert_eq!(price.amount, Some(Decimal { nanos: 150_000_000 }));
    assert_eq!((price.increment, price.unit.as_deref(), price.currency.as_deref()), (Some(10), Some("s"), Some("EUR")));
}

#[test]
fn two_usages_in_one_message() {
    let message = fixture("usage-every-element");
    assert_eq!(message.components.len(), 2);
    let Body::UsageIndication(first) = &message.components[0].body else { panic!() };
    let Body::UsageIndication(second) = &message.components[1].body else { panic!() };
    assert_eq!(first.destination_address(), Some("[127.0.0.1]:5070"));
    assert_eq!((first.duration_seconds(), first.q850_cause()), (0, Some(41)));
    assert_eq!(second.destination_address(), Some("[127.0.0.1]:5072"));
    assert_eq!((second.duration_seconds(), second.q850_cause()), (30, Some(1)));
    assert_eq!((second.setup_attempt, second.total_setup_attempts), (Some(2), Some(12)));
    assert_eq!(second.role_info.as_ref().unwrap().state, Some(State::Unknown("stop1".into())));
    let detail = &second.usage_details[0];
    assert_eq!(detail.post_dial_delay[1], Typed::new("source", Decimal::from_millis(1010)));
    assert_eq!(detail.connect_time.unwrap().saturating_since(detail.start_time.unwrap()).as_secs(), 14);
    let statistics = detail.statistics.as_ref().unwrap();
    assert_eq!(statistics.metrics.len(), 4);
    assert_eq!(statistics.metrics[0].jitter[0].variance, Some(Decimal { nanos: 5_000_000_000 }));
    assert_eq!(statistics.mos_cq[2], Directed::new("source-to-destination", Decimal { nanos: 3_300_000_000 }));
    assert_eq!(statistics.icpif[1].value, 54);
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    let answers: Vec<_> = message.components.iter().filter_map(|c| c.reply(Status::success(), now)).collect();
    let answer = Message::parse(message.answer(answers).to_xml().as_bytes()).unwrap();
    assert_eq!((answer.message_id, answer.random), (message.message_id, message.random));
    for (asked, given) in message.components.iter().zip(&answer.components) {
        assert_eq!(asked.component_id, given.component_id);
        assert!(given.body.status().unwrap().is_success());
    }
}

#[test]
fn thousand_on_a_cause_is_taken_off() {
    let usage = |code: u32| {
        let mut usage = UsageIndication::new(Role::Source, 1, b"1".to_vec());
        let cause = TerminationCause { kind: Some("q850".into()), code, description: None };
        usage.usage_details.push(UsageDetail { termination_causes: vec![cause], ..UsageDetail::default() });
        usage.q850_cause()
    };
    assert_eq!((usage(16), usage(1016), usage(0)), (Some(16), Some(16), Some(0)));
}

#[test]
fn service_type_as_attribute() {
    let message = fixture("usage-from-scratch");
    let Body::UsageIndication(usage) = &message.components[0].body else { panic!() };
    assert_eq!(usage.service.as_ref().unwrap().name(), "voice");
    assert_eq!(usage.call_id.as_ref().len(), 256, "this client pads call ids with zeros");
}

const HEAD: &str = "<Message messageId=\"1\" random=\"2\">";

fn request(extra: &str) -> String {
    format!(
        "{HEAD}<AuthorizationRequest componentId=\"10\">{extra}<CallId encoding=\"base64\">MQ==</CallId><SourceInfo type=\"e164\">1</SourceInfo>\
         <DestinationInfo type=\"e164\">2</DestinationInfo></AuthorizationRequest></Message>"
    )
}

#[test]
fn faults_and_their_status() {
    assert!(Message::parse(request("").as_bytes()).is_ok());
    let cases: &[(u16, String, &str)] = &[
        (411, String::new(), "nothing"),
        (411, "hello".into(), "no element"),
        (411, HEAD.into(), "not closed"),
        (411, format!("{HEAD}</Message></Message>"), "closed twice"),
        (411, format!("{}{}", request(""), request("")), "two roots"),
        (411, format!("{HEAD}<a></b></Message>"), "closed by another"),
        (411, format!("<!DOCTYPE Message [<!ENTITY a \"b\">]>{}", request("")), "DTD"),
        (411, request("<UserAgent>&lol;</UserAgent>"), "entity"),
        (411, request("<UserAgent a='&lol;'/>"), "entity in attribute"),
        (411, request("<UserAgent a='1' a='2'/>"), "attribute twice"),
        (400, format!("{HEAD}</Message>"), "no component"),
        (400, "<Other messageId=\"1\"/>".into(), "not a message"),
        (400, request("").replace(" messageId=\"1\"", ""), "no message id"),
        (400, request("").replace(" componentId=\"10\"", ""), "no component id"),
        (400, request("").replace("CallId", "CallIds"), "no call id"),
        (400, request("").replace("SourceInfo", "SourceInform"), "no source"),
        (400, request("").replace("DestinationInfo", "DestinationInform"), "no destination"),
        (400, request("<MaximumDestinations>many</MaximumDestinations>"), "not a number"),
        (400, request("<MaximumDestinations>-1</MaximumDestinations>"), "negative"),
        (400, request("<MaximumDestinations>4294967296</MaximumDestinations>"), "beyond 32 bits"),
        (400, request("<Timestamp>yesterday</Timestamp>"), "not a time"),
        (410, request("").replace("MQ==", "MQ="), "base64 cut short"),
        (410, request("").replace("MQ==", "M*=="), "not base64"),
        (410, request("").replace("\"base64\"", "\"rot13\""), "encoding unknown"),
        (412, request("<Surprise critical=\"true\"/>"), "critical"),
        (412, request("<Service><Surprise critical=\"TRUE\"/></Service>"), "critical below"),
        (412, format!("{HEAD}<Surprise componentId=\"1\" critical=\"true\"/></Message>"), "critical component"),
    ];
    for (status, xml, what) in cases {
        assert_eq!(status_of(xml), *status, "{what}");
    }
    assert_eq!(Message::parse(b"<Message messageId=\"\xff\"/>").unwrap_err().status.code, 410);
}

#[test]
fn what_is_unknown_and_not_critical_is_ignored() {
    let plain = Message::parse(request("").as_bytes()).unwrap();
    for extra in
        ["<Surprise/>", "<Surprise critical=\"false\">x<y/></Surprise>", "<!-- a comment -->", "<?pi?>", "\n\t"]
    {
        assert_eq!(Message::parse(request(extra).as_bytes()).unwrap(), plain, "{extra}");
    }
    let with_component = request("").replace("</Message>", "<Surprise componentId=\"11\"/></Message>");
    assert_eq!(Message::parse(with_component.as_bytes()).unwrap(), plain);
    let declared = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<!-- c -->{}\n\0", request(""));
    assert_eq!(Message::parse(declared.as_bytes()).unwrap(), plain);
}

#[test]
fn a_fault_is_answered_to_its_component() {
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    let error = Message::parse(request("<Surprise critical=\"true\"/>").as_bytes()).unwrap_err();
    let answer = error.answer(now).unwrap();
    assert_eq!((answer.message_id.as_str(), answer.random.as_deref()), ("1", Some("2")));
    assert_eq!(answer.components[0].component_id, "10");
    assert_eq!(answer.components[0].body.kind(), ComponentKind::AuthorizationResponse);
    assert_eq!(answer.components[0].body.status().unwrap().code, 412);
    assert_eq!(Message::parse(b"<").unwrap_err().answer(now), None);
}

#[test]
fn limits_in_pairs() {
    let ok = |xml: &str| Message::parse(xml.as_bytes()).map(drop).map_err(|error| error.status.code);
    // the document has two levels of its own
    let nested = |levels: usize| request(&format!("{}{}", "<n>".repeat(levels), "</n>".repeat(levels)));
    assert_eq!(ok(&nested(MAX_DEPTH - 2)), Ok(()));
    assert_eq!(ok(&nested(MAX_DEPTH - 1)), Err(411));
    let attributes = |count: usize| {
        let list: String = (0..count).map(|n| format!(" a{n}='1'")).collect();
        request(&format!("<n{list}/>"))
    };
    assert_eq!(ok(&attributes(MAX_ATTRIBUTES)), Ok(()));
    assert_eq!(ok(&attributes(MAX_ATTRIBUTES + 1)), Err(411));
    // five elements of its own
    assert_eq!(ok(&request(&"<n/>".repeat(MAX_ELEMENTS - 5))), Ok(()));
    assert_eq!(ok(&request(&"<n/>".repeat(MAX_ELEMENTS - 4))), Err(411));
    let component = "<PricingIndication componentId=\"1\"/>";
    assert_eq!(ok(&format!("{HEAD}{}</Message>", component.repeat(MAX_COMPONENTS))), Ok(()));
    assert_eq!(ok(&format!("{HEAD}{}</Message>", component.repeat(MAX_COMPONENTS + 1))), Err(411));
    let text = |octets: usize| request(&format!("<n>{}</n>", "x".repeat(octets)));
    assert_eq!(ok(&text(MAX_TEXT_OCTETS)), Ok(()));
    assert_eq!(ok(&text(MAX_TEXT_OCTETS + 1)), Err(411));
    let padded = |octets: usize| {
        let xml = request("");
        format!("{xml}{}", " ".repeat(octets - xml.len()))
    };
    assert_eq!(ok(&padded(MAX_MESSAGE_OCTETS)), Ok(()));
    assert_eq!(ok(&padded(MAX_MESSAGE_OCTETS + 1)), Err(411));
}

#[test]
fn decimals() {
    for (text, nanos, written) in [
        ("1", 1_000_000_000, "1.0000"),
        ("1.0100", 1_010_000_000, "1.0100"),
        (".5", 500_000_000, "0.5000"),
        ("-0.000000001", -1, "-0.000000001"),
        ("+2.", 2_000_000_000, "2.0000"),
        ("0.0123456789", 12_345_678, "0.012345678"),
    ] {
        let decimal: Decimal = text.parse().unwrap();
        assert_eq!((decimal.nanos, decimal.to_string().as_str()), (nanos, written), "{text}");
    }
    for text in ["", ".", "-", "1e3", "1,5", "--1", "1.2.3", "9223372037", "NaN", "+-1", "1 "] {
        assert!(text.parse::<Decimal>().is_err(), "{text}");
    }
}

#[test]
fn signed_wrapper() {
    let xml = request("");
    let part = multipart::part_to_sign(&xml);
    let (content_type, body) = multipart::to_body(&part, b"\x30\x03der", "frontier");
    let payload = Payload::parse(Some(&content_type), &body).unwrap();
    assert_eq!(payload, Payload::Signed { signed: &part, xml: xml.as_bytes(), signature: b"\x30\x03der".to_vec() });
    assert_eq!(Payload::parse(Some("text/plain; charset=utf-8"), xml.as_bytes()).unwrap().xml(), xml.as_bytes());
    let code = |content_type: &str, body: &[u8]| Payload::parse(Some(content_type), body).unwrap_err().status.code;
    assert_eq!(code("image/png", b""), 410);
    assert_eq!(code("multipart/signed", &body), 411, "no boundary parameter");
    assert_eq!(code("multipart/signed; boundary=other", &body), 411);
    assert_eq!(code(&format!("multipart/signed; boundary={}", "x".repeat(71)), &body), 411);
    for end in 0..body.len() - 2 {
        assert!(Payload::parse(Some(&content_type), &body[..end]).is_err(), "cut at {end}");
    }
    let text = String::from_utf8(body).unwrap();
    assert_eq!(code(&content_type, text.replace("pkcs7", "pkcs1").as_bytes()), 410);
    assert_eq!(code(&content_type, text.replace("base64", "7bit").as_bytes()), 410);
}
