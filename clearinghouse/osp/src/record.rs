//! How typed values are read from elements and written into them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strowger_clock::Timestamp;

use crate::tree::Element;
use crate::{OspError, Status};

/// Elements that are not in the standard's first edition; writing them as not critical lets older peers skip them.
const NOT_CRITICAL: [&str; 3] = ["CustomerId", "DeviceId", "Statistics"];

/// The elements of a record that were not read yet.
pub(crate) struct Fields {
    element: Element,
}

impl Fields {
    pub(crate) fn of(element: Element) -> Result<Fields, OspError> {
        Ok(Fields { element })
    }

    pub(crate) fn field<F: Field>(&mut self, name: &'static str) -> Result<F, OspError> {
        F::take(self, name)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        self.element.attribute_value(name).map(str::to_owned)
    }

    fn take(&mut self, name: &str) -> Option<Element> {
        let index = self.element.children.iter().position(|child| child.name == name)?;
        Some(self.element.children.remove(index))
    }

    fn take_all(&mut self, name: &str) -> Vec<Element> {
        self.element.children.extract_if(.., |child| child.name == name).collect()
    }

    /// What is left is unknown, or one too many of something: it may be ignored unless it is critical.
    pub(crate) fn finish(self) -> Result<(), OspError> {
        match self.element.children.iter().find(|child| child.is_critical()) {
            Some(child) => Err(OspError::new(
                Status::CRITICAL_ELEMENT,
                format!("critical element {} in {} is not supported", child.name, self.element.name),
            )),
            None => Ok(()),
        }
    }
}

