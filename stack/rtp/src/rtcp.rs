//! RTCP compound packets: views over what came, and a builder into a buffer of the caller (RFC 3550 §6).

use thiserror::Error;

/// Packet type of a sender report.
pub const SENDER_REPORT: u8 = 200;
/// Packet type of a receiver report.
pub const RECEIVER_REPORT: u8 = 201;
/// Packet type of a source description.
pub const SOURCE_DESCRIPTION: u8 = 202;
/// Packet type of a goodbye.
pub const GOODBYE: u8 = 203;
/// Longest text of a source description item or of a goodbye's reason, in octets.
pub const MAX_TEXT: usize = 255;
/// Most report blocks in one report.
pub const MAX_BLOCKS: usize = 31;

const BLOCK_OCTETS: usize = 24;

/// Why a datagram is not a valid compound packet. The sender erred.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum RtcpError {
    /// No octets, or fewer than a packet's head.
    #[error("an RTCP packet is cut short")]
    TooShort,
    /// The version bits are not 2.
    #[error("RTCP version {0}, not 2")]
    Version(u8),
    /// A length field runs past the end.
    #[error("an RTCP length runs past the end")]
    Length,
    /// The first packet is neither a sender nor a receiver report (§6.1).
    #[error("a compound begins with packet type {0}, not with a report")]
    First(u8),
    /// The padding is not of the last packet, or does not fit.
    #[error("RTCP padding does not fit")]
    Padding,
    /// The body is too short for its counts.
    #[error("the body of packet type {0} is too short for its count")]
    Body(u8),
}

/// Sender information of a sender report (§6.4.1).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP timestamp: seconds since 1900 in the high, fraction in the low 32 bits.
    pub ntp: u64,
    /// The same instant as an RTP timestamp.
    pub rtp_timestamp: u32,
    /// Packets sent since the beginning.
    pub packets: u32,
    /// Payload octets sent since the beginning.
    pub octets: u32,
}

impl SenderInfo {
    /// What a report block's `last_sender_report` will echo.
    pub fn ntp_middle(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
}

/// One report block (§6.4.1).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source it is about.
    pub ssrc: u32,
    /// Lost since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning; 24 bits signed.
    pub cumulative_lost: i32,
    /// Cycles and highest sequence number.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the clock.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP timestamp, 0 when none came.
    pub last_sender_report: u32,
    /// Since that report, in 1/65536 s.
    pub delay_since_last_sender_report: u32,
}

impl ReportBlock {
    fn read(octets: &[u8; BLOCK_OCTETS]) -> Self {
        let word =
            |n: usize| u32::from_be_bytes([octets[n * 4], octets[n * 4 + 1], octets[n * 4 + 2], octets[n * 4 + 3]]);
        Self {
            ssrc: word(0),
            fraction_lost: octets[4],
            cumulative_lost: ((word(1) << 8) as i32) >> 8,
            highest_sequence: word(2),
            jitter: word(3),
            last_sender_report: word(4),
            delay_since_last_sender_report: word(5),
        }
    }

    fn words(&self) -> [u32; 6] {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0x00ff_ffff;
        [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sender_report,
            self.delay_since_last_sender_report,
        ]
    }

    /// Round-trip time in 1/65536 s (§6.4.1), given the middle 32 bits of the NTP time at which this block came.
    pub fn round_trip(&self, arrival_ntp_middle: u32) -> Option<u32> {
        (self.last_sender_report != 0)
            .then(|| {
                arrival_ntp_middle
                    .wrapping_sub(self.last_sender_report)
                    .wrapping_sub(self.delay_since_last_sender_report)
            })
            .filter(|trip| *trip < u32::MAX / 2)
    }
}

/// The report blocks of one report, read as they are asked for.
#[derive(Copy, Clone, Debug)]
pub struct Blocks<'a>(&'a [[u8; BLOCK_OCTETS]]);

impl<'a> Blocks<'a> {
    /// The blocks in order, at most [`MAX_BLOCKS`].
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        self.0.iter().map(ReportBlock::read)
    }
}

