//! The RTP header: a view over a received datagram, changes in place, and writing (RFC 3550 §5.1).

use thiserror::Error;

/// Octets of the fixed header, without contributing sources and extension.
pub const HEADER_LENGTH: usize = 12;

/// Why a datagram is not RTP. The sender erred.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum RtpError {
    /// Fewer octets than a fixed header.
    #[error("{length} octets are fewer than an RTP header")]
    TooShort {
        /// Octets received.
        length: usize,
    },
    /// The version bits are not 2.
    #[error("RTP version {0}, not 2")]
    Version(u8),
    /// The list of contributing sources runs past the end.
    #[error("the CSRC list runs past the end")]
    CsrcTruncated,
    /// The header extension runs past the end.
    #[error("the header extension runs past the end")]
    ExtensionTruncated,
    /// The padding count is zero or larger than what follows the header.
    #[error("a padding count of {0} does not fit")]
    Padding(u8),
}

/// One RTP packet, read in place.
#[derive(Copy, Clone, Debug)]
pub struct Packet<'a> {
    header: &'a [u8; HEADER_LENGTH],
    csrcs: &'a [u8],
    extension: Option<(u16, &'a [u8])>,
    payload: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram; every length is checked here, so the accessors cannot fail.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LENGTH>() else {
            return Err(RtpError::TooShort { length: bytes.len() });
        };
        let version = header[0] >> 6;
        if version != 2 {
            return Err(RtpError::Version(version));
        }
        let csrc_octets = usize::from(header[0] & 0x0f) * 4;
        let (csrcs, rest) = rest.split_at_checked(csrc_octets).ok_or(RtpError::CsrcTruncated)?;
        let (extension, rest) = if header[0] & 0x10 != 0 {
            let (head, rest) = rest.split_first_chunk::<4>().ok_or(RtpError::ExtensionTruncated)?;
            let octets = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
            let (data, rest) = rest.split_at_checked(octets).ok_or(RtpError::ExtensionTruncated)?;
            (Some((u16::from_be_bytes([head[0], head[1]]), data)), rest)
        } else {
            (None, rest)
        };
        let payload = if header[0] & 0x20 != 0 {
            let count = rest.last().copied().ok_or(RtpError::Padding(0))?;
            let keep = rest.len().checked_sub(usize::from(count)).filter(|_| count != 0);
            keep.and_then(|keep| rest.get(..keep)).ok_or(RtpError::Padding(count))?
        } else {
            rest
        };
        Ok(Self { header, csrcs, extension, payload, bytes })
    }

    /// Marker bit: for audio, the first packet after silence; for telephone-event, the first of an event.
    pub fn marker(&self) -> bool {
        self.header[1] & 0x80 != 0
    }

    /// Payload type, 0..=127.
    pub fn payload_type(&self) -> u8 {
        self.header[1] & 0x7f
    }

    /// Sequence number.
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Timestamp in units of the payload's clock.
    pub fn timestamp(&self) -> u32 {
        let [.., a, b, c, d, _, _, _, _] = *self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Synchronization source.
    pub fn ssrc(&self) -> u32 {
        let [.., a, b, c, d] = *self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Contributing sources, at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + 'a {
        self.csrcs.as_chunks::<4>().0.iter().map(|octets| u32::from_be_bytes(*octets))
    }

    /// The header extension: the profile's 16 bits and the data, a multiple of four octets.
    pub fn extension(&self) -> Option<(u16, &'a [u8])> {
        self.extension
    }

    /// The payload without padding.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The whole datagram.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A checked packet whose header fields may be changed where it lies.
#[derive(Debug)]
pub struct PacketMut<'a> {
    bytes: &'a mut [u8],
}

impl<'a> PacketMut<'a> {
    /// Checks the datagram as [`Packet::parse`] does.
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, RtpError> {
        Packet::parse(bytes)?;
        Ok(Self { bytes })
    }

    fn header(&mut self) -> Option<&mut [u8; HEADER_LENGTH]> {
        self.bytes.first_chunk_mut::<HEADER_LENGTH>()
    }

    /// Replaces the sequence number.
    pub fn set_sequence(&mut self, sequence: u16) {
        if let Some([_, _, a, b, ..]) = self.header() {
            [*a, *b] = sequence.to_be_bytes();
        }
    }

    /// Replaces the timestamp.
    pub fn set_timestamp(&mut self, timestamp: u32) {
        if let Some([_, _, _, _, a, b, c, d, ..]) = self.header() {
            [*a, *b, *c, *d] = timestamp.to_be_bytes();
        }
    }

    /// Replaces the synchronization source.
    pub fn set_ssrc(&mut self, ssrc: u32) {
        if let Some([.., a, b, c, d]) = self.header() {
            [*a, *b, *c, *d] = ssrc.to_be_bytes();
        }
    }

    /// Replaces the payload type (its low 7 bits), keeping the marker.
    pub fn set_payload_type(&mut self, payload_type: u8) {
        if let Some([_, octet, ..]) = self.header() {
            *octet = (*octet & 0x80) | (payload_type & 0x7f);
        }
    }

