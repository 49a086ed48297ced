//! The custodian: threads of the shim's with a descriptor table of their own.
//!
//! No descriptor of the shim's may ever be in the program's table: closing *any* descriptor of a
//! file drops the process's record locks on it (fcntl(2)), `close_range(3, ~0)` would take the
//! shim's away, and a shared open file description would eat the writeback error that the
//! program's fsync(2) should see. So whatever needs a descriptor runs over here: [`run`] carries a
//! closure to a custodian thread and waits for it.
//!
//! The first thread is started by the first tracked mapping of a process; a fork child has none and
//! starts its own when needed. A thread that takes work while no other is idle first starts
//! another, so that a filesystem that hangs does not keep the others waiting.

mod orders;
mod worker;

pub use orders::{adopt_ids, leave_if_alone};
pub use worker::Worker;

use crate::process::Process;
use crate::sys::ids::Ids;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
pub use keepmydata_sync::pool::Member;
use keepmydata_sync::pool::{Job, WorkerPool};

/// The custodian of one process. All-zero is "not started".
pub struct Custodian {
    pool: WorkerPool<Call, NonNull<Ids>>,
    /// A thread could not take on the program's ids.
    stranger: AtomicBool,
    /// Descriptors in the custodian's own table, plus one (0 is none).
    proc_self: AtomicI32,
    pidfd: AtomicI32,
    log_file: AtomicI32,
    /// The same, and -1 where the kernel offers none.
    userfaultfd: AtomicI32,
    pagemap: AtomicI32,
    records_lost: AtomicU32,
}

/// A closure on the stack of a thread that waits for it.
struct Call {
    run: unsafe fn(*mut c_void, &mut Worker),
    data: *mut c_void,
}

/// Why no custodian can do the work. The caller goes on without descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// clone(2) or close_range(2) failed with this errno.
    Errno(i32),
    /// A `vfork` child: the custodian that it could ask has its parent's descriptors.
    VforkChild,
}

/// Runs `work` on a custodian thread and returns what it returned. 4-20 us for the way there and
/// back. All signals of the calling thread must be blocked. `work` must not lock what the caller
/// holds, nor use errno or thread-local storage.
pub fn run<R>(
    process: &'static Process,
    work: impl FnOnce(&mut Worker) -> R,
) -> Result<R, Unavailable> {
    if process.is_borrowed() {
        return Err(Unavailable::VforkChild);
    }
    struct This<F, R> {
        work: Option<F>,
        result: MaybeUninit<R>,
    }
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
    let job = Job::new(Call {
        run: of(&this),
        data: (&raw mut this).cast(),
    });
    let pool = &process.custodian.pool;
    loop {
        let hire = || worker::start_first(process).map_err(|errno| errno.raw_os_error());
        pool.ready(hire).map_err(Unavailable::Errno)?;
        // False where they left since.
        if pool.push(NonNull::from(&job)) {
            break;
        }
    }
    job.wait();
    // SAFETY: the job is done after the call has written its result.
    Ok(unsafe { this.result.assume_init() })
}

impl Custodian {
    /// Makes another thread than those that take work; it calls [`Custodian::join`]. On a custodian
    /// thread.
    pub fn hire(&self, spawn: impl FnOnce() -> bool) -> bool {
        self.pool.hire() && {
            let made = spawn();
            if !made {
                self.pool.not_hired();
            }
            made
        }
    }

    /// The thread is there.
    pub fn join(&self) -> Member {
        self.pool.join()
    }

    /// Carries out orders between two things that such a thread does; true where it must end, when
    /// it has said [`Custodian::left`].
    pub fn attend(&self, member: &mut Member) -> bool {
        let (order, leave) = self.pool.look(member);
        if let Some(ids) = order {
            self.carry_out(ids, member);
        }
        leave
    }

    /// The thread ends.
    pub fn left(&self, member: Member) {
        self.pool.left(member);
    }

    fn carry_out(&self, ids: NonNull<Ids>, member: &mut Member) {
        // SAFETY: live until all members have carried out the order.
        if unsafe { ids.as_ref() }.adopt().is_err() {
            self.stranger.store(true, Ordering::Relaxed);
        }
        self.pool.carried_out(member);
    }

    /// All threads are gone, and their descriptors with them.
    fn forget_descriptors(&self) {
        for slot in [
            &self.proc_self,
            &self.pidfd,
            &self.log_file,
            &self.userfaultfd,
            &self.pagemap,
        ] {
            slot.store(0, Ordering::Relaxed);
        }
    }
}