/// The sources of a goodbye.
#[derive(Copy, Clone, Debug)]
pub struct Sources<'a>(&'a [[u8; 4]]);

impl<'a> Sources<'a> {
    /// Every source that leaves.
    pub fn iter(&self) -> impl Iterator<Item = u32> + 'a {
        self.0.iter().map(|octets| u32::from_be_bytes(*octets))
    }
}

/// The chunks of a source description.
#[derive(Copy, Clone, Debug)]
pub struct Chunks<'a>(&'a [u8]);

impl<'a> Chunks<'a> {
    /// The CNAME of `ssrc`, if its chunk has one.
    pub fn cname(&self, ssrc: u32) -> Option<&'a [u8]> {
        let mut rest = self.0;
        while let Some((source, mut items)) = rest.split_first_chunk::<4>() {
            let mut found = None;
            loop {
                match items {
                    [0, ..] => break,
                    [kind, length, tail @ ..] => {
                        let (text, tail) = tail.split_at_checked(usize::from(*length))?;
                        if *kind == 1 {
                            found = found.or(Some(text));
                        }
                        items = tail;
                    }
                    _ => break, // the padding zero may be missing at the very end
                }
            }
            if u32::from_be_bytes(*source) == ssrc && found.is_some() {
                return found;
            }
            // a chunk ends with one to four zeros on a 32-bit boundary
            let used = self.0.len() - items.len();
            rest = self.0.get((used / 4 + 1) * 4..)?;
        }
        None
    }
}

/// One packet of a compound.
#[derive(Copy, Clone, Debug)]
pub enum RtcpPacket<'a> {
    /// SR.
    SenderReport {
        /// Who reports.
        ssrc: u32,
        /// What it sent.
        sender: SenderInfo,
        /// What it received.
        blocks: Blocks<'a>,
    },
    /// RR.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it received.
        blocks: Blocks<'a>,
    },
    /// SDES.
    SourceDescription(Chunks<'a>),
    /// BYE.
    Goodbye {
        /// Who leaves.
        sources: Sources<'a>,
        /// Why, when told.
        reason: Option<&'a [u8]>,
    },
    /// Any other type (APP, feedback, extended reports), kept as octets after the head.
    Other {
        /// Packet type.
        packet_type: u8,
        /// What follows the four octets of the head.
        body: &'a [u8],
    },
}

/// A checked compound packet.
#[derive(Copy, Clone, Debug)]
pub struct Compound<'a>(&'a [u8]);

impl<'a> Compound<'a> {
    /// Checks every head, length and count of a datagram (§6.1, A.2).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtcpError> {
        let mut rest = bytes;
        let mut first = true;
        loop {
            let (packet_type, _, tail) = split(rest)?;
            if first && !matches!(packet_type, SENDER_REPORT | RECEIVER_REPORT) {
                return Err(RtcpError::First(packet_type));
            }
            read(rest)?;
            first = false;
            rest = tail;
            if rest.is_empty() {
                return Ok(Self(bytes));
            }
        }
    }

    /// The packets in order.
    pub fn iter(&self) -> impl Iterator<Item = RtcpPacket<'a>> + 'a {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (packet, tail) = read(rest).ok()?;
            rest = tail;
            Some(packet)
        })
    }
}

/// Packet type, whole packet, what follows it.
fn split(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), RtcpError> {
    let head = bytes.first_chunk::<4>().ok_or(RtcpError::TooShort)?;
    if head[0] >> 6 != 2 {
        return Err(RtcpError::Version(head[0] >> 6));
    }
    let length = (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1) * 4;
    let (packet, tail) = bytes.split_at_checked(length).ok_or(RtcpError::Length)?;
    Ok((head[1], packet, tail))
}

