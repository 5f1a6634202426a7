//! The Integrity object: HMAC-MD5-96 over a message and its sequence number (RFC 2748 §2.2.16, §4.1).
//!
//! Each side picks the number that the *other* one then counts up from; every message after the negotiation carries the next.

use bytes::Bytes;
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use crate::code::ErrorCode;
use crate::message::{Message, Object};

/// Octets of the truncated digest.
pub const DIGEST_OCTETS: usize = 12;
const BLOCK_OCTETS: usize = 64;

/// A shared key. `Debug` does not show it.
#[derive(Clone)]
pub struct Key {
    /// The Key ID that both sides configured.
    pub id: u32,
    secret: Vec<u8>,
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Key {
    /// A key from its number and its secret octets.
    pub fn new(id: u32, secret: impl Into<Vec<u8>>) -> Key {
        Key { id, secret: secret.into() }
    }

    /// Encodes `message` with an Integrity object of this key and `sequence` as its last object.
    pub fn seal(&self, message: &Message, sequence: u32) -> Bytes {
        let mut message = message.clone();
        message.objects.retain(|object| !matches!(object, Object::Integrity { .. }));
        message.objects.push(Object::Integrity {
            key_id: self.id,
            sequence,
            digest: Bytes::from_static(&[0; DIGEST_OCTETS]),
        });
        let mut bytes = message.encode().to_vec();
        let digested = bytes.len() - DIGEST_OCTETS;
        if let Some((head, tail)) = bytes.split_at_mut_checked(digested) {
            tail.copy_from_slice(&self.digest(head));
        }
        Bytes::from(bytes)
    }

    /// Checks the Integrity object that ends `bytes` (one whole message, already parsed as `message`).
    pub fn verify(&self, bytes: &Bytes, message: &Message, sequence: u32) -> Result<(), ErrorCode> {
        let Some(Object::Integrity { key_id, sequence: found, digest }) = message.objects.last() else {
            return Err(ErrorCode::AuthenticationRequired);
        };
        let digested = bytes.len().saturating_sub(digest.len());
        let expected = self.digest(bytes.get(..digested).unwrap_or_default());
        let authentic: bool = expected.ct_eq(digest.as_ref()).into();
        if authentic && *key_id == self.id && *found == sequence {
            Ok(())
        } else {
            Err(ErrorCode::AuthenticationFailure)
        }
    }

    /// HMAC (RFC 2104) with MD5, truncated to 96 bits.
    fn digest(&self, data: &[u8]) -> [u8; DIGEST_OCTETS] {
        let mut block = [0u8; BLOCK_OCTETS];
        let hashed;
        let secret: &[u8] = if self.secret.len() > BLOCK_OCTETS {
            hashed = Md5::digest(&self.secret);
            &hashed
        } else {
            &self.secret
        };
        for (slot, octet) in block.iter_mut().zip(secret) {
            *slot = *octet;
        }
        let inner = Md5::new().chain_update(block.map(|octet| octet ^ 0x36)).chain_update(data).finalize();
        let outer = Md5::new().chain_update(block.map(|octet| octet ^ 0x5c)).chain_update(inner).finalize();
        let mut digest = [0u8; DIGEST_OCTETS];
        for (slot, octet) in digest.iter_mut().zip(outer.iter()) {
            *slot = *octet;
        }
        digest
    }
}
