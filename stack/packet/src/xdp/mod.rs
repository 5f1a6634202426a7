//! AF_XDP: every port of the set uses one UMEM, so that a descriptor received on one is put on the transmit ring of
//! another and the packet never moves.

pub(crate) mod bpf;
pub(crate) mod ring;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::capture::set_option;
use crate::interface::{InterfaceInfo, interface_info};
use crate::netns::in_optional_namespace;
use crate::ports::{FRAME_MAXIMUM_OCTETS, Frame, PacketPort, PortConfig, PortCounters, PortError, PortInfo};
use bpf::Attach;
use ring::{Mapping, Ring, RingKind, xdp_socket};

/// One buffer: a page holds two.
const CHUNK_OCTETS: usize = 2_048;
/// What the kernel leaves free in front of a received frame (XDP_PACKET_HEADROOM).
const HEADROOM_OCTETS: usize = CHUNK_OCTETS - FRAME_MAXIMUM_OCTETS;
/// Entries of each ring.
const RING_ENTRIES: u32 = 1_024;
/// Buffers per receive queue: a full fill ring, and as many under way.
const CHUNKS_PER_QUEUE: usize = 2 * RING_ENTRIES as usize;
/// Calls in a row to make the kernel transmit; each takes 32 frames.
const KICKS_MAXIMUM: u32 = 2 * RING_ENTRIES / 32;

struct Queue {
    socket: OwnedFd,
    fill: Ring<u64>,
    completion: Ring<u64>,
    receive: Ring<libc::xdp_desc>,
    transmit: Ring<libc::xdp_desc>,
    /// Frames on the transmit ring that the kernel has not been told of.
    unsent: bool,
}

struct Port {
    queues: Vec<Queue>,
    counters: PortCounters,
    // the link goes first: nothing is redirected to sockets that are closing
    _link: OwnedFd,
    _program: OwnedFd,
    _map: OwnedFd,
}

/// See [`crate::PortSet`].
pub(crate) struct XdpPorts {
    ports: Vec<Port>,
    free: Vec<u64>,
    // last: the sockets must be gone before the memory is
    umem: Mapping,
}

impl XdpPorts {
    pub(crate) fn open(configs: &[PortConfig]) -> Result<(Self, Vec<PortInfo>), PortError> {
        let mut interfaces = Vec::with_capacity(configs.len());
        for config in configs {
            let namespace = config.namespace.as_deref();
            let info = in_optional_namespace(namespace, || interface_info(&config.interface))
                .and_then(|info| info)
                .map_err(PortError::Interface)?;
            if info.mtu_octets + 18 > FRAME_MAXIMUM_OCTETS {
                let sentence = format!(
                    "the MTU of `{}` is {}; AF_XDP carries at most {}: lower it or use the tier tpacket",
                    info.name,
                    info.mtu_octets,
                    FRAME_MAXIMUM_OCTETS - 18
                );
                return Err(PortError::Limit(sentence));
            }
            interfaces.push(info);
        }
        // one kind of bind for the whole set: sockets that share a UMEM share it too
        match Self::open_as(configs, &interfaces, libc::XDP_ZEROCOPY) {
            Ok(opened) => Ok(opened),
            Err(refused) => {
                tracing::debug!(reason = %refused, "no driver zero-copy, using copy mode");
                Self::open_as(configs, &interfaces, libc::XDP_COPY)
            }
        }
    }

    fn open_as(
        configs: &[PortConfig],
        interfaces: &[InterfaceInfo],
        mode: u16,
    ) -> Result<(Self, Vec<PortInfo>), PortError> {
        let queues: usize = interfaces.iter().map(|i| i.receive_queues as usize).sum();
        let chunks = queues * CHUNKS_PER_QUEUE;
        let failed = |interface: &str, what| {
            let interface = interface.to_owned();
            move |cause| PortError::Xdp { interface, what, cause }
        };
        let first_name = configs.first().map_or("", |c| c.interface.as_str());
        raise_memory_lock();
        let umem = Mapping::anonymous(chunks * CHUNK_OCTETS).map_err(failed(first_name, "buffer memory"))?;
        let free = (0..chunks as u64).rev().map(|n| n * CHUNK_OCTETS as u64).collect();
        let mut set = Self { ports: Vec::new(), free, umem };
        let mut infos = Vec::new();
        for (config, interface) in configs.iter().zip(interfaces) {
            let namespace = config.namespace.as_deref();
            let (port, how) = in_optional_namespace(namespace, || set.open_port(interface, mode))
                .map_err(PortError::Interface)?
                .map_err(|(what, cause)| failed(&interface.name, what)(cause))?;
            let how = match how {
                Attach::Native => "native",
                Attach::Generic => "generic",
            };
            let copy = if mode == libc::XDP_ZEROCOPY { "driver zero-copy" } else { "copy" };
            let tier = format!("AF_XDP {how}, {copy}, {} queue(s), one UMEM", port.queues.len());
            infos.push(PortInfo { interface: interface.clone(), namespace: config.namespace.clone(), tier });
            set.ports.push(port);
        }
        set.flush();
        Ok((set, infos))
    }

