//! A set of ports under one tier: receive in place, forward the same buffer, drop, flush.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::interface::InterfaceInfo;
use crate::pcapng::Direction;
use crate::tap::Tap;
use crate::tpacket::TpacketPorts;
use crate::xdp::XdpPorts;

/// Most ports of one set.
pub const PORTS_MAXIMUM: usize = 16;
/// Longest frame that a port carries, in octets: one AF_XDP chunk without the kernel's headroom.
pub const FRAME_MAXIMUM_OCTETS: usize = 1_792;

/// One interface to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// The named namespace the interface is in; `None` for the caller's.
    pub namespace: Option<String>,
    /// The interface's name.
    pub interface: String,
}

/// Which tier to use.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum TierChoice {
    /// AF_XDP, and AF_PACKET where that is refused.
    #[default]
    Auto,
    /// AF_XDP or nothing.
    Xdp,
    /// AF_PACKET with TPACKET_V3 or nothing.
    Tpacket,
}

/// Why ports could not be opened; one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The interface or its namespace is not there.
    #[error("{0}")]
    Interface(io::Error),
    /// The kernel refused AF_XDP.
    #[error(
        "AF_XDP is refused on `{interface}`: {what}: {cause}; it needs root (CAP_NET_RAW, CAP_BPF, CAP_NET_ADMIN) and Linux 5.10"
    )]
    Xdp {
        /// The interface.
        interface: String,
        /// The step that failed.
        what: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The kernel refused AF_PACKET.
    #[error("AF_PACKET is refused on `{interface}`: {what}: {cause}; it needs root or CAP_NET_RAW")]
    Tpacket {
        /// The interface.
        interface: String,
        /// The step that failed.
        what: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
    /// More than [`PORTS_MAXIMUM`] ports, or a frame size the tier cannot hold.
    #[error("{0}")]
    Limit(String),
    /// Both tiers were refused.
    #[error("no packet tier applies: {0}; {1}")]
    Neither(Box<PortError>, Box<PortError>),
    /// Waiting and waking could not be set up.
    #[error("cannot make an event descriptor: {0}")]
    Waker(io::Error),
}

/// A frame in the buffer that it came in. Give it back with [`PortSet::transmit`] or [`PortSet::discard`]: one that is
/// forgotten keeps its buffer until the set is closed.
#[derive(Debug)]
#[must_use = "a frame that is neither transmitted nor discarded keeps its buffer"]
pub struct Frame {
    pub(crate) port: u16,
    pub(crate) block: u32,
    pub(crate) offset: usize,
    pub(crate) octets: u32,
}

impl Frame {
    /// The port it came in by (index in [`PortSet::ports`]); for an allocated frame, any.
    pub fn port(&self) -> usize {
        usize::from(self.port)
    }

    /// Its length in octets, Ethernet header included.
    pub fn octets(&self) -> usize {
        self.octets as usize
    }
}

/// What a port is and how it is carried.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// The interface.
    pub interface: InterfaceInfo,
    /// Its namespace, when named.
    pub namespace: Option<String>,
    /// The tier that applied, for the log: `AF_XDP native, copy, 2 queues`.
    pub tier: String,
}

/// What went through a port since it was opened.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames received.
    pub received: u64,
    /// Frames given to the kernel to send.
    pub transmitted: u64,
    /// Frames refused for want of room in the transmit ring.
    pub transmit_full: u64,
    /// Frames the kernel dropped for want of receive buffers, or refused to send.
    pub kernel_dropped: u64,
}

/// Wakes a thread that waits in [`PortSet::wait`].
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Makes the current or the next wait return at once.
    pub fn wake(&self) {
        // only fails when 2^64 - 1 wakes are pending, and then the waiter wakes anyway
        let _ = self.0.write(1);
    }
}

/// What a tier does; [`PortSet`] adds waiting and taps.
pub(crate) trait PacketPort: Send {
    /// Moves up to `most` received frames of `port` into `into`.
    fn receive(&mut self, port: usize, into: &mut Vec<Frame>, most: usize);
    /// The octets of a frame; empty for a frame of another set.
    fn octets(&mut self, frame: &Frame) -> &mut [u8];
    /// A fresh frame, or none when buffers are used up.
    fn allocate(&mut self, octets: usize) -> Option<Frame>;
    /// Puts the frame on the transmit queue of `port`.
    fn transmit(&mut self, frame: Frame, port: usize) -> Result<(), Frame>;
    /// Gives the frame's buffer back.
    fn discard(&mut self, frame: Frame);
    /// Moves the frame to where it may stay for seconds without holding up reception.
    fn retain(&mut self, frame: Frame) -> Result<Frame, Frame>;
    /// Tells the kernel about everything transmitted and given back.
    fn flush(&mut self);
    /// Counters of `port`.
    fn counters(&mut self, port: usize) -> PortCounters;
    /// Buffers that nobody holds.
    fn free_buffers(&self) -> usize;
    /// Descriptors to wait for.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;
}

/// Ports of one router, opened together so that a buffer can go from any to any. Owned by one thread.
pub struct PortSet {
    tier: Option<Box<dyn PacketPort>>,
    ports: Vec<PortInfo>,
    taps: Vec<Option<Tap>>,
    waker: Waker,
}

