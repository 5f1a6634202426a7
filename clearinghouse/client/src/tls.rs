use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use strowger_enrollment::sha256;

use crate::enroll::DeviceCredentials;

/// How a device knows that it speaks with its clearinghouse over `https://`, and shows who it is itself.
///
/// Without one ([`OspClient::new`](crate::OspClient::new)) only `http://` URLs are taken.
#[derive(Clone)]
pub struct Tls {
    trust: Trust,
    device: Option<(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Trust {
    Authority(CertificateDer<'static>),
    Fingerprint([u8; 32]),
    Anybody,
}

/// Why keys and certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Not PEM of its kind.
    #[error("{what} cannot be read: {why}")]
    Pem {
        /// `authority certificate`, `device certificate`, `device key`.
        what: &'static str,
        /// The library's words, or the system's.
        why: String,
    },
    /// A fingerprint has 32 octets.
    #[error("{0:?} is no SHA-256 fingerprint: 64 hexadecimal digits, with or without colons")]
    Fingerprint(String),
    /// Key and certificate do not belong together, or the library refuses them.
    #[error("keys and certificates for TLS: {0}")]
    Library(String),
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let trust = match &self.trust {
            Trust::Authority(_) => "authority",
            Trust::Fingerprint(_) => "fingerprint",
            Trust::Anybody => "anybody",
        };
        write!(f, "Tls {{ trust: {trust}, device: {} }}", self.device.is_some())
    }
}

impl Tls {
    /// Believes servers with a certificate of this authority (PEM) for the host of the URL.
    ///
    /// # Errors
    /// When it is no PEM certificate.
    pub fn trusting(authority_pem: &str) -> Result<Tls, TlsError> {
        let authority =
            CertificateDer::from_pem_slice(authority_pem.as_bytes()).map_err(|error| pem(AUTHORITY, error))?;
        Ok(Tls { trust: Trust::Authority(authority), device: None })
    }

    /// For a first enrollment: believes servers with a certificate for the host of the URL whose authority's certificate, which the server
    /// sends along, has this SHA-256 fingerprint: 64 hexadecimal digits, with or without colons.
    ///
    /// # Errors
    /// When it is no fingerprint.
    pub fn pinned(fingerprint: &str) -> Result<Tls, TlsError> {
        let malformed = || TlsError::Fingerprint(fingerprint.to_owned());
        let digits: Vec<u8> = fingerprint.bytes().filter(|byte| *byte != b':').collect();
        let mut octets = [0; 32];
        if digits.len() != 64 {
            return Err(malformed());
        }
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            let text =
                std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *octet = text.and_then(|text| u8::from_str_radix(text, 16).ok()).ok_or_else(malformed)?;
        }
        Ok(Tls { trust: Trust::Fingerprint(octets), device: None })
    }

    /// Believes whoever answers: encrypted, and open to anyone in the middle. For tests, and for a first enrollment over a network that is
    /// trusted otherwise.
    pub fn insecure() -> Tls {
        Tls { trust: Trust::Anybody, device: None }
    }

