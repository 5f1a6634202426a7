//! The objects inside Named Decision Data and Named ClientSI (RFC 3084 §4, §5).

use crate::ber::{self, BerError, Value};
use crate::error::{ClassError, GlobalError, PibError};
use crate::oid::Oid;

/// Most objects in one piece of named data.
pub const NAMED_OBJECTS_MAX: usize = 4096;
/// Most attributes in one EPD; the widest class has 12.
pub const ATTRIBUTES_MAX: usize = 64;

/// One COPS-PR object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedObject {
    /// S-Num 1: the name of one instance.
    Prid(Oid),
    /// S-Num 2: a prefix, in Remove decisions only.
    PrefixPrid(Oid),
    /// S-Num 3: every attribute in column order.
    Epd(Vec<Value>),
    /// S-Num 4: an error of the whole transaction.
    GlobalError {
        /// [`GlobalError`] by number; unknown numbers are kept.
        code: u16,
        /// Detail.
        sub_code: u16,
    },
    /// S-Num 5: an error of one class, followed or preceded by its ErrorPRID.
    ClassError {
        /// [`ClassError`] by number; unknown numbers are kept.
        code: u16,
        /// Detail: the column for attribute errors.
        sub_code: u16,
    },
    /// S-Num 6: the instance that the error is about.
    ErrorPrid(Oid),
}

/// The bytes of these objects, each padded with zeros.
pub fn encode(objects: &[NamedObject]) -> Vec<u8> {
    let mut out = Vec::new();
    for object in objects {
        encode_one(&mut out, object);
    }
    out
}

fn encode_one(out: &mut Vec<u8>, object: &NamedObject) {
    let mut contents = Vec::new();
    let s_num = match object {
        NamedObject::Prid(oid) => {
            ber::encode_oid(&mut contents, oid);
            1
        }
        NamedObject::PrefixPrid(oid) => {
            ber::encode_oid(&mut contents, oid);
            2
        }
        NamedObject::Epd(values) => {
            values.iter().for_each(|value| ber::encode(&mut contents, value));
            3
        }
        NamedObject::GlobalError { code, sub_code } => {
            contents.extend_from_slice(&code.to_be_bytes());
            contents.extend_from_slice(&sub_code.to_be_bytes());
            4
        }
        NamedObject::ClassError { code, sub_code } => {
            contents.extend_from_slice(&code.to_be_bytes());
            contents.extend_from_slice(&sub_code.to_be_bytes());
            5
        }
        NamedObject::ErrorPrid(oid) => {
            ber::encode_oid(&mut contents, oid);
            6
        }
    };
    let length = contents.len() + 4;
    out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&[s_num, 1]);
    out.extend_from_slice(&contents);
    out.resize(out.len() + length.next_multiple_of(4) - length, 0);
}

/// Reads the objects. The error is the GPERR or CPERR that a failure RPT carries.
pub fn decode(bytes: &[u8]) -> Result<Vec<NamedObject>, PibError> {
    let mut objects = Vec::new();
    let mut rest = bytes;
    let mut last_prid: Option<Oid> = None;
    while !rest.is_empty() {
        if objects.len() == NAMED_OBJECTS_MAX {
            return Err(PibError::global(GlobalError::MaxMsgSizeExceeded, 0));
        }
        let Some((&[high, low, s_num, s_type], _)) = rest.split_first_chunk::<4>() else {
            return Err(PibError::global(GlobalError::MalformedDecision, 0));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let padded = length.next_multiple_of(4);
        let Some(contents) = rest.get(4..length) else {
            return Err(PibError::global(GlobalError::MalformedDecision, 0));
        };
        let Some(padding) = rest.get(length..padded) else {
            return Err(PibError::global(GlobalError::InvalidObjectPad, 0));
        };
        if padding.iter().any(|octet| *octet != 0) {
            return Err(PibError::global(GlobalError::InvalidObjectPad, 0));
        }
        rest = rest.get(padded..).unwrap_or_default();
        let object = decode_one(s_num, s_type, contents, last_prid.as_ref())?;
        if let NamedObject::Prid(oid) = &object {
            last_prid = Some(oid.clone());
        }
        objects.push(object);
    }
    Ok(objects)
}

fn decode_one(s_num: u8, s_type: u8, contents: &[u8], last_prid: Option<&Oid>) -> Result<NamedObject, PibError> {
    if s_type != 1 {
        return Err(unknown(s_num, s_type));
    }
    Ok(match s_num {
        1 => NamedObject::Prid(ber::decode_oid(contents).map_err(global)?),
        2 => NamedObject::PrefixPrid(ber::decode_oid(contents).map_err(global)?),
        3 => NamedObject::Epd(epd(contents, last_prid)?),
        4 | 5 => {
            let &[a, b, c, d] = contents else {
                return Err(PibError::global(GlobalError::MalformedDecision, 0));
            };
            let (code, sub_code) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            if s_num == 4 {
                NamedObject::GlobalError { code, sub_code }
            } else {
                NamedObject::ClassError { code, sub_code }
            }
        }
        6 => NamedObject::ErrorPrid(ber::decode_oid(contents).map_err(global)?),
        _ => return Err(unknown(s_num, s_type)),
    })
}

fn epd(mut contents: &[u8], prid: Option<&Oid>) -> Result<Vec<Value>, PibError> {
    let mut values = Vec::new();
    while !contents.is_empty() {
        if values.len() == ATTRIBUTES_MAX {
            return Err(match prid {
                Some(prid) => PibError::class(prid.clone(), ClassError::AttrMaxLengthExceeded, 0),
                None => PibError::global(GlobalError::MaxMsgSizeExceeded, 0),
            });
        }
        values.push(ber::decode(&mut contents).map_err(global)?);
    }
    Ok(values)
}

fn unknown(s_num: u8, s_type: u8) -> PibError {
    PibError::global(GlobalError::UnknownCopsPrObject, u16::from_be_bytes([s_num, s_type]))
}

fn global(error: BerError) -> PibError {
    match error {
        BerError::Tag(tag) => PibError::global(GlobalError::UnknownAsn1Tag, u16::from(tag)),
        BerError::Length => PibError::global(GlobalError::InvalidAsn1Length, 0),
    }
}

/// The objects of a failure RPT (RFC 3084 §5.3): GPERR alone, or ErrorPRID with CPERR.
pub fn error_objects(error: &PibError) -> Vec<NamedObject> {
    match error {
        PibError::Global { code, sub_code } => {
            vec![NamedObject::GlobalError { code: code.number(), sub_code: *sub_code }]
        }
        PibError::Class { prid, code, sub_code } => vec![
            NamedObject::ErrorPrid(prid.clone()),
            NamedObject::ClassError { code: code.number(), sub_code: *sub_code },
        ],
    }
}

/// Finds the error in the objects of a failure RPT.
pub fn find_error(objects: &[NamedObject]) -> Option<PibError> {
    let prid = objects.iter().find_map(|object| match object {
        NamedObject::ErrorPrid(oid) => Some(oid.clone()),
        _ => None,
    });
    objects.iter().find_map(|object| match object {
        NamedObject::GlobalError { code, sub_code } => {
            Some(PibError::global(GlobalError::from_number(*code).unwrap_or(GlobalError::UnknownError), *sub_code))
        }
        NamedObject::ClassError { code, sub_code } => Some(PibError::class(
            prid.clone().unwrap_or_else(Oid::zero_dot_zero),
            ClassError::from_number(*code).unwrap_or(ClassError::PriSpecificError),
            *sub_code,
        )),
        _ => None,
    })
}