    /// Replaces the marker.
    pub fn set_marker(&mut self, marker: bool) {
        if let Some([_, octet, ..]) = self.header() {
            *octet = (*octet & 0x7f) | (u8::from(marker) << 7);
        }
    }

    /// The packet's octets.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
    }
}

/// The fields of a header that is written anew: no padding, no extension, no contributing sources.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Marker bit.
    pub marker: bool,
    /// Payload type; only the low 7 bits are written.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
}

impl Header {
    /// The twelve octets.
    pub fn to_bytes(&self) -> [u8; HEADER_LENGTH] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = self.ssrc.to_be_bytes();
        [0x80, (u8::from(self.marker) << 7) | (self.payload_type & 0x7f), s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]
    }

    /// Writes header and payload to the start of `out` and returns the octets used; `None` when they do not fit.
    pub fn write(&self, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        let length = HEADER_LENGTH + payload.len();
        let out = out.get_mut(..length)?;
        let (head, tail) = out.split_at_mut(HEADER_LENGTH);
        head.copy_from_slice(&self.to_bytes());
        tail.copy_from_slice(payload);
        Some(length)
    }
}

/// Whether a datagram on a shared port is RTCP rather than RTP: packet types 192..=223 (RFC 5761 §4).
pub fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [first, second, ..] if first >> 6 == 2 && (192..=223).contains(second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full() -> Vec<u8> {
        let mut bytes = vec![0x80 | 0x20 | 0x10 | 2, 0x80 | 8, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef];
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 2]); // two contributing sources
        bytes.extend([0xbe, 0xde, 0, 1, 9, 9, 9, 9]); // one extension word
        bytes.extend([0xd5; 10]);
        bytes.extend([0, 0, 3]); // three octets of padding
        bytes
    }

    #[test]
    fn every_part_of_the_header_is_read() {
        let bytes = full();
        let packet = Packet::parse(&bytes).unwrap();
        assert!(packet.marker());
        assert_eq!(
            (packet.payload_type(), packet.sequence(), packet.timestamp(), packet.ssrc()),
            (8, 0x1234, 160, 0xdead_beef)
        );
        assert_eq!(packet.csrcs().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(packet.extension(), Some((0xbede, &[9u8, 9, 9, 9][..])));
        assert_eq!(packet.payload(), [0xd5; 10]);
    }

    #[test]
    fn each_truncation_has_its_error() {
        let bytes = full();
        assert_eq!(Packet::parse(&bytes[..11]).unwrap_err(), RtpError::TooShort { length: 11 });
        assert_eq!(Packet::parse(&bytes[..19]).unwrap_err(), RtpError::CsrcTruncated);
        assert_eq!(Packet::parse(&bytes[..23]).unwrap_err(), RtpError::ExtensionTruncated);
        assert_eq!(Packet::parse(&bytes[..27]).unwrap_err(), RtpError::ExtensionTruncated);
        assert_eq!(Packet::parse(&bytes[..28]).unwrap_err(), RtpError::Padding(0));
        let mut padded = bytes.clone();
        *padded.last_mut().unwrap() = 13; // exactly all of the payload
        assert_eq!(Packet::parse(&padded).unwrap().payload(), []);
        *padded.last_mut().unwrap() = 14;
        assert_eq!(Packet::parse(&padded).unwrap_err(), RtpError::Padding(14));
        let mut version = bytes;
        version[0] = 0x40;
        assert_eq!(Packet::parse(&version).unwrap_err(), RtpError::Version(1));
    }

    #[test]
    fn rtcp_is_told_from_rtp() {
        assert!(is_rtcp(&[0x80, 200, 0, 6]));
        assert!(!is_rtcp(&[0x80, 0x88, 0, 6]));
        assert!(!is_rtcp(&[0x80]));
        assert!(!is_rtcp(&[0x80, 224]) && !is_rtcp(&[0x80, 191]));
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload().len() <= bytes.len() - HEADER_LENGTH);
                prop_assert!(packet.csrcs().count() <= 15);
            }
            let _ = PacketMut::parse(&mut bytes);
        }

        #[test]
        fn what_is_written_is_read(marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
                                   payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = [0u8; 256];
            let length = Header { marker: !marker, payload_type: payload_type ^ 1, sequence: !sequence, timestamp: !timestamp, ssrc: !ssrc }
                .write(&payload, &mut out).unwrap();
            let mut view = PacketMut::parse(&mut out[..length]).unwrap();
            view.set_marker(marker);
            view.set_payload_type(payload_type);
            view.set_sequence(sequence);
            view.set_timestamp(timestamp);
            view.set_ssrc(ssrc);
            let read = Packet::parse(view.as_bytes()).unwrap();
            prop_assert_eq!((read.marker(), read.payload_type(), read.sequence(), read.timestamp(), read.ssrc()),
                            (marker, payload_type, sequence, timestamp, ssrc));
            prop_assert_eq!(read.payload(), &payload[..]);
        }
    }

    #[test]
    fn a_packet_that_does_not_fit_is_not_written() {
        let header = Header::default();
        assert_eq!(header.write(&[0; 8], &mut [0; 20]), Some(20));
        assert_eq!(header.write(&[0; 9], &mut [0; 20]), None);
    }
}
