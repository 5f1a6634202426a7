//! ICMP errors of datagrams that were sent (RFC 3261 §18.4): a dead peer is known in a round trip instead of 32 seconds.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};

/// RFC 792.
const ICMPV4_TIME_EXCEEDED: u8 = 11;
/// RFC 4443 §3.3.
const ICMPV6_TIME_EXCEEDED: u8 = 3;

/// Asks the kernel to keep ICMP errors for the socket. Where it cannot, peers that are gone are found by time-outs.
pub(crate) fn enable(socket: &socket2::Socket, address: SocketAddr) {
    let _ = match address {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4RecvErr, &true),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvErr, &true),
    };
}

/// Takes one error from the socket's error queue: where the datagram was sent to, or `None` for an error that is no
/// verdict on the peer (time exceeded, §18.4). `WouldBlock` when the queue is empty.
pub(crate) fn take(socket: &tokio::net::UdpSocket) -> io::Result<Option<SocketAddr>> {
    let mut quoted = [0u8; 64];
    let mut iov = [io::IoSliceMut::new(&mut quoted)];
    let mut control = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in6);
    let received = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut iov,
        Some(&mut control),
        MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
    )
    .map_err(|errno| match errno {
        Errno::EAGAIN => io::Error::from(io::ErrorKind::WouldBlock),
        other => io::Error::from(other),
    })?;
    let expired = received.cmsgs().is_ok_and(|mut messages| {
        messages.any(|message| match message {
            ControlMessageOwned::Ipv4RecvErr(error, _) => error.ee_type == ICMPV4_TIME_EXCEEDED,
            ControlMessageOwned::Ipv6RecvErr(error, _) => error.ee_type == ICMPV6_TIME_EXCEEDED,
            _ => false,
        })
    });
    if expired {
        return Ok(None);
    }
    Ok(received.address.and_then(|address| match address.as_sockaddr_in() {
        Some(v4) => Some(SocketAddr::V4((*v4).into())),
        None => address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())),
    }))
}