/// What one field of a record may be: a value, an optional value, many values.
pub(crate) trait Field: Sized {
    fn take(fields: &mut Fields, name: &'static str) -> Result<Self, OspError>;
    fn put(&self, element: &mut Element, name: &'static str);
}

/// What one element may hold.
pub(crate) trait Value: Sized {
    fn from_element(element: Element) -> Result<Self, OspError>;
    fn to_element(&self, name: &'static str) -> Element;
}

/// An element with elements inside; implemented by the `record!` macro.
pub(crate) trait Record: Sized {
    fn read(element: Element) -> Result<Self, OspError>;
    fn write(&self, name: &'static str) -> Element;
}

impl<T: Record> Value for T {
    fn from_element(element: Element) -> Result<Self, OspError> {
        T::read(element)
    }
    fn to_element(&self, name: &'static str) -> Element {
        self.write(name)
    }
}

impl<T: Value> Field for T {
    fn take(fields: &mut Fields, name: &'static str) -> Result<Self, OspError> {
        let element = fields.take(name).ok_or_else(|| {
            OspError::new(
                Status::BAD_REQUEST,
                format!("mandatory element {name} is missing in {}", fields.element.name),
            )
        })?;
        T::from_element(element)
    }
    fn put(&self, element: &mut Element, name: &'static str) {
        let child = self.to_element(name);
        element.push(if NOT_CRITICAL.contains(&name) { child.attribute("critical", "false") } else { child });
    }
}

impl<T: Value> Field for Option<T> {
    fn take(fields: &mut Fields, name: &'static str) -> Result<Self, OspError> {
        fields.take(name).map(T::from_element).transpose()
    }
    fn put(&self, element: &mut Element, name: &'static str) {
        if let Some(value) = self {
            value.put(element, name);
        }
    }
}

impl<T: Value> Field for Vec<T> {
    fn take(fields: &mut Fields, name: &'static str) -> Result<Self, OspError> {
        fields.take_all(name).into_iter().map(T::from_element).collect()
    }
    fn put(&self, element: &mut Element, name: &'static str) {
        for value in self {
            value.put(element, name);
        }
    }
}

fn bad(element: &Element, expected: &str) -> OspError {
    OspError::new(Status::BAD_REQUEST, format!("{} is not {expected}", element.name))
}

/// Text values that `FromStr` and `Display` carry.
macro_rules! text_values {
    ($($type:ty: $expected:literal),* $(,)?) => {$(
        impl Value for $type {
            fn from_element(element: Element) -> Result<Self, OspError> {
                element.text.parse().map_err(|_| bad(&element, $expected))
            }
            fn to_element(&self, name: &'static str) -> Element {
                Element::with_text(name, self.to_string())
            }
        }
    )*};
}
text_values!(u16: "a number up to 65535", u32: "a 32-bit number", u64: "a 64-bit number", Decimal: "a decimal number", Flag: "true or false");

impl Value for String {
    fn from_element(element: Element) -> Result<Self, OspError> {
        Ok(element.text)
    }
    fn to_element(&self, name: &'static str) -> Element {
        Element::with_text(name, self.clone())
    }
}

impl Value for Timestamp {
    fn from_element(element: Element) -> Result<Self, OspError> {
        Timestamp::parse_rfc3339(&element.text).ok_or_else(|| bad(&element, "a time such as 2026-11-21T10:00:00Z"))
    }
    fn to_element(&self, name: &'static str) -> Element {
        Element::with_text(name, self.to_rfc3339())
    }
}

/// A decimal number, exact to nine places: delays in seconds, prices, mean opinion scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal {
    /// Units of 1e-9.
    pub nanos: i64,
}

impl Decimal {
    /// From units of 1e-3: milliseconds to seconds.
    pub const fn from_millis(millis: i32) -> Decimal {
        Decimal { nanos: millis as i64 * 1_000_000 }
    }

    /// Units of 1e-3, rounded towards zero: seconds to milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.nanos / 1_000_000
    }
}

impl fmt::Display for Decimal {
    /// At least four places, as clients write them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.nanos.unsigned_abs();
        let digits = format!("{:09}", magnitude % 1_000_000_000);
        let places = digits.trim_end_matches('0').len().max(4);
        let sign = if self.nanos < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{}", magnitude / 1_000_000_000, &digits[..places])
    }
}

/// The text is not a decimal number of at most 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number")]
pub struct NotDecimal;

impl FromStr for Decimal {
    type Err = NotDecimal;
    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(NotDecimal);
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| NotDecimal)? };
        let mut nanos = 0_i64;
        for place in 0..9 {
            let digit = fraction.as_bytes().get(place).map_or(0, |b| i64::from(b - b'0'));
            nanos = nanos * 10 + digit;
        }
        let sum = whole.checked_mul(1_000_000_000).and_then(|w| w.checked_add(nanos)).ok_or(NotDecimal)?;
        Ok(Decimal { nanos: if negative { -sum } else { sum } })
    }
}

/// The text is neither yes nor no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither true nor false")]
pub struct NotFlag;

/// `true`/`false`, also written `1`/`0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

impl FromStr for Flag {
    type Err = NotFlag;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            // An element without text says yes by being there.
            "1" | "true" | "TRUE" | "yes" | "" => Ok(Flag(true)),
            "0" | "false" | "FALSE" | "no" => Ok(Flag(false)),
            _ => Err(NotFlag),
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "true" } else { "false" })
    }
}

/// Octets that travel as base64: call ids, tokens, custom information.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Base64(pub Vec<u8>);

impl From<Vec<u8>> for Base64 {
    fn from(octets: Vec<u8>) -> Self {
        Base64(octets)
    }
}

impl AsRef<[u8]> for Base64 {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Base64 {
    /// The element's octets: `encoding="base64"` is decoded strictly (status 410), `cdata` or none is the text itself.
    pub(crate) fn decode(element: &Element) -> Result<Base64, OspError> {
        match element.attribute_value("encoding") {
            Some("base64") => {
                // Line breaks inside are allowed (RFC 2045 §6.8), nothing else is.
                let compact: String = element.text.chars().filter(|c| !matches!(c, '\r' | '\n' | ' ' | '\t')).collect();
                STANDARD
                    .decode(compact)
                    .map(Base64)
                    .map_err(|_| OspError::new(Status::ENCODING_ERROR, format!("{} is not base64", element.name)))
            }
            None | Some("cdata") => Ok(Base64(element.text.clone().into_bytes())),
            Some(other) => Err(OspError::new(
                Status::ENCODING_ERROR,
                format!("{}: encoding {other} is not supported", element.name),
            )),
        }
    }

