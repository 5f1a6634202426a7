//! The wire format against bytes written from RFC 2748, and against arbitrary bytes. Would catch: a wrong length, padding or
//! C-Type, an accepted malformed message, a panic on a peer's bytes, an error answer with the wrong code.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may stop

use bytes::Bytes;
use proptest::prelude::*;
use strowger_cops::sip::{DecisionData, Phase};
use strowger_cops::*;

fn bytes(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn fault(hex: &str) -> Fault {
    Message::parse(&bytes(hex)).unwrap_err().fault
}

#[test]
fn client_open_has_a_terminated_and_padded_pep_id() {
    let wire = bytes("10 06 0002 00000018  0008 0b 01 72 31 00 00  0008 ff ff 00000000");
    // Unknown object 255/255: the error object names it.
    let error = Message::parse(&wire).unwrap_err();
    assert_eq!(error.error_object(), ErrorObject { code: ErrorCode::UnknownObject, sub_code: 0xffff });
    let open = Message::new(Op::ClientOpen, 2)
        .with(Object::PepId("r1".into()))
        .with(Object::LastPdpAddress("192.0.2.9:3288".parse().unwrap()));
    let wire = bytes("10 06 0002 0000001c  0008 0b 01 72310000  000c 0e 01 c0000209 0000 0cd8");
    assert_eq!(open.encode(), wire);
    assert_eq!(Message::parse(&wire).unwrap(), open);
    // Three characters fill the word with their NUL, four need another one.
    assert_eq!(Message::new(Op::ClientOpen, 2).with(Object::PepId("abc".into())).encode().len(), 16);
    assert_eq!(Message::new(Op::ClientOpen, 2).with(Object::PepId("abcd".into())).encode().len(), 20);
}

#[test]
fn decision_with_padding() {
    let wire = bytes(
        "11 02 4001 00000028  0005 01 01 aa000000  0008 02 01 0001 0001  0008 06 01 0002 0000  0006 06 04 7879 0000",
    );
    let message = Message::parse(&wire).unwrap();
    assert!(message.solicited);
    assert_eq!(message.handle().unwrap().as_ref(), [0xaa]);
    let decisions = message.decisions();
    assert_eq!(decisions[0].command, Command::Remove);
    assert_eq!(decisions[0].client_specific().unwrap().as_ref(), b"xy");
    assert_eq!(message.encode(), wire);
}

#[test]
fn grammar_faults() {
    assert_eq!(fault("10 09 0000 000000"), Fault::Short);
    assert_eq!(fault("20 09 0000 00000008"), Fault::Version(2));
    assert_eq!(fault("10 0b 0000 00000008"), Fault::UnknownOp(11));
    assert_eq!(fault("10 09 0000 0000000c"), Fault::MessageLength(12));
    // REQ without context; handle shorter than its header; context of the wrong size.
    assert_eq!(fault("10 01 0002 00000010  0008 01 01 00000001"), Fault::MissingObject { c_num: 2 });
    assert_eq!(fault("10 01 0002 0000000c  0003 01 01"), Fault::ObjectLength);
    assert_eq!(fault("10 01 0002 00000010  0005 02 01 00000000"), Fault::ObjectContents { c_num: 2, c_type: 1 });
    // DEC: flags without context, data before flags, neither decision nor error, both.
    let handle = "0008 01 01 00000001";
    assert_eq!(fault(&format!("10 02 0002 00000018 {handle} 0008 06 01 00010000")), Fault::MissingObject { c_num: 2 });
    assert_eq!(
        fault(&format!("10 02 0002 0000001c {handle} 0008 02 01 00080000 0004 06 05")),
        Fault::MisplacedObject { c_num: 6 }
    );
    assert_eq!(fault(&format!("10 02 0002 00000010 {handle}")), Fault::MissingObject { c_num: 6 });
    // Two handles; an object that has no place in a KA.
    assert_eq!(fault(&format!("10 04 0002 00000018 {handle} {handle}")), Fault::MisplacedObject { c_num: 1 });
    assert_eq!(fault(&format!("10 09 0000 00000010 {handle}")), Fault::MisplacedObject { c_num: 1 });
}

#[test]
fn a_malformed_decision_maps_to_a_delete_reason() {
    let error = Message::parse(&bytes("10 02 0002 00000018 0008 01 01 00000001 0008 06 09 00010000")).unwrap_err();
    assert_eq!(error.reason_object(), Reason { code: ReasonCode::UnknownObject, sub_code: 0x0609 });
    assert_eq!(error.handle.unwrap().as_ref(), [0, 0, 0, 1]);
}

#[test]
fn the_framer_takes_any_pieces_and_just_the_limit() {
    let wire = [Message::keep_alive().encode(), Message::client_close(2, ErrorCode::ShuttingDown, 0).encode()].concat();
    let mut framer = Framer::new(16);
    let mut found = Vec::new();
    for octet in &wire {
        framer.push(&[*octet]);
        while let Some(frame) = framer.next().unwrap() {
            found.push(Message::parse(&frame).unwrap().op);
        }
    }
    assert_eq!(found, [Op::KeepAlive, Op::ClientClose]);
    let mut framer = Framer::new(15);
    framer.push(&wire[8..]);
    assert_eq!(framer.next(), Err(FramingError::TooLong { octets: 16, limit: 15 }));
    let mut framer = Framer::default();
    framer.push(b"GET / HTTP/1.1\r\n");
    assert_eq!(framer.next(), Err(FramingError::NotCops(b'G')));
    let mut framer = Framer::default();
    framer.push(&bytes("10 09 0000 00000004"));
    assert_eq!(framer.next(), Err(FramingError::TooShort(4)));
}

#[test]
fn integrity_is_the_last_object_and_covers_the_rest() {
    let key = integrity::Key::new(7, b"secret".to_vec());
    let wire = key.seal(&Message::keep_alive(), 41);
    assert_eq!(wire.len(), 8 + 24);
    let message = Message::parse(&wire).unwrap();
    assert_eq!(key.verify(&wire, &message, 41), Ok(()));
    assert_eq!(key.verify(&wire, &message, 42), Err(ErrorCode::AuthenticationFailure));
    let plain = Message::keep_alive();
    assert_eq!(key.verify(&plain.encode(), &plain, 41), Err(ErrorCode::AuthenticationRequired));
    for position in 0..wire.len() {
        let mut forged = wire.to_vec();
        forged[position] ^= 1;
        let forged = Bytes::from(forged);
        if let Ok(message) = Message::parse(&forged) {
            assert!(key.verify(&forged, &message, 41).is_err(), "octet {position}");
        }
    }
}

#[test]
fn decision_data_survives_hostile_text() {
    let data = DecisionData { reason: "no\r\ndscp: 46".into(), dscp: None, routers: 2, token: Some("QUJD".into()) };
    let read = DecisionData::parse(&data.encode());
    assert_eq!((read.dscp, read.routers, read.token.as_deref()), (None, 2, Some("QUJD")));
    for phase in [Phase::Setup, Phase::Answer, Phase::Modify, Phase::Teardown] {
        assert_eq!(Phase::from_message_type(phase.message_type()), Some(phase));
    }
}

fn object() -> impl Strategy<Value = Object> {
    let octets = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    prop_oneof![
        octets().prop_map(|data| Object::ClientSi(ClientSi::Signaled(data))),
        octets().prop_map(|data| Object::ClientSi(ClientSi::Named(data))),
        octets().prop_map(|data| Object::LpdpDecision(DecisionObject::Stateless(data))),
        (any::<std::net::IpAddr>(), any::<u32>()).prop_map(|(address, ifindex)| Object::LpdpDecision(
            DecisionObject::Replacement(Bytes::from(format!("{address} {ifindex}")))
        )),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        let data = Bytes::from(data);
        let _ = Message::parse(&data);
        let _ = DecisionData::parse(&data);
        let mut framer = Framer::new(64);
        framer.push(&data);
        while let Ok(Some(_)) = framer.next() {}
    }

    #[test]
    fn requests_round_trip_and_mutants_never_panic(
        handle in proptest::collection::vec(any::<u8>(), 1..20),
        objects in proptest::collection::vec(object(), 0..6),
        address in any::<std::net::IpAddr>(),
        position in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut message = Message::new(Op::Request, 0x4001)
            .with(Object::Handle(Bytes::from(handle)))
            .with(Object::Context(Phase::Setup.context()))
            .with(Object::InInterface(Interface { address, ifindex: 9 }));
        message.objects.extend(objects);
        let wire = message.encode();
        prop_assert_eq!(wire.len() % 4, 0);
        prop_assert_eq!(Message::parse(&wire).unwrap(), message);
        let mut mutant = wire.to_vec();
        let position = position.index(mutant.len());
        mutant[position] ^= flip;
        if let Ok(message) = Message::parse(&Bytes::from(mutant)) {
            let _ = (message.decisions(), message.encode());
        }
    }
}
