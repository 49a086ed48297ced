//! The seccomp filter of what is supervised: which system calls the supervisor is asked about.
//!
//! msync(2), mmap(2) of a shared mapping of a descriptor, mlock(2) and its family, what takes pages out of the page cache
//! (madvise(2) with MADV_PAGEOUT, posix_fadvise(2) with POSIX_FADV_DONTNEED), and exit_group(2), before which the supervisor
//! closes what it has opened; every other call runs as it is. A mapping that is only read counts, too:
//! mprotect(2) may make it writable later.

use keepmydata_sys::raw;
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
    sock_filter, sock_fprog,
};
use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::Errno;

const SET_MODE_FILTER: usize = 1;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0.
const NEW_LISTENER: usize = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19: a call that the supervisor has received is not interrupted by
/// signals but fatal ones.
const WAIT_KILLABLE_RECV: usize = 1 << 5;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// `struct seccomp_data`: where the number, the architecture and the low half of each argument are, bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(n: u32) -> u32 {
    16 + 8 * n
}

const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Goes on after so many instructions, where the comparison holds and where not.
const fn jump(comparison: u32, k: u32, holds: u8, not: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | comparison | BPF_K) as u16,
        jt: holds,
        jf: not,
        k,
    }
}

const fn load(at: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, at)
}

const PROGRAM: [sock_filter; 24] = [
    load(ARCHITECTURE),
    jump(BPF_JEQ, ARCH, 0, 20),
    load(NUMBER),
    jump(BPF_JEQ, libc::SYS_msync as u32, 19, 0),
    jump(BPF_JEQ, libc::SYS_exit_group as u32, 18, 0),
    jump(BPF_JEQ, libc::SYS_mlock as u32, 17, 0),
    jump(BPF_JEQ, libc::SYS_mlock2 as u32, 16, 0),
    jump(BPF_JEQ, libc::SYS_mlockall as u32, 15, 0),
    jump(BPF_JEQ, libc::SYS_madvise as u32, 2, 0),
    jump(BPF_JEQ, libc::SYS_fadvise64 as u32, 3, 0),
    jump(BPF_JEQ, libc::SYS_mmap as u32, 4, 11),
    // madvise: pages that leave the page cache.
    load(argument(2)),
    jump(BPF_JEQ, libc::MADV_PAGEOUT as u32, 10, 9),
    // posix_fadvise, likewise.
    load(argument(3)),
    jump(BPF_JEQ, libc::POSIX_FADV_DONTNEED as u32, 8, 7),
    // mmap: the kind of mapping ...
    load(argument(3)),
    jump(BPF_JSET, libc::MAP_ANONYMOUS as u32, 5, 0),
    statement(BPF_ALU | BPF_AND | BPF_K, libc::MAP_TYPE as u32),
    jump(BPF_JEQ, libc::MAP_SHARED as u32, 1, 0),
    jump(BPF_JEQ, libc::MAP_SHARED_VALIDATE as u32, 0, 2),
    // ... and the descriptor, which is not negative.
    load(argument(4)),
    jump(BPF_JGE, 1 << 31, 0, 1),
    statement(BPF_RET | BPF_K, RET_ALLOW),
    statement(BPF_RET | BPF_K, RET_USER_NOTIF),
];

/// Puts the calling thread, and whatever it becomes and starts, under a supervisor, who gets the listener. It must be
/// told nothing before somebody serves that. Says too whether calls that were received are interrupted by fatal signals
/// alone.
///
/// Errors: `EBUSY` (on old kernels `EINVAL`) where there is a listener already, `ENOSYS` and `EINVAL` where the kernel has
/// no seccomp, or none that notifies.
pub fn install() -> Result<(OwnedFd, bool), Errno> {
    match with_rights() {
        // Without CAP_SYS_ADMIN only who gives up set-user-ID rights may (seccomp(2)).
        Err(Errno::ACCESS) => {
            rustix::thread::set_no_new_privs(true)?;
            with_rights()
        }
        done => done,
    }
}

fn with_rights() -> Result<(OwnedFd, bool), Errno> {
    match set(NEW_LISTENER | WAIT_KILLABLE_RECV) {
        Err(Errno::INVAL) => Ok((set(NEW_LISTENER)?, false)),
        done => Ok((done?, true)),
    }
}

fn set(flags: usize) -> Result<OwnedFd, Errno> {
    let program = sock_fprog {
        len: PROGRAM.len() as u16,
        filter: PROGRAM.as_ptr().cast_mut(),
    };
    let arguments = [SET_MODE_FILTER, flags, &raw const program as usize, 0, 0, 0];
    // SAFETY: the program is live and of the length that it says; the descriptor is owned here.
    unsafe {
        let listener = raw::syscall(libc::SYS_seccomp, arguments)?;
        Ok(OwnedFd::from_raw_fd(listener as i32))
    }
}
