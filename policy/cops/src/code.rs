//! The code points of RFC 2748, each as an enum that keeps values it does not know where the RFC says to carry on.

macro_rules! closed_codes {
    ($(#[$meta:meta])* $name:ident : $repr:ty { $($(#[$vmeta:meta])* $variant:ident = $value:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }
        impl $name {
            /// Every value, in numeric order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];
            /// The value of a number on the wire; `None` when the RFC does not define it.
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number { $($value => Some($name::$variant),)+ _ => None }
            }
            /// The number on the wire.
            pub const fn number(self) -> $repr {
                match self { $($name::$variant => $value,)+ }
            }
            /// The RFC's words for it.
            pub const fn text(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result { f.write_str(self.text()) }
        }
    };
}

closed_codes! {
    /// Operation of a message (RFC 2748 §2.1).
    Op: u8 {
        /// REQ, PEP to PDP.
        Request = 1 => "REQ",
        /// DEC, PDP to PEP.
        Decision = 2 => "DEC",
        /// RPT, PEP to PDP.
        ReportState = 3 => "RPT",
        /// DRQ, PEP to PDP.
        DeleteRequestState = 4 => "DRQ",
        /// SSQ, PDP to PEP.
        SynchronizeState = 5 => "SSQ",
        /// OPN, PEP to PDP.
        ClientOpen = 6 => "OPN",
        /// CAT, PDP to PEP.
        ClientAccept = 7 => "CAT",
        /// CC, either way.
        ClientClose = 8 => "CC",
        /// KA, either way.
        KeepAlive = 9 => "KA",
        /// SSC, PEP to PDP.
        SynchronizeComplete = 10 => "SSC",
    }
}

closed_codes! {
    /// Code of the Error object (RFC 2748 §2.2.8).
    ErrorCode: u16 {
        /// The handle itself is wrong.
        BadHandle = 1 => "bad handle",
        /// The handle names no request state.
        InvalidHandleReference = 2 => "invalid handle reference",
        /// Malformed message.
        BadMessageFormat = 3 => "bad message format",
        /// The server gives up on the query.
        UnableToProcess = 4 => "unable to process",
        /// ClientSI that the client type needs is not there.
        MandatoryClientInfoMissing = 5 => "mandatory client-specific info missing",
        /// The PDP does not serve this client type.
        UnsupportedClientType = 6 => "unsupported client-type",
        /// An object that the message needs is not there.
        MandatoryObjectMissing = 7 => "mandatory COPS object missing",
        /// The client failed.
        ClientFailure = 8 => "client failure",
        /// The connection failed or fell silent.
        CommunicationFailure = 9 => "communication failure",
        /// No reason given.
        Unspecified = 10 => "unspecified",
        /// The sender is shutting down.
        ShuttingDown = 11 => "shutting down",
        /// A PDPRedirAddr object says where to go.
        RedirectToPreferredServer = 12 => "redirect to preferred server",
        /// Sub-code: the unknown object's C-Num (high octet) and C-Type (low octet).
        UnknownObject = 13 => "unknown COPS object",
        /// Digest, key or sequence number is wrong.
        AuthenticationFailure = 14 => "authentication failure",
        /// An Integrity object is required and missing.
        AuthenticationRequired = 15 => "authentication required",
    }
}

closed_codes! {
    /// Code of the Reason object in a DRQ (RFC 2748 §2.2.5).
    ReasonCode: u16 {
        /// No reason given.
        Unspecified = 1 => "unspecified",
        /// An operator did it.
        Management = 2 => "management",
        /// Another request state takes precedence.
        Preempted = 3 => "preempted",
        /// A signalled removal.
        Tear = 4 => "tear",
        /// Local state timed out.
        Timeout = 5 => "timeout",
        /// A route change invalidates the state.
        RouteChange = 6 => "route change",
        /// No local resource available.
        InsufficientResources = 7 => "insufficient resources",
        /// A PDP decision caused the delete.
        PdpDirective = 8 => "PDP's directive",
        /// The PDP's decision is not supported.
        UnsupportedDecision = 9 => "unsupported decision",
        /// An SSQ named a handle that the PEP does not know.
        SynchronizeHandleUnknown = 10 => "synchronize handle unknown",
        /// A stateless event.
        TransientHandle = 11 => "transient handle",
        /// The decision could not be recovered.
        MalformedDecision = 12 => "malformed decision",
        /// Sub-code: the unknown object's C-Num (high octet) and C-Type (low octet).
        UnknownObject = 13 => "unknown COPS object from PDP",
    }
}

closed_codes! {
    /// Command-Code of Decision Flags (RFC 2748 §2.2.6).
    Command: u16 {
        /// No configuration data available.
        Null = 0 => "NULL",
        /// Admit the request, install the configuration.
        Install = 1 => "Install",
        /// Remove the request, remove the configuration.
        Remove = 2 => "Remove",
    }
}

closed_codes! {
    /// What an RPT says (RFC 2748 §2.2.12).
    ReportType: u16 {
        /// The decision was carried out.
        Success = 1 => "success",
        /// The decision could not be carried out.
        Failure = 2 => "failure",
        /// Accounting update for an installed state.
        Accounting = 3 => "accounting",
    }
}

/// R-Type of a Context object: a set of flags (RFC 2748 §2.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestType(pub u16);

impl RequestType {
    /// Incoming message, admission control.
    pub const INCOMING_MESSAGE: RequestType = RequestType(0x01);
    /// Resource allocation.
    pub const RESOURCE_ALLOCATION: RequestType = RequestType(0x02);
    /// Outgoing message.
    pub const OUTGOING_MESSAGE: RequestType = RequestType(0x04);
    /// Configuration.
    pub const CONFIGURATION: RequestType = RequestType(0x08);

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: RequestType) -> bool {
        self.0 & other.0 == other.0
    }
}
