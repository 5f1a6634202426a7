//! UDP datagrams in batches: many per system call, each with its DSCP and ECN bits, answered from the slot it came in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};

/// Most datagrams of one batch.
pub const BATCH_MAXIMUM: usize = 64;
/// Octets of a slot unless asked otherwise: a G.711 packet of 100 ms and any SRTP trailer.
pub const SLOT_OCTETS: usize = 2_048;

const CONTROL_OCTETS: usize = 64;

/// A datagram in its slot.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub peer: SocketAddr,
    /// The DSCP (upper six bits) and ECN (lower two) of its IP header.
    pub tos: u8,
    /// Longer than the slot: the rest is lost.
    pub truncated: bool,
    /// The payload, to read and rewrite.
    pub payload: &'a mut [u8],
}

#[derive(Copy, Clone)]
struct Slot {
    peer: SocketAddr,
    octets: usize,
    tos: u8,
    truncated: bool,
}

/// A socket with slots. One batch at a time: [`UdpBatch::receive`] overwrites the one before.
#[derive(Debug)]
pub struct UdpBatch {
    socket: UdpSocket,
    buffer: Vec<u8>,
    slot_octets: usize,
    slots: Vec<Slot>,
    outgoing: Vec<(usize, Slot)>,
    refused: u64,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} octets, {}", self.octets, self.peer)
    }
}

impl UdpBatch {
    /// Takes a bound socket, makes it non-blocking and asks the kernel for the traffic class of every datagram.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        Self::with_slots(socket, BATCH_MAXIMUM, SLOT_OCTETS)
    }

    /// Like [`UdpBatch::new`] with `slots` (1 to [`BATCH_MAXIMUM`]) of `slot_octets`.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn with_slots(socket: UdpSocket, slots: usize, slot_octets: usize) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        if socket.local_addr()?.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6RecvTClass, &true)?;
        }
        // also on IPv6 sockets: they may carry IPv4 datagrams
        if let Err(error) = setsockopt(&socket, sockopt::IpRecvTos, &true)
            && socket.local_addr()?.is_ipv4()
        {
            return Err(error.into());
        }
        let slots = slots.clamp(1, BATCH_MAXIMUM);
        Ok(Self {
            socket,
            buffer: vec![0; slots * slot_octets],
            slot_octets,
            slots: Vec::with_capacity(slots),
            outgoing: Vec::with_capacity(slots),
            refused: 0,
        })
    }

    /// The socket.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Datagrams that the kernel refused to send, since the beginning.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Reads what is there, without waiting; returns how many slots are filled.
    ///
    /// # Errors
    /// Those of the kernel, except that nothing is there (0).
    pub fn receive(&mut self) -> io::Result<usize> {
        self.slots.clear();
        self.outgoing.clear();
        let count = self.buffer.len() / self.slot_octets.max(1);
        // SAFETY: the three are plain integers, arrays and pointers, for which all zeros is a valid value.
        let (mut names, mut iovecs, mut headers): (
            [libc::sockaddr_storage; BATCH_MAXIMUM],
            [libc::iovec; BATCH_MAXIMUM],
            [libc::mmsghdr; BATCH_MAXIMUM],
        ) = unsafe { std::mem::zeroed() };
        let mut controls = [Control([0; CONTROL_OCTETS]); BATCH_MAXIMUM];
        for (i, chunk) in self.buffer.chunks_exact_mut(self.slot_octets).enumerate().take(count) {
            iovecs[i] = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: chunk.len() };
            let header = &mut headers[i].msg_hdr;
            header.msg_name = (&raw mut names[i]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut iovecs[i];
            header.msg_iovlen = 1;
            header.msg_control = controls[i].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_OCTETS as _;
        }
        // SAFETY: the first `count` headers point at names, slots and control buffers that are ours, of the lengths
        // given, distinct, and alive until the call returns.
        let received = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                // a port-unreachable answer to something sent earlier is reported here once; it is no fault of this read
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => Ok(0),
                _ => Err(error),
            };
        }
        for i in 0..received as usize {
            let peer = from_storage(&names[i]).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
            let truncated = headers[i].msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let octets = (headers[i].msg_len as usize).min(self.slot_octets);
            self.slots.push(Slot { peer, octets, tos: traffic_class(&headers[i].msg_hdr), truncated });
        }
        Ok(self.slots.len())
    }

    /// Filled slots of the last batch.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the last batch was empty.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The datagram in slot `index` of the last batch.
    pub fn datagram(&mut self, index: usize) -> Option<Datagram<'_>> {
        let slot = *self.slots.get(index)?;
        let start = index * self.slot_octets;
        let payload = self.buffer.get_mut(start..start + slot.octets)?;
        Some(Datagram { peer: slot.peer, tos: slot.tos, truncated: slot.truncated, payload })
    }

    /// Queues the first `octets` of slot `index` (as rewritten) to go to `peer` with this traffic class. `false` when
    /// there is no such slot, it is shorter, or every slot is queued already.
    pub fn queue(&mut self, index: usize, octets: usize, peer: SocketAddr, tos: u8) -> bool {
        let fits = self.slots.get(index).is_some() && octets <= self.slot_octets;
        let room = self.outgoing.len() < BATCH_MAXIMUM;
        if fits && room {
            self.outgoing.push((index, Slot { peer, octets, tos, truncated: false }));
        }
        fits && room
    }

    /// Sends what was queued from this socket; returns how many the kernel took. The others are counted as refused:
    /// media is not sent again.
    pub fn send(&mut self) -> usize {
        let (sent, refused) = send_slots(self.socket.as_fd(), &mut self.buffer, self.slot_octets, &self.outgoing);
        self.refused += refused as u64;
        self.outgoing.clear();
        sent
    }

    /// Like [`UdpBatch::send`], from another socket (the other leg of a relay).
    pub fn send_from(&mut self, socket: &impl AsFd) -> usize {
        let (sent, refused) = send_slots(socket.as_fd(), &mut self.buffer, self.slot_octets, &self.outgoing);
        self.refused += refused as u64;
        self.outgoing.clear();
        sent
    }
}

