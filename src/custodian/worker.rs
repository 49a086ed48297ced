//! One custodian thread: what it has, and its loop.

use crate::mappings::file::Handle;
use crate::process::Process;
use crate::sys::{self, cachestat::Cached, proc_path::ProcPath, thread};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicI32, Ordering};
use keepmydata_sync::pool::{Job, Member, Next};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// What work on a custodian thread can use. Work that found no custodian gets one without
/// descriptors.
pub struct Worker {
    process: &'static Process,
    here: bool,
}

impl Worker {
    /// What a custodian thread (`here`) or another one can use.
    pub fn new(process: &'static Process, here: bool) -> Worker {
        Worker { process, here }
    }

    /// For work that must be done without a custodian, on the caller's own thread.
    pub fn without_descriptors(process: &'static Process) -> Worker {
        Worker::new(process, false)
    }

    pub fn process(&self) -> &'static Process {
        self.process
    }

    /// Whether this is a custodian thread, so that descriptors may be opened and used.
    pub fn has_descriptors(&self) -> bool {
        self.here
    }

    /// A descriptor in the custodian's table, unless this is not its thread.
    pub fn borrow(&self, fd: RawFd) -> Option<BorrowedFd<'_>> {
        // SAFETY: handles stay open while their file is held, and the worker works for a holder.
        (self.here && fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// A file's handle, if it is of this process and can be used here.
    pub fn borrow_handle(&self, handle: &Handle) -> Option<BorrowedFd<'_>> {
        if handle.generation != self.process.generation() {
            return None;
        }
        self.borrow(handle.fd)
    }

    /// The same, to ask after the page cache; nothing where the file has none (DAX).
    pub fn borrow_cached(&self, handle: &Handle) -> Option<Cached<'_>> {
        Cached::new(self.borrow_handle(handle)?, handle.dax)
    }

    /// Opens anew what descriptor `fd` of the program's thread `tid` is open on: a new open file
    /// description of the same inode.
    ///
    /// Errors: those of open(2); `ENOENT` where /proc is not mounted or the descriptor is gone.
    pub fn reopen(&self, tid: i32, fd: RawFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut path = ProcPath::new(b"task/");
        path.number(tid);
        path.push(b"/fd/");
        path.number(fd);
        self.open_in_proc(&path, flags)
    }

    /// Where descriptor `fd` of the program's thread `tid` leads (readlink(2)), into `buffer`.
    pub fn path_of<'b>(&self, tid: i32, fd: RawFd, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut path = ProcPath::new(b"task/");
        path.number(tid);
        path.push(b"/fd/");
        path.number(fd);
        let proc_self = self.proc_self()?;
        let length = rustix::fs::readlinkat_raw(proc_self, path.as_c_str(), &mut *buffer).ok()?;
        Some(&buffer[..length])
    }

    /// Opens the file of the mapping that starts at `start` and ends at `end` (the kernel's idea of
    /// it): /proc/self/map_files. `EPERM` without `CAP_CHECKPOINT_RESTORE`.
    pub fn reopen_mapping(
        &self,
        start: usize,
        end: usize,
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        let mut path = ProcPath::new(b"map_files/");
        path.hex(start);
        path.push(b"-");
        path.hex(end);
        self.open_in_proc(&path, flags)
    }

    /// /proc/self/maps.
    pub fn open_maps(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open_in_proc(&ProcPath::new(b"maps"), flags)
    }

    /// /proc/self/smaps.
    pub fn open_smaps(&self) -> Result<OwnedFd, Errno> {
        self.open_in_proc(&ProcPath::new(b"smaps"), OFlags::RDONLY)
    }

    /// A userfaultfd for asynchronous write protection, if the kernel has that.
    pub fn userfaultfd(&self) -> Option<BorrowedFd<'_>> {
        self.once(&self.process.custodian.userfaultfd, sys::userfaultfd::open)
    }

    /// /proc/self/pagemap.
    pub fn pagemap(&self) -> Option<BorrowedFd<'_>> {
        self.once(&self.process.custodian.pagemap, || {
            self.open_in_proc(&ProcPath::new(b"pagemap"), OFlags::RDONLY)
        })
    }

    /// A descriptor of the custodian's, opened with its first use; -1 in `slot` where that failed.
    fn once(
        &self,
        slot: &AtomicI32,
        open: impl Fn() -> Result<OwnedFd, Errno>,
    ) -> Option<BorrowedFd<'_>> {
        if !self.here {
            return None;
        }
        if slot.load(Ordering::Acquire) == 0 {
            let opened = open();
            let value = opened.as_ref().map_or(-1, |fd| fd.as_raw_fd() + 1);
            let first = slot.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire);
            if first.is_ok() {
                // It stays open for as long as the process lives.
                let _ = opened.map(IntoRawFd::into_raw_fd);
            }
        }
        self.borrow(slot.load(Ordering::Acquire) - 1)
    }

    fn open_in_proc(&self, path: &ProcPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let proc_self = self.proc_self().ok_or(Errno::NOENT)?;
        openat(
            proc_self,
            path.as_c_str(),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    fn proc_self(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.process.custodian.proc_self.load(Ordering::Relaxed);
        self.borrow(fd - 1)
    }

    /// A copy of the program's descriptor `fd`, in the custodian's table, for as long as it takes
    /// to use it.
    pub fn borrow_from_program(&self, fd: RawFd) -> Option<OwnedFd> {
        let pidfd = self.process.custodian.pidfd.load(Ordering::Relaxed) - 1;
        self.borrow(pidfd)?;
        let copy = sys::fd::pidfd_getfd(pidfd, fd).ok()?;
        // SAFETY: made just now, in this thread's table.
        Some(unsafe { OwnedFd::from_raw_fd(copy) })
    }

    /// The log file, which stays open in the custodian's table from when it could be opened. Nothing where
    /// this is not its thread.
    pub fn log_file<E>(
        &self,
        open: impl FnOnce() -> Result<OwnedFd, E>,
    ) -> Result<Option<BorrowedFd<'_>>, E> {
        if !self.here {
            return Ok(None);
        }
        let slot = &self.process.custodian.log_file;
        if slot.load(Ordering::Acquire) == 0 {
            let opened = open()?;
            let value = opened.as_raw_fd() + 1;
            let first = slot.compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire);
            if first.is_ok() {
                let _ = opened.into_raw_fd();
            }
        }
        Ok(self.borrow(slot.load(Ordering::Acquire) - 1))
    }

    /// Closes a handle in the custodian's table.
    pub fn close(&self, fd: RawFd) {
        if self.here {
            // SAFETY: the handle's file is gone, so nobody else uses it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    /// Counts a record that could not be written.
    pub fn record_lost(&self) {
        self.process
            .custodian
            .records_lost
            .fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts the first thread of `process`, which says how that went.
pub fn start_first(process: &'static Process) -> Result<(), Errno> {
    // SAFETY: the process state lives for ever.
    unsafe { thread::spawn(first, (&raw const *process).cast_mut().cast()) }
}

fn start_another(process: &'static Process) -> Result<(), Errno> {
    // SAFETY: the process state lives for ever.
    unsafe { thread::spawn(another, (&raw const *process).cast_mut().cast()) }
}

extern "C" fn first(process: *mut c_void) -> c_int {
    // SAFETY: `start_first` passed the process state, which lives for ever.
    let process: &'static Process = unsafe { &*process.cast() };
    let custodian = &process.custodian;
    if let Err(errno) = leave_program() {
        custodian.pool.failed(errno.raw_os_error());
        return 0;
    }
    let dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(proc_self) = openat(CWD, c"/proc/self", dir, Mode::empty()) {
        custodian
            .proc_self
            .store(proc_self.into_raw_fd() + 1, Ordering::Relaxed);
    }
    let own = rustix::process::getpid();
    if let Ok(pidfd) = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()) {
        custodian
            .pidfd
            .store(pidfd.into_raw_fd() + 1, Ordering::Relaxed);
    }
    serve(process, custodian.pool.opened())
}

extern "C" fn another(process: *mut c_void) -> c_int {
    // SAFETY: as in `first`.
    let process: &'static Process = unsafe { &*process.cast() };
    serve(process, process.custodian.pool.join())
}

/// Leaves the program's descriptor table to the program. Root and working directory stay shared: a
/// thread outside of what the program calls chroot(2) to would be a way out, through
/// /proc/self/task/TID/root.
fn leave_program() -> Result<(), Errno> {
    let _ = rustix::thread::set_name(c"keepmydata");
    sys::fd::leave_descriptor_table()
}

fn serve(process: &'static Process, mut member: Member) -> c_int {
    let custodian = &process.custodian;
    let mut worker = Worker::new(process, true);
    loop {
        match custodian.pool.next(&mut member) {
            Next::Job(job, hire) => {
                if hire && start_another(process).is_err() {
                    custodian.pool.not_hired();
                }
                // SAFETY: whoever queued the job waits until it is finished, and keeps it alive.
                unsafe {
                    let call = &job.as_ref().payload;
                    (call.run)(call.data, &mut worker);
                    Job::finish(job);
                }
            }
            Next::Order(ids) => custodian.carry_out(ids, &mut member),
            Next::Leave => return 0,
        }
    }
}
