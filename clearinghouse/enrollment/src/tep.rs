use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::registry::Secret;

/// Octets of a request or answer body.
pub const MAX_BODY_OCTETS: usize = 64 * 1024;
/// Octets of one value in it, decoded; the certificate request is the longest.
pub const MAX_VALUE_OCTETS: usize = 32 * 1024;
/// Fields in a body.
const MAX_FIELDS: usize = 16;

/// What a device asks.
#[derive(Clone, Debug)]
pub enum TepRequest {
    /// `operation=getcacert`: the authority's certificate.
    AuthorityCertificate,
    /// `operation=request`: a certificate for the device.
    Enroll {
        /// Pairs a repeated request with the first one; empty at first.
        nonce: String,
        /// Who is at the device; not looked at.
        username: String,
        /// The device's enrollment password; empty for a renewal.
        password: Secret,
        /// Device number.
        device: String,
        /// Customer number.
        customer: String,
        /// PKCS#10, DER.
        request: Vec<u8>,
    },
}

/// What the authority answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TepAnswer {
    /// `certificate=`, DER inside.
    AuthorityCertificate {
        /// DER.
        certificate: Vec<u8>,
    },
    /// `status=0`.
    Issued {
        /// As asked.
        nonce: String,
        /// DER.
        certificate: Vec<u8>,
    },
    /// `status=1`: ask again later, with the nonce.
    Pending {
        /// As asked.
        nonce: String,
    },
    /// Any other status.
    Refused {
        /// 2 or more.
        status: u32,
        /// As asked.
        nonce: String,
    },
}

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TepError {
    /// Longer than [`MAX_BODY_OCTETS`], a value longer than [`MAX_VALUE_OCTETS`], or too many fields.
    #[error("enrollment message is beyond its limits")]
    TooLong,
    /// Not a form.
    #[error("enrollment message is not a form")]
    Malformed,
    /// A field is missing.
    #[error("enrollment message lacks {0}")]
    Missing(&'static str),
    /// A field holds no such value.
    #[error("enrollment message: {0} is not valid")]
    Invalid(&'static str),
    /// Neither getcacert nor request.
    #[error("enrollment operation is not known")]
    Operation,
}

struct Form(Vec<(String, String)>);

impl Form {
    fn parse(body: &[u8]) -> Result<Form, TepError> {
        if body.len() > MAX_BODY_OCTETS {
            return Err(TepError::TooLong);
        }
        let text = std::str::from_utf8(body).map_err(|_| TepError::Malformed)?;
        let text = text.trim_matches(['\0', '\r', '\n', ' ']);
        let mut fields = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            // Only the first sign separates: base64 ends in the same one.
            let (name, value) = pair.split_once('=').ok_or(TepError::Malformed)?;
            let value = percent_decode(value)?;
            if fields.len() >= MAX_FIELDS || value.len() > MAX_VALUE_OCTETS {
                return Err(TepError::TooLong);
            }
            fields.push((name.to_owned(), value));
        }
        Ok(Form(fields))
    }

    fn value(&self, name: &'static str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn text(&self, name: &'static str) -> String {
        self.value(name).unwrap_or_default().to_owned()
    }

    fn octets(&self, name: &'static str) -> Result<Vec<u8>, TepError> {
        let value = self.value(name).ok_or(TepError::Missing(name))?;
        let compact: String = value.chars().filter(|c| !matches!(c, '\r' | '\n' | '\t' | ' ')).collect();
        STANDARD.decode(compact).map_err(|_| TepError::Invalid(name))
    }
}

/// Percent signs are decoded, a plus stays a plus: the clients in the field send base64 as it is.
fn percent_decode(value: &str) -> Result<String, TepError> {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digit =
            |octet: Option<u8>| octet.and_then(|octet| char::from(octet).to_digit(16)).ok_or(TepError::Malformed);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        octets.push(u8::try_from(high * 16 + low).map_err(|_| TepError::Malformed)?);
    }
    String::from_utf8(octets).map_err(|_| TepError::Malformed)
}

fn percent_encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            text.push(char::from(octet));
        } else {
            text.push_str(&format!("%{octet:02X}"));
        }
    }
    text
}

impl TepRequest {
    /// Reads a form body.
    ///
    /// # Errors
    /// See [`TepError`].
    pub fn parse(body: &[u8]) -> Result<TepRequest, TepError> {
        let form = Form::parse(body)?;
        match form.value("operation") {
            Some("getcacert") => Ok(TepRequest::AuthorityCertificate),
            Some("request") => Ok(TepRequest::Enroll {
                nonce: form.text("nonce"),
                username: form.text("username"),
                password: Secret::new(form.text("password")),
                device: form.value("device").ok_or(TepError::Missing("device"))?.to_owned(),
                customer: form.value("customer").ok_or(TepError::Missing("customer"))?.to_owned(),
                request: form.octets("request")?,
            }),
            Some(_) => Err(TepError::Operation),
            None => Err(TepError::Missing("operation")),
        }
    }

    /// The form body.
    pub fn to_body(&self) -> String {
        match self {
            TepRequest::AuthorityCertificate => "operation=getcacert".to_owned(),
            TepRequest::Enroll { nonce, username, password, device, customer, request } => format!(
                "operation=request&nonce={}&username={}&password={}&device={}&customer={}&request={}",
                percent_encode(nonce),
                percent_encode(username),
                percent_encode(password.reveal()),
                percent_encode(device),
                percent_encode(customer),
                percent_encode(&STANDARD.encode(request)),
            ),
        }
    }
}

impl TepAnswer {
    /// The answer to a refused request; says no more than that it was.
    pub fn refused(request: Option<&TepRequest>) -> TepAnswer {
        let nonce = match request {
            Some(TepRequest::Enroll { nonce, .. }) => nonce.clone(),
            _ => String::new(),
        };
        TepAnswer::Refused { status: 2, nonce }
    }

    /// The body; base64 as it is, which is what the clients in the field read.
    pub fn to_body(&self) -> String {
        match self {
            TepAnswer::AuthorityCertificate { certificate } => format!("certificate={}", STANDARD.encode(certificate)),
            TepAnswer::Issued { nonce, certificate } => {
                format!("status=0&nonce={}&cert={}", percent_encode(nonce), STANDARD.encode(certificate))
            }
            TepAnswer::Pending { nonce } => format!("status=1&nonce={}", percent_encode(nonce)),
            TepAnswer::Refused { status, nonce } => format!("status={status}&nonce={}", percent_encode(nonce)),
        }
    }

    /// Reads an answer, on the device's side.
    ///
    /// # Errors
    /// See [`TepError`].
    pub fn parse(body: &[u8]) -> Result<TepAnswer, TepError> {
        let form = Form::parse(body)?;
        let Some(status) = form.value("status") else {
            return Ok(TepAnswer::AuthorityCertificate { certificate: form.octets("certificate")? });
        };
        let nonce = form.text("nonce");
        match status.trim().parse().map_err(|_| TepError::Invalid("status"))? {
            0 => Ok(TepAnswer::Issued { nonce, certificate: form.octets("cert")? }),
            1 => Ok(TepAnswer::Pending { nonce }),
            status => Ok(TepAnswer::Refused { status, nonce }),
        }
    }
}

/// A certificate in DER as PEM.
pub fn to_pem(certificate: &[u8]) -> String {
    crate::authority::certificate_pem(certificate)
}
