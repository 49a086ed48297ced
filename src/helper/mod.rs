//! The helper: a process of the shim's that shares the program's memory and has a descriptor table of
//! its own.
//!
//! No descriptor of the shim's may be in the program's table: closing *any* descriptor of a file drops the
//! process's record locks on it (fcntl(2)), `close_range(3, ~0)` would close the shim's, and a shared open file
//! description would take the writeback error that the program's fsync(2) should return. So what needs a descriptor
//! runs here: [`run`] carries a closure to a thread of the helper and waits for it.
//!
//! It is outside of the program's thread group, because programs and the kernel count threads (unshare(2),
//! `CLONE_NEWUSER`). Where it cannot be made, or may not look at the program (ptrace(2), "Ptrace access mode checking"),
//! its threads are threads of the program. [`process`] says how it starts, and how it learns that the program has ended.
//!
//! The first mapping that needs it starts it; so does a fork child, which inherits none. A thread that takes work while no
//! other is idle first starts another, so that a filesystem that hangs does not block the program's other threads.

mod errand;
mod exec;
mod orders;
mod process;
mod task;
mod worker;

pub use errand::on_program;
pub use exec::{finds, for_each_executable};
pub use orders::{
    adopt_ids, at_exec, at_exit, before_moving, is_for_children, leave_program_alone,
};
pub use process::note_main_thread;
pub use task::TaskPath;
pub use worker::{Handle, Worker};

use crate::process::{PerProcess, Process, Zeroed};
use crate::sys::ids::Ids;
use crate::sys::{lock, thread};
use core::cell::Cell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
pub use keepmydata_sync::pool::Member;
use keepmydata_sync::pool::{Job, Push, WorkerPool};
use rustix::io::Errno;
use std::sync::OnceLock;

/// The helper of one process. All-zero is "not started".
pub struct Helper {
    pool: WorkerPool<Call, NonNull<Ids>>,
    life: process::Life,
    /// Threads that wait for it, and what else is to be done before it may end.
    jobs: AtomicU32,
    /// Calls of the program's under way, of several jobs each, and what keeps others out.
    calls: AtomicU32,
    closed: orders::Closed,
    /// Counts what those of its threads must look at that take no jobs; they sleep on it.
    nudges: lock::Word,
    /// It ends because the program does.
    is_last: AtomicBool,
    /// A thread could not take on the program's ids.
    stranger: AtomicBool,
    /// Descriptors in the helper's own table, plus one (0 is none): /proc, and the program's directory
    /// there.
    proc: AtomicI32,
    program: AtomicI32,
    pidfd: AtomicI32,
    log_file: AtomicI32,
    /// The same, and -1 where the kernel offers none.
    userfaultfd: AtomicI32,
    pagemap: AtomicI32,
    records_lost: AtomicU32,
}

// SAFETY: locks, atomics and pools of threads, which say so themselves.
unsafe impl Zeroed for Helper {}

static OWN: PerProcess<Helper> = PerProcess::new();

/// The helper of this process.
pub fn own() -> &'static Helper {
    OWN.get()
}

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    OWN.boot()
}

/// What somebody above must write down.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// It is threads of the program, for this reason.
    IsThread(Errno),
    /// It was killed, and the program ends now.
    WasKilled,
}

static LISTENER: OnceLock<fn(&Worker, News)> = OnceLock::new();

/// Has `listener` learn of all news; called once, while booting.
pub fn listen(listener: fn(&Worker, News)) {
    let _ = LISTENER.set(listener);
}

/// Starts a thread of the helper.
///
/// Errors: those of [`thread::spawn`].
pub fn spawn(body: thread::Body) -> Result<(), Errno> {
    // SAFETY: what runs on the helper uses neither errno nor thread-local storage.
    unsafe { thread::spawn(body, 0) }
}

fn say(worker: &Worker, news: News) {
    if let Some(listener) = LISTENER.get() {
        listener(worker, news);
    }
}

/// A closure on the stack of a thread that waits for it.
struct Call {
    run: unsafe fn(*mut c_void, &mut Worker),
    data: *mut c_void,
    errand: errand::Errand,
}

