//! Named data against the examples of RFC 3084 §4 and against arbitrary bytes. Would catch: wrong BER, wrong column order or
//! type, a refusal with the wrong error or the wrong instance, a panic on a peer's bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may stop

use proptest::prelude::*;
use strowger_pib::flow::{BasePolicy, Excess, MediaFlow, SignallingPort, install_data};
use strowger_pib::named::{NamedObject, decode, encode, error_objects, find_error};
use strowger_pib::*;

fn flow(source: &str, destination: &str) -> MediaFlow {
    MediaFlow {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        source_port: Some(30000),
        destination_port: 20000,
        protocol: 17,
        rate_kbps: 88,
        burst_octets: 1000,
        excess: Excess::Bleach,
    }
}

fn rows(data: &[u8]) -> Result<Vec<Row>, PibError> {
    let objects = decode(data)?;
    let mut rows = Vec::new();
    for pair in objects.chunks(2) {
        let [NamedObject::Prid(prid), NamedObject::Epd(values)] = pair else { panic!("not a binding") };
        rows.push(Row::from_values(prid, values)?);
    }
    Ok(rows)
}

#[test]
fn prid_as_in_rfc_3084_4_1() {
    let wire = encode(&[NamedObject::Prid("1.3.6.1.2.2.8.1".parse().unwrap())]);
    assert_eq!(wire, [0, 0x0d, 1, 1, 6, 7, 0x2b, 6, 1, 2, 2, 8, 1, 0, 0, 0]);
}

#[test]
fn epd_as_in_rfc_3084_4_3() {
    let wire = [
        0x00, 0x30, 3, 1, 2, 1, 8, 0x40, 4, 0xc0, 0x39, 1, 5, 0x40, 4, 255, 255, 255, 255, 0x40, 4, 0, 0, 0, 0, 0x40,
        4, 0, 0, 0, 0, 2, 1, 0xff, 2, 1, 6, 5, 0, 5, 0, 5, 0, 5, 0, 2, 1, 1,
    ];
    let objects = decode(&wire).unwrap();
    let [NamedObject::Epd(values)] = objects.as_slice() else { panic!() };
    assert_eq!(values.len(), 12);
    assert_eq!((&values[0], &values[5], &values[7]), (&Value::Integer(8), &Value::Integer(-1), &Value::Null));
    assert_eq!(encode(&objects), wire);
}

#[test]
fn unsigned32_is_sent_as_42_and_taken_as_02_too() {
    let row = Row::from(DsClfr { instance: 1, id: 200 });
    let wire = encode(&[NamedObject::Epd(row.to_values())]);
    assert_eq!(wire, [0, 11, 3, 1, 0x42, 1, 1, 0x42, 2, 0, 200, 0]);
    let values = [Value::Integer(1), Value::Integer(200)];
    assert_eq!(Row::from_values(&row.prid(), &values).unwrap(), row);
}

#[test]
fn one_flow_is_five_rows_of_one_instance() {
    let data = install_data(&flow("192.0.2.1", "198.51.100.7").rows(1000).unwrap());
    assert!(data.len() < 600, "{}", data.len());
    let rows = rows(&data).unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.prid().to_string()).collect();
    assert_eq!(
        names,
        [
            "1.3.6.1.2.2.2.3.1.1.1000",
            "1.3.6.1.2.2.2.3.2.1.1000",
            "1.3.6.1.2.2.4.2.5.1.1000",
            "1.3.6.1.2.2.4.2.4.1.1000",
            "1.3.6.1.2.2.4.2.3.1.1000"
        ]
    );
    // frwkIpFilter extends another class: no index column.
    assert_eq!(rows[1].to_values().len(), 12);
    assert!(flow("192.0.2.1", "2001:db8::1").rows(1000).is_none());
    assert!(flow("2001:db8::2", "2001:db8::1").rows(1000).is_some());
}

#[test]
fn base_policy_points_only_at_what_it_installs() {
    let base = BasePolicy {
        capability_set: "software".into(),
        roles: "edge".into(),
        media_dscp: 46,
        signalling_dscp: 40,
        signalling: vec![SignallingPort { protocol: 17, port: 5060 }],
        media_rate_kbps_max: 10_000,
    };
    let mut known = std::collections::BTreeSet::new();
    for row in rows(&install_data(&base.rows())).unwrap() {
        for (column, target) in row.references() {
            assert!(known.contains(&target), "{}: column {column} points forward to {target}", row.prid());
        }
        known.insert(row.prid());
    }
    assert!(known.contains(&DsDataPath::prid(1)));
}