    /// Runs in the interface's namespace.
    fn open_port(&mut self, interface: &InterfaceInfo, mode: u16) -> Result<(Port, Attach), (&'static str, io::Error)> {
        let map = bpf::socket_map(interface.receive_queues).map_err(|e| ("socket map", e))?;
        let program = bpf::load_program(&map).map_err(|e| ("program", e))?;
        let mut queues: Vec<Queue> = Vec::new();
        for number in 0..interface.receive_queues {
            let owner = self.ports.first().and_then(|p| p.queues.first()).or(queues.first()).map(|q| &q.socket);
            let queue = self.open_queue(interface.index, number, owner, mode)?;
            bpf::set_socket(&map, number, &queue.socket).map_err(|e| ("socket map entry", e))?;
            queues.push(queue);
        }
        let attached = bpf::attach(&program, interface.index, Attach::Native).map(|link| (link, Attach::Native));
        let (link, how) = match attached {
            Ok(attached) => attached,
            Err(native) => {
                tracing::debug!(interface = interface.name, reason = %native, "no native XDP, using generic");
                let link = bpf::attach(&program, interface.index, Attach::Generic).map_err(|e| ("attaching", e))?;
                (link, Attach::Generic)
            }
        };
        Ok((Port { queues, counters: PortCounters::default(), _link: link, _program: program, _map: map }, how))
    }

    fn open_queue(
        &self,
        interface_index: u32,
        number: u32,
        owner: Option<&OwnedFd>,
        mode: u16,
    ) -> Result<Queue, (&'static str, io::Error)> {
        let socket = xdp_socket().map_err(|e| ("socket", e))?;
        if owner.is_none() {
            let register = libc::xdp_umem_reg {
                addr: self.umem.start() as u64,
                len: (self.free.len() * CHUNK_OCTETS) as u64,
                chunk_size: CHUNK_OCTETS as u32,
                headroom: 0,
                flags: 0,
                tx_metadata_len: 0,
            };
            set_option(&socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &register)
                .map_err(|e| ("buffer registration", e))?;
        }
        let fill = Ring::open(&socket, RingKind::Fill, RING_ENTRIES).map_err(|e| ("fill ring", e))?;
        let completion = Ring::open(&socket, RingKind::Completion, RING_ENTRIES).map_err(|e| ("completion ring", e))?;
        let receive = Ring::open(&socket, RingKind::Receive, RING_ENTRIES).map_err(|e| ("receive ring", e))?;
        let transmit = Ring::open(&socket, RingKind::Transmit, RING_ENTRIES).map_err(|e| ("transmit ring", e))?;
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            // a sharing socket takes copy mode and wake-ups from the owner and may not name them
            sxdp_flags: if owner.is_some() { libc::XDP_SHARED_UMEM } else { mode | libc::XDP_USE_NEED_WAKEUP },
            sxdp_ifindex: interface_index,
            sxdp_queue_id: number,
            sxdp_shared_umem_fd: owner.map_or(0, |o| o.as_raw_fd() as u32),
        };
        let octets = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: the address is ours, of the length given, and read only during the call.
        if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), octets) } < 0 {
            return Err(("bind", io::Error::last_os_error()));
        }
        Ok(Queue { socket, fill, completion, receive, transmit, unsent: false })
    }

    /// Takes sent buffers back and gives the kernel fresh ones to receive into.
    fn recycle(&mut self) {
        let Self { ports, free, .. } = self;
        for queue in ports.iter_mut().flat_map(|p| &mut p.queues) {
            while let Some(address) = queue.completion.pop() {
                free.push(address - address % CHUNK_OCTETS as u64);
            }
            queue.completion.release();
        }
        for queue in ports.iter_mut().flat_map(|p| &mut p.queues) {
            for _ in 0..queue.fill.room() {
                let Some(address) = free.pop() else { break };
                queue.fill.push(address);
            }
            queue.fill.publish();
        }
    }
}