/// Counted for as long as it lives.
struct Counted<'a>(&'a AtomicU32);

impl Counted<'_> {
    fn in_(count: &AtomicU32) -> Counted<'_> {
        count.fetch_add(1, Ordering::AcqRel);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A call of the program's that is several jobs in a row: until it is done, the end of the process in another thread
/// waits for it.
pub struct InCall(());

impl InCall {
    /// Waits while the process is about to end: natively the caller would go no further, and at the worst it is late.
    pub fn begin() -> InCall {
        loop {
            own().calls.fetch_add(1, Ordering::SeqCst);
            let ns = own().closed.is_for();
            if ns == 0 {
                return InCall(());
            }
            own().calls.fetch_sub(1, Ordering::SeqCst);
            own().closed.wait(ns);
        }
    }
}

impl Drop for InCall {
    fn drop(&mut self) {
        own().calls.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why no helper can do the work. The caller goes on without descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// clone(2), close_range(2) or futex(2) failed with this errno.
    Errno(i32),
    /// A `vfork` child: the helper that it could ask has its parent's descriptors.
    VforkChild,
}

/// How long who waits for the helper sleeps before it looks whether that is still there, ns.
const LOOK_NS: u64 = 1_000_000_000;

/// The same as [`run`] if there is a helper, and nothing where there is none: for what is about
/// something that only a helper can have made.
pub fn run_if_there<R>(
    process: &'static Process,
    work: impl FnOnce(&mut Worker) -> R,
) -> Option<R> {
    match own().pool.is_there() {
        true => run(process, work).ok(),
        false => None,
    }
}

/// Runs `work` on a thread of the helper and returns what it returned: on the calling one, where that is
/// such a thread. 4-20 us for the way there and back. All signals of the calling thread must be blocked.
/// `work` must not lock what the caller holds, nor use errno or thread-local storage.
pub fn run<R>(
    process: &'static Process,
    work: impl FnOnce(&mut Worker) -> R,
) -> Result<R, Unavailable> {
    struct This<F, R> {
        work: Option<F>,
        result: MaybeUninit<R>,
    }
    // Not inlined: what runs on the helper takes nothing of the caller's stack.
    #[inline(never)]
    unsafe fn call<F: FnOnce(&mut Worker) -> R, R>(data: *mut c_void, worker: &mut Worker) {
        // SAFETY: `data` is the `This` below, whose owner waits until the job is done.
        let this = unsafe { &mut *data.cast::<This<F, R>>() };
        if let Some(work) = this.work.take() {
            this.result.write(work(worker));
        }
    }
    fn of<F: FnOnce(&mut Worker) -> R, R>(_: &This<F, R>) -> unsafe fn(*mut c_void, &mut Worker) {
        call::<F, R>
    }

    let mut this = This {
        work: Some(work),
        result: MaybeUninit::uninit(),
    };
    let (run, data) = (of(&this), (&raw mut this).cast());
    match thread::is_own() {
        // There may be no second thread, and no way to make one: it would wait for itself.
        // SAFETY: the data that it wants.
        true => unsafe { run(data, &mut Worker::new(process, true)) },
        false => carry(process, run, data)?,
    }
    // SAFETY: the job is done after the call has written its result.
    Ok(unsafe { this.result.assume_init() })
}

/// Has a thread of the helper call `run` with `data`, and waits until it has.
#[inline(never)]
fn carry(
    process: &'static Process,
    run: unsafe fn(*mut c_void, &mut Worker),
    data: *mut c_void,
) -> Result<(), Unavailable> {
    if process.is_borrowed() {
        return Err(Unavailable::VforkChild);
    }
    let job = Job::new(Call {
        run,
        data,
        errand: errand::Errand::default(),
    });
    let pool = &own().pool;
    let _counted = Counted::in_(&own().jobs);
    let queued = Cell::new(false);
    loop {
        let hire = || {
            // The first thread begins with it.
            if !queued.replace(true) {
                pool.push_first(NonNull::from(&job));
            }
            process::start(process).map_err(|errno| errno.raw_os_error())
        };
        match pool.ready(hire) {
            // Else one that another caller has made has taken it.
            Err(errno) if !queued.get() || pool.take_back(NonNull::from(&job)) => {
                return Err(Unavailable::Errno(errno));
            }
            _ if queued.get() => {}
            _ => match pool.push(NonNull::from(&job)) {
                Push::Queued => {}
                Push::Closed => continue,
                Push::Unheard => return Err(Unavailable::Errno(libc::EPERM)),
            },
        }
        own().life.watch_caller();
        let is_done = job.wait(|done| {
            lock::wait_for(done, 0, LOOK_NS);
            job.payload.errand.run();
            if done.load(Ordering::Acquire) != 0 || !own().life.is_dead() {
                return true;
            }
            if is_alone() && pool.withdraw(NonNull::from(&job)) {
                return false;
            }
            own().life.must_live();
            true
        });
        if is_done {
            return Ok(());
        }
        queued.set(false);
        orders::replace(process);
    }
}

/// Whether nobody else waits for the helper: one that was killed had nothing to do, then, and can be replaced.
fn is_alone() -> bool {
    own().jobs.load(Ordering::Acquire) == 1
}

/// The same for work that must be done: without a helper on the calling thread.
pub fn run_or_here(process: &'static Process, work: &mut dyn FnMut(&Worker)) {
    if run(process, |worker| work(worker)).is_err() {
        work(&Worker::without_descriptors(process));
    }
}

impl Helper {
    /// Makes another thread than those that take work; it calls [`Helper::join`]. On a thread of the
    /// helper.
    pub fn hire(&self, spawn: impl FnOnce() -> bool) -> bool {
        self.pool.hire() && {
            let made = spawn();
            if !made {
                self.pool.not_hired();
            }
            made
        }
    }

