//! Every message of Q.763 that this crate knows: there and back, cut, changed, and as tshark's ISUP dissector reads it.
//! Catches wrong pointers, lengths and digit order, and a parser that a peer can stop.
#![allow(clippy::disallowed_methods)] // the capture for tshark is a file
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

use proptest::prelude::*;
use std::process::Command;
use strowger_isup::*;

fn every_message() -> Vec<Message> {
    let called = CalledPartyNumber::international("12125550100").unwrap();
    let calling = CallingPartyNumber::new(NatureOfAddress::International, "12125550199").unwrap();
    let none = Vec::new;
    let unknown = || vec![OptionalParameter { code: 0xee, value: vec![1, 2, 3] }];
    let in_band = || vec![OptionalParameter { code: parameter::OPTIONAL_BACKWARD_CALL_INDICATORS, value: vec![1] }];
    let backward = BackwardCallIndicators::new(true, CalledPartyStatus::SubscriberFree);
    let cause = CauseIndicators::new(Location::PublicRemote, Cause::USER_BUSY);
    let range = || RangeAndStatus::clear(29);
    let tariff = Tariff { currency: *b"USD", setup_micros: 0, interval_micros: 1000, interval_ms: 6000 };
    vec![
        Message::InitialAddress(InitialAddress::new(called.clone(), Some(&calling))),
        Message::InitialAddress(InitialAddress::new(called, None)),
        Message::SubsequentAddress { digits: "123F".into(), optional: none() },
        Message::Continuity { successful: true },
        Message::AddressComplete { backward, optional: none() },
        Message::AddressComplete { backward, optional: in_band() },
        Message::Connect { backward, optional: none() },
        Message::CallProgress { event: EventInformation::Alerting, optional: in_band() },
        Message::Answer { optional: none() },
        Message::Release { cause: cause.clone(), optional: none() },
        Message::Release { cause: CauseIndicators { diagnostic: vec![0x80], ..cause.clone() }, optional: unknown() },
        Message::ReleaseComplete { optional: none() },
        Message::Suspend { by: SuspendResume::Network, optional: none() },
        Message::Resume { by: SuspendResume::Network, optional: none() },
        Message::ResetCircuit,
        Message::Blocking,
        Message::Unblocking,
        Message::BlockingAcknowledgement,
        Message::UnblockingAcknowledgement,
        Message::ContinuityCheckRequest,
        Message::UnequippedCircuit,
        Message::CircuitGroupReset(RangeAndStatus::range(29)),
        Message::CircuitGroupResetAcknowledgement(range()),
        Message::CircuitGroupBlocking { supervision: 0, range: range() },
        Message::CircuitGroupUnblocking { supervision: 0, range: range() },
        Message::CircuitGroupBlockingAcknowledgement { supervision: 0, range: range() },
        Message::CircuitGroupUnblockingAcknowledgement { supervision: 0, range: range() },
        Message::CircuitGroupQuery(RangeAndStatus::range(3)),
        Message::CircuitGroupQueryResponse { range: RangeAndStatus::range(3), states: vec![0x03, 0x03, 0x0c, 0x0c] },
        Message::Confusion { cause, optional: none() },
        Message::Charge(Charge::Tariff(tariff)),
        Message::Charge(Charge::Interval { currency: *b"USD", number: 1, charged_seconds: 6, amount_micros: 1000 }),
    ]
}

fn unit(message: Message) -> Msu {
    let label = RoutingLabel {
        network: NetworkIndicator::National,
        destination: PointCode::from_parts(2, 5, 1).unwrap(),
        origin: PointCode::from_parts(2, 5, 2).unwrap(),
        selection: 3,
    };
    Msu { label, cic: Cic::new(7).unwrap(), message }
}

#[test]
fn every_message_comes_back_as_it_was() {
    for message in every_message() {
        let unit = unit(message);
        let bytes = unit.encode().unwrap();
        assert_eq!(Msu::parse(&bytes), Ok(unit));
    }
}

#[test]
fn an_initial_address_is_the_octets_of_q763() {
    let called = CalledPartyNumber::international("12125550100").unwrap();
    let bytes = unit(Message::InitialAddress(InitialAddress::new(called, None))).encode().unwrap();
    assert_eq!(
        bytes,
        [
            0x85, 0x29, 0x90, 0x0a, 0x34, 7, 0, // national ISUP; 2-5-1 from 2-5-2, link 3; circuit 7
            1, 0, 0x60, 1, 10, 3, // IAM and its fixed part
            2, 0, 8, 0x04, 0x90, 0x21, 0x21, 0x55, 0x05, 0x01, 0xf0, // pointers, called party number
        ]
    );
}

