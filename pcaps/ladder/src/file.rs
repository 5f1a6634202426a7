//! Reads capture files as they stream by: the classic format and pcapng, either byte order.

use std::io::{self, Read};

use serde::Serialize;

/// Longest packet that is taken; a longer record means that the file's structure is lost.
pub const PACKET_OCTETS_MAX: u32 = 1 << 20;
/// Interfaces of one section.
pub const INTERFACES_MAX: usize = 4_096;
/// Descriptions kept of what was not understood; the rest is counted.
pub const TROUBLES_MAX: usize = 64;
/// Longest interface name that is kept, in octets.
const NAME_OCTETS_MAX: usize = 128;
/// Room for a packet block beside its packet: fixed part and options.
const BLOCK_EXTRA_OCTETS_MAX: u32 = 1 << 16;
const CHUNK_OCTETS: usize = 64 * 1024;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const OPTION_IF_NAME: u16 = 2;
const OPTION_TIMESTAMP_RESOLUTION: u16 = 9;
const OPTION_TIMESTAMP_OFFSET: u16 = 14;
const OPTION_PACKET_FLAGS: u16 = 2;

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Record headers with eight octets more, as some patched Linux tools wrote.
const MAGIC_KUZNETZOV: u32 = 0xa1b2_cd34;

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Empty, or something else.
    #[error("this is neither a pcap nor a pcapng file (it begins with {0:02x?})")]
    NotACapture(Vec<u8>),
    /// The first octets could not be read.
    #[error("the capture cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Something in a file that was not understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Octet of the file where the packet or block begins.
    pub offset: u64,
    /// Which packet of the file, from 1; 0 when it is about the file itself.
    pub frame: u64,
    /// What is wrong.
    pub what: String,
}

/// One packet record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Counted from 1 over the whole file, as tshark does.
    pub frame: u64,
    /// Octet of the file where its record begins.
    pub offset: u64,
    /// Index in [`Reader::interface_names`].
    pub interface: u32,
    /// Link type of the interface, see [`crate::link_type`].
    pub link_type: u16,
    /// Whether the interface sent it; `None` when the file does not say.
    pub outbound: Option<bool>,
    /// Nanoseconds since 1970 (UTC).
    pub at_unix_nanos: u64,
    /// Octets it had on the wire.
    pub original_octets: u32,
    /// The octets that were captured.
    pub octets: &'a [u8],
}

#[derive(Clone, Debug)]
struct Interface {
    name: String,
    link_type: u16,
    snap_octets: u32,
    /// Units in a second.
    resolution: u64,
    offset_seconds: i64,
}

impl Interface {
    fn nanos(&self, units: u64) -> u64 {
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(self.resolution.max(1));
        let shifted = i128::try_from(nanos).unwrap_or(i128::MAX) + i128::from(self.offset_seconds) * 1_000_000_000;
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Format {
    Pcap { nanos_per_unit: u32, extra_octets: usize },
    Pcapng,
}

/// Packets of a file, one at a time. Holds one packet, one chunk of the file, and the interfaces.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    chunk: Vec<u8>,
    chunk_used: usize,
    chunk_filled: usize,
    offset: u64,
    format: Format,
    big_endian: bool,
    /// Interfaces of all sections; those of the current one begin at `section_interfaces`.
    interfaces: Vec<Interface>,
    section_interfaces: usize,
    body: Vec<u8>,
    frame: u64,
    last_nanos: u64,
    ended: bool,
    troubles: Vec<Trouble>,
    troubles_dropped: u64,
}

/// A packet as found in `Reader::body`.
struct Found {
    interface: usize,
    outbound: Option<bool>,
    units: Option<u64>,
    nanos: Option<u64>,
    original_octets: u32,
    from: usize,
    octets: usize,
}

impl<R: Read> Reader<R> {
    /// Reads the head of the file.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn new(input: R) -> Result<Reader<R>, ReadError> {
        let mut reader = Reader {
            input,
            chunk: vec![0; CHUNK_OCTETS],
            chunk_used: 0,
            chunk_filled: 0,
            offset: 0,
            format: Format::Pcapng,
            big_endian: cfg!(target_endian = "big"),
            interfaces: Vec::new(),
            section_interfaces: 0,
            body: Vec::new(),
            frame: 0,
            last_nanos: 0,
            ended: false,
            troubles: Vec::new(),
            troubles_dropped: 0,
        };
        let mut head = [0; 4];
        let got = reader.fill_io(&mut head)?;
        let magic = u32::from_be_bytes(head);
        if got < 4 || !reader.start(magic) {
            return Err(ReadError::NotACapture(head.get(..got).unwrap_or_default().to_vec()));
        }
        Ok(reader)
    }

