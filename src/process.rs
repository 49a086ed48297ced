//! What is true of one process only: its locks, its custodian, its number.
//!
//! It all lies in memory that a fork child finds zeroed ([`crate::sys::wipe`]), and all-zero is its
//! fresh state: no lock is held, there is no custodian. So a fork at any moment, by any system
//! call, is safe without a handler: no lock stays taken, and the first slow path in the child makes
//! the state its own (a new *generation*). A `vfork` child shares the parent's memory and state.

use crate::custodian::Custodian;
use crate::enforce::{Doubts, Later};
use crate::sys::lock::Mutex;
use crate::sys::signals::Blocked;
use crate::sys::{self, wipe};
use core::mem::size_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

/// See the module's documentation. Every field's all-zero state is its initial one.
pub struct Process {
    adopted: AtomicU32,
    birth: AtomicU32,
    generation: AtomicU32,
    pid: AtomicI32,
    pub table_lock: Mutex<()>,
    pub contexts_lock: Mutex<()>,
    pub custodian: Custodian,
    pub later: Later,
    pub doubts: Doubts,
}

static STATE: AtomicPtr<Process> = AtomicPtr::new(null_mut());
/// Outlives forks: each process in a line of forks gets a number of its own.
static GENERATIONS: AtomicU32 = AtomicU32::new(0);

/// Whether the shim has booted.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Whether the shim has booted: until then every hook is a plain pass-through. Any context.
#[inline]
pub fn is_open() -> bool {
    OPEN.load(Ordering::Relaxed)
}

/// It has.
pub fn open() {
    OPEN.store(true, Ordering::Release);
}

const FRESH: u32 = 0;
const ADOPTING: u32 = 1;
const ADOPTED: u32 = 2;

/// Makes the state; called once, while booting. Says whether it could.
pub fn boot() -> bool {
    let Some((memory, wiped)) = wipe::map_wiped(size_of::<Process>()) else {
        return false;
    };
    if !wiped {
        // SAFETY: registers a handler that is async-signal-safe (it only stores).
        unsafe { libc::pthread_atfork(None, None, Some(zero_in_child)) };
    }
    STATE.store(memory.as_ptr().cast(), Ordering::Release);
    crate::enforce::boot();
    true
}

/// For kernels without `MADV_WIPEONFORK` (before Linux 4.14): `fork` is covered, `_Fork` is not.
extern "C" fn zero_in_child() {
    let state = STATE.load(Ordering::Acquire);
    if !state.is_null() {
        // SAFETY: the child has one thread, and all-zero is a valid state.
        unsafe { state.write_bytes(0, 1) };
    }
}

/// The state of this process. Any context after [`boot`] returned true; the hooks' gate sees to that.
pub fn this() -> &'static Process {
    // SAFETY: the gate opens only after boot made the state, which is never unmapped; all-zero or
    // as the atomics and locks left it, it is a valid `Process`.
    let state = unsafe { &*STATE.load(Ordering::Acquire) };
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

    /// The custodian's descriptors are gone.
    pub fn renew(&self) {
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// The first generation: a number that no ancestor has had, and that stays.
    pub fn birth(&self) -> u32 {
        self.birth.load(Ordering::Relaxed)
    }

    /// The process whose memory this is; in a `vfork` child, the parent.
    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Whether the caller is a `vfork` child that runs in this process's memory.
    pub fn is_borrowed(&self) -> bool {
        !sys::thread::is_own() && self.pid() != sys::getpid()
    }
}