fn read(bytes: &[u8]) -> Result<(RtcpPacket<'_>, &[u8]), RtcpError> {
    let (packet_type, packet, tail) = split(bytes)?;
    let (head, mut body) = packet.split_first_chunk::<4>().ok_or(RtcpError::TooShort)?;
    if head[0] & 0x20 != 0 {
        let count = usize::from(body.last().copied().ok_or(RtcpError::Padding)?);
        if count == 0 || count % 4 != 0 || !tail.is_empty() {
            return Err(RtcpError::Padding);
        }
        body = body.len().checked_sub(count).and_then(|keep| body.get(..keep)).ok_or(RtcpError::Padding)?;
    }
    let count = usize::from(head[0] & 0x1f);
    let short = RtcpError::Body(packet_type);
    let packet = match packet_type {
        SENDER_REPORT => {
            let (fixed, body) = body.split_first_chunk::<24>().ok_or(short)?;
            let word =
                |n: usize| u32::from_be_bytes([fixed[n * 4], fixed[n * 4 + 1], fixed[n * 4 + 2], fixed[n * 4 + 3]]);
            let sender = SenderInfo {
                ntp: u64::from(word(1)) << 32 | u64::from(word(2)),
                rtp_timestamp: word(3),
                packets: word(4),
                octets: word(5),
            };
            RtcpPacket::SenderReport { ssrc: word(0), sender, blocks: blocks(body, count).ok_or(short)? }
        }
        RECEIVER_REPORT => {
            let (ssrc, body) = body.split_first_chunk::<4>().ok_or(short)?;
            RtcpPacket::ReceiverReport { ssrc: u32::from_be_bytes(*ssrc), blocks: blocks(body, count).ok_or(short)? }
        }
        SOURCE_DESCRIPTION => RtcpPacket::SourceDescription(Chunks(body)),
        GOODBYE => {
            let sources = body.as_chunks::<4>().0.get(..count).ok_or(short)?;
            let reason = match body.get(count * 4..) {
                Some([length, text @ ..]) => Some(text.get(..usize::from(*length)).ok_or(short)?),
                _ => None,
            };
            RtcpPacket::Goodbye { sources: Sources(sources), reason }
        }
        _ => RtcpPacket::Other { packet_type, body },
    };
    Ok((packet, tail))
}

fn blocks(body: &[u8], count: usize) -> Option<Blocks<'_>> {
    body.as_chunks::<BLOCK_OCTETS>().0.get(..count).map(Blocks)
}

/// The buffer is too small for the packet; it was left as before.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[error("the RTCP packet does not fit its buffer")]
pub struct Full;

/// Writes a compound packet into a buffer. Begin with a report, then a CNAME (§6.1).
#[derive(Debug)]
pub struct CompoundBuilder<'a> {
    out: &'a mut [u8],
    length: usize,
}

