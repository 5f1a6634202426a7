//! AF_PACKET with a TPACKET_V3 receive ring: frames are read in the ring's blocks and sent from there with sendmmsg.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::capture::{bind_packet, packet_socket, set_option};
use crate::interface::{InterfaceInfo, interface_info};
use crate::netns::in_optional_namespace;
use crate::ports::{FRAME_MAXIMUM_OCTETS, Frame, PacketPort, PortConfig, PortCounters, PortError, PortInfo};
use crate::xdp::ring::Mapping;

/// Octets of a block: small, so that a frame that waits holds little up.
const BLOCK_OCTETS: usize = 32 << 10;
/// Blocks per port.
const BLOCKS: usize = 128;
/// How long the kernel fills a block before it hands it over: half of what a voice packet may wait unnoticed at most.
const BLOCK_TIMEOUT_MILLIS: u32 = 1;
/// Frames sent by one system call.
const SEND_BATCH: usize = 64;
/// Frames that may wait for the next flush, per port.
const TRANSMIT_MAXIMUM: usize = 1_024;
/// Buffers for frames of the router's own and for those that wait long.
const POOL_BUFFERS: usize = 512;
/// `Frame::block` of a frame that lives in the pool.
const IN_POOL: u32 = u32::MAX;

/// Room that the MTU of a port may need: what a veth pair carries unless its peer sends merged segments.
const SNAP_OCTETS: usize = 16 << 10;

struct Port {
    socket: OwnedFd,
    ring: Mapping,
    /// The block to look at next.
    next: usize,
    /// Frames of each block that are out, plus one while the block is being read.
    out: [u32; BLOCKS],
    /// Where reading stopped inside `next`: (offset of the frame's header, frames left).
    reading: Option<(usize, u32)>,
    queue: VecDeque<Frame>,
    counters: PortCounters,
}

/// See [`crate::PortSet`].
pub(crate) struct TpacketPorts {
    ports: Vec<Port>,
    pool: Vec<u8>,
    free: Vec<u32>,
}

impl TpacketPorts {
    pub(crate) fn open(configs: &[PortConfig]) -> Result<(Self, Vec<PortInfo>), PortError> {
        let (mut ports, mut infos) = (Vec::new(), Vec::new());
        for config in configs {
            let (port, interface) = in_optional_namespace(config.namespace.as_deref(), || open_port(&config.interface))
                .map_err(PortError::Interface)??;
            ports.push(port);
            let tier = format!("AF_PACKET, TPACKET_V3 of {BLOCKS} blocks, sendmmsg from the ring");
            infos.push(PortInfo { interface, namespace: config.namespace.clone(), tier });
        }
        let pool = vec![0; POOL_BUFFERS * FRAME_MAXIMUM_OCTETS];
        Ok((Self { ports, pool, free: (0..POOL_BUFFERS as u32).rev().collect() }, infos))
    }
}

/// Runs in the interface's namespace.
fn open_port(name: &str) -> Result<(Port, InterfaceInfo), PortError> {
    let info = interface_info(name).map_err(PortError::Interface)?;
    let failed = |what| move |cause| PortError::Tpacket { interface: name.to_owned(), what, cause };
    if info.mtu_octets + 18 > SNAP_OCTETS {
        let most = SNAP_OCTETS - 18;
        return Err(PortError::Limit(format!(
            "the MTU of `{name}` is {}; at most {most} can be carried",
            info.mtu_octets
        )));
    }
    let socket = packet_socket(libc::SOCK_NONBLOCK).map_err(failed("socket"))?;
    let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_VERSION, &version).map_err(failed("TPACKET_V3"))?;
    let on: libc::c_int = 1;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on).map_err(failed("incoming only"))?;
    // our own queues decide what waits; older drivers may refuse to go without theirs
    let _ = set_option(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &on);
    let request = libc::tpacket_req3 {
        tp_block_size: BLOCK_OCTETS as u32,
        tp_block_nr: BLOCKS as u32,
        tp_frame_size: 2_048,
        tp_frame_nr: (BLOCK_OCTETS / 2_048 * BLOCKS) as u32,
        tp_retire_blk_tov: BLOCK_TIMEOUT_MILLIS,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    };
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request).map_err(failed("receive ring"))?;
    let ring = Mapping::shared(&socket, BLOCK_OCTETS * BLOCKS, 0).map_err(failed("mapping the ring"))?;
    bind_packet(&socket, info.index).map_err(failed("bind"))?;
    let (queue, counters) = (VecDeque::with_capacity(TRANSMIT_MAXIMUM), PortCounters::default());
    Ok((Port { socket, ring, next: 0, out: [0; BLOCKS], reading: None, queue, counters }, info))
}

