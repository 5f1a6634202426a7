use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};

use crate::authority::{AuthorityError, printable};

/// What kind of key a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeviceKeyKind {
    /// RSA, 2048 bits: the only kind that OSP Toolkit loads.
    #[default]
    Rsa2048,
    /// EC P-256: for our own devices.
    P256,
}

/// A device's private key, on the device's side of enrollment.
pub struct DeviceKey {
    pair: KeyPair,
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceKey(..)")
    }
}

impl DeviceKey {
    /// A new key.
    ///
    /// # Errors
    /// When the cryptographic library has no randomness.
    pub fn generate(kind: DeviceKeyKind) -> Result<DeviceKey, AuthorityError> {
        let pair = match kind {
            DeviceKeyKind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            DeviceKeyKind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        };
        Ok(DeviceKey { pair: pair.map_err(AuthorityError::from)? })
    }

    /// PKCS#8 PEM.
    pub fn to_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// The certificate request: PKCS#10 in DER, signed with this key.
    ///
    /// # Errors
    /// When customer or device cannot be a PrintableString.
    pub fn request(&self, customer: &str, device: &str) -> Result<Vec<u8>, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, printable(customer)?);
        params.distinguished_name.push(DnType::CommonName, printable(device)?);
        Ok(params.serialize_request(&self.pair)?.der().to_vec())
    }
}