#[test]
fn refusals_name_instance_and_attribute() {
    let prid = DsTbParam::prid(9);
    let refused = |values: &[Value]| Row::from_values(&prid, values).unwrap_err();
    let good = DsTbParam {
        instance: 9,
        kind: flow::algorithm::simple_token_bucket(),
        rate_kbps: 1,
        burst_octets: 1,
        interval_us: 1,
    };
    let values = good.to_values_of();
    assert_eq!(refused(&values[..3]), PibError::class(prid.clone(), ClassError::TooFewAttrs, 0));
    let mut wrong = values.clone();
    wrong[2] = Value::Octets(vec![1]);
    assert_eq!(refused(&wrong), PibError::class(prid.clone(), ClassError::InvalidAttrType, 3));
    let mut zero = values.clone();
    zero[2] = Value::Unsigned(0);
    assert_eq!(refused(&zero), PibError::class(prid.clone(), ClassError::AttrValueInvalid, 3));
    let mut other = values.clone();
    other[0] = Value::Unsigned(8);
    assert_eq!(refused(&other), PibError::class(prid.clone(), ClassError::AttrValueInvalid, 1));
    let unknown = Oid::new(&[1, 3, 6, 1, 2, 2, 99, 1, 1, 1]);
    assert_eq!(Row::from_values(&unknown, &values).unwrap_err(), PibError::class(unknown, ClassError::UnknownPrc, 0));
    let error = PibError::class(prid, ClassError::AttrValueInvalid, 3);
    assert_eq!(find_error(&decode(&encode(&error_objects(&error))).unwrap()), Some(error));
}

trait Values {
    fn to_values_of(&self) -> Vec<Value>;
}
impl Values for DsTbParam {
    fn to_values_of(&self) -> Vec<Value> {
        Row::from(self.clone()).to_values()
    }
}

#[test]
fn malformed_objects_have_their_global_error() {
    let code = |data: &[u8]| match decode(data).unwrap_err() {
        PibError::Global { code, sub_code } => (code, sub_code),
        other => panic!("{other}"),
    };
    assert_eq!(code(&[0, 8, 9, 1, 0, 0, 0, 0]), (GlobalError::UnknownCopsPrObject, 0x0901));
    assert_eq!(code(&[0, 8, 1, 2, 0, 0, 0, 0]), (GlobalError::UnknownCopsPrObject, 0x0102));
    assert_eq!(code(&[0, 7, 3, 1, 2, 1, 1, 9]), (GlobalError::InvalidObjectPad, 0));
    assert_eq!(code(&[0, 8, 3, 1, 0x30, 2, 5, 0]), (GlobalError::UnknownAsn1Tag, 0x30));
    assert_eq!(code(&[0, 8, 3, 1, 2, 9, 1, 1]), (GlobalError::InvalidAsn1Length, 0));
    assert_eq!(code(&[0, 3, 3, 1]), (GlobalError::MalformedDecision, 0));
    assert_eq!(code(&[0, 9, 3, 1, 5, 0]), (GlobalError::MalformedDecision, 0));
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::Integer),
        any::<u32>().prop_map(Value::Unsigned),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Octets),
        proptest::collection::vec(any::<u32>(), 0..12)
            .prop_map(|tail| Value::ObjectId(Oid::new(&[[1, 3].as_slice(), &tail].concat()))),
        any::<[u8; 4]>().prop_map(Value::IpAddress),
        any::<u32>().prop_map(Value::TimeTicks),
        any::<i64>().prop_map(Value::Integer64),
        any::<u64>().prop_map(Value::Unsigned64),
    ]
}

proptest! {
    #[test]
    fn values_round_trip(values in proptest::collection::vec(value(), 0..14)) {
        let objects = [NamedObject::Epd(values)];
        prop_assert_eq!(decode(&encode(&objects)).unwrap(), objects);
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = decode(&data);
        let mut framed = vec![0, (data.len() + 4) as u8, 3, 1];
        framed.extend_from_slice(&data);
        framed.resize(framed.len().next_multiple_of(4), 0);
        if let Ok(objects) = decode(&framed) {
            for class in CLASSES {
                if let [NamedObject::Epd(values)] = objects.as_slice() {
                    let _ = Row::from_values(&class.prid(1), values);
                }
            }
        }
    }

    #[test]
    fn mutated_rows_never_panic(position in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut data = install_data(&flow("192.0.2.1", "198.51.100.7").rows(1000).unwrap());
        let position = position.index(data.len());
        data[position] ^= flip;
        if let Ok(objects) = decode(&data) {
            for pair in objects.chunks(2) {
                if let [NamedObject::Prid(prid), NamedObject::Epd(values)] = pair {
                    let _ = Row::from_values(prid, values).map(|row| row.references());
                }
            }
        }
    }
}
