//! One thread of the helper: what it has, and its loop.

use super::Call;
use super::task::TaskPath;
use crate::process::{self, Process};
use crate::sys::{self, cachestat::Cached, proc_path::ProcPath, seccomp, thread, wipe::Mapping};
use core::ffi::c_int;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI32, Ordering};
use keepmydata_sync::pool::{Job, Member, Next};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

/// The shim's own open file description, in the helper's table of one generation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handle {
    /// Number of the process generation whose helper holds it; 0 is none.
    pub generation: u32,
    pub fd: i32,
    /// Opened `O_DIRECT`, and whole pages are aligned enough for it.
    pub direct: bool,
    /// Nobody may ask for the cached pages of what it is open on: DAX, where there is no page cache, or a
    /// filesystem on top of another, whose inode has the pages (overlayfs, FUSE passthrough).
    pub uncounted: bool,
    /// Opened for writing too.
    pub writable: bool,
    /// The process that has it in its table, where that is a helper of its own: its children may take a copy.
    pub holder: i32,
    /// errno of the attempt to open it, where that failed.
    pub errno: i32,
    /// Where all of the file is mapped, by an open file of the shim's that is no handle, and how many bytes; 0 is nowhere.
    pub whole: usize,
    /// Bytes of that.
    pub whole_len: usize,
}

impl Handle {
    /// Whether it has a mapping of the whole file in this process.
    pub fn has_whole(&self) -> bool {
        // The numbers of a parent process are lower.
        self.whole != 0 && self.generation >= process::this().birth()
    }

    /// Unmaps that. Of who has taken it, and nobody else.
    pub fn unmap_whole(&mut self) {
        let whole = core::mem::take(&mut self.whole);
        if self.generation >= process::this().birth()
            && let Some(start) = NonNull::new(core::ptr::with_exposed_provenance_mut(whole))
        {
            // SAFETY: left by who noted it, with that size, and nobody else has taken the note.
            drop(unsafe { Mapping::adopt(start, self.whole_len) });
        }
    }
}

/// What work on a helper thread can use. Work that found no helper gets one without
/// descriptors.
pub struct Worker {
    process: &'static Process,
    here: bool,
}

impl Worker {
    /// What a helper thread (`here`) or another one can use.
    pub fn new(process: &'static Process, here: bool) -> Worker {
        Worker { process, here }
    }

    /// For work that must be done without a helper, on the caller's own thread.
    pub fn without_descriptors(process: &'static Process) -> Worker {
        Worker::new(process, false)
    }

