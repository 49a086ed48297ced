//! Writing to what somebody else reads: within a time, and without a signal to the program.

use super::signals::Blocked;
use super::wipe::Region;
use super::{monotonic_ns, raw};
use core::ffi::c_int;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{FileType, Stat};
use rustix::io::{Errno, IoSlice, ReadWriteFlags};

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
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                raw::sys_send(to.as_raw_fd(), bytes, flags)
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
    raw::sys_tcgets(fd, &mut [0; 32]).is_ok()
}

fn to_pipe(to: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    // An offset of -1: as writev(2).
    rustix::io::pwritev2(to, &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT)
}

/// The kernel takes the pages themselves: they are of a mapping that nobody else uses, and stay when that
/// is gone, until they are read.
fn splice(to: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let mut memory = Region::new(bytes.len()).ok_or(Errno::NOMEM)?;
    memory.numbers_mut(0, bytes.len()).copy_from_slice(bytes);
    // SAFETY: the caller writes to the pipe; and were it the end for reading, the memory is nobody else's.
    unsafe { raw::sys_vmsplice(to, memory.start(), bytes.len(), libc::SPLICE_F_NONBLOCK) }
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
    let _ = raw::sys_sigpending(&mut set);
    set
}

/// Takes a signal that is pending and blocked (sigtimedwait(2)), if it is.
fn take(signal: c_int) {
    let _ = raw::sys_sigpoll(&bit(signal));
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