#[derive(Copy, Clone)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_OCTETS]);

fn send_slots(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    slot_octets: usize,
    queued: &[(usize, Slot)],
) -> (usize, usize) {
    // SAFETY: the three are plain integers, arrays and pointers, for which all zeros is a valid value.
    let (mut names, mut iovecs, mut headers): (
        [libc::sockaddr_storage; BATCH_MAXIMUM],
        [libc::iovec; BATCH_MAXIMUM],
        [libc::mmsghdr; BATCH_MAXIMUM],
    ) = unsafe { std::mem::zeroed() };
    let mut controls = [Control([0; CONTROL_OCTETS]); BATCH_MAXIMUM];
    let mut count = 0;
    for (index, slot) in queued.iter().take(BATCH_MAXIMUM) {
        let Some(payload) = buffer.get_mut(index * slot_octets..).and_then(|b| b.get_mut(..slot.octets)) else {
            continue;
        };
        iovecs[count] = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
        let name_octets = to_storage(slot.peer, &mut names[count]);
        let header = &mut headers[count].msg_hdr;
        header.msg_name = (&raw mut names[count]).cast();
        header.msg_namelen = name_octets;
        header.msg_iov = &raw mut iovecs[count];
        header.msg_iovlen = 1;
        header.msg_control = controls[count].0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_OCTETS as _;
        put_traffic_class(header, slot.peer.is_ipv4(), slot.tos);
        count += 1;
    }
    let (mut done, mut sent) = (0, 0);
    while done < count {
        // SAFETY: headers[done..count] point at names, slots and control buffers that live until the call returns; the
        // kernel only reads them.
        let result = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers[done..].as_mut_ptr(),
                (count - done) as _,
                libc::MSG_DONTWAIT as _,
            )
        };
        if result > 0 {
            done += result as usize;
            sent += result as usize;
            continue;
        }
        match io::Error::last_os_error().kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => break,
            // one peer's fault (unreachable, refused): the datagrams behind it still go
            _ => done += 1,
        }
    }
    (sent, queued.len() - sent)
}

fn put_traffic_class(header: &mut libc::msghdr, ipv4: bool, tos: u8) {
    let (level, kind) = if ipv4 { (libc::IPPROTO_IP, libc::IP_TOS) } else { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) };
    // SAFETY: the control buffer is 64 octets, aligned for cmsghdr, zeroed, and set in the header: one int fits, so
    // the first header is inside it and its data area holds an int.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        if message.is_null() {
            return;
        }
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<libc::c_int>() as u32) as _;
        std::ptr::write_unaligned(libc::CMSG_DATA(message).cast::<libc::c_int>(), libc::c_int::from(tos));
        header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::c_int>() as u32) as _;
    }
}

