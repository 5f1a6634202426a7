use std::collections::BTreeMap;
use std::time::Duration;

use rcgen::string::PrintableString;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SerialNumber, SubjectPublicKeyInfo,
};
use strowger_clock::Timestamp;
use time::OffsetDateTime;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ExtendedKeyUsage;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Octets of a certificate request.
pub const MAX_REQUEST_OCTETS: usize = 16 * 1024;
/// Revoked certificates that have not expired yet.
pub const MAX_REVOKED: usize = 100_000;
/// Smallest RSA key that is certified, bits.
const MIN_RSA_BITS: usize = 2048;

/// The authority cannot be created, loaded or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// A name holds a character that PrintableString has not (X.680 §41.4).
    #[error("name {0:?} is not a PrintableString: letters, digits, space and '()+,-./:= only")]
    Name(String),
    /// The certificate is not an authority's, or does not belong to the key.
    #[error("certificate is not that of this authority: {0}")]
    Certificate(&'static str),
    /// The library's own words.
    #[error("certificate authority: {0}")]
    Library(String),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        AuthorityError::Library(error.to_string())
    }
}

/// Why a certificate request is not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`MAX_REQUEST_OCTETS`].
    #[error("certificate request is longer than {MAX_REQUEST_OCTETS} octets")]
    TooLong,
    /// Not PKCS#10.
    #[error("not a PKCS#10 certificate request")]
    Malformed,
    /// Its signature does not match its key: the asker does not hold the private key.
    #[error("certificate request is not signed with its own key")]
    NoPossession,
    /// RSA below 2048 bits, or a kind that is not certified.
    #[error("key of the certificate request is too weak or of an unknown kind")]
    WeakKey,
    /// The certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Why a device's certificate is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CertificateRefused {
    /// Not X.509.
    #[error("not a certificate")]
    Malformed,
    /// Another authority's, or nobody's.
    #[error("certificate was not issued by this authority")]
    Foreign,
    /// Before its time.
    #[error("certificate is not valid yet")]
    NotYetValid,
    /// After its time.
    #[error("certificate has expired")]
    Expired,
    /// It was revoked.
    #[error("certificate was revoked")]
    Revoked,
    /// It names no customer and device.
    #[error("certificate names no device")]
    NotADevice,
}

/// Who a device is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceIdentity {
    /// Customer number: the organization of the certificate's subject.
    pub customer: String,
    /// Device number: the common name of the certificate's subject.
    pub device: String,
}

/// What a certificate that is believed says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Who the device is.
    pub identity: DeviceIdentity,
    /// Serial number, 16 octets.
    pub serial: [u8; 16],
    /// When it expires.
    pub valid_until: Timestamp,
}

impl Shown {
    /// Whether it is to be believed still: a connection may live longer than the certificate it was opened with.
    ///
    /// # Errors
    /// `Expired` or `Revoked`.
    pub fn holds(&self, now: Timestamp, revocations: &Revocations) -> Result<(), CertificateRefused> {
        if now >= self.valid_until {
            return Err(CertificateRefused::Expired);
        }
        if revocations.is_revoked(&self.serial) {
            return Err(CertificateRefused::Revoked);
        }
        Ok(())
    }
}

/// A certificate that was just made; to be kept by the caller, so that it can be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// DER.
    pub certificate: Vec<u8>,
    /// Serial number, 16 octets.
    pub serial: [u8; 16],
    /// For whom.
    pub identity: DeviceIdentity,
    /// When it expires.
    pub valid_until: Timestamp,
}

/// Serial numbers of revoked certificates, kept until they expire by themselves.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    entries: BTreeMap<[u8; 16], (Timestamp, Timestamp)>,
}

impl Revocations {
    /// Revokes; returns false when [`MAX_REVOKED`] are revoked already.
    pub fn revoke(&mut self, serial: [u8; 16], now: Timestamp, certificate_valid_until: Timestamp) -> bool {
        self.entries.retain(|_, (_, valid_until)| *valid_until > now);
        if self.entries.len() >= MAX_REVOKED && !self.entries.contains_key(&serial) {
            return false;
        }
        self.entries.entry(serial).or_insert((now, certificate_valid_until));
        true
    }

    /// Whether it is.
    pub fn is_revoked(&self, serial: &[u8; 16]) -> bool {
        self.entries.contains_key(serial)
    }

