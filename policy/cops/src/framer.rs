//! Cuts a TCP byte stream into whole messages, with a bound on each.

use bytes::{Buf, Bytes, BytesMut};

use crate::HEADER_OCTETS;

/// Largest message accepted unless told otherwise. A full provisioning is well under 16 KiB; a SIP message under 64 KiB.
pub const MESSAGE_OCTETS_MAX: usize = 128 * 1024;

/// The stream cannot be followed any further: close it (after a CC with "bad message format").
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Not COPS, or a version we do not speak.
    #[error("the stream is not COPS version 1 (first octet {0:#04x})")]
    NotCops(u8),
    /// Shorter than its own header.
    #[error("a message claims to be {0} octets long, less than its header")]
    TooShort(u32),
    /// Longer than the limit.
    #[error("a message of {octets} octets is over the limit of {limit}")]
    TooLong {
        /// Octets that the header claims.
        octets: u32,
        /// Octets allowed.
        limit: usize,
    },
}

/// Collects bytes, yields whole messages. Holds at most one message of the limit plus what one read added.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limit: usize,
}

impl Default for Framer {
    fn default() -> Self {
        Framer::new(MESSAGE_OCTETS_MAX)
    }
}

impl Framer {
    /// A framer that refuses messages above `limit` octets.
    pub fn new(limit: usize) -> Framer {
        Framer { buffer: BytesMut::new(), limit }
    }

    /// Adds what the connection gave.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Octets held back, waiting for the rest of a message.
    pub fn pending_octets(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole message, `None` when more bytes are needed.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Bytes>, FramingError> {
        let Some(&first) = self.buffer.first() else { return Ok(None) };
        if first >> 4 != 1 {
            return Err(FramingError::NotCops(first));
        }
        let Some(&[_, _, _, _, a, b, c, d]) = self.buffer.first_chunk::<HEADER_OCTETS>() else { return Ok(None) };
        let octets = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(octets).unwrap_or(usize::MAX);
        if length < HEADER_OCTETS {
            return Err(FramingError::TooShort(octets));
        }
        if length > self.limit {
            return Err(FramingError::TooLong { octets, limit: self.limit });
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        Ok(Some(self.buffer.copy_to_bytes(length)))
    }
}
