//! The slice of BER that SNMP and COPS-PR use: definite lengths, primitive types (RFC 3084 §4, RFC 3159 §7).

use crate::oid::{Oid, SUB_IDENTIFIERS_MAX};

/// One attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `05 00`: the attribute is not supported or not given.
    Null,
    /// Tag 02. Integer32, TruthValue, enumerations.
    Integer(i32),
    /// Tag 42 by SPPI. 02 is accepted in its place where a column wants it.
    Unsigned(u32),
    /// Tag 04. Also BITS.
    Octets(Vec<u8>),
    /// Tag 06.
    ObjectId(Oid),
    /// Tag 40.
    IpAddress([u8; 4]),
    /// Tag 43, hundredths of a second.
    TimeTicks(u32),
    /// Tag 4a.
    Integer64(i64),
    /// Tag 4b, and 46 (Counter64) when received.
    Unsigned64(u64),
}

/// Why bytes are not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// A tag that no attribute has.
    #[error("unknown tag {0:#04x}")]
    Tag(u8),
    /// A length that runs out of its object, or contents that do not fit their type.
    #[error("wrong length")]
    Length,
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT_ID: u8 = 0x06;
const IP_ADDRESS: u8 = 0x40;
const UNSIGNED: u8 = 0x42;
const TIME_TICKS: u8 = 0x43;
const COUNTER64: u8 = 0x46;
const INTEGER64: u8 = 0x4a;
const UNSIGNED64: u8 = 0x4b;

/// Appends a value.
pub fn encode(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => tlv(out, NULL, &[]),
        Value::Integer(number) => signed(out, INTEGER, i64::from(*number)),
        Value::Unsigned(number) => signed(out, UNSIGNED, i64::from(*number)),
        Value::Octets(octets) => tlv(out, OCTETS, octets),
        Value::ObjectId(oid) => encode_oid(out, oid),
        Value::IpAddress(octets) => tlv(out, IP_ADDRESS, octets),
        Value::TimeTicks(number) => signed(out, TIME_TICKS, i64::from(*number)),
        Value::Integer64(number) => signed(out, INTEGER64, *number),
        Value::Unsigned64(number) => match i64::try_from(*number) {
            Ok(small) => signed(out, UNSIGNED64, small),
            Err(_) => {
                // The top bit is set: a leading zero keeps it positive.
                let mut contents = vec![0];
                contents.extend_from_slice(&number.to_be_bytes());
                tlv(out, UNSIGNED64, &contents);
            }
        },
    }
}

/// Appends an OBJECT IDENTIFIER with its tag and length.
pub fn encode_oid(out: &mut Vec<u8>, oid: &Oid) {
    let mut contents = Vec::new();
    let (first, second, rest) = match oid.parts() {
        [first, second, rest @ ..] => (*first, *second, rest),
        [first] => (*first, 0, [].as_slice()),
        [] => (0, 0, [].as_slice()),
    };
    base128(&mut contents, u64::from(first) * 40 + u64::from(second));
    for part in rest {
        base128(&mut contents, u64::from(*part));
    }
    tlv(out, OBJECT_ID, &contents);
}

fn base128(out: &mut Vec<u8>, number: u64) {
    let mut shift = (63 - (number | 1).leading_zeros()) / 7 * 7;
    loop {
        let group = (number >> shift) as u8 & 0x7f;
        if shift == 0 {
            out.push(group);
            return;
        }
        out.push(group | 0x80);
        shift -= 7;
    }
}

/// The shortest two's complement form.
fn signed(out: &mut Vec<u8>, tag: u8, number: i64) {
    let octets = number.to_be_bytes();
    let mut start = 0;
    while start < 7 {
        let (this, next) = (octets[start], octets[start + 1]);
        let redundant = (this == 0x00 && next & 0x80 == 0) || (this == 0xff && next & 0x80 != 0);
        if !redundant {
            break;
        }
        start += 1;
    }
    tlv(out, tag, octets.get(start..).unwrap_or_default());
}

fn tlv(out: &mut Vec<u8>, tag: u8, contents: &[u8]) {
    out.push(tag);
    let length = contents.len();
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        Ok(octet) => out.extend_from_slice(&[0x81, octet]),
        Err(_) => {
            let [.., a, b, c] = length.to_be_bytes();
            if a == 0 { out.extend_from_slice(&[0x82, b, c]) } else { out.extend_from_slice(&[0x83, a, b, c]) }
        }
    }
    out.extend_from_slice(contents);
}

