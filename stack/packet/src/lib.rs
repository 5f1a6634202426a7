//! Packet input and output for the router, the gateway's media loop and captures.
//!
//! - **In**: Ethernet frames from network interfaces (AF_XDP or AF_PACKET), UDP datagrams in batches, names of network
//!   namespaces.
//! - **Out**: the same frames, in the buffers they came in, on other interfaces; datagrams with their DSCP and ECN bits;
//!   pcapng files; namespaces with virtual Ethernet pairs for demonstrations and tests.
//! - **Never**: decides where a frame goes or what it may carry (policy/router, policy/diffserv); copies a frame on the
//!   forwarding path; leaves a program attached to an interface when the process dies.
//! - **Sources**: the kernel's AF_XDP and packet_mmap interfaces; pcapng (draft-ietf-opsawg-pcapng); RFC 826, 791, 768
//!   for the frames that [`frames`] builds.
//!
//! [`PortSet`] is the router's view: a set of ports with one tier under all of them. [`UdpBatch`] is the gateway's.

#![allow(
    unsafe_code,
    reason = "shared memory rings, bpf(2) and message headers have no safe interface; this crate is where the \
              workspace keeps them, each block with the reason why it is sound"
)]

mod capture;
pub mod frames;
mod interface;
pub mod netns;
pub mod pcapng;
mod ports;
mod probe;
mod tap;
mod topology;
mod tpacket;
mod udp;
mod xdp;

pub use capture::{Capture, CaptureError, CaptureHandle, Captured, capture};
pub use interface::{InterfaceInfo, interface_info, set_transmit_checksum};
pub use ports::{Frame, PortConfig, PortCounters, PortError, PortInfo, PortSet, TierChoice, Waker};
pub use probe::{Capabilities, Capability, probe};
pub use tap::{Tap, TapRecorder};
pub use topology::{Topology, TopologyBuilder, TopologyError};
pub use udp::{Datagram, UdpBatch};
