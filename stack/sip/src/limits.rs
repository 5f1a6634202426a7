/// What one message may be at most. Each is tested just inside and just outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a whole message, start line to the end of the body.
    pub message_octets: usize,
    /// Octets of everything before the body.
    pub head_octets: usize,
    /// Header fields (lines, folded lines count once).
    pub headers: usize,
    /// Octets of one header field, its name and folding included.
    pub header_octets: usize,
    /// Octets of the Request-URI (beyond it: 414).
    pub uri_octets: usize,
    /// Via values in all (a message that came through more elements than that is in a loop).
    pub vias: usize,
}

impl Limits {
    /// The limits that [`crate::Message::parse`] applies.
    pub const DEFAULT: Limits = Limits {
        message_octets: 65_535,
        head_octets: 49_152,
        headers: 256,
        header_octets: 8_192,
        uri_octets: 2_048,
        vias: 128,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
