use crate::OspError;
use crate::record::{Fields, Record};
use crate::tree::Element;

/// The outcome of a request: a code of TS 101 321 clause 5.2.19 and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// 2xx success, 4xx the request is at fault or refused, 5xx the server is.
    pub code: u16,
    /// For people; carries no meaning for machines.
    pub description: String,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        impl Status {
            $($(#[$meta])* pub const $name: u16 = $code;)*
            /// The usual sentence for a code; "unknown status" where the standard has none.
            pub fn phrase(code: u16) -> &'static str {
                match code { $($code => $text,)* _ => "unknown status" }
            }
        }
    };
}
codes! {
    /// The request was carried out.
    SUCCESS = 200, "success";
    /// New information was created.
    CREATED = 201, "success: information created";
    /// The request cannot be understood: a mandatory element is missing.
    BAD_REQUEST = 400, "bad request: a mandatory element is missing";
    /// The device is not known or not the one it says it is.
    UNAUTHORIZED = 401, "unauthorized";
    /// The call is blocked.
    BLOCKED = 403, "call blocked";
    /// No gateway leads to the number.
    NO_ROUTE = 404, "no route to the destination";
    /// This device may not originate calls.
    MAY_NOT_ORIGINATE = 405, "device may not originate calls";
    /// Characters, base64 or transfer encoding are wrong.
    ENCODING_ERROR = 410, "character encoding error";
    /// Not well-formed, or beyond a limit.
    PARSE_ERROR = 411, "parse error";
    /// An element that must be understood is not.
    CRITICAL_ELEMENT = 412, "critical element not supported";
    /// Security in general.
    SECURITY_ERROR = 420, "security problem";
    /// The signature does not match.
    SIGNATURE_INVALID = 421, "signature is invalid";
    /// The algorithm is not supported.
    ALGORITHM_UNSUPPORTED = 422, "cryptographic algorithm not supported";
    /// The certificate is not valid.
    CERTIFICATE_INVALID = 423, "certificate is invalid";
    /// The certificate was revoked.
    CERTIFICATE_REVOKED = 424, "certificate was revoked";
    /// Encryption is required.
    ENCRYPTION_REQUIRED = 425, "encryption required";
    /// The calling number is not one.
    CALLING_NUMBER_INVALID = 428, "calling number is invalid";
    /// The device asks more often than it may.
    RATE_EXCEEDED = 441, "rate exceeded";
    /// The server failed.
    INTERNAL_ERROR = 500, "internal server error";
    /// The server does not do this.
    NOT_IMPLEMENTED = 501, "not implemented";
    /// The server cannot do this now.
    SERVICE_UNAVAILABLE = 503, "service not available";
    /// Will work after a short while.
    TRANSIENT_PROBLEM = 510, "transient problem in the server";
    /// Will not work for a long while.
    LONG_TERM_PROBLEM = 520, "long-term problem in the server";
    /// Clocks differ.
    TIME_PROBLEM = 530, "time problem";
    /// The time that the message carries has passed.
    TIME_TOO_OLD = 531, "valid time has passed";
    /// The time that the message carries is in the future.
    TIME_TOO_YOUNG = 532, "valid time is in the future";
    /// Declined without a reason.
    DECLINE = 603, "declined";
    /// Anything else.
    OTHER = 999, "other error";
}

impl Status {
    /// A code with its usual sentence.
    pub fn of(code: u16) -> Status {
        Status { code, description: Self::phrase(code).to_owned() }
    }

    /// A code with a sentence of its own.
    pub fn with_description(code: u16, description: impl Into<String>) -> Status {
        Status { code, description: description.into() }
    }

    /// 200.
    pub fn success() -> Status {
        Status::of(Status::SUCCESS)
    }

    /// Whether the request was carried out (200 to 299).
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }
}

impl Record for Status {
    fn read(element: Element) -> Result<Self, OspError> {
        let mut fields = Fields::of(element)?;
        let description: Option<String> = fields.field("Description")?;
        let code: u16 = fields.field("Code")?;
        fields.finish()?;
        Ok(Status { code, description: description.unwrap_or_default() })
    }

    fn write(&self, name: &'static str) -> Element {
        let mut element = Element::named(name);
        element.push(Element::with_text("Description", self.description.clone()));
        element.push(Element::with_text("Code", self.code.to_string()));
        element
    }
}