impl<'a> CompoundBuilder<'a> {
    /// Nothing written yet.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, length: 0 }
    }

    fn packet(
        &mut self,
        packet_type: u8,
        count: usize,
        octets: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        let room = self.out.get_mut(self.length..).and_then(|rest| rest.get_mut(..octets)).ok_or(Full)?;
        room.fill(0);
        let (head, body) = room.split_at_mut_checked(4).ok_or(Full)?;
        let [high, low] = ((octets / 4 - 1) as u16).to_be_bytes();
        head.copy_from_slice(&[0x80 | count as u8, packet_type, high, low]);
        write(body);
        self.length += octets;
        Ok(())
    }

    /// Appends SR with at most [`MAX_BLOCKS`] blocks; further blocks are left out.
    pub fn sender_report(&mut self, ssrc: u32, sender: &SenderInfo, blocks: &[ReportBlock]) -> Result<(), Full> {
        let blocks = blocks.get(..MAX_BLOCKS).unwrap_or(blocks);
        self.packet(SENDER_REPORT, blocks.len(), 28 + blocks.len() * BLOCK_OCTETS, |body| {
            let fixed = [
                ssrc,
                (sender.ntp >> 32) as u32,
                sender.ntp as u32,
                sender.rtp_timestamp,
                sender.packets,
                sender.octets,
            ];
            write_words(body, fixed.into_iter().chain(blocks.iter().flat_map(|block| block.words())));
        })
    }

    /// Appends RR with at most [`MAX_BLOCKS`] blocks; further blocks are left out.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<(), Full> {
        let blocks = blocks.get(..MAX_BLOCKS).unwrap_or(blocks);
        self.packet(RECEIVER_REPORT, blocks.len(), 8 + blocks.len() * BLOCK_OCTETS, |body| {
            write_words(body, [ssrc].into_iter().chain(blocks.iter().flat_map(|block| block.words())));
        })
    }

    /// Appends SDES with the CNAME alone; text past [`MAX_TEXT`] octets is cut.
    pub fn cname(&mut self, ssrc: u32, cname: &[u8]) -> Result<(), Full> {
        let cname = cname.get(..MAX_TEXT).unwrap_or(cname);
        let octets = 8 + (2 + cname.len()) / 4 * 4 + 4; // at least one zero ends the items
        self.packet(SOURCE_DESCRIPTION, 1, octets, |body| {
            write_words(body, [ssrc]);
            write_text(body.get_mut(4..), Some(1), cname);
        })
    }

    /// Appends BYE for one source; a reason past [`MAX_TEXT`] octets is cut.
    pub fn goodbye(&mut self, ssrc: u32, reason: Option<&[u8]>) -> Result<(), Full> {
        let reason = reason.map(|text| text.get(..MAX_TEXT).unwrap_or(text));
        let octets = 8 + reason.map_or(0, |text| (1 + text.len()).next_multiple_of(4));
        self.packet(GOODBYE, 1, octets, |body| {
            write_words(body, [ssrc]);
            if let Some(text) = reason {
                write_text(body.get_mut(4..), None, text);
            }
        })
    }

    /// Octets written.
    pub fn finish(self) -> usize {
        self.length
    }
}

fn write_words(body: &mut [u8], words: impl IntoIterator<Item = u32>) {
    for (octets, word) in body.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *octets = word.to_be_bytes();
    }
}

