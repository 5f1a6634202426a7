use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey,
};
use cms::cert::IssuerAndSerialNumber;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos};
use const_oid::ObjectIdentifier;
use der::asn1::{OctetString, OctetStringRef, SetOfVec};
use der::{Any, Decode, Encode, Tag};
use spki::AlgorithmIdentifierOwned;
use x509_cert::Certificate;

use crate::info::{FormatError, TokenInfo};

/// Octets of the DER form. Ours have 367; an RSA-4096 token with certificate and attributes has less than three thousand.
pub const MAX_TOKEN_OCTETS: usize = 8192;

const ID_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const ID_MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const ID_CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const ID_SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const ECDSA_WITH_SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA_256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const ID_EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP_256_R_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// Why a key or certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a PKCS#8 P-256 private key.
    #[error("not a PKCS#8 private key on P-256")]
    PrivateKey,
    /// Not a certificate.
    #[error("not an X.509 certificate in DER")]
    Certificate,
    /// The certificate is about another key.
    #[error("private key and certificate do not belong together")]
    Mismatch,
    /// Neither P-256 nor RSA.
    #[error("public key is neither EC P-256 nor RSA")]
    Algorithm,
}

/// Why a token is not believed, or cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_OCTETS`].
    #[error("token is longer than {MAX_TOKEN_OCTETS} octets")]
    TooLong,
    /// Not the DER of a CMS SignedData with content and one signature.
    #[error("token is not a signed message: {0}")]
    Structure(&'static str),
    /// An algorithm other than ECDSA P-256 or RSA, with SHA-256.
    #[error("token is signed with an algorithm that is not accepted")]
    Algorithm,
    /// No authority that we trust has signed this.
    #[error("token is not signed by a trusted authority")]
    Forged,
    /// Signed, but not what we can read or write.
    #[error(transparent)]
    Content(#[from] FormatError),
    /// The cryptographic library failed.
    #[error("signing failed")]
    Signing,
}

fn structure(what: &'static str) -> impl FnOnce(der::Error) -> TokenError {
    move |_| TokenError::Structure(what)
}

/// The authority's signing key.
pub struct Signer {
    key: EcdsaKeyPair,
    signer: SignerIdentifier,
    random: SystemRandom,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("signer", &self.signer).finish_non_exhaustive()
    }
}

impl Signer {
    /// From a PKCS#8 P-256 key in DER, and the DER certificate of the authority (whose issuer and serial number name the signer).
    ///
    /// # Errors
    /// When one of them is not that, or they do not belong together.
    pub fn from_pkcs8(key: &[u8], certificate: &[u8]) -> Result<Signer, KeyError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key).map_err(|_| KeyError::PrivateKey)?;
        let certificate = Certificate::from_der(certificate).map_err(|_| KeyError::Certificate)?;
        let body = certificate.tbs_certificate();
        if body.subject_public_key_info().subject_public_key.raw_bytes() != key.public_key().as_ref() {
            return Err(KeyError::Mismatch);
        }
        let signer = SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: body.issuer().clone(),
            serial_number: body.serial_number().clone(),
        });
        Ok(Signer { key, signer, random: SystemRandom::new() })
    }

    /// The token: DER of a SignedData with the content inside, without certificates and signed attributes.
    ///
    /// # Errors
    /// [`TokenError::Content`] when a field is too long for the clients in the field: 147 octets is the longest call id.
    pub fn sign(&self, info: &TokenInfo) -> Result<Vec<u8>, TokenError> {
        let content = info.to_ascii()?;
        let signature = self.key.sign(&self.random, content.as_bytes()).map_err(|_| TokenError::Signing)?;
        self.encode(content.as_bytes(), signature.as_ref()).map_err(structure("cannot be encoded"))
    }

    fn encode(&self, content: &[u8], signature: &[u8]) -> der::Result<Vec<u8>> {
        let sha_256 = AlgorithmIdentifierOwned { oid: ID_SHA_256, parameters: None };
        let signer_info = SignerInfo {
            version: CmsVersion::V1,
            sid: self.signer.clone(),
            digest_alg: sha_256.clone(),
            signed_attrs: None,
            signature_algorithm: AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA_256, parameters: None },
            signature: OctetString::new(signature)?,
            unsigned_attrs: None,
        };
        let signed = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![sha_256])?,
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: ID_DATA,
                econtent: Some(Any::new(Tag::OctetString, content)?),
            },
            certificates: None,
            crls: None,
            signer_infos: SignerInfos(SetOfVec::try_from(vec![signer_info])?),
        };
        ContentInfo { content_type: ID_SIGNED_DATA, content: Any::from_der(&signed.to_der()?)? }.to_der()
    }
}

