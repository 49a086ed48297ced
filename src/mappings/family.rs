//! What the processes of a family were told of files that are not verified. A parent and its fork children share the open files
//! behind their mappings, of which the kernel tells an error once; so does a filesystem that tells one to whoever asks first.

use crate::process;
use crate::sys::wipe;
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

/// Failures that are kept, the last ones.
const MOST: usize = 64;

/// Somebody was told an error of an inode. Written and read without a lock: all-zero is none, and `number` is 0 meanwhile.
struct Failure {
    number: AtomicU32,
    pid: AtomicI32,
    dev: AtomicU64,
    ino: AtomicU64,
}

/// In memory that all of them share, and that is zeroed at first.
struct Family {
    numbers: AtomicU32,
    failures: [Failure; MOST],
}

static FAMILY: AtomicPtr<Family> = AtomicPtr::new(ptr::null_mut());
/// The numbers of those that this process has told of. A fork child knows what its parent does.
static KNOWN: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];

fn family() -> Option<&'static Family> {
    // SAFETY: memory that stays.
    unsafe { FAMILY.load(Ordering::Acquire).as_ref() }
}

/// This process is about to have a child. Async-signal-safe.
pub fn found() {
    if family().is_none()
        && let Some(memory) = wipe::map_shared(size_of::<Family>())
    {
        let new = memory.as_ptr().cast();
        // Where another thread forks too, it may have one: then this is a page more.
        let _ = FAMILY.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// This process was told an error of an inode.
pub fn note((dev, ino): (u64, u64)) {
    let Some(family) = family() else {
        return;
    };
    let number = family
        .numbers
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_add(1)
        .max(1);
    let failure = &family.failures[number as usize % MOST];
    failure.number.store(0, Ordering::Relaxed);
    fence(Ordering::Release);
    failure.pid.store(process::this().pid(), Ordering::Relaxed);
    failure.dev.store(dev, Ordering::Relaxed);
    failure.ino.store(ino, Ordering::Relaxed);
    failure.number.store(number, Ordering::Release);
}

/// Whether another process of the family was told an error of an inode: once for each.
pub fn take((dev, ino): (u64, u64)) -> bool {
    let Some(family) = family().filter(|at| at.numbers.load(Ordering::Relaxed) > 0) else {
        return false;
    };
    let mut told = false;
    for (failure, known) in family.failures.iter().zip(&KNOWN) {
        let number = failure.number.load(Ordering::Acquire);
        let at = (
            failure.dev.load(Ordering::Relaxed),
            failure.ino.load(Ordering::Relaxed),
        );
        if number == 0 || at != (dev, ino) || known.load(Ordering::Relaxed) == number {
            continue;
        }
        let is_own = failure.pid.load(Ordering::Relaxed) == process::this().pid();
        fence(Ordering::Acquire);
        if failure.number.load(Ordering::Relaxed) == number {
            known.store(number, Ordering::Relaxed);
            told |= !is_own;
        }
    }
    told
}
