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

mod worker;

pub use worker::Worker;

use crate::process::Process;
use crate::sys::lock::{self, Mutex};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// Threads at the most; beyond, work waits for a thread to come free.
const MAX_WORKERS: u32 = 64;

const NONE: u32 = 0;
const STARTING: u32 = 1;
const READY: u32 = 2;
const FAILED: u32 = 3;

/// The custodian of one process. All-zero is "not started".
pub struct Custodian {
    state: AtomicU32,
    errno: AtomicI32,
    queue: Mutex<Queue>,
    /// Counts jobs that were queued; idle threads sleep on it.
    queued: AtomicU32,
    /// Descriptors in the custodian's own table, plus one (0 is none).
    proc_self: AtomicI32,
    pidfd: AtomicI32,
    log_file: AtomicI32,
    /// The same, and -1 where the kernel offers none.
    userfaultfd: AtomicI32,
    pagemap: AtomicI32,
    records_lost: AtomicU32,
}

struct Queue {
    head: *mut Job,
    tail: *mut Job,
    idle: u32,
    workers: u32,
}

// SAFETY: the pointers are followed by the holder of the lock only; a job outlives its time in the
// queue, because whoever queued it waits.
unsafe impl Send for Queue {}

/// A closure on the stack of a thread that waits for it.
struct Job {
    next: *mut Job,
    run: unsafe fn(*mut c_void, &mut Worker),
    data: *mut c_void,
    done: AtomicU32,
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
    let custodian = &process.custodian;
    custodian.start(process)?;

    struct Call<F, R> {
        work: Option<F>,
        result: MaybeUninit<R>,
    }
    unsafe fn call<F: FnOnce(&mut Worker) -> R, R>(data: *mut c_void, worker: &mut Worker) {
        // SAFETY: `data` is the `Call` below, whose owner waits until `done`.
        let call = unsafe { &mut *data.cast::<Call<F, R>>() };
        if let Some(work) = call.work.take() {
            call.result.write(work(worker));
        }
    }
    fn of<F: FnOnce(&mut Worker) -> R, R>(_: &Call<F, R>) -> unsafe fn(*mut c_void, &mut Worker) {
        call::<F, R>
    }

    let mut this = Call {
        work: Some(work),
        result: MaybeUninit::uninit(),
    };
    let job = UnsafeCell::new(Job {
        next: null_mut(),
        run: of(&this),
        data: (&raw mut this).cast(),
        done: AtomicU32::new(0),
    });
    custodian.push(job.get());
    // SAFETY: only this atomic field is looked at until the job is done.
    let done = unsafe { &(*job.get()).done };
    while done.load(Ordering::Acquire) == 0 {
        lock::wait(done, 0);
    }
    // SAFETY: `done` is set after the call has written its result.
    Ok(unsafe { this.result.assume_init() })
}

impl Custodian {
    fn push(&self, job: *mut Job) {
        {
            let mut queue = self.queue.lock();
            if queue.tail.is_null() {
                queue.head = job;
            } else {
                // SAFETY: a queued job is live, and the lock is held.
                unsafe { (*queue.tail).next = job };
            }
            queue.tail = job;
            self.queued.fetch_add(1, Ordering::Relaxed);
        }
        lock::wake_one(&self.queued);
    }

    #[inline]
    fn start(&self, process: &'static Process) -> Result<(), Unavailable> {
        match self.state.load(Ordering::Acquire) {
            READY => Ok(()),
            _ => self.start_slow(process),
        }
    }

    #[cold]
    fn start_slow(&self, process: &'static Process) -> Result<(), Unavailable> {
        let mine = self
            .state
            .compare_exchange(NONE, STARTING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if mine && let Err(errno) = worker::start_first(process) {
            self.started(Err(errno.raw_os_error()));
        }
        loop {
            match self.state.load(Ordering::Acquire) {
                READY => return Ok(()),
                FAILED => {
                    return Err(Unavailable::Errno(self.errno.load(Ordering::Relaxed)));
                }
                state => lock::wait(&self.state, state),
            }
        }
    }

    fn started(&self, result: Result<(), i32>) {
        let state = match result {
            Ok(()) => READY,
            Err(errno) => {
                self.errno.store(errno, Ordering::Relaxed);
                FAILED
            }
        };
        self.state.store(state, Ordering::Release);
        lock::wake_all(&self.state);
    }
}
