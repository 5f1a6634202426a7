//! bpf(2): the socket map, the redirect program, and the link that ties the program to an interface for as long as the
//! descriptor is open.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// How a program is attached (XDP_FLAGS_*).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attach {
    /// By the driver, before the kernel makes a packet of its own of the frame.
    Native,
    /// By the generic code, on every kind of interface.
    Generic,
}

/// One eBPF instruction (struct bpf_insn).
#[repr(C)]
#[derive(Copy, Clone)]
struct Instruction {
    code: u8,
    /// Destination register in the low half, source register in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// `return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS)`: to the socket of the receive queue, or to the
/// kernel where there is none.
fn redirect_program(map: RawFd) -> [Instruction; 6] {
    const LOAD_WORD: u8 = 0x61; // dst = *(u32 *)(src + offset)
    const LOAD_IMMEDIATE_64: u8 = 0x18;
    const MOVE_IMMEDIATE: u8 = 0xb7;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    const PSEUDO_MAP_FD: u8 = 1;
    const RX_QUEUE_INDEX: i16 = 16; // offset in struct xdp_md
    const REDIRECT_MAP: i32 = 51; // BPF_FUNC_redirect_map
    const XDP_PASS: i32 = 2;
    let op = |code, destination: u8, source: u8, offset, immediate| Instruction {
        code,
        registers: destination | source << 4,
        offset,
        immediate,
    };
    [
        op(LOAD_WORD, 2, 1, RX_QUEUE_INDEX, 0),
        op(LOAD_IMMEDIATE_64, 1, PSEUDO_MAP_FD, 0, map),
        op(0, 0, 0, 0, 0), // the upper half of the 64-bit immediate
        op(MOVE_IMMEDIATE, 3, 0, 0, XDP_PASS),
        op(CALL, 0, 0, 0, REDIRECT_MAP),
        op(EXIT, 0, 0, 0, 0),
    ]
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapUpdate {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program_fd: u32,
    target_index: u32,
    attach_type: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: every T of this file is repr(C), mirrors the beginning of union bpf_attr for its command, and holds only
    // numbers and addresses of buffers that its maker keeps alive until this returns; the kernel takes the rest as zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(raw: libc::c_long) -> OwnedFd {
    // SAFETY: a successful MAP_CREATE, PROG_LOAD or LINK_CREATE returns a descriptor that nobody else knows.
    unsafe { OwnedFd::from_raw_fd(raw as RawFd) }
}

/// A map from receive queue to AF_XDP socket.
pub(crate) fn socket_map(queues: u32) -> io::Result<OwnedFd> {
    let attributes =
        MapCreate { map_type: BPF_MAP_TYPE_XSKMAP, key_size: 4, value_size: 4, max_entries: queues, map_flags: 0 };
    bpf(BPF_MAP_CREATE, &attributes).map(descriptor)
}

/// Puts the socket of `queue` into the map.
pub(crate) fn set_socket(map: &OwnedFd, queue: u32, socket: &OwnedFd) -> io::Result<()> {
    let value = socket.as_raw_fd() as u32;
    let attributes = MapUpdate {
        map_fd: map.as_raw_fd() as u32,
        key: (&raw const queue) as u64,
        value: (&raw const value) as u64,
        ..MapUpdate::default()
    };
    bpf(BPF_MAP_UPDATE_ELEM, &attributes).map(|_| ())
}

/// Loads the program that redirects into `map`.
pub(crate) fn load_program(map: &OwnedFd) -> io::Result<OwnedFd> {
    let instructions = redirect_program(map.as_raw_fd());
    let mut name = [0; 16];
    name[..8].copy_from_slice(b"strowger");
    let attributes = ProgramLoad {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        name,
        ..ProgramLoad::default()
    };
    bpf(BPF_PROG_LOAD, &attributes).map(descriptor)
}

/// Attaches the program to an interface of the calling thread's namespace. The kernel takes it off when the returned
/// descriptor closes, also when the process is killed.
pub(crate) fn attach(program: &OwnedFd, interface_index: u32, how: Attach) -> io::Result<OwnedFd> {
    let flags = match how {
        Attach::Native => 1 << 2,
        Attach::Generic => 1 << 1,
    };
    let attributes = LinkCreate {
        program_fd: program.as_raw_fd() as u32,
        target_index: interface_index,
        attach_type: BPF_XDP,
        flags,
    };
    bpf(BPF_LINK_CREATE, &attributes).map(descriptor)
}

/// Whether maps, programs and AF_XDP sockets can be made here.
pub(crate) fn probe() -> io::Result<()> {
    super::ring::xdp_socket()?;
    load_program(&socket_map(1)?)?;
    Ok(())
}
