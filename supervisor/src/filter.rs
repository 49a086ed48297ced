//! The seccomp filter of what is supervised: which system calls the supervisor is asked about. Every other call runs as
//! it is.
//!
//! - msync(2);
//! - mmap(2) of a shared mapping of a descriptor: one that is only read counts, too, because mprotect(2) may make it
//!   writable later; remap_file_pages(2) and mremap(2) that makes a mapping larger, which make such mappings, too;
//! - mlock(2) and its family;
//! - fsync(2) and fdatasync(2), which tell what the supervisor was told in the program's place;
//! - what takes pages out of the page cache: madvise(2) with MADV_PAGEOUT and MADV_REMOVE, posix_fadvise(2) with
//!   POSIX_FADV_DONTNEED, truncate(2), fallocate(2), copy_file_range(2);
//! - what makes a descriptor that writes past the page cache: open(2) and fcntl(2) with O_DIRECT;
//! - exit_group(2), before which the supervisor closes what it has opened.

use keepmydata_sys::raw;
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_MISC, BPF_RET, BPF_TAX, BPF_W, BPF_X, sock_filter, sock_fprog,
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

/// The same, where what is compared with is kept in X.
const fn jump_by_x(comparison: u32, holds: u8, not: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | comparison | BPF_X) as u16,
        jt: holds,
        jf: not,
        k: 0,
    }
}

const ASK: sock_filter = statement(BPF_RET | BPF_K, RET_USER_NOTIF);
const ALLOW: sock_filter = statement(BPF_RET | BPF_K, RET_ALLOW);

/// Calls that are asked about, whatever their arguments.
const ALWAYS: [libc::c_long; 12] = [
    libc::SYS_msync,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_exit_group,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_copy_file_range,
    libc::SYS_remap_file_pages,
];

/// Of `number` only what `test` asks about; it has the number loaded, and always returns.
fn rule(program: &mut Vec<sock_filter>, number: libc::c_long, test: &[sock_filter]) {
    program.push(jump(BPF_JEQ, number as u32, 0, test.len() as u8));
    program.extend_from_slice(test);
}

/// Asks if the argument has one of these bits.
fn has(n: u32, bits: i32) -> [sock_filter; 4] {
    [
        load(argument(n)),
        jump(BPF_JSET, bits as u32, 0, 1),
        ASK,
        ALLOW,
    ]
}

/// Asks if the argument is one of two numbers.
fn is(n: u32, one: i32, other: i32) -> [sock_filter; 5] {
    [
        load(argument(n)),
        jump(BPF_JEQ, one as u32, 1, 0),
        jump(BPF_JEQ, other as u32, 0, 1),
        ASK,
        ALLOW,
    ]
}

fn program() -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCHITECTURE),
        jump(BPF_JEQ, ARCH, 1, 0),
        ALLOW,
        load(NUMBER),
    ];
    for number in ALWAYS {
        rule(&mut program, number, &[ASK]);
    }
    let dontneed = libc::POSIX_FADV_DONTNEED;
    rule(
        &mut program,
        libc::SYS_fadvise64,
        &is(3, dontneed, dontneed),
    );
    let away = is(2, libc::MADV_PAGEOUT, libc::MADV_REMOVE);
    rule(&mut program, libc::SYS_madvise, &away);
    rule(&mut program, libc::SYS_openat, &has(2, libc::O_DIRECT));
    #[cfg(target_arch = "x86_64")]
    rule(&mut program, libc::SYS_open, &has(1, libc::O_DIRECT));
    // Its flags are in memory.
    rule(&mut program, libc::SYS_openat2, &[ASK]);
    let [flags, any, ask, allow] = has(2, libc::O_DIRECT);
    let set_flags = [
        load(argument(1)),
        jump(BPF_JEQ, libc::F_SETFL as u32, 0, 3),
        flags,
        any,
        ask,
        allow,
    ];
    rule(&mut program, libc::SYS_fcntl, &set_flags);
    let keep = statement(BPF_MISC | BPF_TAX, 0);
    let (before, after) = (argument(1), argument(2));
    let mremap = [
        // A difference in the high halves is one of many pages.
        load(before + 4),
        keep,
        load(after + 4),
        jump_by_x(BPF_JEQ, 0, 5),
        load(before),
        keep,
        load(after),
        jump_by_x(BPF_JGT, 1, 0),
        ALLOW,
        ASK,
    ];
    rule(&mut program, libc::SYS_mremap, &mremap);
    let mmap = [
        // The kind of mapping ...
        load(argument(3)),
        jump(BPF_JSET, libc::MAP_ANONYMOUS as u32, 5, 0),
        statement(BPF_ALU | BPF_AND | BPF_K, libc::MAP_TYPE as u32),
        jump(BPF_JEQ, libc::MAP_SHARED as u32, 1, 0),
        jump(BPF_JEQ, libc::MAP_SHARED_VALIDATE as u32, 0, 2),
        // ... and the descriptor, which is not negative.
        load(argument(4)),
        jump(BPF_JGE, 1 << 31, 0, 1),
        ALLOW,
        ASK,
    ];
    rule(&mut program, libc::SYS_mmap, &mmap);
    program.push(ALLOW);
    program
}

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
    let filter = program();
    let program = sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    let arguments = [SET_MODE_FILTER, flags, &raw const program as usize, 0, 0, 0];
    // SAFETY: the program is live and of the length that it says; the descriptor is owned here.
    unsafe {
        let listener = raw::syscall(libc::SYS_seccomp, arguments)?;
        Ok(OwnedFd::from_raw_fd(listener as i32))
    }
}
