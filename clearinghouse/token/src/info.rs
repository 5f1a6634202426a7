use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strowger_clock::Timestamp;

/// Octets of the ASCII form: OSP Toolkit refuses 1000 and more.
pub const MAX_CONTENT_OCTETS: usize = 999;
/// Octets of one field's value: OSP Toolkit refuses 200 and more. A call id takes four octets here for three of its own.
pub const MAX_FIELD_OCTETS: usize = 199;

/// What a token says. Two tokens of one call differ in `gateway` and `nonce`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Calling number, E.164 without plus.
    pub calling: String,
    /// Called number, E.164 without plus.
    pub called: String,
    /// Call id of the call that the token is for.
    pub call_id: Vec<u8>,
    /// The first second of the token.
    pub valid_after: Timestamp,
    /// The second at which it has expired.
    pub valid_until: Timestamp,
    /// The clearinghouse's number of the call.
    pub transaction_id: u64,
    /// How long the call may last.
    pub granted_seconds: u32,
    /// Identifier of the one gateway that may use it (`s=`).
    pub gateway: String,
    /// Makes the token unique (`n=`).
    pub nonce: String,
}

/// Why the content of a token cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Longer than [`MAX_CONTENT_OCTETS`].
    #[error("token content is longer than {MAX_CONTENT_OCTETS} octets")]
    ContentTooLong,
    /// Longer than [`MAX_FIELD_OCTETS`].
    #[error("token field {0} is longer than {MAX_FIELD_OCTETS} octets")]
    FieldTooLong(char),
    /// Not printable ASCII.
    #[error("token field {0} holds a character that is not printable ASCII")]
    Unprintable(char),
    /// Not `key=value` lines.
    #[error("token content is not in the ASCII form")]
    NotAscii,
    /// A field is missing.
    #[error("token field {0} is missing")]
    Missing(char),
    /// A field came twice.
    #[error("token field {0} came twice")]
    Twice(char),
    /// A field holds no such value.
    #[error("token field {0} is not valid")]
    Invalid(char),
}

impl TokenInfo {
    /// The ASCII form.
    ///
    /// # Errors
    /// When a field is too long for the clients in the field, or not printable.
    pub fn to_ascii(&self) -> Result<String, FormatError> {
        let fields = [
            ('V', "1".to_owned()),
            ('c', self.calling.clone()),
            ('C', self.called.clone()),
            ('i', STANDARD.encode(&self.call_id)),
            ('a', self.valid_after.to_rfc3339()),
            ('u', self.valid_until.to_rfc3339()),
            ('I', self.transaction_id.to_string()),
            ('A', self.granted_seconds.to_string()),
            ('s', self.gateway.clone()),
            ('n', self.nonce.clone()),
        ];
        let mut content = String::with_capacity(256);
        for (key, value) in fields {
            if value.len() > MAX_FIELD_OCTETS {
                return Err(FormatError::FieldTooLong(key));
            }
            if !value.bytes().all(|octet| octet.is_ascii_graphic() || octet == b' ') {
                return Err(FormatError::Unprintable(key));
            }
            content.push(key);
            content.push('=');
            content.push_str(&value);
            content.push('\n');
        }
        if content.len() > MAX_CONTENT_OCTETS { Err(FormatError::ContentTooLong) } else { Ok(content) }
    }

    /// Reads the ASCII form; fields in any order, unknown ones ignored, none of ours twice.
    ///
    /// # Errors
    /// Everything that [`TokenInfo::to_ascii`] would not have written.
    pub fn from_ascii(content: &[u8]) -> Result<TokenInfo, FormatError> {
        if content.len() > MAX_CONTENT_OCTETS {
            return Err(FormatError::ContentTooLong);
        }
        let text = std::str::from_utf8(content).ok().filter(|text| text.is_ascii()).ok_or(FormatError::NotAscii)?;
        let mut fields: Vec<(char, &str)> = Vec::with_capacity(12);
        for line in text.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once('=').ok_or(FormatError::NotAscii)?;
            let mut characters = key.chars();
            let (Some(key), None) = (characters.next(), characters.next()) else { return Err(FormatError::NotAscii) };
            if value.len() > MAX_FIELD_OCTETS {
                return Err(FormatError::FieldTooLong(key));
            }
            if fields.iter().any(|(seen, _)| *seen == key) {
                return Err(FormatError::Twice(key));
            }
            fields.push((key, value));
        }
        let field = |key: char| {
            fields.iter().find(|(name, _)| *name == key).map(|(_, value)| *value).ok_or(FormatError::Missing(key))
        };
        if field('V')? != "1" {
            return Err(FormatError::Invalid('V'));
        }
        let time = |key: char| Timestamp::parse_rfc3339(field(key)?).ok_or(FormatError::Invalid(key));
        Ok(TokenInfo {
            calling: field('c')?.to_owned(),
            called: field('C')?.to_owned(),
            call_id: STANDARD.decode(field('i')?).map_err(|_| FormatError::Invalid('i'))?,
            valid_after: time('a')?,
            valid_until: time('u')?,
            transaction_id: field('I')?.parse().map_err(|_| FormatError::Invalid('I'))?,
            granted_seconds: field('A')?.parse().map_err(|_| FormatError::Invalid('A'))?,
            gateway: field('s')?.to_owned(),
            nonce: field('n')?.to_owned(),
        })
    }
}
