//! Writing to what somebody else reads: within a time, and without a signal to the program.

use super::signals::Blocked;
use super::{monotonic_ns, raw, wipe};
use core::ffi::c_int;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

/// How to write without waiting, and without changing a file description that others share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// write(2): what does not block, or has a description of the shim's own with `O_NONBLOCK`.
    Plain,
    /// A pipe: `RWF_NOWAIT` (pwritev2(2), on pipes since Linux 6.4), and vmsplice(2) with
    /// `SPLICE_F_NONBLOCK` before. As with `O_NONBLOCK`, up to `PIPE_BUF` bytes go as a whole or not at all.
    Pipe,
    /// A socket: sendto(2) with `MSG_DONTWAIT`.
    Socket,
}

impl Way {
    /// For a descriptor of which fstat(2) says `stat`.
    pub fn of(stat: &Stat) -> Way {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => Way::Pipe,
            FileType::Socket => Way::Socket,
            _ => Way::Plain,
        }
    }

    fn put(self, to: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Way::Plain => rustix::io::write(to, bytes),
            Way::Pipe => match to_pipe(to, bytes) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => splice(to, bytes),
                done => done,
            },
            Way::Socket => {
                let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as usize;
                let (fd, start) = (to.as_raw_fd() as usize, bytes.as_ptr() as usize);
                // SAFETY: the buffer is live; no address is given.
                unsafe { raw::syscall(libc::SYS_sendto, [fd, start, bytes.len(), flags, 0, 0]) }
            }
        }
    }
}

/// Writes all of `bytes`, or an error says why not all of them were written: `EAGAIN` where they were not
/// taken within `patience` ns. The signal that comes with `EPIPE` or `EFBIG` is taken back.
pub fn all(to: BorrowedFd<'_>, way: Way, mut bytes: &[u8], patience: u64) -> Result<(), Errno> {
    let until = monotonic_ns().saturating_add(patience);
    while !bytes.is_empty() {
        match without_signal(|| way.put(to, bytes)) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = bytes.get(written..).unwrap_or(&[]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(to, until)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Until there is room again.
fn wait(to: BorrowedFd<'_>, until: u64) -> Result<(), Errno> {
    let left = until.saturating_sub(monotonic_ns());
    if left == 0 {
        return Err(Errno::AGAIN);
    }
    let time = Timespec {
        tv_sec: (left / 1_000_000_000) as i64,
        tv_nsec: (left % 1_000_000_000) as i64,
    };
    match poll(&mut [PollFd::new(&to, PollFlags::OUT)], Some(&time)) {
        Ok(0) => Err(Errno::AGAIN),
        // Where it fails, the next write tells more.
        _ => Ok(()),
    }
}

/// Whether a write of a few bytes would not have to wait now (poll(2)).
pub fn is_ready(to: BorrowedFd<'_>, patience: u64) -> bool {
    wait(to, monotonic_ns().saturating_add(patience)).is_ok()
}

/// Whether `fd` is a terminal (`TCGETS`).
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    // Larger than any `struct termios` of the kernel.
    let mut state = [0u64; 32];
    let (fd, state) = (fd.as_raw_fd() as usize, state.as_mut_ptr() as usize);
    // SAFETY: the buffer is live.
    unsafe { raw::syscall(libc::SYS_ioctl, [fd, libc::TCGETS as usize, state, 0, 0, 0]) }.is_ok()
}

fn to_pipe(to: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let part = iovec(bytes.as_ptr(), bytes.len());
    let (fd, part) = (to.as_raw_fd() as usize, &raw const part as usize);
    let here = usize::MAX; // An offset of -1, in two halves: as writev(2).
    let arguments = [fd, part, 1, here, here, libc::RWF_NOWAIT as usize];
    // SAFETY: the vector and what it leads to are live.
    unsafe { raw::syscall(libc::SYS_pwritev2, arguments) }
}

/// The kernel takes the pages themselves: they are of a mapping that nobody else uses, and stay when that
/// is gone, until they are read.
fn splice(to: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let memory = wipe::map(bytes.len()).ok_or(Errno::NOMEM)?.as_ptr();
    // SAFETY: fresh memory of that size.
    unsafe { memory.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    let part = iovec(memory, bytes.len());
    let (fd, part) = (to.as_raw_fd() as usize, &raw const part as usize);
    let flags = libc::SPLICE_F_NONBLOCK as usize;
    // SAFETY: the vector and what it leads to are live; nobody writes to that again.
    let done = unsafe { raw::syscall(libc::SYS_vmsplice, [fd, part, 1, flags, 0, 0]) };
    // SAFETY: this function's own mapping.
    let _ = unsafe { rustix::mm::munmap(memory.cast(), bytes.len()) };
    done
}

fn iovec(start: *const u8, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: start.cast_mut().cast(),
        iov_len: len,
    }
}

/// A write, without the signal that the kernel sends the writing thread where nobody reads any more
/// (`SIGPIPE`) or a file would be larger than `RLIMIT_FSIZE` allows (`SIGXFSZ`). One that was pending
/// before stays.
fn without_signal(write: impl FnOnce() -> Result<usize, Errno>) -> Result<usize, Errno> {
    let _quiet = Blocked::all();
    let before = pending();
    let done = write();
    let signal = match done {
        Err(Errno::PIPE) => libc::SIGPIPE,
        Err(Errno::FBIG) => libc::SIGXFSZ,
        _ => return done,
    };
    if before & bit(signal) == 0 {
        take(signal);
    }
    done
}

/// As a set of signals has it.
fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

/// What is pending for the thread and for the process (sigpending(2)).
fn pending() -> u64 {
    let mut set = 0u64;
    let arguments = [&raw mut set as usize, size_of::<u64>(), 0, 0, 0, 0];
    // SAFETY: the set is live, and of the size that is passed.
    let _ = unsafe { raw::syscall(libc::SYS_rt_sigpending, arguments) };
    set
}

/// Takes a signal that is pending and blocked (sigtimedwait(2)), if it is.
fn take(signal: c_int) {
    let (set, none) = (bit(signal), [0i64; 2]);
    let (set, none) = (&raw const set as usize, none.as_ptr() as usize);
    let arguments = [set, 0, none, size_of::<u64>(), 0, 0];
    // SAFETY: set and time are live.
    let _ = unsafe { raw::syscall(libc::SYS_rt_sigtimedwait, arguments) };
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    /// Both ways into a pipe: as much as there is room for, and no waiting for more.
    #[test]
    fn a_full_pipe_is_given_up() {
        for put in [to_pipe, splice] {
            let (mut reader, writer) = std::io::pipe().expect("pipe");
            let mut written = 0;
            let refused = loop {
                match put(writer.as_fd(), &[b'x'; 3000]) {
                    Ok(n) => written += n,
                    Err(errno) => break errno,
                }
            };
            assert_eq!(refused, Errno::AGAIN);
            assert!(written >= 16 * 3000, "{written}");
            let mut bytes = vec![0; written];
            reader.read_exact(&mut bytes).expect("what was written");
            assert!(bytes.iter().all(|&byte| byte == b'x'));
        }
    }

    #[test]
    fn what_nobody_reads_is_waited_for_no_longer_than_said() {
        let (_reader, writer) = std::io::pipe().expect("pipe");
        let bytes = [0; 1 << 20];
        let begun = monotonic_ns();
        let done = all(writer.as_fd(), Way::Pipe, &bytes, 50_000_000);
        assert_eq!(done, Err(Errno::AGAIN));
        assert!(monotonic_ns() - begun >= 50_000_000);
    }
}