    fn start(&mut self, magic: u32) -> bool {
        let classic = |magic| match magic {
            MAGIC_MICROSECONDS => Some((1_000, 0)),
            MAGIC_NANOSECONDS => Some((1, 0)),
            MAGIC_KUZNETZOV => Some((1_000, 8)),
            _ => None,
        };
        if magic == SECTION_HEADER {
            // next() reads the type itself everywhere else
            self.format = Format::Pcapng;
            self.section_header(0);
            return true;
        }
        let (big_endian, (nanos_per_unit, extra_octets)) = match (classic(magic), classic(magic.swap_bytes())) {
            (Some(found), _) => (true, found),
            (None, Some(found)) => (false, found),
            (None, None) => return false,
        };
        self.big_endian = big_endian;
        self.format = Format::Pcap { nanos_per_unit, extra_octets };
        let mut head = [0; 20];
        if self.fill(&mut head) < head.len() {
            self.stop(0, "the file ends inside its header");
            return true;
        }
        let network = self.word(&head, 16).unwrap_or(0);
        self.interfaces.push(Interface {
            name: String::new(),
            link_type: (network & 0xffff) as u16,
            snap_octets: 0,
            resolution: 1_000_000_000,
            offset_seconds: 0,
        });
        true
    }

    /// The next packet; `None` at the end, or where the file cannot be followed any further.
    #[allow(clippy::should_implement_trait)] // it lends its buffer
    pub fn next(&mut self) -> Option<Packet<'_>> {
        loop {
            if self.ended {
                return None;
            }
            let offset = self.offset;
            let found = match self.format {
                Format::Pcap { nanos_per_unit, extra_octets } => self.record(offset, nanos_per_unit, extra_octets),
                Format::Pcapng => self.block(offset),
            };
            let Some(found) = found else { continue };
            self.frame += 1;
            let interface = self.interfaces.get(found.interface)?;
            let nanos = found.nanos.or(found.units.map(|units| interface.nanos(units))).unwrap_or(self.last_nanos);
            self.last_nanos = nanos;
            return Some(Packet {
                frame: self.frame,
                offset,
                interface: found.interface as u32,
                link_type: interface.link_type,
                outbound: found.outbound,
                at_unix_nanos: nanos,
                original_octets: found.original_octets,
                octets: self.body.get(found.from..found.from + found.octets).unwrap_or_default(),
            });
        }
    }

    /// `pcap` or `pcapng`.
    pub fn format(&self) -> &'static str {
        if self.format == Format::Pcapng { "pcapng" } else { "pcap" }
    }

    /// Names of the interfaces met so far; empty where the file gives none.
    pub fn interface_names(&self) -> Vec<String> {
        self.interfaces.iter().map(|interface| interface.name.clone()).collect()
    }

    /// Octets read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What was wrong with the file so far, the first [`TROUBLES_MAX`].
    pub fn troubles(&self) -> &[Trouble] {
        &self.troubles
    }

    /// Troubles beyond those.
    pub fn troubles_dropped(&self) -> u64 {
        self.troubles_dropped
    }

    fn trouble(&mut self, offset: u64, what: impl Into<String>) {
        if self.troubles.len() < TROUBLES_MAX {
            self.troubles.push(Trouble { offset, frame: 0, what: what.into() });
        } else {
            self.troubles_dropped += 1;
        }
    }

    fn stop(&mut self, offset: u64, what: impl Into<String>) {
        self.trouble(offset, what);
        self.ended = true;
    }

    fn fill_io(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            if self.chunk_used == self.chunk_filled {
                self.chunk_used = 0;
                self.chunk_filled = 0;
                self.chunk_filled = loop {
                    match self.input.read(&mut self.chunk) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        other => break other?.min(self.chunk.len()),
                    }
                };
                if self.chunk_filled == 0 {
                    break;
                }
            }
            let ready = self.chunk.get(self.chunk_used..self.chunk_filled).unwrap_or_default();
            let take = ready.len().min(rest.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..take), ready.get(..take)) {
                to.copy_from_slice(from);
            }
            self.chunk_used += take;
            done += take;
        }
        self.offset += done as u64;
        Ok(done)
    }

    /// Octets got; fewer than asked for at the end of the file or of what can be read.
    fn fill(&mut self, out: &mut [u8]) -> usize {
        let offset = self.offset;
        self.fill_io(out).unwrap_or_else(|error| {
            self.stop(offset, format!("reading stopped: {error}"));
            0
        })
    }

    /// Fills `body` with so many octets.
    fn fill_body(&mut self, octets: usize) -> bool {
        let mut body = std::mem::take(&mut self.body);
        body.resize(octets, 0);
        let got = self.fill(&mut body);
        body.truncate(got);
        self.body = body;
        got == octets
    }

    fn skip(&mut self, mut octets: u64) -> bool {
        let mut scrap = [0; 4096];
        while octets > 0 {
            let part = usize::try_from(octets).unwrap_or(usize::MAX).min(scrap.len());
            if self.fill(scrap.get_mut(..part).unwrap_or_default()) < part {
                return false;
            }
            octets -= part as u64;
        }
        true
    }

    fn word(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let four = *bytes.get(at..)?.first_chunk::<4>()?;
        Some(if self.big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
    }

    fn half(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let two = *bytes.get(at..)?.first_chunk::<2>()?;
        Some(if self.big_endian { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
    }

    fn record(&mut self, offset: u64, nanos_per_unit: u32, extra_octets: usize) -> Option<Found> {
        let mut head = [0; 24];
        let head = head.get_mut(..16 + extra_octets)?;
        let got = self.fill(head);
        if got < head.len() {
            if got == 0 {
                self.ended = true;
            } else {
                self.stop(offset, format!("the file ends inside a record header, after {got} octets of it"));
            }
            return None;
        }
        let (seconds, fraction) = (self.word(head, 0)?, self.word(head, 4)?);
        let (octets, original_octets) = (self.word(head, 8)?, self.word(head, 12)?);
        if octets > PACKET_OCTETS_MAX {
            self.stop(offset, format!("a record claims {octets} octets; the rest of the file is not read"));
            return None;
        }
        if !self.fill_body(octets as usize) {
            let got = self.body.len();
            self.stop(offset, format!("the file ends inside a packet, after {got} of its {octets} octets"));
            return None;
        }
        let nanos = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * u64::from(nanos_per_unit);
        Some(Found {
            interface: 0,
            outbound: None,
            units: None,
            nanos: Some(nanos),
            original_octets,
            from: 0,
            octets: octets as usize,
        })
    }

    fn block(&mut self, offset: u64) -> Option<Found> {
        let mut head = [0; 4];
        let got = self.fill(&mut head);
        if got < head.len() {
            if got == 0 {
                self.ended = true;
            } else {
                self.stop(offset, "the file ends inside a block header");
            }
            return None;
        }
        if u32::from_be_bytes(head) == SECTION_HEADER {
            self.section_header(offset);
            return None;
        }
        let kind = self.word(&head, 0)?;
        if self.fill(&mut head) < head.len() {
            self.stop(offset, "the file ends inside a block header");
            return None;
        }
        let total = self.word(&head, 0)?;
        if total < 12 || total % 4 != 0 {
            self.stop(offset, format!("a block claims {total} octets; the rest of the file is not read"));
            return None;
        }
        let body_octets = total - 12;
        let wanted = matches!(kind, INTERFACE_DESCRIPTION | OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET);
        if wanted && body_octets > PACKET_OCTETS_MAX + BLOCK_EXTRA_OCTETS_MAX {
            self.stop(offset, format!("a block claims {total} octets; the rest of the file is not read"));
            return None;
        }
        let whole = if wanted { self.fill_body(body_octets as usize) } else { self.skip(u64::from(body_octets)) };
        let complete = whole && self.fill(&mut head) == head.len();
        if !complete {
            self.stop(offset, format!("the file ends inside a block of {total} octets"));
            return None;
        }
        if self.word(&head, 0)? != total {
            self.trouble(offset, "a block's two lengths differ");
        }
        match kind {
            INTERFACE_DESCRIPTION => {
                self.interface_description(offset);
                None
            }
            ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET => {
                let found = self.packet_block(kind);
                if found.is_none() {
                    self.frame += 1;
                    self.trouble(offset, "a packet block whose lengths or interface do not fit");
                }
                found
            }
            _ => None,
        }
    }

    /// Reads a section header from after its type.
    fn section_header(&mut self, offset: u64) {
        let mut head = [0; 8];
        if self.fill(&mut head) < head.len() {
            self.stop(offset, "the file ends inside a section header");
            return;
        }
        let magic = head.last_chunk::<4>().copied().unwrap_or_default();
        self.big_endian = match (u32::from_be_bytes(magic), u32::from_le_bytes(magic)) {
            (BYTE_ORDER_MAGIC, _) => true,
            (_, BYTE_ORDER_MAGIC) => false,
            _ => {
                self.stop(offset, "a section header without its byte-order magic");
                return;
            }
        };
        let total = self.word(&head, 0).unwrap_or(0);
        if total < 28 || !total.is_multiple_of(4) {
            self.stop(offset, format!("a section header claims {total} octets"));
            return;
        }
        if !self.skip(u64::from(total - 12)) {
            self.stop(offset, "the file ends inside a section header");
            return;
        }
        self.section_interfaces = self.interfaces.len();
    }

    fn interface_description(&mut self, offset: u64) {
        if self.interfaces.len() >= INTERFACES_MAX {
            self.stop(offset, format!("more than {INTERFACES_MAX} interfaces"));
            return;
        }
        let body = std::mem::take(&mut self.body);
        let mut interface = Interface {
            name: String::new(),
            link_type: self.half(&body, 0).unwrap_or(u16::MAX),
            snap_octets: self.word(&body, 4).unwrap_or(0),
            resolution: 1_000_000,
            offset_seconds: 0,
        };
        self.options(body.get(8..).unwrap_or_default(), |reader, code, value| match code {
            OPTION_IF_NAME => {
                let name = value.get(..NAME_OCTETS_MAX).unwrap_or(value);
                interface.name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
            }
            OPTION_TIMESTAMP_RESOLUTION => {
                if let Some(&octet) = value.first() {
                    let base: u64 = if octet & 0x80 == 0 { 10 } else { 2 };
                    interface.resolution = base.checked_pow(u32::from(octet & 0x7f)).unwrap_or(u64::MAX);
                }
            }
            OPTION_TIMESTAMP_OFFSET => {
                if let (Some(first), Some(second)) = (reader.word(value, 0), reader.word(value, 4)) {
                    let (high, low) = if reader.big_endian { (first, second) } else { (second, first) };
                    interface.offset_seconds = (u64::from(high) << 32 | u64::from(low)) as i64;
                }
            }
            _ => {}
        });
        self.body = body;
        self.interfaces.push(interface);
    }

    fn options(&self, mut rest: &[u8], mut each: impl FnMut(&Self, u16, &[u8])) {
        while let (Some(code), Some(length)) = (self.half(rest, 0), self.half(rest, 2)) {
            let length = usize::from(length);
            let Some(value) = rest.get(4..4 + length).filter(|_| code != 0) else { return };
            each(self, code, value);
            rest = rest.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    fn packet_block(&self, kind: u32) -> Option<Found> {
        let body = &self.body;
        let (interface, from): (usize, usize) = match kind {
            ENHANCED_PACKET => (self.word(body, 0)? as usize, 20),
            OBSOLETE_PACKET => (usize::from(self.half(body, 0)?), 20),
            _ => (0, 4),
        };
        let interface = self.section_interfaces.checked_add(interface)?;
        let snap_octets = self.interfaces.get(interface)?.snap_octets;
        let (units, octets, original_octets) = if kind == SIMPLE_PACKET {
            let original = self.word(body, 0)?;
            let limit = if snap_octets == 0 { u32::MAX } else { snap_octets };
            (None, original.min(limit).min(body.len() as u32 - 4), original)
        } else {
            let units = u64::from(self.word(body, 4)?) << 32 | u64::from(self.word(body, 8)?);
            (Some(units), self.word(body, 12)?, self.word(body, 16)?)
        };
        let octets = octets as usize;
        let end = from.checked_add(octets)?;
        body.get(from..end)?;
        let mut outbound = None;
        if kind != SIMPLE_PACKET {
            self.options(body.get(end.next_multiple_of(4)..).unwrap_or_default(), |reader, code, value| {
                if let (OPTION_PACKET_FLAGS, Some(flags)) = (code, reader.word(value, 0)) {
                    outbound = match flags & 3 {
                        1 => Some(false),
                        2 => Some(true),
                        _ => None,
                    };
                }
            });
        }
        Some(Found { interface, outbound, units, nanos: None, original_octets, from, octets })
    }
}
