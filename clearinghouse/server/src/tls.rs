//! TLS for the listeners: our own authority's server certificate, and the device's certificate when it shows one.
//!
//! Sessions are never resumed: a resumed one would carry a device's certificate past its revocation.

use crate::Clearinghouse;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strowger_clock::Timestamp;
use strowger_enrollment::{CertificateRefused, Shown};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server certificate is valid. A new one is made when half of it is over, and at every start.
const SERVER_VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);

/// A server certificate holds this much before it was issued: clocks differ.
const SKEW: Duration = Duration::from_secs(24 * 3600);

/// What one `https://` listener needs to open connections.
pub(crate) struct Tls {
    clearinghouse: Arc<Clearinghouse>,
    /// Host names and addresses in the server certificate.
    names: Vec<String>,
    /// With the time from which on another is made.
    current: Mutex<Option<(Arc<ServerConfig>, Timestamp)>>,
}

impl Tls {
    pub(crate) fn new(clearinghouse: Arc<Clearinghouse>, mut names: Vec<String>) -> Tls {
        for name in &clearinghouse.config.server_names {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        Tls { clearinghouse, names, current: Mutex::default() }
    }

    /// The keys and certificates of now.
    pub(crate) fn config(&self) -> io::Result<Arc<ServerConfig>> {
        let now = self.clearinghouse.timestamp();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref() {
            Some((config, renew_at)) if now < *renew_at => Ok(Arc::clone(config)),
            _ => {
                let config = Arc::new(self.make(now)?);
                *current = Some((Arc::clone(&config), now + SERVER_VALIDITY / 2));
                Ok(config)
            }
        }
    }

    fn make(&self, now: Timestamp) -> io::Result<ServerConfig> {
        let mut serial = [0; 16];
        getrandom::fill(&mut serial).map_err(io::Error::other)?;
        let authority = &self.clearinghouse.authority;
        let server = authority
            .issue_server(&self.names, now.saturating_sub(SKEW), SERVER_VALIDITY + SKEW, serial)
            .map_err(io::Error::other)?;
        // the authority's own certificate goes along: a device that enrolls knows its fingerprint at most
        let chain =
            vec![CertificateDer::from(server.certificate), CertificateDer::from(authority.certificate().to_vec())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server.key_pkcs8));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(DeviceVerifier {
            clearinghouse: Arc::clone(&self.clearinghouse),
            authorities: vec![DistinguishedName::from(authority.subject())],
            algorithms: provider.signature_verification_algorithms,
        });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Opens a connection, and says which device opened it when it showed a certificate. A certificate that is not believed ends the
    /// handshake and is kept in the audit.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Shown>)> {
        let handshake = TlsAcceptor::from(self.config()?).accept(stream);
        let opened = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(opened) => opened,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")),
        };
        let stream = match opened {
            Ok(stream) => stream,
            Err(error) => {
                let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
                if let Some(Error::InvalidCertificate(why)) = cause {
                    self.clearinghouse.note("certificate-refused", format!("{address}: {why}")).await;
                }
                return Err(error);
            }
        };
        let shown = match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
            Some(certificate) => Some(self.clearinghouse.recognize(certificate).map_err(io::Error::other)?),
            None => None,
        };
        Ok((stream, shown))
    }
}

/// Believes what the clearinghouse's own authority issued for a device, by the clearinghouse's own clock and list of revocations.
struct DeviceVerifier {
    clearinghouse: Arc<Clearinghouse>,
    authorities: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl std::fmt::Debug for DeviceVerifier {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("DeviceVerifier")
    }
}

impl ClientCertVerifier for DeviceVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.authorities
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let why = match self.clearinghouse.recognize(end_entity) {
            Ok(_) => return Ok(ClientCertVerified::assertion()),
            Err(CertificateRefused::Malformed) => CertificateError::BadEncoding,
            Err(CertificateRefused::Foreign) => CertificateError::UnknownIssuer,
            Err(CertificateRefused::NotYetValid) => CertificateError::NotValidYet,
            Err(CertificateRefused::Expired) => CertificateError::Expired,
            Err(CertificateRefused::Revoked) => CertificateError::Revoked,
            Err(CertificateRefused::NotADevice) => CertificateError::InvalidPurpose,
        };
        Err(Error::InvalidCertificate(why))
    }

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
}
