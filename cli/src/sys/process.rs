//! Becoming another program, and leaving nothing behind in it.

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::env;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

/// execve(2). Returns only where it failed.
pub fn execve(path: &CStr, arguments: &[CString], variables: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (arguments, variables) = (pointers(arguments), pointers(variables));
    // SAFETY: both arrays end with a null pointer and live until the call returns, as do the
    // strings that they point to.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), variables.as_ptr()) };
    io::Error::last_os_error()
}

/// The entries of the environment as they are, unlike `std::env::vars_os`, which leaves out those
/// without an equals sign.
pub fn environment() -> Vec<CString> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut entries = Vec::new();
    // SAFETY: environ(7) points to strings up to a null pointer, or is null itself; this process
    // has one thread and does not change its environment.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            entries.push(CStr::from_ptr(*next).to_owned());
            next = next.add(1);
        }
    }
    entries
}

/// Takes a variable out of the environment.
pub fn remove_variable(name: &OsStr) {
    // SAFETY: this process has one thread.
    unsafe { env::remove_var(name) };
}

/// What [`fork_silently`] returned, and to whom.
pub enum Fork {
    Parent(libc::pid_t),
    Child,
}

/// fork(2) without SIGCHLD at the child's end: one that is pending would survive execve(2) and
/// reach a program that knows of no child.
pub fn fork_silently() -> io::Result<Fork> {
    // SAFETY: without flags clone is fork: the child has a copy of everything. This process has
    // one thread, so that no lock is held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as libc::pid_t)),
    }
}

/// Waits for a child of [`fork_silently`].
pub fn wait_for(child: libc::pid_t) {
    // SAFETY: no status is asked for. EINTR: no handler is installed.
    unsafe { libc::waitpid(child, ptr::null_mut(), libc::__WALL) };
}

/// Ends a forked child; what the parent registered for its exit does not run.
pub fn exit_now() -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(0) }
}

/// Whether orphans below this process become its children: it is the first of its pid namespace,
/// or a subreaper (prctl(2)).
pub fn adopts_orphans() -> bool {
    let mut subreaper: c_int = 0;
    // SAFETY: the call writes one int to the address.
    unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper) };
    subreaper != 0 || std::process::id() == 1
}

/// Lets a descriptor survive execve(2).
pub fn inherit(descriptor: impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfd(descriptor, FdFlags::empty())?)
}

/// The same open file under a number above those of the standard streams (which may be closed),
/// closed at execve(2).
pub fn above_standard(descriptor: impl AsFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(descriptor, 3)?)
}

/// Makes a forked process hold on to nothing but `keep` (all above 2) and standard error: no other
/// pipe, no lock, no directory, no place in a job.
pub fn detach(keep: &[RawFd]) {
    let mut kept: Vec<u32> = keep.iter().map(|&descriptor| descriptor as u32).collect();
    kept.push(2);
    kept.sort_unstable();
    let mut first = 0;
    for next in kept.into_iter().chain([u32::MAX]) {
        if first < next {
            // SAFETY: the process uses no other descriptor from here on, and owns none.
            unsafe { libc::syscall(libc::SYS_close_range, first, next - 1, 0) };
        }
        first = next.saturating_add(1);
    }
    // SAFETY: neither has preconditions; where they fail, nothing is lost.
    unsafe {
        libc::setsid();
        libc::chdir(c"/".as_ptr());
    }
}

/// Closes descriptor 2 of a process that will print nothing more.
pub fn close_standard_error() {
    // SAFETY: as said.
    unsafe { libc::close(2) };
}

/// The identities of this process.
pub struct Ids {
    /// Real.
    pub user: u32,
    /// Real.
    pub group: u32,
    effective: (u32, u32),
}

impl Ids {
    pub fn get() -> Self {
        let effective = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        Ids {
            user: rustix::process::getuid().as_raw(),
            group: rustix::process::getgid().as_raw(),
            effective,
        }
    }

    /// Whether the process acts as another user or group than its real one.
    pub fn differ(&self) -> bool {
        (self.user, self.group) != self.effective
    }
}

/// Whether execve(2) gives no privileges in this process (prctl(2), PR_SET_NO_NEW_PRIVS).
pub fn no_new_privileges() -> bool {
    // SAFETY: reads one attribute of this process.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

/// The signal that came first, or 0.
static INTERRUPTED: AtomicI32 = AtomicI32::new(0);

extern "C" fn note_interruption(signal: c_int) {
    let _ = INTERRUPTED.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
}

/// From now on SIGINT, SIGTERM and SIGHUP are only noted, so that what was mounted or made is
/// removed in order; children get the default behaviour back when they are executed.
pub fn note_interruptions() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only changes an atomic.
        unsafe { libc::signal(signal, note_interruption as extern "C" fn(c_int) as usize) };
    }
}

/// Whether one of these signals came.
pub fn interrupted() -> bool {
    interruption().is_some()
}

/// Which of these signals came first.
pub fn interruption() -> Option<c_int> {
    match INTERRUPTED.load(Ordering::Relaxed) {
        0 => None,
        signal => Some(signal),
    }
}

/// Makes a detached process one that no signal but SIGKILL ends, whose standard streams are /dev/null, and that may have
/// as many descriptors as are allowed.
pub fn be_a_service() {
    if let Ok(null) = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
    {
        for standard in 0..3 {
            // SAFETY: the standard streams are nobody's any more.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
        // It may itself have got one of those numbers.
        if null.as_raw_fd() < 3 {
            std::mem::forget(null);
        }
    }
    // SAFETY: the structures are live; all-zero is a valid value of each.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, ptr::null_mut());
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Lets process `pid` look into this one, whatever Yama says (prctl(2), PR_SET_PTRACER).
pub fn let_trace(pid: libc::pid_t) {
    // SAFETY: sets one attribute of this process; EINVAL without Yama.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, pid as libc::c_ulong, 0, 0, 0) };
}

/// Sends a descriptor and a byte through a socket (unix(7)).
pub fn send_descriptor(
    socket: impl AsFd,
    descriptor: impl AsFd,
    byte: u8,
) -> Result<(), rustix::io::Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let bytes = [byte];
    let bytes = [io::IoSlice::new(&bytes)];
    sendmsg(socket, &bytes, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// Receives both.
pub fn receive_descriptor(socket: impl AsFd) -> Result<(OwnedFd, u8), rustix::io::Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [io::IoSliceMut::new(&mut byte)];
    recvmsg(socket, &mut bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let descriptor = descriptors.next().ok_or(rustix::io::Errno::BADF)?;
    Ok((descriptor, byte[0]))
}
