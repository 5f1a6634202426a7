//! Provisioning errors: global (GPERR) and of one class (CPERR) (RFC 3084 §4.4, §4.5).

use crate::oid::Oid;

macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $value:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $(#[doc = $text] $variant,)+ }
        impl $name {
            /// The value of a number on the wire.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($value => Some($name::$variant),)+ _ => None }
            }
            /// The number on the wire.
            pub const fn number(self) -> u16 { match self { $($name::$variant => $value,)+ } }
            /// What it means.
            pub const fn text(self) -> &'static str { match self { $($name::$variant => $text,)+ } }
        }
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { f.write_str(self.text()) }
        }
    };
}

codes! {
    /// Errors that belong to no class (RFC 3084 §4.4).
    GlobalError {
        AvailMemLow = 1 => "available memory is low",
        AvailMemExhausted = 2 => "available memory is exhausted",
        UnknownAsn1Tag = 3 => "unknown ASN.1 tag",
        MaxMsgSizeExceeded = 4 => "the message is too big",
        UnknownError = 5 => "unknown error",
        MaxRequestStatesOpen = 6 => "no more request states can be opened",
        InvalidAsn1Length = 7 => "an ASN.1 length is wrong",
        InvalidObjectPad = 8 => "an object is not properly padded",
        UnknownPibData = 9 => "some of the data is unknown here",
        UnknownCopsPrObject = 10 => "unknown COPS-PR object",
        MalformedDecision = 11 => "the decision could not be parsed",
    }
}

codes! {
    /// Errors about one instance of a class (RFC 3084 §4.5).
    ClassError {
        PriSpaceExhausted = 1 => "no more instances of this class can be installed",
        PriInstanceInvalid = 2 => "the instance is currently invalid",
        AttrValueInvalid = 3 => "an attribute's value is illegal",
        AttrValueSupLimited = 4 => "an attribute's value is legal but not supported",
        AttrEnumSupLimited = 5 => "an enumeration value is legal but not supported",
        AttrMaxLengthExceeded = 6 => "an attribute is too long",
        AttrReferenceUnknown = 7 => "a referenced instance does not exist",
        PriNotifyOnly = 8 => "the class is for requests and reports only",
        UnknownPrc = 9 => "the class is not supported",
        TooFewAttrs = 10 => "the instance has too few attributes",
        InvalidAttrType = 11 => "an attribute has the wrong type",
        DeletedInRef = 12 => "a deleted instance is still referenced",
        PriSpecificError = 13 => "an error specific to the class",
    }
}

/// Why named data was refused: what a failure RPT carries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PibError {
    /// A GPERR.
    #[error("{code} ({sub_code})")]
    Global {
        /// Code.
        code: GlobalError,
        /// Detail.
        sub_code: u16,
    },
    /// A CPERR with its ErrorPRID.
    #[error("{prid}: {code} ({sub_code})")]
    Class {
        /// The instance that is wrong.
        prid: Oid,
        /// Code.
        code: ClassError,
        /// The attribute's column number for errors 3 to 7, 0 otherwise.
        sub_code: u16,
    },
}

impl PibError {
    /// A GPERR.
    pub fn global(code: GlobalError, sub_code: u16) -> PibError {
        PibError::Global { code, sub_code }
    }

    /// A CPERR about `prid`; `sub_code` is the column for the attribute errors.
    pub fn class(prid: Oid, code: ClassError, sub_code: u16) -> PibError {
        PibError::Class { prid, code, sub_code }
    }
}