fn write_text(body: Option<&mut [u8]>, kind: Option<u8>, text: &[u8]) {
    let head = kind.into_iter().chain([text.len() as u8]);
    for (octet, value) in body.into_iter().flatten().zip(head.chain(text.iter().copied())) {
        *octet = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block() -> ReportBlock {
        ReportBlock {
            ssrc: 9,
            fraction_lost: 3,
            cumulative_lost: -2,
            highest_sequence: 70_000,
            jitter: 12,
            last_sender_report: 0x0001_0000,
            delay_since_last_sender_report: 0x8000,
        }
    }

    #[test]
    fn a_whole_compound_is_written_and_read() {
        let mut out = [0u8; 200];
        let sender = SenderInfo { ntp: 0x1122_3344_5566_7788, rtp_timestamp: 5, packets: 6, octets: 7 };
        let mut builder = CompoundBuilder::new(&mut out);
        builder.sender_report(1, &sender, &[block()]).unwrap();
        builder.cname(1, b"gateway@example.test").unwrap();
        builder.goodbye(1, Some(b"done")).unwrap();
        let length = builder.finish();
        let compound = Compound::parse(&out[..length]).unwrap();
        let packets: Vec<_> = compound.iter().collect();
        assert_eq!(packets.len(), 3);
        assert!(
            matches!(packets[0], RtcpPacket::SenderReport { ssrc: 1, sender: s, blocks } if s == sender && blocks.iter().eq([block()]))
        );
        assert!(
            matches!(packets[1], RtcpPacket::SourceDescription(chunks) if chunks.cname(1) == Some(b"gateway@example.test") && chunks.cname(2).is_none())
        );
        assert!(matches!(packets[2], RtcpPacket::Goodbye { sources, reason: Some(b"done") } if sources.iter().eq([1])));
        assert_eq!(sender.ntp_middle(), 0x3344_5566);
    }

    #[test]
    fn a_round_trip_is_arrival_less_report_less_delay() {
        assert_eq!(block().round_trip(0x0001_0000 + 0x8000 + 0x1000), Some(0x1000));
        assert_eq!(block().round_trip(0x0001_0000), None, "a clock that ran backwards tells nothing");
        assert_eq!(ReportBlock::default().round_trip(5), None);
    }

    #[test]
    fn a_compound_begins_with_a_report_and_keeps_its_lengths() {
        let mut out = [0u8; 64];
        let mut builder = CompoundBuilder::new(&mut out);
        builder.goodbye(1, None).unwrap();
        let length = builder.finish();
        assert_eq!(Compound::parse(&out[..length]).unwrap_err(), RtcpError::First(GOODBYE));
        let mut builder = CompoundBuilder::new(&mut out);
        builder.receiver_report(1, &[]).unwrap();
        let length = builder.finish();
        assert!(Compound::parse(&out[..length]).is_ok());
        assert_eq!(Compound::parse(&out[..length - 1]).unwrap_err(), RtcpError::Length);
        out[0] = 0x81; // one block promised, none there
        assert_eq!(Compound::parse(&out[..length]).unwrap_err(), RtcpError::Body(RECEIVER_REPORT));
        assert_eq!(Compound::parse(&[]).unwrap_err(), RtcpError::TooShort);
    }

    #[test]
    fn texts_of_every_length_fit_and_a_full_buffer_stays_as_it_was() {
        for length in 0..=MAX_TEXT + 1 {
            let text = vec![b'x'; length];
            let mut out = [0u8; 600];
            let mut builder = CompoundBuilder::new(&mut out);
            builder.receiver_report(4, &[]).unwrap();
            builder.cname(4, &text).unwrap();
            builder.goodbye(4, Some(&text)).unwrap();
            let end = builder.finish();
            let kept = &text[..length.min(MAX_TEXT)];
            let compound = Compound::parse(&out[..end]).unwrap();
            assert!(compound.iter().any(|p| matches!(p, RtcpPacket::SourceDescription(c) if c.cname(4) == Some(kept))));
            assert!(compound.iter().any(|p| matches!(p, RtcpPacket::Goodbye { reason: Some(r), .. } if r == kept)));
        }
        let mut out = [0u8; 8];
        let mut builder = CompoundBuilder::new(&mut out);
        assert_eq!(builder.receiver_report(1, &[]), Ok(()));
        assert_eq!(builder.goodbye(1, None), Err(Full));
        assert_eq!(builder.finish(), 8);
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), shape in any::<bool>()) {
            if shape && bytes.len() >= 4 {
                // give the parser a head it will go into
                bytes[0] = 0x80 | (bytes[0] & 0x3f);
                bytes[1] = 200 + bytes[1] % 6;
                let words = (bytes.len() / 4 - 1) as u8;
                bytes[2] = 0;
                bytes[3] %= words + 1;
            }
            if let Ok(compound) = Compound::parse(&bytes) {
                for packet in compound.iter() {
                    match packet {
                        RtcpPacket::SourceDescription(chunks) => { let _ = chunks.cname(1); }
                        RtcpPacket::SenderReport { blocks, .. } | RtcpPacket::ReceiverReport { blocks, .. } => { let _ = blocks.iter().count(); }
                        _ => {}
                    }
                }
            }
            let _ = Chunks(&bytes).cname(7);
        }

        #[test]
        fn a_flipped_octet_never_panics(at in 0usize..100, value: u8) {
            let mut out = [0u8; 200];
            let mut builder = CompoundBuilder::new(&mut out);
            builder.sender_report(1, &SenderInfo::default(), &[block()]).unwrap();
            builder.cname(1, b"name").unwrap();
            builder.goodbye(1, Some(b"reason")).unwrap();
            let length = builder.finish();
            out[at % length] = value;
            if let Ok(compound) = Compound::parse(&out[..length]) {
                let _ = compound.iter().count();
            }
        }
    }
}