    /// How many are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The certificate authority: an EC P-256 key and its self-signed certificate.
pub struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A name as PrintableString, the only kind that OSP Toolkit reads.
pub(crate) fn printable(name: &str) -> Result<DnValue, AuthorityError> {
    let error = || AuthorityError::Name(name.to_owned());
    // RFC 5280 appendix A: ub-common-name and ub-organization-name are 64. The question mark is a PrintableString's too, but the library
    // that writes the certificate takes it here and panics on it later.
    if name.is_empty() || name.len() > 64 || name.contains('?') {
        return Err(error());
    }
    PrintableString::try_from(name).map(DnValue::PrintableString).map_err(|_| error())
}

pub(crate) fn calendar(time: Timestamp) -> OffsetDateTime {
    let seconds = i64::try_from(time.unix_seconds()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp::from_unix_seconds(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// Serial number and end of validity of a certificate (DER) that this authority or another made: what a revocation is about. `None` for what is
/// no certificate or has a serial number of another length than this authority's.
pub fn serial_and_expiry(certificate: &[u8]) -> Option<([u8; 16], Timestamp)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let serial = <[u8; 16]>::try_from(parsed.raw_serial()).ok()?;
    Some((serial, timestamp(parsed.validity().not_after)))
}

/// A serial number is positive (RFC 5280 §4.1.2.2): the first bit is cleared, the second set, so that its length never varies.
pub(crate) fn positive(serial: [u8; 16]) -> [u8; 16] {
    let mut serial = serial;
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

impl Authority {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// When a name is no PrintableString.
    pub fn create(
        organization: &str,
        common_name: &str,
        now: Timestamp,
        validity: Duration,
        serial: [u8; 16],
    ) -> Result<Authority, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, printable(organization)?);
        params.distinguished_name.push(DnType::CommonName, printable(common_name)?);
        params.not_before = calendar(now);
        params.not_after = calendar(now + validity);
        params.serial_number = Some(SerialNumber::from_slice(&positive(serial)));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        // Tokens are signed with this key as well, hence the digital signature.
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?.der().to_vec();
        Ok(Authority { issuer: Issuer::new(params, key), certificate })
    }

    /// From what [`Authority::key_pem`] and [`Authority::certificate_pem`] gave.
    ///
    /// # Errors
    /// When one of them is not PEM of its kind, or they do not belong together.
    pub fn from_pem(key: &str, certificate: &str) -> Result<Authority, AuthorityError> {
        let key = KeyPair::from_pem(key)?;
        let (_, block) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())
            .map_err(|_| AuthorityError::Certificate("not PEM"))?;
        Authority::assemble(key, block.contents)
    }

    /// From what [`Authority::key_pkcs8`] and [`Authority::certificate`] gave.
    ///
    /// # Errors
    /// When one of them is not DER of its kind, or they do not belong together.
    pub fn from_der(key: &[u8], certificate: &[u8]) -> Result<Authority, AuthorityError> {
        Authority::assemble(KeyPair::try_from(key)?, certificate.to_vec())
    }

    fn assemble(key: KeyPair, certificate: Vec<u8>) -> Result<Authority, AuthorityError> {
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| AuthorityError::Certificate("not X.509"))?;
        if !parsed.is_ca() {
            return Err(AuthorityError::Certificate("not an authority's certificate"));
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(AuthorityError::Certificate("made for another key"));
        }
        let der = certificate.as_slice().into();
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Authority { issuer, certificate })
    }

    /// The private key, PKCS#8 PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The private key, PKCS#8 DER: what a token signer takes.
    pub fn key_pkcs8(&self) -> Vec<u8> {
        self.issuer.key().serialize_der()
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        certificate_pem(&self.certificate)
    }

    /// Certifies the key of a PKCS#10 request (DER) for this device. The names in the request are not looked at; what counts is who was
    /// authenticated.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn issue(
        &self,
        request: &[u8],
        identity: &DeviceIdentity,
        now: Timestamp,
        validity: Duration,
        serial: [u8; 16],
    ) -> Result<Issued, RequestError> {
        let key = requested_key(request)?;
        let serial = positive(serial);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, printable(&identity.customer)?);
        params.distinguished_name.push(DnType::CommonName, printable(&identity.device)?);
        params.not_before = calendar(now);
        params.not_after = calendar(now + validity);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(AuthorityError::from)?.der().to_vec();
        Ok(Issued { certificate, serial, identity: identity.clone(), valid_until: now + validity })
    }

    /// Who a certificate (DER) says the device is, when this authority issued it for a device and it holds now.
    ///
    /// # Errors
    /// See [`CertificateRefused`].
    pub fn identify(
        &self,
        certificate: &[u8],
        now: Timestamp,
        revocations: &Revocations,
    ) -> Result<Shown, CertificateRefused> {
        let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateRefused::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateRefused::Malformed);
        }
        let (_, authority) = X509Certificate::from_der(&self.certificate).map_err(|_| CertificateRefused::Foreign)?;
        if parsed.issuer() != authority.subject() || parsed.verify_signature(Some(authority.public_key())).is_err() {
            return Err(CertificateRefused::Foreign);
        }
        if now < timestamp(parsed.validity().not_before) {
            return Err(CertificateRefused::NotYetValid);
        }
        // a server's certificate is this authority's, too: it speaks for no device
        let for_clients = |usage: &ExtendedKeyUsage<'_>| usage.client_auth || usage.any;
        let usage = parsed.extended_key_usage().ok().flatten();
        if parsed.is_ca() || !usage.is_some_and(|usage| for_clients(usage.value)) {
            return Err(CertificateRefused::NotADevice);
        }
        let serial = <[u8; 16]>::try_from(parsed.raw_serial()).map_err(|_| CertificateRefused::NotADevice)?;
        let subject = parsed.subject();
        let customer = subject.iter_organization().next().and_then(|name| name.as_str().ok());
        let device = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let (Some(customer), Some(device)) = (customer, device) else { return Err(CertificateRefused::NotADevice) };
        let shown = Shown {
            identity: DeviceIdentity { customer: customer.to_owned(), device: device.to_owned() },
            serial,
            valid_until: timestamp(parsed.validity().not_after),
        };
        shown.holds(now, revocations).map(|()| shown)
    }

    /// The name of the authority, DER: what a TLS server names as the authority whose certificates it wants (RFC 8446 §4.2.4).
    pub fn subject(&self) -> Vec<u8> {
        let parsed = X509Certificate::from_der(&self.certificate);
        parsed.map(|(_, certificate)| certificate.subject().as_raw().to_vec()).unwrap_or_default()
    }

    /// The revocation list (RFC 5280 §5), DER.
    ///
    /// # Errors
    /// When signing fails, or `validity` is zero.
    pub fn revocation_list(
        &self,
        revocations: &Revocations,
        number: u64,
        now: Timestamp,
        validity: Duration,
    ) -> Result<Vec<u8>, AuthorityError> {
        let revoked = |(serial, (at, _)): (&[u8; 16], &(Timestamp, Timestamp))| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: calendar(*at),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: calendar(now),
            next_update: calendar(now + validity),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revocations.entries.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.der().to_vec())
    }
}

/// DER to PEM.
pub(crate) fn certificate_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// The key of a request whose asker has proved to hold the private half.
fn requested_key(request: &[u8]) -> Result<SubjectPublicKeyInfo, RequestError> {
    if request.len() > MAX_REQUEST_OCTETS {
        return Err(RequestError::TooLong);
    }
    let (rest, parsed) = X509CertificationRequest::from_der(request).map_err(|_| RequestError::Malformed)?;
    if !rest.is_empty() {
        return Err(RequestError::Malformed);
    }
    parsed.verify_signature().map_err(|_| RequestError::NoPossession)?;
    let info = &parsed.certification_request_info.subject_pki;
    match info.parsed().map_err(|_| RequestError::WeakKey)? {
        PublicKey::RSA(key) if key.key_size() >= MIN_RSA_BITS => {}
        PublicKey::EC(_) => {}
        _ => return Err(RequestError::WeakKey),
    }
    SubjectPublicKeyInfo::from_der(info.raw).map_err(|_| RequestError::WeakKey)
}

/// SHA-256 of a certificate (DER): its fingerprint.
pub fn sha256(certificate: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    <[u8; 32]>::try_from(digest.as_ref()).unwrap_or([0; 32])
}
