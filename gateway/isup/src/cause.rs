//! Causes and locations of Q.850, and RFC 3398's tables between them and SIP status codes.

use std::fmt;

/// Location: who generated the cause (Q.850 table 1).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// User.
    User,
    /// Private network serving the local user.
    PrivateLocal,
    /// Public network serving the local user.
    PublicLocal,
    /// Transit network.
    Transit,
    /// Public network serving the remote user.
    PublicRemote,
    /// Private network serving the remote user.
    PrivateRemote,
    /// International network.
    International,
    /// Network beyond an interworking point.
    BeyondInterworking,
    /// Any other value, 4 bits.
    Other(u8),
}

impl Location {
    pub(crate) fn from_bits(bits: u8) -> Self {
        match bits & 0x0f {
            0 => Self::User,
            1 => Self::PrivateLocal,
            2 => Self::PublicLocal,
            3 => Self::Transit,
            4 => Self::PublicRemote,
            5 => Self::PrivateRemote,
            7 => Self::International,
            10 => Self::BeyondInterworking,
            other => Self::Other(other),
        }
    }

    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::User => 0,
            Self::PrivateLocal => 1,
            Self::PublicLocal => 2,
            Self::Transit => 3,
            Self::PublicRemote => 4,
            Self::PrivateRemote => 5,
            Self::International => 7,
            Self::BeyondInterworking => 10,
            Self::Other(other) => other & 0x0f,
        }
    }
}

/// A Q.850 cause value, 7 bits.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cause(pub u8);

macro_rules! causes {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        impl Cause {
            $(#[doc = $text] pub const $name: Self = Self($value);)*

            /// Its words in Q.850.
            pub const fn text(self) -> &'static str {
                match self.0 { $($value => $text,)* _ => "unassigned cause" }
            }
        }
    };
}

causes! {
    UNALLOCATED_NUMBER = 1, "unallocated (unassigned) number";
    NO_ROUTE_TO_NETWORK = 2, "no route to specified transit network";
    NO_ROUTE_TO_DESTINATION = 3, "no route to destination";
    SEND_SPECIAL_TONE = 4, "send special information tone";
    MISDIALLED_PREFIX = 5, "misdialled trunk prefix";
    NORMAL_CLEARING = 16, "normal call clearing";
    USER_BUSY = 17, "user busy";
    NO_USER_RESPONDING = 18, "no user responding";
    NO_ANSWER = 19, "no answer from user (user alerted)";
    SUBSCRIBER_ABSENT = 20, "subscriber absent";
    CALL_REJECTED = 21, "call rejected";
    NUMBER_CHANGED = 22, "number changed";
    REDIRECTION = 23, "redirection to new destination";
    EXCHANGE_ROUTING_ERROR = 25, "exchange routing error";
    NON_SELECTED_USER_CLEARING = 26, "non-selected user clearing";
    DESTINATION_OUT_OF_ORDER = 27, "destination out of order";
    INVALID_NUMBER_FORMAT = 28, "invalid number format (address incomplete)";
    FACILITY_REJECTED = 29, "facility rejected";
    NORMAL_UNSPECIFIED = 31, "normal, unspecified";
    NO_CIRCUIT = 34, "no circuit/channel available";
    NETWORK_OUT_OF_ORDER = 38, "network out of order";
    TEMPORARY_FAILURE = 41, "temporary failure";
    SWITCH_CONGESTION = 42, "switching equipment congestion";
    REQUESTED_CIRCUIT_UNAVAILABLE = 44, "requested circuit/channel not available";
    RESOURCE_UNAVAILABLE = 47, "resource unavailable, unspecified";
    BARRED_IN_CUG = 55, "incoming calls barred within CUG";
    BEARER_NOT_AUTHORIZED = 57, "bearer capability not authorized";
    BEARER_NOT_AVAILABLE = 58, "bearer capability not presently available";
    SERVICE_UNAVAILABLE = 63, "service or option not available, unspecified";
    BEARER_NOT_IMPLEMENTED = 65, "bearer capability not implemented";
    ONLY_RESTRICTED_DIGITAL = 70, "only restricted digital information bearer capability is available";
    SERVICE_NOT_IMPLEMENTED = 79, "service or option not implemented, unspecified";
    NOT_MEMBER_OF_CUG = 87, "user not member of CUG";
    INCOMPATIBLE_DESTINATION = 88, "incompatible destination";
    INVALID_MESSAGE = 95, "invalid message, unspecified";
    MESSAGE_TYPE_UNKNOWN = 97, "message type non-existent or not implemented";
    PARAMETER_UNKNOWN = 99, "information element/parameter non-existent or not implemented";
    RECOVERY_ON_TIMER = 102, "recovery on timer expiry";
    PROTOCOL_ERROR = 111, "protocol error, unspecified";
    INTERWORKING = 127, "interworking, unspecified";
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.text())
    }
}