impl Port {
    fn status(&self, block: usize) -> &AtomicU32 {
        let offset = block % BLOCKS * BLOCK_OCTETS + std::mem::offset_of!(libc::tpacket_block_desc, hdr);
        // SAFETY: block_status is the first word of the header, which stands aligned inside the mapping for every block
        // number below BLOCKS; the kernel and we change it only as a word.
        unsafe { &*self.ring.start().add(offset).cast::<AtomicU32>() }
    }

    /// Gives a block back when it is read and none of its frames are out.
    fn put(&mut self, block: usize) {
        let Some(out) = self.out.get_mut(block) else { return };
        *out = out.saturating_sub(1);
        if *out == 0 {
            self.status(block).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
    }

    fn receive(&mut self, port: usize, into: &mut Vec<Frame>, most: usize) {
        let mut left = most;
        while left > 0 {
            let block = self.next;
            let base = block * BLOCK_OCTETS;
            let (header_at, frames) = match self.reading {
                Some(place) => place,
                None => {
                    // a block whose frames are still out is not the kernel's yet, though it says TP_STATUS_USER
                    if self.out[block] > 0 || self.status(block).load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                        return;
                    }
                    // SAFETY: the kernel handed the block over (Acquire above); the descriptor stands at its start.
                    let header = unsafe {
                        let descriptor = self.ring.start().add(base).cast::<libc::tpacket_block_desc>();
                        std::ptr::addr_of!((*descriptor).hdr.bh1).read_unaligned()
                    };
                    self.out[block] = 1;
                    (header.offset_to_first_pkt as usize, header.num_pkts)
                }
            };
            if frames == 0 || header_at + size_of::<libc::tpacket3_hdr>() > BLOCK_OCTETS {
                self.reading = None;
                self.next = (block + 1) % BLOCKS;
                self.put(block);
                continue;
            }
            // SAFETY: inside the block (checked above), which is ours; read unaligned, all bit patterns are valid.
            let header =
                unsafe { self.ring.start().add(base + header_at).cast::<libc::tpacket3_hdr>().read_unaligned() };
            let (start, octets) = (header_at + usize::from(header.tp_mac), header.tp_snaplen as usize);
            // the last frame has no successor: an offset of zero ends the block with the count
            let step = header.tp_next_offset as usize;
            self.reading = Some(if step == 0 { (header_at, 0) } else { (header_at + step, frames - 1) });
            if start + octets > BLOCK_OCTETS || header.tp_len != header.tp_snaplen {
                self.counters.kernel_dropped += 1;
                continue;
            }
            self.out[block] += 1;
            left -= 1;
            self.counters.received += 1;
            into.push(Frame { port: port as u16, block: block as u32, offset: base + start, octets: octets as u32 });
        }
    }
}

impl TpacketPorts {
    fn pointer(&mut self, frame: &Frame) -> (*mut u8, usize) {
        let octets = self.octets(frame);
        (octets.as_mut_ptr(), octets.len())
    }