/// Takes one value off the front.
pub fn decode(rest: &mut &[u8]) -> Result<Value, BerError> {
    let (tag, contents) = take(rest)?;
    Ok(match tag {
        NULL if contents.is_empty() => Value::Null,
        NULL => return Err(BerError::Length),
        INTEGER => {
            let wide = integer(contents)?;
            match (i32::try_from(wide), u32::try_from(wide)) {
                (Ok(number), _) => Value::Integer(number),
                // RFC 3084's own example sends Unsigned32 with the INTEGER tag: keep what only fits there.
                (_, Ok(number)) => Value::Unsigned(number),
                _ => return Err(BerError::Length),
            }
        }
        UNSIGNED => Value::Unsigned(unsigned(contents)?),
        TIME_TICKS => Value::TimeTicks(unsigned(contents)?),
        OCTETS => Value::Octets(contents.to_vec()),
        OBJECT_ID => Value::ObjectId(oid(contents)?),
        IP_ADDRESS => Value::IpAddress(contents.try_into().map_err(|_| BerError::Length)?),
        INTEGER64 => Value::Integer64(integer(contents)?),
        UNSIGNED64 | COUNTER64 => Value::Unsigned64(match contents {
            [0, rest @ ..] if rest.len() == 8 => u64::from_be_bytes(rest.try_into().map_err(|_| BerError::Length)?),
            _ => u64::try_from(integer(contents)?).map_err(|_| BerError::Length)?,
        }),
        other => return Err(BerError::Tag(other)),
    })
}

/// Reads exactly one OBJECT IDENTIFIER that fills `bytes`.
pub fn decode_oid(mut bytes: &[u8]) -> Result<Oid, BerError> {
    match decode(&mut bytes)? {
        Value::ObjectId(oid) if bytes.is_empty() => Ok(oid),
        Value::ObjectId(_) => Err(BerError::Length),
        _ => Err(BerError::Tag(OBJECT_ID)),
    }
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), BerError> {
    let (&tag, after) = rest.split_first().ok_or(BerError::Length)?;
    let (&first, mut after) = after.split_first().ok_or(BerError::Length)?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        // Indefinite (0x80) is not for primitives; four octets of length are beyond any COPS object.
        let count = usize::from(first & 0x7f);
        if !(1..=3).contains(&count) {
            return Err(BerError::Length);
        }
        let (octets, tail) = after.split_at_checked(count).ok_or(BerError::Length)?;
        after = tail;
        octets.iter().fold(0usize, |length, octet| length << 8 | usize::from(*octet))
    };
    let (contents, tail) = after.split_at_checked(length).ok_or(BerError::Length)?;
    *rest = tail;
    Ok((tag, contents))
}

fn integer(contents: &[u8]) -> Result<i64, BerError> {
    let first = *contents.first().ok_or(BerError::Length)?;
    if contents.len() > 8 {
        return Err(BerError::Length);
    }
    let start = if first & 0x80 != 0 { -1i64 } else { 0 };
    Ok(contents.iter().fold(start, |number, octet| number << 8 | i64::from(*octet)))
}

fn unsigned(contents: &[u8]) -> Result<u32, BerError> {
    match contents {
        // Some senders leave the leading zero away: four octets are taken as they are.
        &[a, b, c, d] => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => u32::try_from(integer(contents)?).map_err(|_| BerError::Length),
    }
}

fn oid(contents: &[u8]) -> Result<Oid, BerError> {
    let mut parts = Vec::new();
    let mut number: u64 = 0;
    let mut open = true;
    for octet in contents {
        number = number << 7 | u64::from(octet & 0x7f);
        if number > u64::from(u32::MAX) + 80 {
            return Err(BerError::Length);
        }
        open = octet & 0x80 != 0;
        if open {
            continue;
        }
        if parts.is_empty() {
            let first = (number / 40).min(2);
            parts.push(first as u32);
            number -= first * 40;
        }
        parts.push(u32::try_from(number).map_err(|_| BerError::Length)?);
        number = 0;
        if parts.len() > SUB_IDENTIFIERS_MAX {
            return Err(BerError::Length);
        }
    }
    if open { Err(BerError::Length) } else { Ok(Oid::new(&parts)) }
}