impl std::fmt::Debug for PortSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortSet").field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl PortSet {
    /// Opens `ports` under the chosen tier. No ports is a valid set: it can only wait and be woken.
    ///
    /// # Errors
    /// [`PortError`], when an interface is missing or the tier is refused; nothing stays open or attached.
    pub fn open(ports: &[PortConfig], choice: TierChoice) -> Result<Self, PortError> {
        if ports.len() > PORTS_MAXIMUM {
            return Err(PortError::Limit(format!("{} ports are more than {PORTS_MAXIMUM}", ports.len())));
        }
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map_err(|e| PortError::Waker(e.into()))?;
        let waker = Waker(Arc::new(event));
        if ports.is_empty() {
            return Ok(Self { tier: None, ports: Vec::new(), taps: Vec::new(), waker });
        }
        let xdp = || XdpPorts::open(ports).map(|(tier, info)| (Box::new(tier) as Box<dyn PacketPort>, info));
        let tpacket = || TpacketPorts::open(ports).map(|(tier, info)| (Box::new(tier) as Box<dyn PacketPort>, info));
        let (tier, info) = match choice {
            TierChoice::Xdp => xdp()?,
            TierChoice::Tpacket => tpacket()?,
            TierChoice::Auto => match xdp() {
                Ok(opened) => opened,
                Err(missing @ PortError::Interface(_)) => return Err(missing),
                Err(refused) => {
                    tracing::info!(reason = %refused, "falling back to AF_PACKET");
                    match tpacket() {
                        Ok(opened) => opened,
                        Err(also) => return Err(PortError::Neither(Box::new(refused), Box::new(also))),
                    }
                }
            },
        };
        for port in &info {
            tracing::info!(
                interface = port.interface.name,
                namespace = port.namespace.as_deref().unwrap_or("-"),
                tier = port.tier,
                "port open"
            );
        }
        let taps = info.iter().map(|_| None).collect();
        Ok(Self { tier: Some(tier), ports: info, taps, waker })
    }

    /// The ports, in the order they were given.
    pub fn ports(&self) -> &[PortInfo] {
        &self.ports
    }

    /// Records everything that enters and leaves by `port` from now on.
    pub fn set_tap(&mut self, port: usize, tap: Tap) {
        if let Some(place) = self.taps.get_mut(port) {
            *place = Some(tap);
        }
    }

    /// A handle for other threads to end a wait with.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Moves up to `most` received frames of `port` into `into`; never waits.
    pub fn receive(&mut self, port: usize, into: &mut Vec<Frame>, most: usize) {
        let Some(tier) = &mut self.tier else { return };
        let first = into.len();
        tier.receive(port, into, most);
        if let Some(Some(tap)) = self.taps.get_mut(port) {
            for frame in into.get(first..).unwrap_or_default() {
                tap.record(Direction::Inbound, tier.octets(frame));
            }
        }
    }

    /// The octets of a frame, from the Ethernet header on, to read and rewrite in place.
    pub fn octets(&mut self, frame: &Frame) -> &mut [u8] {
        match &mut self.tier {
            Some(tier) => tier.octets(frame),
            None => &mut [],
        }
    }

    /// A fresh frame of up to [`FRAME_MAXIMUM_OCTETS`] for something the router itself has to say; `None` when every
    /// buffer is in use.
    pub fn allocate(&mut self, octets: usize) -> Option<Frame> {
        if octets > FRAME_MAXIMUM_OCTETS {
            return None;
        }
        self.tier.as_mut()?.allocate(octets)
    }

    /// Queues the frame, in its buffer, to leave by `port`; it does so at the next [`PortSet::flush`].
    ///
    /// # Errors
    /// The frame itself when the port's transmit ring is full.
    pub fn transmit(&mut self, frame: Frame, port: usize) -> Result<(), Frame> {
        let Some(tier) = &mut self.tier else { return Err(frame) };
        if let Some(Some(tap)) = self.taps.get_mut(port) {
            tap.record(Direction::Outbound, tier.octets(&frame));
        }
        tier.transmit(frame, port)
    }

    /// Gives the frame's buffer back unsent.
    pub fn discard(&mut self, frame: Frame) {
        if let Some(tier) = &mut self.tier {
            tier.discard(frame);
        }
    }

    /// Prepares a frame to be kept for as long as seconds (waiting for an address to be resolved). AF_XDP buffers are
    /// independent and stay as they are; a TPACKET_V3 frame is copied out of its block, which would otherwise stop the ring.
    ///
    /// # Errors
    /// The frame when there is no buffer to copy it to.
    pub fn retain(&mut self, frame: Frame) -> Result<Frame, Frame> {
        match &mut self.tier {
            Some(tier) => tier.retain(frame),
            None => Err(frame),
        }
    }

    /// Sends what was queued and returns buffers to the kernel.
    pub fn flush(&mut self) {
        if let Some(tier) = &mut self.tier {
            tier.flush();
        }
    }

    /// Waits until a frame is there, the waker was used or `timeout` has passed (`None`: for ever); returns whether
    /// the waker was used.
    ///
    /// # Errors
    /// When poll(2) fails for another reason than a signal.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let mut descriptors = vec![PollFd::new(self.waker.0.as_fd(), PollFlags::POLLIN)];
        if let Some(tier) = &self.tier {
            descriptors.extend(tier.descriptors().into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        let timeout = match timeout {
            None => PollTimeout::NONE,
            // rounded up: waking a moment early would spin until the deadline
            Some(t) => {
                let millis = t.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
                PollTimeout::try_from(millis as i32).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.waker.0.read().is_ok())
    }

    /// What went through `port`; zeros for one that does not exist.
    pub fn counters(&mut self, port: usize) -> PortCounters {
        match &mut self.tier {
            Some(tier) if port < self.ports.len() => tier.counters(port),
            _ => PortCounters::default(),
        }
    }

    /// Buffers that hold no frame and wait for none.
    pub fn free_buffers(&self) -> usize {
        self.tier.as_ref().map_or(0, |tier| tier.free_buffers())
    }
}
