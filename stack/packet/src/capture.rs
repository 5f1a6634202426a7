//! A live capture of one interface (a copy of every frame, both ways), to put `lo` of a namespace into a pcapng file.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use strowger_clock::Timestamp;

use crate::interface::interface_info;
use crate::pcapng::{Direction, InterfaceId, SharedWriter};
use crate::tap::now;

/// Longest frame a capture keeps: the largest packet of `lo`.
const CAPTURE_MAXIMUM_OCTETS: usize = 65_550;
/// Receive buffer of the capture socket, in octets.
const CAPTURE_BUFFER_OCTETS: libc::c_int = 8 << 20;

/// Why a capture could not start.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No such interface in this namespace.
    #[error("{0}")]
    Interface(io::Error),
    /// No permission, or the kernel has no AF_PACKET.
    #[error("cannot capture on `{interface}`: {cause}; it needs root or CAP_NET_RAW")]
    Socket {
        /// The interface.
        interface: String,
        /// What the kernel said.
        cause: io::Error,
    },
}

/// A frame that was seen.
#[derive(Debug)]
pub struct Captured<'a> {
    /// When the kernel saw it; when it was read, where the kernel does not say.
    pub at: Timestamp,
    /// Which way it went.
    pub direction: Direction,
    /// From the Ethernet header on.
    pub octets: &'a [u8],
}

/// An open capture socket. It sees each frame of `lo` once, of other interfaces both directions.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// Opens a capture on `interface` of the calling thread's namespace (see [`crate::netns::in_namespace`]).
///
/// # Errors
/// [`CaptureError`], one sentence.
pub fn capture(interface: &str) -> Result<Capture, CaptureError> {
    let info = interface_info(interface).map_err(CaptureError::Interface)?;
    let refused = |cause| CaptureError::Socket { interface: interface.to_owned(), cause };
    let socket = packet_socket(0).map_err(refused)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &CAPTURE_BUFFER_OCTETS)
        .or_else(|_| set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &CAPTURE_BUFFER_OCTETS))
        .map_err(refused)?;
    if interface == "lo" {
        // every frame passes lo as outgoing and again as incoming
        let on: libc::c_int = 1;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on).map_err(refused)?;
    }
    // the first question switches the stamps on
    let _ = arrival(&socket);
    bind_packet(&socket, info.index).map_err(refused)?;
    Ok(Capture { socket, buffer: vec![0; CAPTURE_MAXIMUM_OCTETS] })
}

/// When the kernel took the frame that was read last. Frames of several sockets are then in the order they happened, however late
/// each reader came.
fn arrival(socket: &OwnedFd) -> Option<Timestamp> {
    /// `SIOCGSTAMPNS` of linux/sockios.h, which libc does not define.
    const STAMP_OF_LAST_PACKET: libc::c_ulong = 0x8907;
    let mut stamp = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the request writes one timespec, which is ours and lives across the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), STAMP_OF_LAST_PACKET, &raw mut stamp) };
    let seconds = u64::try_from(stamp.tv_sec).ok().filter(|seconds| answer == 0 && *seconds > 0)?;
    let nanos = u64::try_from(stamp.tv_nsec).ok()?;
    Some(Timestamp::from_unix_nanos(seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?))
}

impl Capture {
    /// The next frame, or none within `timeout`.
    ///
    /// # Errors
    /// When the interface went away.
    pub fn next(&mut self, timeout: Duration) -> io::Result<Option<Captured<'_>>> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        // SAFETY: sockaddr_ll is plain integers and arrays; all zeros is a valid value.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut from_octets = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the buffer and the address are ours, with the lengths given, and live across the call.
        let octets = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                self.buffer.as_mut_ptr().cast(),
                self.buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut from).cast(),
                &mut from_octets,
            )
        };
        if octets < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        let direction =
            if from.sll_pkttype == libc::PACKET_OUTGOING { Direction::Outbound } else { Direction::Inbound };
        let octets = self.buffer.get(..octets as usize).unwrap_or_default();
        let at = arrival(&self.socket).unwrap_or_else(now);
        Ok(Some(Captured { at, direction, octets }))
    }

    /// Writes everything seen to `writer` as `interface`, on a thread of its own, until the handle is stopped.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn record(mut self, writer: SharedWriter, interface: InterfaceId) -> io::Result<CaptureHandle> {
        let stop = Arc::new(AtomicBool::new(false));
        let frames = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (stop.clone(), frames.clone());
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || {
            loop {
                // read before the socket is emptied: what was sent before `stop` was called is then still written
                let last = stopped.load(Ordering::Acquire);
                loop {
                    let patience = if last { Duration::ZERO } else { Duration::from_millis(50) };
                    match self.next(patience) {
                        Ok(Some(seen)) => {
                            let mut writer = writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            if let Err(error) = writer.packet(interface, seen.at, Some(seen.direction), seen.octets) {
                                tracing::warn!(%error, "the capture file cannot be written; the capture stops");
                                return;
                            }
                            counted.fetch_add(1, Ordering::Relaxed);
                            if !last && stopped.load(Ordering::Acquire) {
                                break;
                            }
                        }
                        Ok(None) => break,
                        Err(error) => {
                            tracing::warn!(%error, "the captured interface went away");
                            return;
                        }
                    }
                }
                if last {
                    return;
                }
            }
        })?;
        Ok(CaptureHandle { stop, frames, thread: Some(thread) })
    }
}

/// A recording capture; stops when dropped.
#[derive(Debug)]
pub struct CaptureHandle {
    stop: Arc<AtomicBool>,
    frames: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl CaptureHandle {
    /// Frames written so far.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Writes what the socket still holds and stops; returns how many frames were written.
    pub fn stop(mut self) -> u64 {
        self.finish();
        self.frames()
    }

    fn finish(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for CaptureHandle {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A raw packet socket that receives nothing before it is bound.
pub(crate) fn packet_socket(flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a packet socket to one interface, all protocols.
pub(crate) fn bind_packet(socket: &OwnedFd, index: u32) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain integers and arrays; all zeros is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    let octets = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is ours, of the length given, and read only during the call.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), octets) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// setsockopt(2) with a plain value.
pub(crate) fn set_option<T: Copy>(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let octets = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads size_of::<T>() octets of a value that outlives the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), octets) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
