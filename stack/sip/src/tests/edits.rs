//! Edits touch what they say and nothing else; what is written is read again.

use super::{INVITE, invite, read, with};
use crate::{Builder, Edit, Header, Message, Method};

fn edited(message: &Message, change: impl FnOnce(&mut Edit)) -> String {
    let mut edit = message.edit();
    change(&mut edit);
    let message = edit.finish();
    let again = Message::parse(message.as_bytes().clone()).expect("what an edit writes can be read");
    assert_eq!(again.fields().collect::<Vec<_>>(), message.fields().collect::<Vec<_>>());
    assert_eq!(
        (again.request_uri(), again.body(), again.method()),
        (message.request_uri(), message.body(), message.method())
    );
    String::from_utf8(message.as_bytes().to_vec()).unwrap()
}

#[test]
fn one_change_at_a_time() {
    let invite = invite();
    assert_eq!(edited(&invite, |_| {}), INVITE);
    let uri = edited(&invite, |edit| {
        edit.set_request_uri("sip:bob@192.0.2.7 \r\n<x>");
    });
    assert_eq!(uri, INVITE.replacen("sip:+12125550100@example.test", "sip:bob@192.0.2.7x", 1));
    let pushed = edited(&invite, |edit| {
        edit.push_front(Header::Via, "SIP/2.0/TCP p").push_front(Header::RecordRoute, "<sip:p;lr>");
    });
    let expected = INVITE.replacen("Via: ", "Via: SIP/2.0/TCP p\r\nVia: ", 1).replacen(
        "Max-",
        "Record-Route: <sip:p;lr>\r\nMax-",
        1,
    );
    assert_eq!(pushed, expected);
    let set = edited(&invite, |edit| {
        edit.set(Header::MaxForwards, "69").set(Header::Expires, "60").set_by_name("x-unknown", "y");
    });
    let expected = INVITE
        .replacen("Max-Forwards: 70", "Max-Forwards: 69", 1)
        .replacen("X-Unknown: as  it   stands", "x-unknown: y", 1)
        .replacen("Content-Length: 4\r\n", "Content-Length: 4\r\nExpires: 60\r\n", 1);
    assert_eq!(set, expected);
    let removed = edited(&invite, |edit| {
        edit.remove(Header::Supported).remove_by_name("X-UNKNOWN").remove(Header::Other);
    });
    assert_eq!(removed, INVITE.replacen("Supported: timer, 100rel\r\nX-Unknown: as  it   stands\r\n", "", 1));
    let bye = edited(&invite, |edit| {
        edit.remove_body();
    });
    assert!(bye.ends_with("Content-Length: 0\r\n\r\n") && !bye.contains("Content-Type"));
    let body = edited(&invite, |edit| {
        edit.set_body("text/plain", b"longer\r\n\r\nbody");
    });
    assert!(body.ends_with("Content-Type: text/plain\r\nContent-Length: 14\r\n\r\nlonger\r\n\r\nbody"));
}

#[test]
fn lists_are_edited_value_by_value() {
    let message = read(with("Via", "v:  SIP/2.0/UDP a;x=\",\" ,\r\n  SIP/2.0/UDP   b\r\nVia: SIP/2.0/UDP c")).unwrap();
    let replaced = edited(&message, |edit| {
        edit.replace_first(Header::Via, "SIP/2.0/UDP a;received=192.0.2.9");
    });
    assert!(
        replaced.contains("\r\nv: SIP/2.0/UDP a;received=192.0.2.9, SIP/2.0/UDP   b\r\nVia: SIP/2.0/UDP c\r\n"),
        "{replaced}"
    );
    let mut edit = message.edit();
    edit.remove_first_value(Header::Via);
    let hosts = |message: &Message| message.vias().map(|via| via.unwrap().host.to_owned()).collect::<Vec<_>>();
    assert_eq!(hosts(&edit.finish()), ["b", "c"]);
    edit.remove_first_value(Header::Via);
    assert_eq!(hosts(&edit.finish()), ["c"]);
    edit.remove_first_value(Header::Via).remove_first_value(Header::Via);
    assert_eq!(hosts(&edit.finish()), [""; 0]);
    assert_eq!(hosts(&message), ["a", "b", "c"], "the message itself never changes");
}

#[test]
fn no_value_adds_a_header_of_its_own() {
    let sly = "x\r\nEvil: 1\nEvil: 2\rEvil: 3\0";
    let mut edit = invite().edit();
    edit.set(Header::Subject, sly).push_by_name("X-Y", sly).push_by_name("Bad name", "x").push_by_name("Evil:", "x");
    let message = edit.finish();
    assert_eq!(message.header_by_name("evil"), None);
    assert_eq!(message.header(Header::Subject), Some("x  Evil: 1 Evil: 2 Evil: 3"));
    let built = Builder::request(Method::Options, "sip:a b\r\nEvil: x@c")
        .header(Header::Subject, sly)
        .header_by_name(sly, "x")
        .body(sly, b"")
        .build();
    assert_eq!(built.header_by_name("evil"), None);
    let response = Builder::response(&invite(), 200, Some(sly)).build();
    assert_eq!(response.header_by_name("evil"), None);
}

#[test]
fn built_messages_are_read_again() {
    let request = Builder::request(Method::Register, "sip:example.test")
        .header(Header::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1")
        .header(Header::From, "<sip:alice@example.test>;tag=1")
        .header(Header::To, "<sip:alice@example.test>")
        .header(Header::CallId, "c")
        .header(Header::CSeq, "1 REGISTER")
        .header(Header::ContentLength, "99")
        .build();
    let again = Message::parse(request.as_bytes().clone()).unwrap();
    assert_eq!(again.max_forwards(), Ok(Some(70)));
    assert_eq!(again.header(Header::ContentLength), Some("0"));
    assert_eq!(again.fields().collect::<Vec<_>>(), request.fields().collect::<Vec<_>>());
    assert_eq!((again.method(), again.request_uri()), (Method::Register, "sip:example.test"));

    let ringing = Builder::response(&invite(), 180, None).to_tag("b").header(Header::Contact, "<sip:b@c>").build();
    let again = Message::parse(ringing.as_bytes().clone()).unwrap();
    assert_eq!((again.status(), again.reason(), again.method()), (Some(180), "Ringing", Method::Invite));
    assert_eq!((ringing.status(), ringing.reason(), ringing.method()), (Some(180), "Ringing", Method::Invite));
    assert_eq!(ringing.to().unwrap().tag(), Some("b"));
    assert_eq!(again.header(Header::From), invite().header(Header::From));
    let tagged = read(with("To", "To: sip:b@c;tag=z")).unwrap();
    assert_eq!(Builder::response(&tagged, 200, None).to_tag("b").build().to().unwrap().tag(), Some("z"));
    let timed = read(with("X-Unknown", "Timestamp: 54")).unwrap();
    assert_eq!(Builder::response(&timed, 100, None).build().header(Header::Timestamp), Some("54"));
    assert_eq!(Builder::response(&timed, 180, None).build().header(Header::Timestamp), None);
    assert_eq!(Builder::response(&timed, 42, None).build().status(), Some(500));
}

#[test]
fn a_response_with_another_cseq_has_its_method() {
    let mut edit = Builder::response(&invite(), 200, None).build().edit();
    edit.set(Header::CSeq, "2 BYE");
    assert_eq!(edit.finish().method(), Method::Bye);
}