    fn send(&mut self, port: usize) {
        loop {
            // SAFETY: plain integers and pointers; all zeros is a valid value.
            let (mut iovecs, mut headers): ([libc::iovec; SEND_BATCH], [libc::mmsghdr; SEND_BATCH]) =
                unsafe { std::mem::zeroed() };
            let Some(state) = self.ports.get_mut(port) else { return };
            let mut batch = std::mem::take(&mut state.queue);
            let count = batch.len().min(SEND_BATCH);
            if count == 0 {
                state.queue = batch;
                return;
            }
            for (i, frame) in batch.iter().take(count).enumerate() {
                let (start, octets) = self.pointer(frame);
                iovecs[i] = libc::iovec { iov_base: start.cast(), iov_len: octets };
                headers[i].msg_hdr.msg_iov = &raw mut iovecs[i];
                headers[i].msg_hdr.msg_iovlen = 1;
            }
            let Some(state) = self.ports.get_mut(port) else { return };
            // SAFETY: the first `count` headers point at frames that are ours until they are discarded below; the
            // kernel only reads them.
            let result = unsafe {
                let flags = libc::MSG_DONTWAIT as _;
                libc::sendmmsg(state.socket.as_raw_fd(), headers.as_mut_ptr(), count as _, flags)
            };
            let again =
                matches!(io::Error::last_os_error().kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            let sent = match result {
                1.. => result as usize,
                _ if again => {
                    state.queue = batch;
                    return; // tried again at the next flush
                }
                _ => {
                    // the first frame was refused (no buffers, interface down): it is lost, those behind it are tried
                    state.counters.kernel_dropped += 1;
                    state.counters.transmitted = state.counters.transmitted.saturating_sub(1);
                    1
                }
            };
            let done: Vec<Frame> = batch.drain(..sent).collect();
            state.queue = batch;
            for frame in done {
                self.discard(frame);
            }
        }
    }
}

impl PacketPort for TpacketPorts {
    fn receive(&mut self, port: usize, into: &mut Vec<Frame>, most: usize) {
        if let Some(state) = self.ports.get_mut(port) {
            state.receive(port, into, most);
        }
    }

    fn octets(&mut self, frame: &Frame) -> &mut [u8] {
        if frame.block == IN_POOL {
            return self.pool.get_mut(frame.offset..frame.offset + frame.octets as usize).unwrap_or_default();
        }
        match self.ports.get_mut(usize::from(frame.port)) {
            // SAFETY: a frame of a block keeps the block from the kernel, is not Clone and goes back by value, frames do
            // not overlap, and `&mut self` makes this the only slice.
            Some(state) => unsafe { state.ring.part(frame.offset, frame.octets as usize) },
            None => &mut [],
        }
    }

    fn allocate(&mut self, octets: usize) -> Option<Frame> {
        if octets > FRAME_MAXIMUM_OCTETS {
            return None;
        }
        let offset = self.free.pop()? as usize * FRAME_MAXIMUM_OCTETS;
        Some(Frame { port: 0, block: IN_POOL, offset, octets: octets as u32 })
    }

    fn transmit(&mut self, frame: Frame, port: usize) -> Result<(), Frame> {
        let Some(state) = self.ports.get_mut(port) else { return Err(frame) };
        if state.queue.len() >= TRANSMIT_MAXIMUM {
            state.counters.transmit_full += 1;
            return Err(frame);
        }
        state.queue.push_back(frame);
        state.counters.transmitted += 1;
        Ok(())
    }

    fn discard(&mut self, frame: Frame) {
        if frame.block == IN_POOL {
            self.free.push((frame.offset / FRAME_MAXIMUM_OCTETS) as u32);
        } else if let Some(state) = self.ports.get_mut(usize::from(frame.port)) {
            state.put(frame.block as usize);
        }
    }

    fn retain(&mut self, frame: Frame) -> Result<Frame, Frame> {
        if frame.block == IN_POOL {
            return Ok(frame);
        }
        let Some(mut copy) = self.allocate(frame.octets()) else { return Err(frame) };
        copy.port = frame.port;
        let octets = self.octets(&frame).to_vec(); // the slow path: an address is being resolved
        self.octets(&copy).copy_from_slice(&octets);
        self.discard(frame);
        Ok(copy)
    }

    fn flush(&mut self) {
        for port in 0..self.ports.len() {
            self.send(port);
        }
    }

    fn counters(&mut self, port: usize) -> PortCounters {
        let Some(state) = self.ports.get_mut(port) else { return PortCounters::default() };
        // SAFETY: plain integers; all zeros is a valid value.
        let mut statistics: libc::tpacket_stats_v3 = unsafe { std::mem::zeroed() };
        let mut octets = size_of::<libc::tpacket_stats_v3>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `octets` octets into the value, which outlives the call.
        let result = unsafe {
            let to = (&raw mut statistics).cast();
            libc::getsockopt(state.socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, to, &mut octets)
        };
        if result == 0 {
            // the kernel starts from zero at every reading
            state.counters.kernel_dropped += u64::from(statistics.tp_drops);
        }
        state.counters
    }

    fn free_buffers(&self) -> usize {
        self.free.len()
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.ports.iter().map(|p| p.socket.as_fd()).collect()
    }
}
