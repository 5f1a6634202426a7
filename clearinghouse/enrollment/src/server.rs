use std::net::IpAddr;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use strowger_clock::Timestamp;

use crate::authority::{Authority, AuthorityError, calendar, positive, printable};

/// The subject of every server certificate. It has no organization, so that it can never pass for a device's.
const SERVER_NAME: &str = "Strowger clearinghouse server";

/// A server's key and certificate. `Debug` shows neither.
#[derive(Clone)]
pub struct ServerCredentials {
    /// DER.
    pub certificate: Vec<u8>,
    /// Private key, PKCS#8 DER.
    pub key_pkcs8: Vec<u8>,
    /// When the certificate expires.
    pub valid_until: Timestamp,
}

impl std::fmt::Debug for ServerCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCredentials").field("valid_until", &self.valid_until).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new key and a certificate for a TLS server that is reached by these names: host names or IP addresses, without brackets. They become
    /// subject alternative names (RFC 5280 §4.2.1.6). The server keeps neither: it asks again when it starts.
    ///
    /// # Errors
    /// When a name is not ASCII, or the library refuses.
    pub fn issue_server(
        &self,
        names: &[String],
        now: Timestamp,
        validity: Duration,
        serial: [u8; 16],
    ) -> Result<ServerCredentials, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, printable(SERVER_NAME)?);
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(
                    Ia5String::try_from(name.as_str()).map_err(|_| AuthorityError::Name(name.clone()))?,
                ),
            });
        }
        params.not_before = calendar(now);
        params.not_after = calendar(now + validity);
        params.serial_number = Some(SerialNumber::from_slice(&positive(serial)));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.der().to_vec();
        Ok(ServerCredentials { certificate, key_pkcs8: key.serialize_der(), valid_until: now + validity })
    }
}
