//! What an interface is (index, address, MTU, queues), asked through ioctl(2) in the calling thread's namespace.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Facts about one network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// The name in its namespace.
    pub name: String,
    /// The kernel's index, valid inside its namespace.
    pub index: u32,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet in octets.
    pub mtu_octets: usize,
    /// Receive queues; 1 when the driver does not say.
    pub receive_queues: u32,
}

const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

#[repr(C)]
#[derive(Default)]
struct Channels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}

#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

fn control_socket() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?)
}

fn request_for(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no interface name")));
    }
    // SAFETY: ifreq is plain data of integers, arrays and pointers; all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Asks the kernel about the interface `name` in the calling thread's namespace.
///
/// # Errors
/// `NotFound` when there is no such interface, else what the kernel said.
pub fn interface_info(name: &str) -> io::Result<InterfaceInfo> {
    let index = nix::net::if_::if_nametoindex(name)
        .map_err(|e| io::Error::new(io::Error::from(e).kind(), format!("no interface `{name}` here: {e}")))?;
    let socket = control_socket()?;
    let mut request = request_for(name)?;
    // SAFETY: SIOCGIFHWADDR reads the name from and writes a sockaddr into the ifreq that we own.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR as _, &mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the kernel filled the hardware address member of the union.
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mut mac = [0u8; 6];
    for (to, from) in mac.iter_mut().zip(hardware.sa_data) {
        *to = from as u8;
    }
    // SAFETY: as above with SIOCGIFMTU, which writes an int.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the kernel filled the MTU member of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(InterfaceInfo {
        name: name.to_owned(),
        index,
        mac,
        mtu_octets: usize::try_from(mtu).unwrap_or(1500),
        receive_queues: receive_queues(&socket, name),
    })
}

/// Queues that can receive: the driver's receive and combined channels (ETHTOOL_GCHANNELS), 1 when it has no such call.
fn receive_queues(socket: &OwnedFd, name: &str) -> u32 {
    let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Channels::default() };
    let Ok(mut request) = request_for(name) else { return 1 };
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: the kernel writes one struct ethtool_channels, which `Channels` mirrors field by field, and both live
    // until the call returns.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) } < 0 {
        return 1;
    }
    (channels.rx_count + channels.combined_count).clamp(1, 64)
}

/// Turns the interface's transmit checksum offload on or off (`ethtool -K NAME tx off`).
///
/// A veth pair with the offload on hands frames over with unfinished checksums; a receiver behind a user-space router
/// drops them. Switch it off at every end of a path through a [`crate::PortSet`].
///
/// # Errors
/// What the kernel said, with the interface's name.
pub fn set_transmit_checksum(name: &str, on: bool) -> io::Result<()> {
    let socket = control_socket()?;
    let mut value = EthtoolValue { cmd: ETHTOOL_STXCSUM, data: u32::from(on) };
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the kernel reads one struct ethtool_value, which `EthtoolValue` mirrors, and both live until it returns.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) } < 0 {
        let error = io::Error::last_os_error();
        return Err(io::Error::new(error.kind(), format!("cannot set the checksum offload of `{name}`: {error}")));
    }
    Ok(())
}
