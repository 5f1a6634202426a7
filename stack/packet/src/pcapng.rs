//! Writes pcapng files (draft-ietf-opsawg-pcapng): section header, interface descriptions, enhanced packets with
//! nanosecond timestamps, in the host's byte order.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use strowger_clock::Timestamp;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

const OPTION_COMMENT: u16 = 1;
const SHB_USER_APPLICATION: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TIMESTAMP_RESOLUTION: u16 = 9;
const EPB_FLAGS: u16 = 2;

/// Longest packet that is written whole, in octets; longer ones are cut and their original length is kept.
pub const PACKET_MAXIMUM_OCTETS: usize = 65_535;
/// Longest option value (name, comment) in octets; longer ones are cut at a character boundary.
pub const OPTION_MAXIMUM_OCTETS: usize = 1_024;

/// What the octets of a packet are (the LINKTYPE registry).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// LINKTYPE_ETHERNET.
    Ethernet,
    /// LINKTYPE_MTP3: ISUP and its routing label.
    Mtp3,
    /// LINKTYPE_RAW: an IPv4 or IPv6 packet.
    RawIp,
}

impl LinkType {
    /// The registered number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::Mtp3 => 141,
            Self::RawIp => 101,
        }
    }
}

/// Which way a packet went at its interface (epb_flags).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received by the interface.
    Inbound,
    /// Sent by the interface.
    Outbound,
}

/// An interface of this file, from [`Writer::add_interface`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct InterfaceId(u32);

/// A writer that several taps and captures share.
pub type SharedWriter = Arc<Mutex<Writer<Box<dyn Write + Send>>>>;

/// Writes one section to `out`. Give it something buffered, and call [`Writer::flush`] at the end.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    interfaces: u32,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts the file with a section header that names `application`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, application: &str) -> io::Result<Self> {
        let mut writer = Self { out, interfaces: 0, block: Vec::with_capacity(2048) };
        writer.begin(SECTION_HEADER);
        writer.word(BYTE_ORDER_MAGIC);
        writer.halves(1, 0); // version 1.0
        writer.block.extend_from_slice(&(-1i64).to_ne_bytes()); // section length unknown
        writer.option(SHB_USER_APPLICATION, text(application));
        writer.end_of_options();
        writer.finish()?;
        Ok(writer)
    }

    /// Declares an interface; packets refer to it. Interfaces may be added at any time.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn add_interface(&mut self, name: &str, link: LinkType) -> io::Result<InterfaceId> {
        self.begin(INTERFACE_DESCRIPTION);
        self.halves(link.number(), 0);
        self.word(PACKET_MAXIMUM_OCTETS as u32);
        self.option(IF_NAME, text(name));
        self.option(IF_TIMESTAMP_RESOLUTION, &[9]); // 10^-9 s
        self.end_of_options();
        self.finish()?;
        let id = InterfaceId(self.interfaces);
        self.interfaces += 1;
        Ok(id)
    }

    /// Writes one packet, beginning with the header of the interface's link type.
    ///
    /// # Errors
    /// Those of `out`; `InvalidInput` for an interface of another file.
    pub fn packet(
        &mut self,
        interface: InterfaceId,
        at: Timestamp,
        direction: Option<Direction>,
        octets: &[u8],
    ) -> io::Result<()> {
        self.packet_with_comment(interface, at, direction, octets, "")
    }

    /// Like [`Writer::packet`], with a remark that Wireshark shows beside the packet (none when empty).
    ///
    /// # Errors
    /// As [`Writer::packet`].
    pub fn packet_with_comment(
        &mut self,
        interface: InterfaceId,
        at: Timestamp,
        direction: Option<Direction>,
        octets: &[u8],
        comment: &str,
    ) -> io::Result<()> {
        if interface.0 >= self.interfaces {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the interface belongs to another capture file"));
        }
        let kept = octets.get(..PACKET_MAXIMUM_OCTETS).unwrap_or(octets);
        let nanos = at.unix_nanos();
        self.begin(ENHANCED_PACKET);
        self.word(interface.0);
        self.word((nanos >> 32) as u32);
        self.word(nanos as u32);
        self.word(kept.len() as u32);
        self.word(u32::try_from(octets.len()).unwrap_or(u32::MAX));
        self.block.extend_from_slice(kept);
        self.pad();
        if let Some(direction) = direction {
            let flags: u32 = if direction == Direction::Inbound { 1 } else { 2 };
            self.option(EPB_FLAGS, &flags.to_ne_bytes());
        }
        if !comment.is_empty() {
            self.option(OPTION_COMMENT, text(comment));
        }
        self.end_of_options();
        self.finish()
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Flushes and gives `out` back.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.word(kind);
        self.word(0); // total length, filled in by finish
    }

    fn word(&mut self, value: u32) {
        self.block.extend_from_slice(&value.to_ne_bytes());
    }

    fn halves(&mut self, first: u16, second: u16) {
        self.block.extend_from_slice(&first.to_ne_bytes());
        self.block.extend_from_slice(&second.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.halves(code, value.len() as u16);
        self.block.extend_from_slice(value);
        self.pad();
    }

    fn end_of_options(&mut self) {
        self.halves(0, 0);
    }

    fn finish(&mut self) -> io::Result<()> {
        let total = self.block.len() as u32 + 4;
        self.word(total);
        if let Some(length) = self.block.get_mut(4..8) {
            length.copy_from_slice(&total.to_ne_bytes());
        }
        self.out.write_all(&self.block)
    }
}

