//! The memory that AF_XDP shares with the kernel: the UMEM and the four rings of a socket.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// AF_XDP socket.
pub(crate) fn xdp_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A mapping that is unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut u8,
    octets: usize,
}

// SAFETY: the mapping is plain memory, valid from every thread; the types that hold one are used by one at a time.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Zeroed memory of our own.
    pub(crate) fn anonymous(octets: usize) -> io::Result<Self> {
        Self::map(octets, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// Memory that the kernel shares through a descriptor.
    pub(crate) fn shared(descriptor: &OwnedFd, octets: usize, offset: i64) -> io::Result<Self> {
        Self::map(octets, libc::MAP_SHARED | libc::MAP_POPULATE, descriptor.as_raw_fd(), offset)
    }

    fn map(octets: usize, flags: libc::c_int, fd: libc::c_int, offset: i64) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: without MAP_FIXED the kernel picks an address where nothing else is.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), octets, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), octets })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// The part of the mapping at `offset`; empty when it is not wholly inside.
    ///
    /// # Safety
    /// Neither the kernel nor another reference may use the part while the slice lives.
    pub(crate) unsafe fn part(&mut self, offset: usize, octets: usize) -> &mut [u8] {
        match offset.checked_add(octets) {
            // SAFETY: inside the mapping, initialised (the kernel hands out zeroed pages), exclusive by the contract.
            Some(end) if end <= self.octets => unsafe {
                std::slice::from_raw_parts_mut(self.start.add(offset), octets)
            },
            _ => &mut [],
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; every slice borrowed from it is gone, as drop has the only reference.
        unsafe { libc::munmap(self.start.cast(), self.octets) };
    }
}

/// Which ring of a socket.
#[derive(Copy, Clone, Debug)]
pub(crate) enum RingKind {
    Fill,
    Completion,
    Receive,
    Transmit,
}

/// One ring with entries `T` (u64 addresses or descriptors), of which we are the producer or the consumer.
pub(crate) struct Ring<T> {
    _mapping: Mapping,
    producer: *const AtomicU32,
    consumer: *const AtomicU32,
    flags: *const AtomicU32,
    entries: *mut T,
    size: u32,
    /// Our index, ahead of what the kernel was told.
    ours: u32,
    /// The kernel's index when it was last read.
    theirs: u32,
}

// SAFETY: the pointers go into the mapping that the ring owns; one thread at a time uses the ring (`&mut self`).
unsafe impl<T> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Sets the ring's size (a power of two), maps it.
    pub(crate) fn open(socket: &OwnedFd, kind: RingKind, size: u32) -> io::Result<Self> {
        debug_assert!(size.is_power_of_two());
        let option = match kind {
            RingKind::Fill => libc::XDP_UMEM_FILL_RING,
            RingKind::Completion => libc::XDP_UMEM_COMPLETION_RING,
            RingKind::Receive => libc::XDP_RX_RING,
            RingKind::Transmit => libc::XDP_TX_RING,
        };
        crate::capture::set_option(socket, libc::SOL_XDP, option, &size)?;
        // SAFETY: plain integers; all zeros is a valid value.
        let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
        let mut octets = size_of::<libc::xdp_mmap_offsets>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `octets` octets into the value, which outlives the call.
        let result = unsafe {
            let to = (&raw mut offsets).cast();
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, to, &mut octets)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        if (octets as usize) < size_of::<libc::xdp_mmap_offsets>() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a kernel before 5.4"));
        }
        let (ring, page) = match kind {
            RingKind::Fill => (offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING as i64),
            RingKind::Completion => (offsets.cr, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64),
            RingKind::Receive => (offsets.rx, libc::XDP_PGOFF_RX_RING),
            RingKind::Transmit => (offsets.tx, libc::XDP_PGOFF_TX_RING),
        };
        let mapping = Mapping::shared(socket, ring.desc as usize + size as usize * size_of::<T>(), page)?;
        let start = mapping.start();
        // SAFETY: the kernel promises that these offsets lie inside the mapping of the length asked for.
        let (producer, consumer, flags, entries) = unsafe {
            (
                start.add(ring.producer as usize).cast(),
                start.add(ring.consumer as usize).cast(),
                start.add(ring.flags as usize).cast(),
                start.add(ring.desc as usize).cast(),
            )
        };
        Ok(Self { _mapping: mapping, producer, consumer, flags, entries, size, ours: 0, theirs: 0 })
    }

    fn index(&self, cell: *const AtomicU32) -> &AtomicU32 {
        // SAFETY: the pointers were made in `open`, aligned and inside the mapping, which lives as long as self; the
        // kernel changes them only as atomic words.
        unsafe { &*cell }
    }

    /// As producer: entries that may be pushed now.
    pub(crate) fn room(&mut self) -> u32 {
        self.theirs = self.index(self.consumer).load(Ordering::Acquire);
        self.size - self.ours.wrapping_sub(self.theirs).min(self.size)
    }

    /// As producer: adds one entry; `false` when the ring is full. The kernel sees it after [`Ring::publish`].
    pub(crate) fn push(&mut self, entry: T) -> bool {
        if self.ours.wrapping_sub(self.theirs) >= self.size && self.room() == 0 {
            return false;
        }
        // SAFETY: the index is masked to the ring's size, and the kernel does not read this entry before `publish`.
        unsafe { self.entries.add((self.ours & (self.size - 1)) as usize).write(entry) };
        self.ours = self.ours.wrapping_add(1);
        true
    }

    /// As producer: shows the kernel what was pushed; whether anything is not yet consumed.
    pub(crate) fn publish(&mut self) -> bool {
        self.index(self.producer).store(self.ours, Ordering::Release);
        self.room() < self.size
    }

    /// As producer: whether the kernel wants to be called to go on.
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.index(self.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// As consumer: the next entry.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.theirs == self.ours {
            self.theirs = self.index(self.producer).load(Ordering::Acquire);
            if self.theirs == self.ours {
                return None;
            }
        }
        // SAFETY: the kernel published this entry (Acquire above) and does not write it again before `release`.
        let entry = unsafe { self.entries.add((self.ours & (self.size - 1)) as usize).read() };
        self.ours = self.ours.wrapping_add(1);
        Some(entry)
    }

    /// As consumer: gives the places of popped entries back.
    pub(crate) fn release(&mut self) {
        self.index(self.consumer).store(self.ours, Ordering::Release);
    }
}