    /// The program's process.
    pub fn process(&self) -> &'static Process {
        self.process
    }

    /// Whether this is a helper thread, so that descriptors may be opened and used.
    pub fn has_descriptors(&self) -> bool {
        self.here
    }

    /// A descriptor in the helper's table, unless this is not its thread.
    pub(super) fn borrow(&self, fd: RawFd) -> Option<BorrowedFd<'_>> {
        // SAFETY: what the helper has opened stays open; handles while their file is held, and the worker works for
        // a holder.
        (self.here && fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// What leads to the program in /proc, unless this is not the helper's thread.
    pub fn program(&self) -> Option<BorrowedFd<'_>> {
        self.borrow(super::own().program.load(Ordering::Relaxed) - 1)
    }

    /// The program (pidfd_open(2)), unless this is not the helper's thread.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.borrow(super::own().pidfd.load(Ordering::Relaxed) - 1)
    }

    /// A file's handle, if it is of this process and can be used here.
    #[inline(never)]
    pub fn borrow_handle(&self, handle: &Handle) -> Option<BorrowedFd<'_>> {
        if handle.generation != self.process.generation() {
            return None;
        }
        self.borrow(handle.fd)
    }

    /// The same, to ask after the page cache; nothing where the file has none (DAX).
    #[inline(never)]
    pub fn borrow_cached(&self, handle: &Handle) -> Option<Cached<'_>> {
        Cached::new(self.borrow_handle(handle)?, handle.uncounted)
    }

    /// Opens anew what descriptor `fd` of the program's thread at `task` is open on: a new open file
    /// description of the same inode.
    ///
    /// Errors: those of open(2); `ENOENT` where /proc is not mounted or the descriptor is gone; `EACCES`
    /// where the helper is a process that may not look at the program any more.
    pub fn reopen(&self, task: &TaskPath, fd: RawFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut path = ProcPath::new(task.as_bytes());
        path.push(b"/fd/");
        path.number(fd);
        self.open_in_proc(&path, flags)
    }

    /// The same for a descriptor in the helper's table.
    pub fn reopen_own(&self, fd: RawFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut path = ProcPath::new(b"thread-self/fd/");
        path.number(fd);
        self.open_in_proc(&path, flags)
    }

    /// Opens the file of the mapping that starts at `start` and ends at `end` (the kernel's idea of
    /// it): /proc/self/map_files. `EPERM` without `CAP_CHECKPOINT_RESTORE`.
    pub fn reopen_mapping(
        &self,
        start: usize,
        end: usize,
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        let mut path = ProcPath::new(b"self/map_files/");
        path.hex(start);
        path.push(b"-");
        path.hex(end);
        self.open_in_proc(&path, flags)
    }

    /// /proc/self/maps.
    pub fn open_maps(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = ProcPath::new(b"self/maps");
        self.open_in_proc(&path, flags)
    }

    /// /proc/self/smaps.
    pub fn open_smaps(&self) -> Result<OwnedFd, Errno> {
        let path = ProcPath::new(b"self/smaps");
        self.open_in_proc(&path, OFlags::RDONLY)
    }

    /// A userfaultfd for asynchronous write protection, if the kernel has that.
    pub fn userfaultfd(&self) -> Option<BorrowedFd<'_>> {
        self.once(&super::own().userfaultfd, sys::userfaultfd::open)
    }

    /// /proc/self/pagemap.
    pub fn pagemap(&self) -> Option<BorrowedFd<'_>> {
        self.once(&super::own().pagemap, || {
            let path = ProcPath::new(b"self/pagemap");
            self.open_in_proc(&path, OFlags::RDONLY)
        })
    }

    /// A descriptor of the helper's, opened with its first use; -1 in `slot` where that failed.
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
        let proc = self.borrow(super::own().proc.load(Ordering::Relaxed) - 1);
        openat(
            proc.ok_or(Errno::NOENT)?,
            path.as_c_str(),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    /// A copy of the program's descriptor `fd`, in the helper's table, for as long as it takes to use it:
    /// the same open file description.
    pub fn borrow_from_program(&self, fd: RawFd) -> Option<OwnedFd> {
        copy_of(self.pidfd()?, fd)
    }

    /// The helper's process id, where it is a process of its own; else 0.
    pub fn own_pid(&self) -> i32 {
        let pid = sys::getpid();
        match self.here && pid != self.process.pid() {
            true => pid,
            false => 0,
        }
    }

    /// A copy of descriptor `fd` in the table of process `pid`: the same open file description.
    pub fn copy_from(&self, pid: i32, fd: RawFd) -> Option<OwnedFd> {
        let pidfd = open_process(if self.here { pid } else { 0 })?;
        copy_of(pidfd.as_fd(), fd)
    }

    /// What descriptor `fd` of the program is open on, opened anew to append to it.
    pub fn reopen_of_program(&self, fd: RawFd) -> Option<OwnedFd> {
        let mut path = ProcPath::new(b"fd/");
        path.number(fd);
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOCTTY | OFlags::NONBLOCK;
        let flags = flags | OFlags::CLOEXEC;
        openat(self.program()?, path.as_c_str(), flags, Mode::empty()).ok()
    }

    /// The log file, which stays open in the helper's table from when it could be opened. Nothing where
    /// this is not its thread.
    pub fn log_file<E>(
        &self,
        open: impl FnOnce() -> Result<OwnedFd, E>,
    ) -> Result<Option<BorrowedFd<'_>>, E> {
        if !self.here {
            return Ok(None);
        }
        let slot = &super::own().log_file;
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

    /// Closes a handle in the helper's table, whose file is gone.
    ///
    /// Errors: that of a daemon's answer to FLUSH, which rustix would take for a defect in a debug build.
    pub fn close(&self, fd: RawFd) -> Result<(), Errno> {
        match self.here {
            true => sys::raw::sys_close(fd).map(drop),
            false => Ok(()),
        }
    }

    /// Counts a record that could not be written.
    pub fn record_lost(&self) {
        super::own().records_lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// The calling thread of the helper's is about to wait for a thread of the program's, which may need the helper itself.
pub fn make_room() {
    let pool = &super::own().pool;
    if pool.hire_where_none_is_idle() && super::spawn(another).is_err() {
        pool.not_hired();
    }
}

/// The first thread that takes jobs, in a helper that is a process.
pub fn first_of_process(process: &'static Process) -> c_int {
    let member = super::own().pool.opened();
    super::own().life.note_working();
    // Who starts the helper waits for its first job, and need not be woken before that is done.
    serve(process, member, true)
}

/// The first thread of a helper that is none.
pub extern "C" fn first_of_threads(_: usize) -> c_int {
    let process = process::this();
    let helper = super::own();
    if let Err(errno) = leave_program(process) {
        helper.pool.failed(errno.raw_os_error());
        return 0;
    }
    open_descriptors(process);
    say_why_thread(process);
    serve(process, helper.pool.opened(), false)
}

extern "C" fn another(_: usize) -> c_int {
    serve(process::this(), super::own().pool.join(), false)
}

/// Leaves the program's descriptor table to the program, and what is peculiar to the thread that made
/// the calling one to that.
pub fn leave_program(process: &Process) -> Result<(), Errno> {
    if !sys::lock::is_allowed() {
        return Err(Errno::PERM);
    }
    if !seccomp::is_fatal(libc::SYS_prctl) {
        let _ = rustix::thread::set_name(c"keepmydata");
    }
    sys::fd::leave_descriptor_table()?;
    thread::schedule_as_process(process.pid());
    Ok(())
}

/// Opens what leads to the program. Without /proc there is less that can be done; where the working root has none, a
/// privileged program's helper has one that is mounted nowhere.
pub fn open_descriptors(process: &Process) {
    let helper = super::own();
    let dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = c"/proc/thread-self";
    let proc = match rustix::fs::readlinkat_raw(CWD, own, &mut [0u8; 8]) {
        Err(Errno::NOENT) => sys::fd::unmounted_proc(),
        _ => openat(CWD, c"/proc", dir, Mode::empty()),
    };
    if let Ok(proc) = proc {
        let path = ProcPath::new(helper.life.starter().process());
        if let Ok(program) = openat(&proc, path.as_c_str(), dir, Mode::empty()) {
            helper
                .program
                .store(program.into_raw_fd() + 1, Ordering::Relaxed);
        }
        helper.proc.store(proc.into_raw_fd() + 1, Ordering::Relaxed);
    }
    if let Some(pidfd) = open_process(process.pid()) {
        helper
            .pidfd
            .store(pidfd.into_raw_fd() + 1, Ordering::Relaxed);
    }
}

/// pidfd_open(2); nothing of process 0, nor where a sandbox denies it.
fn open_process(pid: i32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(pid).filter(|_| !seccomp::is_fatal(libc::SYS_pidfd_open))?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// pidfd_getfd(2), likewise.
fn copy_of(process: BorrowedFd<'_>, fd: RawFd) -> Option<OwnedFd> {
    if seccomp::is_fatal(libc::SYS_pidfd_getfd) {
        return None;
    }
    rustix::process::pidfd_getfd(process, fd, PidfdGetfdFlags::empty()).ok()
}

fn say_why_thread(process: &'static Process) {
    if let Some(errno) = super::own().life.why_thread() {
        super::say(&Worker::new(process, true), super::News::IsThread(errno));
    }
}

/// The calling thread of the helper's works on `job` until the result is dropped.
struct AtWork;

impl AtWork {
    fn on(job: NonNull<Job<Call>>) -> AtWork {
        thread::set_own_word(job.as_ptr() as usize);
        AtWork
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        thread::set_own_word(0);
    }
}

/// With `is_awaited` who starts the helper is woken when the first thing is done, or where there is nothing to do.
fn serve(process: &'static Process, mut member: Member, mut is_awaited: bool) -> c_int {
    let helper = super::own();
    let mut worker = Worker::new(process, true);
    loop {
        if is_awaited && !helper.pool.has_job() {
            is_awaited = false;
            helper.life.wake_starter();
        }
        // A program with one thread, which waits for its job, has no other.
        let next = helper.pool.next(&mut member, || !thread::is_single());
        let leaves = matches!(next, Next::Leave);
        match next {
            Next::Job(job, hire) => {
                if hire && super::spawn(another).is_err() {
                    helper.pool.not_hired();
                }
                // SAFETY: whoever queued the job waits until it is finished, and keeps it alive.
                unsafe {
                    let call = &job.as_ref().payload;
                    let at_work = AtWork::on(job);
                    (call.run)(call.data, &mut worker);
                    drop(at_work);
                    Job::finish(job);
                }
            }
            Next::Order(ids) => helper.carry_out(ids, &mut member),
            Next::Leave => {}
        }
        if core::mem::take(&mut is_awaited) {
            helper.life.wake_starter();
        }
        if leaves {
            return end_thread();
        }
    }
}

/// Ends the calling thread of the helper, or says what its body is to return, which unmaps its stack: needless, and an
/// interrupt of the other processors, where the program is about to end.
pub fn end_thread() -> c_int {
    if super::own().is_last.load(Ordering::Relaxed) {
        let _ = sys::raw::sys_exit(0);
    }
    0
}