/// A public key of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    kind: KeyKind,
    key: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    P256,
    Rsa,
}

impl VerifyingKey {
    /// The key of a certificate in DER. Whether the certificate is to be trusted is the caller's decision.
    ///
    /// # Errors
    /// When it is not a certificate, or its key is of another kind.
    pub fn from_certificate(certificate: &[u8]) -> Result<VerifyingKey, KeyError> {
        let certificate = Certificate::from_der(certificate).map_err(|_| KeyError::Certificate)?;
        let info = certificate.tbs_certificate().subject_public_key_info();
        let kind = match info.algorithm.oid {
            ID_EC_PUBLIC_KEY => {
                let curve = info.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
                if curve != Some(SECP_256_R_1) {
                    return Err(KeyError::Algorithm);
                }
                KeyKind::P256
            }
            RSA_ENCRYPTION => KeyKind::Rsa,
            _ => return Err(KeyError::Algorithm),
        };
        Ok(VerifyingKey { kind, key: info.subject_public_key.raw_bytes().to_vec() })
    }

    fn matches(&self, algorithm: &ObjectIdentifier) -> bool {
        match self.kind {
            KeyKind::P256 => *algorithm == ECDSA_WITH_SHA_256,
            KeyKind::Rsa => *algorithm == RSA_ENCRYPTION || *algorithm == SHA_256_WITH_RSA,
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.kind {
            KeyKind::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.key).verify(message, signature),
            KeyKind::Rsa => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.key).verify(message, signature),
        }
        .is_ok()
    }
}

/// Believes tokens of certain authorities.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    keys: Vec<VerifyingKey>,
}

impl Verifier {
    /// Trusts these keys and nothing else; certificates inside a token are not looked at.
    pub fn new(keys: Vec<VerifyingKey>) -> Verifier {
        Verifier { keys }
    }

    /// What the token says, when a trusted key has signed it. Whether it holds for a call is [`Check`](crate::Check)'s question.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &[u8]) -> Result<TokenInfo, TokenError> {
        if token.len() > MAX_TOKEN_OCTETS {
            return Err(TokenError::TooLong);
        }
        let envelope = ContentInfo::from_der(token).map_err(structure("not a content info"))?;
        if envelope.content_type != ID_SIGNED_DATA {
            return Err(TokenError::Structure("content is not signed data"));
        }
        let signed: SignedData = envelope.content.decode_as().map_err(structure("not signed data"))?;
        if signed.encap_content_info.econtent_type != ID_DATA {
            return Err(TokenError::Structure("signed content is not data"));
        }
        let content = signed.encap_content_info.econtent.as_ref().ok_or(TokenError::Structure("no content"))?;
        let content: &OctetStringRef = content.decode_as().map_err(structure("content is not octets"))?;
        let [signer] = signed.signer_infos.0.as_slice() else {
            return Err(TokenError::Structure("not exactly one signature"));
        };
        self.verify_signature(signer, content.as_bytes())?;
        Ok(TokenInfo::from_ascii(content.as_bytes())?)
    }

    fn verify_signature(&self, signer: &SignerInfo, content: &[u8]) -> Result<(), TokenError> {
        if signer.digest_alg.oid != ID_SHA_256 {
            return Err(TokenError::Algorithm);
        }
        let message = match &signer.signed_attrs {
            None => content.to_vec(),
            // RFC 5652 §5.4: with attributes, they are what is signed, and one of them is the digest of the content.
            Some(attributes) => {
                let only = |oid: ObjectIdentifier| {
                    let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
                    match (found.next().map(|attribute| attribute.values.as_slice()), found.next()) {
                        (Some([value]), None) => Ok(value),
                        _ => Err(TokenError::Structure("signed attribute is missing or not single")),
                    }
                };
                let digest: &OctetStringRef =
                    only(ID_MESSAGE_DIGEST)?.decode_as().map_err(structure("digest is not octets"))?;
                let kind: ObjectIdentifier =
                    only(ID_CONTENT_TYPE)?.decode_as().map_err(structure("content type is not an identifier"))?;
                if digest.as_bytes() != digest::digest(&digest::SHA256, content).as_ref() || kind != ID_DATA {
                    return Err(TokenError::Forged);
                }
                attributes.to_der().map_err(structure("attributes cannot be encoded"))?
            }
        };
        let algorithm = &signer.signature_algorithm.oid;
        let mut candidates = self.keys.iter().filter(|key| key.matches(algorithm)).peekable();
        if candidates.peek().is_none() {
            return Err(TokenError::Algorithm);
        }
        if candidates.any(|key| key.verifies(&message, signer.signature.as_bytes())) {
            Ok(())
        } else {
            Err(TokenError::Forged)
        }
    }
}
