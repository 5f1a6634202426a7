//! A whole capture, read.

use std::io::Read;

use crate::correlate;
use crate::dissect::Dissector;
use crate::file::{ReadError, Reader};
use crate::model::{Call, Summary};
use crate::names::Names;
use crate::stream::Stream;

/// What a capture may make us keep at most. What is beyond is counted in [`Summary::over_limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls.
    pub calls: usize,
    /// Events of one call.
    pub events_per_call: usize,
    /// Signalling messages of all calls.
    pub messages: usize,
    /// RTP streams, and candidates for one.
    pub streams: usize,
    /// TCP connections followed at the same time.
    pub tcp_connections: usize,
    /// Octets that wait for a gap in one direction of a TCP connection to close.
    pub tcp_waiting_octets: usize,
    /// IP datagrams of which fragments are missing.
    pub fragmented_datagrams: usize,
    /// Descriptions of what was not understood; the rest is counted.
    pub troubles: usize,
    /// An IAM to the number of an INVITE is that call's when it comes within so many seconds of it.
    pub trunk_seconds: u64,
}

impl Limits {
    /// What [`Capture::read`] applies.
    pub const DEFAULT: Limits = Limits {
        calls: 10_000,
        events_per_call: 2_000,
        messages: 200_000,
        streams: 20_000,
        tcp_connections: 2_000,
        tcp_waiting_octets: 256 * 1024,
        fragmented_datagrams: 256,
        troubles: 64,
        trunk_seconds: 30,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}

/// Calls and streams of one capture.
#[derive(Clone, Debug)]
pub struct Capture {
    calls: Vec<Call>,
    streams: Vec<Stream>,
    summary: Summary,
}

impl Capture {
    /// Reads a pcap or pcapng file to its end, or as far as it can be read.
    ///
    /// # Errors
    /// When the first octets are of neither format. What goes wrong later is in [`Capture::summary`].
    pub fn read(input: impl Read, names: &Names) -> Result<Capture, ReadError> {
        Capture::read_with(input, names, &Limits::DEFAULT)
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// As [`Capture::read`].
    pub fn read_with(input: impl Read, names: &Names, limits: &Limits) -> Result<Capture, ReadError> {
        let mut reader = Reader::new(input)?;
        let mut dissector = Dissector::new(*limits);
        while let Some(packet) = reader.next() {
            dissector.packet(&packet);
        }
        let mut found = dissector.finish(&reader.interface_names());
        found.summary.format = reader.format().to_owned();
        found.summary.interfaces = reader.interface_names();
        found.summary.file_octets = reader.offset();
        found.summary.trouble_count += reader.troubles().len() as u64 + reader.troubles_dropped();
        found.summary.troubles.extend_from_slice(reader.troubles());
        found.summary.troubles.sort_by_key(|trouble| trouble.offset);
        found.summary.troubles.truncate(limits.troubles);
        let calls = correlate::calls(&mut found, names, limits);
        Ok(Capture { calls, streams: found.streams, summary: found.summary })
    }

    /// The calls in order of time.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The RTP streams in order of time: one for each SSRC, pair of addresses, and interface with direction.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// What was read, and what was not.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}