fn traffic_class(header: &libc::msghdr) -> u8 {
    // SAFETY: the kernel wrote well-formed control messages into the buffer that the header names, and set its length;
    // the CMSG macros stay inside that length.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let (level, kind) = ((*message).cmsg_level, (*message).cmsg_type);
            if level == libc::IPPROTO_IP && kind == libc::IP_TOS {
                return *libc::CMSG_DATA(message);
            }
            if level == libc::IPPROTO_IPV6 && kind == libc::IPV6_TCLASS {
                return std::ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::c_int>()) as u8;
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    0
}

fn from_storage(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is large and aligned enough for every address; the family says which it holds.
            let v4 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(address), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(
                std::net::SocketAddrV6::new(address, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id)
                    .into(),
            )
        }
        _ => None,
    }
}

fn to_storage(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: sockaddr_storage is large and aligned enough for every address.
            let to = unsafe { &mut *std::ptr::from_mut(storage).cast::<libc::sockaddr_in>() };
            to.sin_family = libc::AF_INET as _;
            to.sin_port = v4.port().to_be();
            to.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            size_of::<libc::sockaddr_in>() as _
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let to = unsafe { &mut *std::ptr::from_mut(storage).cast::<libc::sockaddr_in6>() };
            to.sin6_family = libc::AF_INET6 as _;
            to.sin6_port = v6.port().to_be();
            to.sin6_addr.s6_addr = v6.ip().octets();
            to.sin6_flowinfo = v6.flowinfo();
            to.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>() as _
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(address: &str) -> (UdpBatch, UdpBatch) {
        let bind = || UdpBatch::new(UdpSocket::bind(address).unwrap()).unwrap();
        (bind(), bind())
    }

    fn exchange(address: &str) {
        let (mut a, mut b) = pair(address);
        let (at_a, at_b) = (a.socket().local_addr().unwrap(), b.socket().local_addr().unwrap());
        let plain = UdpSocket::bind(address).unwrap();
        for n in 0..BATCH_MAXIMUM as u8 {
            plain.send_to(&[n; 20], at_a).unwrap();
        }
        assert_eq!(a.receive().unwrap(), BATCH_MAXIMUM);
        for n in 0..BATCH_MAXIMUM {
            let datagram = a.datagram(n).unwrap();
            assert_eq!((datagram.peer, datagram.tos, datagram.payload.len()), (plain.local_addr().unwrap(), 0, 20));
            datagram.payload[0] = 0xff;
            assert!(a.queue(n, 20, at_b, 0xb8 | 1));
        }
        assert!(!a.queue(0, 20, at_b, 0), "one more than a batch");
        assert_eq!(a.send(), BATCH_MAXIMUM);
        assert_eq!(b.receive().unwrap(), BATCH_MAXIMUM);
        let datagram = b.datagram(7).unwrap();
        assert_eq!((datagram.peer, datagram.tos), (at_a, 0xb9));
        assert_eq!((datagram.payload[0], datagram.payload[1]), (0xff, 7));
        assert_eq!(b.receive().unwrap(), 0);
        assert!(b.datagram(0).is_none());
    }

    #[test]
    fn a_batch_keeps_peers_marks_and_slots_apart() {
        exchange("127.0.0.1:0");
    }

    #[test]
    fn the_same_over_ipv6() {
        if UdpSocket::bind("[::1]:0").is_ok() {
            exchange("[::1]:0");
        }
    }

    #[test]
    fn a_datagram_of_a_slot_fits_and_a_longer_one_says_so() {
        let mut a = UdpBatch::with_slots(UdpSocket::bind("127.0.0.1:0").unwrap(), 4, 100).unwrap();
        let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
        for octets in [100, 101] {
            plain.send_to(&vec![1; octets], a.socket().local_addr().unwrap()).unwrap();
        }
        assert_eq!(a.receive().unwrap(), 2);
        assert!(!a.datagram(0).unwrap().truncated);
        let cut = a.datagram(1).unwrap();
        assert!(cut.truncated);
        assert_eq!(cut.payload.len(), 100);
        let to = plain.local_addr().unwrap();
        assert!(a.queue(0, 100, to, 0));
        assert!(!a.queue(0, 101, to, 0));
    }
}