/// The SIP status a release becomes (RFC 3398 §7.2.4.1). `None` for 16, which becomes BYE or CANCEL, and for 44, which
/// concerns only the circuit. `diagnostic` tells whether the cause has one (22 with one is 301); 21 said by the user
/// is 603.
pub fn status_of_cause(cause: Cause, location: Location, diagnostic: bool) -> Option<u16> {
    Some(match cause.0 {
        16 | 44 => return None,
        1 | 2 | 3 | 26 => 404,
        17 => 486,
        18 => 408,
        19 | 20 | 31 => 480,
        21 if location == Location::User => 603,
        21 | 55 | 57 | 87 => 403,
        22 if diagnostic => 301,
        22 | 23 => 410,
        27 => 502,
        28 => 484,
        29 | 79 => 501,
        34 | 38 | 41 | 42 | 47 | 58 | 88 => 503,
        65 | 70 => 488,
        102 => 504,
        _ => 500, // the default; 111 and 127 too
    })
}

/// The cause and location a rejection becomes (RFC 3398 §8.2.6.1). 487 has no mapping (`None`): the caller is gone.
/// 488 and 606 without a Warning that says more are 31.
pub fn cause_of_status(status: u16) -> Option<(Cause, Location)> {
    let cause = match status {
        400 | 481 | 500 | 503 => Cause::TEMPORARY_FAILURE,
        401 | 402 | 403 | 407 | 603 => Cause::CALL_REJECTED,
        404 | 485 | 604 => Cause::UNALLOCATED_NUMBER,
        405 => Cause::SERVICE_UNAVAILABLE,
        406 | 415 | 501 => Cause::SERVICE_NOT_IMPLEMENTED,
        408 | 504 => Cause::RECOVERY_ON_TIMER,
        410 => Cause::NUMBER_CHANGED,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => Cause::INTERWORKING, // the RFC prints 505 as a second 504
        480 => Cause::NO_USER_RESPONDING,
        482 | 483 => Cause::EXCHANGE_ROUTING_ERROR,
        484 => Cause::INVALID_NUMBER_FORMAT,
        486 | 600 => Cause::USER_BUSY,
        487 => return None,
        502 => Cause::NETWORK_OUT_OF_ORDER,
        _ => Cause::NORMAL_UNSPECIFIED,
    };
    let location = if (600..700).contains(&status) { Location::User } else { Location::BeyondInterworking };
    Some((cause, location))
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3398 §7.2.4.1, row by row
    const TO_STATUS: &[(u8, Option<u16>)] = &[
        (1, Some(404)),
        (2, Some(404)),
        (3, Some(404)),
        (16, None),
        (17, Some(486)),
        (18, Some(408)),
        (19, Some(480)),
        (20, Some(480)),
        (21, Some(403)),
        (22, Some(410)),
        (23, Some(410)),
        (26, Some(404)),
        (27, Some(502)),
        (28, Some(484)),
        (29, Some(501)),
        (31, Some(480)),
        (34, Some(503)),
        (38, Some(503)),
        (41, Some(503)),
        (42, Some(503)),
        (44, None),
        (47, Some(503)),
        (55, Some(403)),
        (57, Some(403)),
        (58, Some(503)),
        (65, Some(488)),
        (70, Some(488)),
        (79, Some(501)),
        (87, Some(403)),
        (88, Some(503)),
        (102, Some(504)),
        (111, Some(500)),
        (127, Some(500)),
    ];

    // RFC 3398 §8.2.6.1, row by row
    const TO_CAUSE: &[(u16, Option<u8>)] = &[
        (400, Some(41)),
        (401, Some(21)),
        (402, Some(21)),
        (403, Some(21)),
        (404, Some(1)),
        (405, Some(63)),
        (406, Some(79)),
        (407, Some(21)),
        (408, Some(102)),
        (410, Some(22)),
        (413, Some(127)),
        (414, Some(127)),
        (415, Some(79)),
        (416, Some(127)),
        (420, Some(127)),
        (421, Some(127)),
        (423, Some(127)),
        (480, Some(18)),
        (481, Some(41)),
        (482, Some(25)),
        (483, Some(25)),
        (484, Some(28)),
        (485, Some(1)),
        (486, Some(17)),
        (487, None),
        (488, Some(31)),
        (500, Some(41)),
        (501, Some(79)),
        (502, Some(38)),
        (503, Some(41)),
        (504, Some(102)),
        (505, Some(127)),
        (513, Some(127)),
        (600, Some(17)),
        (603, Some(21)),
        (604, Some(1)),
        (606, Some(31)),
    ];

    #[test]
    fn every_cause_of_the_table_has_its_status_and_every_other_500() {
        for cause in 0..=127u8 {
            let want = TO_STATUS.iter().find(|(c, _)| *c == cause).map_or(Some(500), |(_, status)| *status);
            assert_eq!(status_of_cause(Cause(cause), Location::Transit, false), want, "{cause}");
        }
        assert_eq!(status_of_cause(Cause::CALL_REJECTED, Location::User, false), Some(603));
        assert_eq!(status_of_cause(Cause::NUMBER_CHANGED, Location::Transit, true), Some(301));
    }

    #[test]
    fn every_status_of_the_table_has_its_cause_and_every_other_31() {
        for status in 300..700u16 {
            let want = TO_CAUSE.iter().find(|(s, _)| *s == status).map_or(Some(31), |(_, cause)| *cause);
            let got = cause_of_status(status);
            assert_eq!(got.map(|(cause, _)| cause.0), want, "{status}");
            if let Some((_, location)) = got {
                assert_eq!(location == Location::User, status >= 600);
            }
        }
    }
}
