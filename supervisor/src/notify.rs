//! The listener: system calls that wait for an answer (seccomp_unotify(2)).

use keepmydata_sys::raw;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// `struct seccomp_notif`: a call that waits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Notification {
    pub id: u64,
    /// The thread, in the supervisor's PID namespace; 0 where it has none there.
    pub tid: u32,
    flags: u32,
    /// The number of the call.
    pub number: i32,
    arch: u32,
    ip: u64,
    pub args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
}

const FLAG_CONTINUE: u32 = 1;
const RECV: usize = 0xc050_2100;
const ID_VALID: usize = 0x4008_2102;
const SEND: usize = 0xc018_2101;
const SET_FLAGS: usize = 0x4008_2104;
/// Linux 6.6: who is waked runs on the waker's processor.
const SYNC_WAKE_UP: usize = 1;

const _: () = assert!(size_of::<Notification>() == 80 && size_of::<Response>() == 24);

/// What a call that waits is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The kernel does it, as if nobody had been asked.
    Continue,
    /// It returns 0.
    Zero,
    /// It fails.
    Fail(Errno),
}

impl Answer {
    /// What a call that was made in its place has come to.
    pub fn of(done: Result<(), Errno>) -> Answer {
        done.map_or_else(Answer::Fail, |()| Answer::Zero)
    }
}

pub struct Listener(OwnedFd);

impl Listener {
    pub fn new(listener: OwnedFd) -> Listener {
        // Where the kernel has no such flag, all goes on without.
        let _ = ioctl(listener.as_fd(), SET_FLAGS, SYNC_WAKE_UP);
        Listener(listener)
    }

    /// Has the kernel write the next call that waits to `call`, which is all-zero.
    ///
    /// Errors: `ENOENT` where its thread was killed meanwhile.
    pub fn receive(&self, call: &mut Notification) -> Result<(), Errno> {
        ioctl(self.0.as_fd(), RECV, &raw mut *call as usize).map(drop)
    }

    /// Whether nobody is left who could call.
    pub fn is_over(&self) -> bool {
        let mut end = [PollFd::new(&self.0, PollFlags::empty())];
        let now = Timespec::default();
        poll(&mut end, Some(&now)).is_ok_and(|found| found > 0)
    }

    /// Whether call `id` still waits: its thread was neither killed nor interrupted.
    pub fn waits(&self, id: u64) -> bool {
        ioctl(self.0.as_fd(), ID_VALID, &raw const id as usize).is_ok()
    }

    /// Answers call `id`. Where its thread was killed or interrupted meanwhile, nobody hears it.
    pub fn answer(&self, id: u64, answer: Answer) {
        let (error, flags) = match answer {
            Answer::Continue => (0, FLAG_CONTINUE),
            Answer::Zero => (0, 0),
            Answer::Fail(errno) => (-errno.raw_os_error(), 0),
        };
        let response = Response {
            id,
            val: 0,
            error,
            flags,
        };
        let _ = ioctl(self.0.as_fd(), SEND, &raw const response as usize);
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn ioctl(fd: BorrowedFd<'_>, request: usize, argument: usize) -> Result<usize, Errno> {
    let arguments = [fd.as_raw_fd() as usize, request, argument, 0, 0, 0];
    // SAFETY: the callers pass a live structure of the layout that the request asks for, or a number.
    unsafe { raw::syscall(libc::SYS_ioctl, arguments) }
}
