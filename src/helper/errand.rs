//! What a thread of the helper has the program's thread do that waits for it: what only a thread of the
//! program's may. A helper that is a process is refused the descriptors of a program that has changed its
//! user, which could not be told then that its data is at risk.

use super::Call;
use super::worker::make_room;
use crate::sys::{lock, thread};
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use keepmydata_sync::pool::Job;

const ASKED: u32 = 1;
const DONE: u32 = 2;

/// How long the helper waits before it wakes the program's thread once more, ns: that may have been about
/// to sleep.
const AGAIN_NS: u64 = 2_000_000;

type Work = (unsafe fn(*mut c_void), *mut c_void);

/// Of one job.
#[derive(Default)]
pub struct Errand {
    state: lock::Word,
    work: UnsafeCell<Option<Work>>,
}

impl Errand {
    /// Does what the helper asks for, if it does. On the thread that waits for the job.
    pub fn run(&self) {
        if self.state.load(Ordering::Acquire) != ASKED {
            return;
        }
        // SAFETY: written before the state was, and the helper waits.
        if let Some((run, data)) = unsafe { *self.work.get() } {
            // SAFETY: as `on_program` passed them, which waits.
            unsafe { run(data) };
        }
        self.state.store(DONE, Ordering::Release);
        lock::wake_one(&self.state);
    }
}

/// Has the program's thread that waits for the job of the calling thread run `work`, and waits for that.
/// Nothing where no thread waits, as for a second look.
pub fn on_program<R>(work: impl FnOnce() -> R) -> Option<R> {
    struct This<F, R> {
        work: Option<F>,
        result: Option<R>,
    }
    unsafe fn call<F: FnOnce() -> R, R>(data: *mut c_void) {
        // SAFETY: `data` is the `This` below, whose owner waits.
        let this = unsafe { &mut *data.cast::<This<F, R>>() };
        this.result = this.work.take().map(|work| work());
    }
    fn of<F: FnOnce() -> R, R>(_: &This<F, R>) -> unsafe fn(*mut c_void) {
        call::<F, R>
    }

    let job = NonNull::new(thread::own_word()? as *mut Job<Call>)?;
    // SAFETY: the job that this thread works on, which lives until it is finished.
    let job = unsafe { job.as_ref() };
    let errand = &job.payload.errand;
    let mut this = This {
        work: Some(work),
        result: None,
    };
    // SAFETY: the program's thread reads it when the state says so.
    unsafe { *errand.work.get() = Some((of(&this), (&raw mut this).cast())) };
    make_room();
    errand.state.store(ASKED, Ordering::Release);
    while errand.state.load(Ordering::Acquire) == ASKED {
        job.nudge();
        // Of the first job it may still wait for the helper.
        super::own().life.wake_starter();
        lock::wait_for(&errand.state, ASKED, AGAIN_NS);
    }
    errand.state.store(0, Ordering::Relaxed);
    this.result
}