impl Writer<Box<dyn Write + Send>> {
    /// Creates `path` and makes the writer that taps and captures share.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &std::path::Path, application: &str) -> io::Result<SharedWriter> {
        let file = std::fs::File::create(path)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot write the capture `{}`: {e}", path.display())))?;
        let out: Box<dyn Write + Send> = Box::new(io::BufWriter::new(file));
        Ok(Arc::new(Mutex::new(Self::new(out, application)?)))
    }
}

fn text(value: &str) -> &[u8] {
    let mut end = value.len().min(OPTION_MAXIMUM_OCTETS);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.as_bytes().get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Walks the blocks: (type, body), checking both lengths of each.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |b: &[u8]| u32::from_ne_bytes(b[..4].try_into().unwrap());
        let mut all = Vec::new();
        while !file.is_empty() {
            let (kind, length) = (word(file), word(&file[4..]) as usize);
            assert_eq!(length % 4, 0);
            assert_eq!(word(&file[length - 4..]) as usize, length);
            all.push((kind, file[8..length - 4].to_vec()));
            file = &file[length..];
        }
        all
    }

    #[test]
    fn a_file_has_its_section_its_interfaces_and_its_packets() {
        let mut writer = Writer::new(Vec::new(), "strowger").unwrap();
        let ethernet = writer.add_interface("r0", LinkType::Ethernet).unwrap();
        let mtp3 = writer.add_interface("trunk", LinkType::Mtp3).unwrap();
        let at = Timestamp::from_unix_nanos(0x0102_0304_0506_0708);
        writer.packet(ethernet, at, Some(Direction::Outbound), &[1, 2, 3]).unwrap();
        writer.packet_with_comment(mtp3, at, None, &[9; 8], "IAM").unwrap();
        let all = blocks(&writer.into_inner().unwrap());
        assert_eq!(all.iter().map(|b| b.0).collect::<Vec<_>>(), [SECTION_HEADER, 1, 1, 6, 6]);
        assert_eq!(&all[1].1[..2], &1u16.to_ne_bytes());
        assert_eq!(&all[2].1[..2], &141u16.to_ne_bytes());
        assert_eq!(&all[3].1[..20], [0u32, 0x0102_0304, 0x0506_0708, 3, 3].map(u32::to_ne_bytes).concat());
        assert_eq!(&all[3].1[20..24], &[1, 2, 3, 0]);
    }

    #[test]
    fn the_longest_packet_is_whole_and_a_longer_one_is_cut() {
        let mut writer = Writer::new(Vec::new(), "t").unwrap();
        let id = writer.add_interface("r0", LinkType::RawIp).unwrap();
        for octets in [PACKET_MAXIMUM_OCTETS, PACKET_MAXIMUM_OCTETS + 1] {
            writer.packet(id, Timestamp::from_unix_nanos(1), None, &vec![0; octets]).unwrap();
        }
        let all = blocks(&writer.into_inner().unwrap());
        let lengths = |b: &[u8]| [12, 16].map(|i| u32::from_ne_bytes(b[i..i + 4].try_into().unwrap()) as usize);
        assert_eq!(lengths(&all[2].1), [PACKET_MAXIMUM_OCTETS, PACKET_MAXIMUM_OCTETS]);
        assert_eq!(lengths(&all[3].1), [PACKET_MAXIMUM_OCTETS, PACKET_MAXIMUM_OCTETS + 1]);
    }

    #[test]
    fn an_interface_of_another_file_is_refused() {
        let mut first = Writer::new(Vec::new(), "t").unwrap();
        let id = first.add_interface("r0", LinkType::RawIp).unwrap();
        let mut second = Writer::new(Vec::new(), "t").unwrap();
        assert!(second.packet(id, Timestamp::from_unix_nanos(1), None, &[]).is_err());
    }

    proptest! {
        #[test]
        fn any_packet_and_any_text_give_well_formed_blocks(
            octets in proptest::collection::vec(any::<u8>(), 0..300), name in ".*", comment in ".{0,2000}",
        ) {
            let mut writer = Writer::new(Vec::new(), &name).unwrap();
            let id = writer.add_interface(&name, LinkType::Ethernet).unwrap();
            writer.packet_with_comment(id, Timestamp::from_unix_nanos(1), Some(Direction::Inbound), &octets, &comment).unwrap();
            prop_assert_eq!(blocks(&writer.into_inner().unwrap()).len(), 3);
        }
    }
}
