use std::fmt;

macro_rules! headers {
    ($( $id:ident $name:literal $( | $compact:literal )? $kind:ident ; )*) => {
        /// A header field's name, as RFC 3261 §20 and the RFCs after it register it. Names match in any case and in their
        /// compact form (RFC 3261 §7.3.3); every other name is [`Header::Other`] and is reached by its text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum Header {
            $( $id, )*
            /// A name this crate has no value for; [`crate::Message::header_by_name`] finds it.
            Other,
        }

        impl Header {
            /// Every name this crate knows (without `Other`).
            pub const KNOWN: &'static [Header] = &[ $( Header::$id, )* ];

            /// The name in its long form; the empty string for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self { $( Header::$id => $name, )* Header::Other => "" }
            }

            /// The one-letter form, where one is registered.
            pub const fn compact(self) -> Option<&'static str> {
                match self { $( Header::$id => headers!(@compact $( $compact )?), )* Header::Other => None }
            }

            const fn kind(self) -> Kind {
                match self { $( Header::$id => Kind::$kind, )* Header::Other => Kind::Text }
            }
        }
    };
    (@compact) => { None };
    (@compact $compact:literal) => { Some($compact) };
}

/// How a header field's values are laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A comma-separated list; several fields of the name are one list (RFC 3261 §7.3.1).
    List,
    /// At most one field with one value.
    Single,
    /// One value per field, several fields allowed (challenges, free text).
    Text,
}

headers! {
    Via "Via" | "v" List;
    From "From" | "f" Single;
    To "To" | "t" Single;
    CallId "Call-ID" | "i" Single;
    CSeq "CSeq" Single;
    MaxForwards "Max-Forwards" Single;
    Contact "Contact" | "m" List;
    Route "Route" List;
    RecordRoute "Record-Route" List;
    Path "Path" List;
    ServiceRoute "Service-Route" List;
    ContentType "Content-Type" | "c" Single;
    ContentLength "Content-Length" | "l" Single;
    ContentEncoding "Content-Encoding" | "e" List;
    ContentDisposition "Content-Disposition" Single;
    ContentLanguage "Content-Language" List;
    MimeVersion "MIME-Version" Single;
    Expires "Expires" Single;
    MinExpires "Min-Expires" Single;
    SessionExpires "Session-Expires" | "x" Single;
    MinSe "Min-SE" Single;
    Authorization "Authorization" Text;
    ProxyAuthorization "Proxy-Authorization" Text;
    WwwAuthenticate "WWW-Authenticate" Text;
    ProxyAuthenticate "Proxy-Authenticate" Text;
    AuthenticationInfo "Authentication-Info" Text;
    Require "Require" List;
    ProxyRequire "Proxy-Require" List;
    Supported "Supported" | "k" List;
    Unsupported "Unsupported" List;
    Allow "Allow" List;
    AllowEvents "Allow-Events" | "u" List;
    Accept "Accept" List;
    AcceptEncoding "Accept-Encoding" List;
    AcceptLanguage "Accept-Language" List;
    AcceptContact "Accept-Contact" | "a" List;
    RejectContact "Reject-Contact" | "j" List;
    RequestDisposition "Request-Disposition" | "d" List;
    AlertInfo "Alert-Info" List;
    CallInfo "Call-Info" List;
    ErrorInfo "Error-Info" List;
    InReplyTo "In-Reply-To" List;
    RetryAfter "Retry-After" Single;
    Reason "Reason" List;
    Warning "Warning" List;
    Event "Event" | "o" Single;
    SubscriptionState "Subscription-State" Single;
    SipEtag "SIP-ETag" Single;
    SipIfMatch "SIP-If-Match" Single;
    RAck "RAck" Single;
    RSeq "RSeq" Single;
    ReferTo "Refer-To" | "r" Single;
    ReferredBy "Referred-By" | "b" Single;
    Replaces "Replaces" Single;
    TargetDialog "Target-Dialog" Single;
    Join "Join" Single;
    Identity "Identity" | "y" Text;
    Privacy "Privacy" Text;
    PAssertedIdentity "P-Asserted-Identity" List;
    PPreferredIdentity "P-Preferred-Identity" List;
    PAssociatedUri "P-Associated-URI" List;
    Diversion "Diversion" List;
    HistoryInfo "History-Info" List;
    MaxBreadth "Max-Breadth" Single;
    Date "Date" Single;
    Timestamp "Timestamp" Single;
    Subject "Subject" | "s" Single;
    Organization "Organization" Single;
    Priority "Priority" Single;
    ReplyTo "Reply-To" Single;
    Server "Server" Single;
    UserAgent "User-Agent" Single;
    FlowTimer "Flow-Timer" Single;
    POspAuthToken "P-OSP-Auth-Token" Text;
    PChargingVector "P-Charging-Vector" Single;
    UserToUser "User-to-User" List;
}

impl Header {
    /// The header a name stands for: long or compact, in any case. `Other` for a name this crate does not know.
    pub fn from_name(name: &str) -> Header {
        if name.len() == 1 {
            return Header::KNOWN
                .iter()
                .copied()
                .find(|known| known.compact().is_some_and(|compact| compact.eq_ignore_ascii_case(name)))
                .unwrap_or(Header::Other);
        }
        Header::KNOWN.iter().copied().find(|known| known.as_str().eq_ignore_ascii_case(name)).unwrap_or(Header::Other)
    }

    /// Whether the header's value is a comma-separated list.
    pub const fn is_list(self) -> bool {
        matches!(self.kind(), Kind::List)
    }

    /// Whether a message may hold this header at most once.
    pub const fn is_single(self) -> bool {
        matches!(self.kind(), Kind::Single)
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
