//! What is true of one process only: its number, and what each module declares so ([`PerProcess`]).
//!
//! It all lies in memory that a fork child finds zeroed ([`crate::sys::wipe`]), and all-zero is its
//! fresh state: no lock is held, there is no helper. So a fork at any moment, by any system
//! call, is safe without a handler: no lock stays taken, and the first slow path in the child makes
//! the state its own (a new *generation*). A `vfork` child shares the parent's memory and state.

use crate::sys::lock::Mutex;
use crate::sys::signals::Blocked;
use crate::sys::{self, wipe};
use core::mem::{align_of, size_of};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// See the module's documentation. Every field's all-zero state is its initial one.
pub struct Process {
    adopted: AtomicU32,
    birth: AtomicU32,
    generation: AtomicU32,
    pid: AtomicI32,
}

// SAFETY: atomics.
unsafe impl Zeroed for Process {}

static STATE: PerProcess<Process> = PerProcess::new();
/// Outlives forks: each process in a line of forks gets a number of its own.
static GENERATIONS: AtomicU32 = AtomicU32::new(0);

/// Whether the shim has booted.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Whether the shim has booted, and has not left the program alone since: else every hook is a plain pass-through. Any
/// context.
#[inline]
pub fn is_open() -> bool {
    OPEN.load(Ordering::Relaxed)
}

/// It has.
pub fn open() {
    OPEN.store(true, Ordering::Release);
}

/// Every hook is a plain pass-through again.
pub fn close() {
    OPEN.store(false, Ordering::Release);
}

const FRESH: u32 = 0;
const ADOPTING: u32 = 1;
const ADOPTED: u32 = 2;

/// All-zero is a valid value, and the initial one.
///
/// # Safety
/// So it is.
pub unsafe trait Zeroed: 'static {}

// SAFETY: it is open.
unsafe impl Zeroed for Mutex<()> {}

// SAFETY: a number.
unsafe impl Zeroed for AtomicU32 {}

/// A value of each process's own, in a static of the module that it belongs to.
pub struct PerProcess<T>(AtomicPtr<T>);

/// Where they all are.
static MEMORY: AtomicPtr<u8> = AtomicPtr::new(null_mut());
static USED: AtomicUsize = AtomicUsize::new(0);
/// Bytes; no more than the smallest page has.
const ROOM: usize = 4096;

impl<T: Zeroed> PerProcess<T> {
    /// One that [`PerProcess::boot`] must find a place for.
    pub const fn new() -> PerProcess<T> {
        PerProcess(AtomicPtr::new(null_mut()))
    }

    /// Finds its place; called once, while booting. Says whether there was one.
    pub fn boot(&self) -> bool {
        let at = USED
            .load(Ordering::Relaxed)
            .next_multiple_of(align_of::<T>());
        let end = at + size_of::<T>();
        if end > ROOM {
            return false;
        }
        USED.store(end, Ordering::Relaxed);
        // SAFETY: within the memory, which [`boot`] has mapped.
        let place = unsafe { MEMORY.load(Ordering::Relaxed).add(at) };
        self.0.store(place.cast(), Ordering::Release);
        true
    }

    /// The value of this process. Any context after it was booted; the hooks' gate sees to that.
    #[inline]
    pub fn get(&self) -> &'static T {
        // SAFETY: the gate opens only after each has its place, which is never unmapped; all-zero or as this
        // process has left it, it is a valid `T`.
        unsafe { &*self.0.load(Ordering::Acquire) }
    }
}

/// Makes the memory for what is a process's own; called once, while booting. Says whether it could.
pub fn boot() -> bool {
    let Some((memory, wiped)) = wipe::map_wiped(ROOM + sys::page_size()) else {
        return false;
    };
    if !wiped {
        // It only stores.
        sys::clib::pthread_atfork(None, None, Some(zero_in_child));
    }
    MEMORY.store(memory.as_ptr(), Ordering::Release);
    STATE.boot()
}

/// For kernels without `MADV_WIPEONFORK` (before Linux 4.14): `fork` is covered, `_Fork` is not.
extern "C" fn zero_in_child() {
    let memory = MEMORY.load(Ordering::Acquire);
    if !memory.is_null() {
        // SAFETY: the child has one thread, and all-zero is a valid state.
        unsafe { memory.write_bytes(0, ROOM) };
    }
}

/// A page of the shim's own that nobody ever touches.
pub fn untouched() -> usize {
    MEMORY.load(Ordering::Acquire) as usize + ROOM
}

/// The state of this process. Any context after [`boot`] returned true; the hooks' gate sees to that.
pub fn this() -> &'static Process {
    let state = STATE.get();
    if state.adopted.load(Ordering::Acquire) != ADOPTED {
        state.adopt();
    }
    state
}

impl Process {
    #[cold]
    fn adopt(&self) {
        // A handler that interrupted the adopting thread would wait for it below.
        let _quiet = Blocked::all();
        let won =
            self.adopted
                .compare_exchange(FRESH, ADOPTING, Ordering::AcqRel, Ordering::Acquire);
        if won.is_ok() {
            self.pid.store(sys::getpid(), Ordering::Relaxed);
            sys::note_program(self.pid());
            self.renew();
            self.birth.store(self.generation(), Ordering::Relaxed);
            self.adopted.store(ADOPTED, Ordering::Release);
            return;
        }
        while self.adopted.load(Ordering::Acquire) != ADOPTED {
            rustix::thread::sched_yield();
        }
    }

    /// The number of this process's descriptors, which no ancestor of it has had: handles and
    /// registrations stamped with another are stale.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The helper's descriptors are gone.
    pub fn renew(&self) {
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// The first generation: a number that no ancestor has had, and that stays.
    pub fn birth(&self) -> u32 {
        self.birth.load(Ordering::Relaxed)
    }

    /// The process whose memory this is; in a `vfork` child, the parent. 0 where a sandbox denied the question.
    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Whether the caller is a `vfork` child that runs in this process's memory.
    pub fn is_borrowed(&self) -> bool {
        if sys::thread::is_own() {
            return false;
        }
        // In a sandbox that denies the question, nobody can tell.
        let caller = sys::getpid();
        caller != 0 && caller != self.pid()
    }
}