#[test]
fn what_cannot_be_read_has_a_reason() {
    let bytes = unit(Message::ResetCircuit).encode().unwrap();
    assert_eq!(Msu::parse(&bytes[..6]), Err(MsuError::TooShort { length: 6 }));
    let fails = |tail: &[u8]| {
        let mut bytes = bytes[..7].to_vec();
        bytes.extend(tail);
        match Msu::parse(&bytes) {
            Err(MsuError::Message { cic, message_error }) => {
                assert_eq!(cic.value(), 7);
                message_error
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fails(&[]), MessageError::Truncated(0));
    assert_eq!(fails(&[0xfa]), MessageError::UnknownType(0xfa));
    assert_eq!(fails(&[0x06, 1]), MessageError::Truncated(6));
    assert_eq!(fails(&[0x0c, 9, 0]), MessageError::Pointer(0x0c));
    assert_eq!(fails(&[0x0c, 2, 0, 1, 0x80]), MessageError::Parameter(0x0c));
    assert_eq!(fails(&[0x09, 1, 5, 9]), MessageError::Optional(9));
    assert_eq!(fails(&[0x01, 0, 0, 0, 10, 3, 2, 0, 2, 0x84, 0x10]), MessageError::Number(1, NumberError::Truncated));
    let mut sctp = bytes.clone();
    sctp[0] = 0x83;
    assert_eq!(Msu::parse(&sctp), Err(MsuError::Service(3)));
    assert_eq!(Msu::parse(&[0x85; 274]), Err(MsuError::TooLong { length: 274 }));
    assert!(!matches!(Msu::parse(&[0x85; 273]), Err(MsuError::TooLong { .. })));
}

#[test]
fn a_unit_has_a_longest() {
    let foreign = |octets| unit(Message::ForeignCharge(vec![0; octets])).encode().map(|b| b.len());
    assert_eq!(foreign(MAX_MSU_OCTETS - 8), Ok(MAX_MSU_OCTETS));
    assert_eq!(foreign(MAX_MSU_OCTETS - 7), Err(EncodeError::TooLong { length: MAX_MSU_OCTETS + 1 }));
    assert_eq!(PointCode::new(MAX_POINT_CODE).map(PointCode::value), Ok(MAX_POINT_CODE));
    assert_eq!(PointCode::new(MAX_POINT_CODE + 1), Err(LabelError::PointCode(MAX_POINT_CODE + 1)));
    assert_eq!(Cic::new(4095).map(Cic::value), Ok(4095));
    assert_eq!(Cic::new(4096), Err(LabelError::Cic(4096)));
}

#[test]
fn parts_that_overlap_are_read_and_refused_only_where_they_would_not_fit_apart() {
    // CQR whose two pointers lead to the same 200 octets
    let mut bytes = unit(Message::ResetCircuit).encode().unwrap()[..7].to_vec();
    bytes.extend([0x2b, 2, 1, 200]);
    bytes.extend([0; 200]);
    let both = Msu::parse(&bytes).unwrap();
    assert!(
        matches!(&both.message, Message::CircuitGroupQueryResponse { range, states } if range.status.len() == 199 && states.len() == 200)
    );
    assert_eq!(both.encode(), Err(EncodeError::TooLong { length: 7 + 3 + 201 + 201 }));
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..0x35) {
        let _ = Msu::parse(&bytes);
        if bytes.len() > 8 {
            bytes[0] = 0x85;
            bytes[7] = kind;
            if let Ok(unit) = Msu::parse(&bytes) {
                // what was understood can be sent, and means the same, unless its parts overlapped and apart are too long
                match unit.encode() {
                    Ok(again) => prop_assert_eq!(Msu::parse(&again), Ok(unit)),
                    Err(error) => prop_assert!(matches!(error, EncodeError::TooLong { .. } | EncodeError::Parameter { .. }), "{}", error),
                }
            }
        }
    }

    #[test]
    fn a_changed_or_cut_message_never_panics(index in 0usize..32, at in 0usize..60, value: u8, keep in 0usize..60) {
        let messages = every_message();
        let mut bytes = unit(messages[index % messages.len()].clone()).encode().unwrap();
        let length = bytes.len();
        bytes[at % length] = value;
        let _ = Msu::parse(&bytes);
        let _ = Msu::parse(&bytes[..keep.min(length)]);
    }

    #[test]
    fn digits_come_back(digits in "[0-9]{0,31}") {
        let called = CalledPartyNumber::international(&digits).unwrap();
        let bytes = unit(Message::InitialAddress(InitialAddress::new(called, None))).encode().unwrap();
        match Msu::parse(&bytes).unwrap().message {
            Message::InitialAddress(iam) => prop_assert_eq!(iam.called.digits(), digits),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

/// The dissector of another make agrees on every message. Needs the Debian package tshark.
#[test]
fn tshark_decodes_every_message() {
    let mut capture = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 141] {
        capture.extend(word.to_le_bytes()); // link type 141: MTP3
    }
    let messages = every_message();
    for (n, message) in messages.iter().enumerate() {
        let bytes = unit(message.clone()).encode().unwrap();
        for word in [n as u32, 0, bytes.len() as u32, bytes.len() as u32] {
            capture.extend(word.to_le_bytes());
        }
        capture.extend(bytes);
    }
    let path = std::env::temp_dir().join(format!("strowger-isup-{}.pcap", std::process::id()));
    std::fs::write(&path, capture).unwrap();
    let fields = [
        "mtp3.dpc",
        "isup.cic",
        "isup.message_type",
        "e164.called_party_number.digits",
        "isup.cause_indicator",
        "_ws.malformed",
        "_ws.expert.severity",
    ];
    let output = Command::new("tshark")
        .arg("-r")
        .arg(&path)
        .args(["-T", "fields", "-E", "separator=;"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .expect("tshark is needed for this test: apt-get install tshark");
    let whole = Command::new("tshark").arg("-V").arg("-r").arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let whole = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!whole.contains("Malformed") && !whole.contains("Expert Info (Error"), "{whole}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), messages.len(), "{text}");
    for (line, message) in lines.iter().zip(&messages) {
        let columns: Vec<_> = line.split(';').collect();
        let mut body = Vec::new();
        message.encode_into(&mut body).unwrap();
        assert_eq!(columns[0], "4137", "{line}");
        assert_eq!(columns[1], "7", "{line}");
        assert_eq!(columns[2], body[0].to_string(), "{line}");
        assert_eq!(columns[5], "", "{} is malformed: {line}", message.acronym());
        match message {
            Message::InitialAddress(_) => assert!(columns[3].starts_with("12125550100"), "{line}"),
            Message::Release { .. } => assert_eq!(columns[4], "17", "{line}"),
            _ => {}
        }
    }
}