    /// Shows this certificate to servers that ask for one (mutual TLS). Both PEM.
    ///
    /// # Errors
    /// When one of them is not PEM of its kind.
    pub fn with_device(mut self, certificate_pem: &str, key_pem: &str) -> Result<Tls, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| pem(DEVICE, error))?;
        if certificates.is_empty() {
            return Err(TlsError::Pem { what: DEVICE, why: "there is none".into() });
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| pem(KEY, error))?;
        self.device = Some((certificates, Arc::new(key)));
        Ok(self)
    }

    /// Reads `cacert_0.pem`, `localcert.pem` and `pkey.pem`, as [`DeviceCredentials::write`] leaves them in a directory.
    ///
    /// # Errors
    /// When a file cannot be read or is not PEM of its kind.
    pub fn read(directory: &Path) -> Result<Tls, TlsError> {
        let read = |what, name| {
            let file = directory.join(name);
            std::fs::read_to_string(&file)
                .map_err(|error| TlsError::Pem { what, why: format!("{}: {error}", file.display()) })
        };
        Tls::trusting(&read(AUTHORITY, "cacert_0.pem")?)?
            .with_device(&read(DEVICE, "localcert.pem")?, &read(KEY, "pkey.pem")?)
    }

    /// Whether this is the certificate (DER) of an authority that is believed.
    pub(crate) fn believes(&self, authority: &[u8]) -> bool {
        match &self.trust {
            Trust::Authority(known) => known.as_ref() == authority,
            Trust::Fingerprint(pinned) => sha256(authority) == *pinned,
            Trust::Anybody => true,
        }
    }

    pub(crate) fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = builder(&provider)?;
        let builder = match &self.trust {
            Trust::Authority(authority) => {
                builder.dangerous().with_custom_certificate_verifier(verifier(authority.clone(), &provider)?)
            }
            Trust::Fingerprint(pinned) => {
                let pinned = Pinned { fingerprint: *pinned, provider: Arc::clone(&provider), algorithms };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned))
            }
            Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody { algorithms })),
        };
        match &self.device {
            Some((certificates, key)) => {
                builder.with_client_auth_cert(certificates.clone(), key.clone_key()).map_err(library)
            }
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

impl DeviceCredentials {
    /// For mutual TLS: believes the authority that certified the device, and shows the device's certificate.
    ///
    /// # Errors
    /// When one of the three is not PEM of its kind.
    pub fn tls(&self) -> Result<Tls, TlsError> {
        Tls::trusting(&self.authority_pem)?.with_device(&self.certificate_pem, &self.key_pem)
    }
}

/// Of a client that speaks `http://` only: believes nobody.
pub(crate) fn nobody() -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(builder(&provider)?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

const AUTHORITY: &str = "authority certificate";
const DEVICE: &str = "device certificate";
const KEY: &str = "device key";

fn pem(what: &'static str, error: rustls::pki_types::pem::Error) -> TlsError {
    TlsError::Pem { what, why: error.to_string() }
}

fn library(error: impl std::fmt::Display) -> TlsError {
    TlsError::Library(error.to_string())
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn builder(provider: &Arc<CryptoProvider>) -> Result<Builder, TlsError> {
    ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions().map_err(library)
}

fn verifier(
    authority: CertificateDer<'static>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(library)?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().map_err(library)
}

/// The authority's certificate is taken from what the server sends, when it is the one that was named.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// No certificate is looked at; that the server holds the key of the one it sends still is.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let authority = intermediates.iter().find(|sent| sha256(sent) == self.fingerprint).ok_or_else(unknown)?;
        let verifier = verifier(authority.clone().into_owned(), &self.provider).map_err(|_| unknown())?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    signatures!();
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints() {
        let digits = "0123456789abcdefABCDEF0000000000000000000000000000000000000000ff";
        assert!(Tls::pinned(digits).is_ok());
        let pairs: Vec<&str> = (0..64).step_by(2).map(|at| &digits[at..at + 2]).collect();
        assert!(Tls::pinned(&pairs.join(":")).is_ok());
        for bad in ["", &digits[1..], &format!("{digits}0"), &digits.replace('f', "g"), &digits.replace("ab", "+b")] {
            assert_eq!(Tls::pinned(bad).err(), Some(TlsError::Fingerprint(bad.to_owned())));
        }
    }

    #[test]
    fn what_is_no_pem() {
        assert!(matches!(Tls::trusting("certificate"), Err(TlsError::Pem { what: AUTHORITY, .. })));
        assert!(matches!(Tls::insecure().with_device("", ""), Err(TlsError::Pem { what: DEVICE, .. })));
        assert!(matches!(Tls::read(Path::new("/nowhere")), Err(TlsError::Pem { what: AUTHORITY, .. })));
    }
}