    /// What such a thread sleeps on ([`lock::wait`]), and what wakes it.
    pub fn nudges(&self) -> &lock::Word {
        &self.nudges
    }

    /// Wakes such a thread, to look at its orders.
    pub fn nudge(&self) {
        self.nudges.fetch_add(1, Ordering::Release);
        lock::wake_one(&self.nudges);
    }

    /// Something is to be done, until [`Helper::end_job`]: the end of the process waits a little for it.
    pub fn begin_job(&self) {
        self.jobs.fetch_add(1, Ordering::AcqRel);
    }

    /// It was done, or need not be any more.
    pub fn end_job(&self) {
        self.jobs.fetch_sub(1, Ordering::AcqRel);
    }

    /// The thread is there.
    pub fn join(&self) -> Member {
        self.pool.join()
    }

    /// Carries out orders between two things that such a thread does; true where it must end, when
    /// it has said [`Helper::left`].
    pub fn attend(&self, member: &mut Member) -> bool {
        let (order, leave) = self.pool.look(member);
        if let Some(ids) = order {
            self.carry_out(ids, member);
        }
        leave
    }

    /// The same without waiting for a thread of the program's; nothing where one has the lock. Then the same order may
    /// be carried out again.
    pub fn try_attend(&self, member: &mut Member) -> Option<bool> {
        let (order, leave) = self.pool.try_look(member)?;
        if let Some(ids) = order {
            self.adopt(ids);
            self.pool.try_carried_out(member)?;
        }
        Some(leave)
    }

    /// The thread ends.
    pub fn left(&self, member: Member) {
        self.pool.left(member);
    }

    /// The same without waiting for a thread of the program's: nothing where one has the lock.
    pub fn try_leave(&self) -> Option<()> {
        self.pool.try_left()
    }

    fn carry_out(&self, ids: NonNull<Ids>, member: &mut Member) {
        self.adopt(ids);
        self.pool.carried_out(member);
    }

    fn adopt(&self, ids: NonNull<Ids>) {
        // SAFETY: live until all members have carried out the order.
        if unsafe { ids.as_ref() }.adopt().is_err() {
            self.stranger.store(true, Ordering::Relaxed);
        }
    }

    /// All threads are gone, and their descriptors with them.
    fn forget_descriptors(&self) {
        for slot in [
            &self.proc,
            &self.program,
            &self.pidfd,
            &self.log_file,
            &self.userfaultfd,
            &self.pagemap,
        ] {
            slot.store(0, Ordering::Relaxed);
        }
    }
}