impl PacketPort for XdpPorts {
    fn receive(&mut self, port: usize, into: &mut Vec<Frame>, most: usize) {
        let Some(state) = self.ports.get_mut(port) else { return };
        let mut left = most;
        for queue in &mut state.queues {
            while left > 0 {
                let Some(descriptor) = queue.receive.pop() else { break };
                left -= 1;
                let offset = descriptor.addr as usize;
                into.push(Frame { port: port as u16, block: 0, offset, octets: descriptor.len });
            }
            queue.receive.release();
        }
        state.counters.received += (most - left) as u64;
    }

    fn octets(&mut self, frame: &Frame) -> &mut [u8] {
        // SAFETY: a frame is made only from a descriptor that the kernel handed over or from the free list, is not
        // Clone, and goes back by value: the chunk is ours alone, and `&mut self` makes this the only slice.
        unsafe { self.umem.part(frame.offset, frame.octets as usize) }
    }

    fn allocate(&mut self, octets: usize) -> Option<Frame> {
        if octets > FRAME_MAXIMUM_OCTETS {
            return None;
        }
        let offset = self.free.pop()? as usize + HEADROOM_OCTETS;
        Some(Frame { port: 0, block: 0, offset, octets: octets as u32 })
    }

    fn transmit(&mut self, frame: Frame, port: usize) -> Result<(), Frame> {
        let Some(state) = self.ports.get_mut(port) else { return Err(frame) };
        // spread over the queues, as the kernel takes frames from each of them in turn
        let count = state.queues.len();
        let Some(queue) = state.queues.get_mut(usize::from(frame.port) % count.max(1)) else { return Err(frame) };
        if !queue.transmit.push(libc::xdp_desc { addr: frame.offset as u64, len: frame.octets, options: 0 }) {
            state.counters.transmit_full += 1;
            return Err(frame);
        }
        queue.unsent = true;
        state.counters.transmitted += 1;
        Ok(())
    }

    fn discard(&mut self, frame: Frame) {
        self.free.push((frame.offset - frame.offset % CHUNK_OCTETS) as u64);
    }

    fn retain(&mut self, frame: Frame) -> Result<Frame, Frame> {
        Ok(frame)
    }

    fn flush(&mut self) {
        for queue in self.ports.iter_mut().flat_map(|p| &mut p.queues) {
            if !queue.unsent {
                continue;
            }
            let mut pending = queue.transmit.publish();
            for _ in 0..KICKS_MAXIMUM {
                if !pending || !queue.transmit.needs_wakeup() {
                    break;
                }
                // SAFETY: no data and no address: the call only tells the kernel to look at the ring.
                let result = unsafe {
                    libc::sendto(queue.socket.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
                };
                let busy = result < 0 && io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock;
                pending = queue.transmit.publish();
                if busy {
                    break; // tried again at the next flush
                }
            }
            queue.unsent = pending;
        }
        self.recycle();
    }

    fn counters(&mut self, port: usize) -> PortCounters {
        let Some(state) = self.ports.get_mut(port) else { return PortCounters::default() };
        let mut dropped = 0;
        for queue in &state.queues {
            // SAFETY: plain integers; all zeros is a valid value.
            let mut statistics: libc::xdp_statistics = unsafe { std::mem::zeroed() };
            let mut octets = size_of::<libc::xdp_statistics>() as libc::socklen_t;
            // SAFETY: the kernel writes at most `octets` octets into the value, which outlives the call.
            let result = unsafe {
                let to = (&raw mut statistics).cast();
                libc::getsockopt(queue.socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_STATISTICS, to, &mut octets)
            };
            if result == 0 {
                dropped += statistics.rx_dropped
                    + statistics.rx_ring_full
                    + statistics.rx_fill_ring_empty_descs
                    + statistics.tx_invalid_descs;
            }
        }
        PortCounters { kernel_dropped: dropped, ..state.counters }
    }

    fn free_buffers(&self) -> usize {
        self.free.len()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.ports.iter().flat_map(|p| &p.queues).map(|q| q.socket.as_fd()).collect()
    }
}

/// Registered buffers count as locked memory for users without CAP_IPC_LOCK.
fn raise_memory_lock() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one struct that outlives the call. A refusal is no error here: registration will say so if it matters.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &unlimited) };
}