    pub(crate) fn encode(&self, name: &'static str) -> Element {
        Element::with_text(name, STANDARD.encode(&self.0)).attribute("encoding", "base64")
    }
}

impl Value for Base64 {
    fn from_element(element: Element) -> Result<Self, OspError> {
        Base64::decode(&element)
    }
    fn to_element(&self, name: &'static str) -> Element {
        self.encode(name)
    }
}

macro_rules! attributed {
    ($(#[$meta:meta])* $type:ident, $attribute:literal, $field:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $type<T = String> {
            #[doc = concat!("The `", $attribute, "` attribute; empty when the element has none.")]
            pub $field: String,
            /// What the element holds.
            pub value: T,
        }

        impl<T> $type<T> {
            /// A value with its attribute.
            pub fn new($field: impl Into<String>, value: impl Into<T>) -> Self {
                $type { $field: $field.into(), value: value.into() }
            }
        }

        impl<T: Value> Value for $type<T> {
            fn from_element(element: Element) -> Result<Self, OspError> {
                let $field = element.attribute_value($attribute).unwrap_or_default().to_owned();
                Ok($type { $field, value: T::from_element(element)? })
            }
            fn to_element(&self, name: &'static str) -> Element {
                let element = self.value.to_element(name);
                if self.$field.is_empty() { element } else { element.attribute($attribute, self.$field.clone()) }
            }
        }
    };
}
attributed! {
    /// A value with a `type` attribute: which kind of address, which side, which protocol.
    Typed, "type", kind
}
attributed! {
    /// A value with a `direction` attribute, such as `source-to-reporter`.
    Directed, "direction", direction
}

/// Declares a struct that is one element: its attributes, then its elements in the order in which they are written.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(@attributes { $($(#[$attribute_meta:meta])* $attribute:ident = $attribute_name:literal,)* })?
            $($(#[$field_meta:meta])* $field:ident : $type:ty = $field_name:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($($(#[$attribute_meta])* pub $attribute: Option<String>,)*)?
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::record::Record for $name {
            fn read(element: $crate::tree::Element) -> Result<Self, $crate::OspError> {
                let mut fields = $crate::record::Fields::of(element)?;
                let value = $name {
                    $($($attribute: fields.attribute($attribute_name),)*)?
                    $($field: fields.field($field_name)?,)*
                };
                fields.finish()?;
                Ok(value)
            }
            #[allow(unused_mut)]
            fn write(&self, name: &'static str) -> $crate::tree::Element {
                let mut element = $crate::tree::Element::named(name);
                $($(if let Some(value) = &self.$attribute {
                    element = element.attribute($attribute_name, value.clone());
                })*)?
                $($crate::record::Field::put(&self.$field, &mut element, $field_name);)*
                element
            }
        }
    };
}
pub(crate) use record;

/// Declares an enumeration of words, open for words it does not know.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
            /// A word that this crate has no name for, verbatim.
            Unknown(String),
        }

        impl $name {
            /// The word on the wire.
            pub fn as_str(&self) -> &str {
                match self { $($name::$variant => $word,)* $name::Unknown(word) => word }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word { $($word => $name::$variant,)* other => $name::Unknown(other.to_owned()) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::record::Value for $name {
            fn from_element(element: $crate::tree::Element) -> Result<Self, $crate::OspError> {
                Ok($name::from(element.text.as_str()))
            }
            fn to_element(&self, name: &'static str) -> $crate::tree::Element {
                $crate::tree::Element::with_text(name, self.as_str())
            }
        }
    };
}
pub(crate) use words;
