//! What the helper does because the program changed who or where it is, or ends.
//!
//! The C library has all its threads follow when one calls setuid(3); it knows nothing of the
//! helper's. A thread left behind with the old ids would be a way back to them, through the
//! memory that all threads share or through /proc/self/task/TID.

use super::exec;
use crate::process::{self, Process};
use crate::sys;
use crate::sys::ids::Ids;
use crate::sys::signals::Blocked;
use crate::sys::{lock, raw, thread};
use core::cell::OnceCell;
use core::ffi::{c_char, c_int};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// After the calling thread has changed its ids: the helper's threads take them on. When this
/// returns, none of them has others. Any context.
pub fn adopt_ids() {
    let Some((process, _quiet)) = of_this_process() else {
        return;
    };
    let helper = super::own();
    // Made when no other call is at it: of two threads, the later order is of the later ids.
    let ids = OnceCell::new();
    let make = || NonNull::from(ids.get_or_init(Ids::of_caller));
    if !helper.pool.order(make, nudge, lives) {
        helper.life.must_live();
    }
    if helper.stranger.swap(false, Ordering::Relaxed) {
        // Others, with the caller's ids, are started with the next need.
        dismiss(process);
    }
}

/// Before the calling thread moves to another namespace, or root and working directory of its own. Ends the
/// helper if the program has one thread: left behind it would be a way back, through its memory or
/// /proc/PID; setns(2) refuses a process that shares root and working directory with another; and where the
/// helper's threads are the program's, the kernel grants some calls to a process with one thread only. The
/// next need starts another; as after a fork, it opens files anew.
pub fn before_moving() {
    let Some((process, _quiet)) = of_this_process() else {
        return;
    };
    let helper = super::own();
    if !helper.pool.is_there() {
        return;
    }
    let is_process = helper.life.is_process();
    let own = match is_process {
        true => 0,
        false => helper.pool.members(lives) as usize,
    };
    if helper.life.is_dead() || threads() != Some(own + 1) || !dismiss(process) {
        return;
    }
    // Those that left may not have ended yet.
    let until = sys::monotonic_ns() + 1_000_000_000;
    while threads() != Some(1) && sys::monotonic_ns() < until {
        rustix::thread::sched_yield();
    }
}

/// Whether descriptor `fd` of the program's is that of a PID namespace, which setns(2) sets for children alone
/// (ioctl_nsfs(2)).
pub fn is_for_children(fd: c_int) -> bool {
    raw::sys_namespace_kind(fd) == Ok(libc::CLONE_NEWPID as usize)
}

/// How long exec waits for the helper, ns: while that shares root and working directory with the program,
/// the kernel gives a set-user-ID program no rights (`check_unsafe_exec` in fs/exec.c).
const BEFORE_EXEC_NS: u64 = 200_000_000;

/// How long exit waits for what else the helper is at, ns.
const BEFORE_EXIT_NS: u64 = 20_000_000;

/// How long both wait for other threads' msyncs, ns. Natively the end of the process waits for the one that a
/// filesystem is at.
const FOR_CALLS_NS: u64 = 1_000_000_000;

/// How long other threads begin no call then, ns. They go on if the process has not ended: an exec may fail, and a
/// destructor may wait for them.
const CLOSED_NS: u64 = 200_000_000;

/// What keeps [`super::InCall`]s from beginning. All-zero is "nothing".
#[derive(Default)]
pub struct Closed {
    until: AtomicU64,
    /// The thread that ends the process, which may have calls to make.
    by: AtomicI32,
    never: lock::Word,
}

impl Closed {
    fn close(&self) {
        self.by.store(sys::gettid(), Ordering::Relaxed);
        let until = sys::monotonic_ns() + CLOSED_NS;
        self.until.store(until, Ordering::SeqCst);
    }

    /// For how long the calling thread is kept out, ns.
    pub fn is_for(&self) -> u64 {
        match self.until.load(Ordering::SeqCst) {
            0 => 0,
            _ if thread::is_own() => 0,
            _ if self.by.load(Ordering::Relaxed) == sys::gettid() => 0,
            until => until.saturating_sub(sys::monotonic_ns()),
        }
    }

    /// Sleeps for `ns`.
    pub fn wait(&self, ns: u64) {
        lock::wait_for(&self.never, 0, ns);
    }
}

/// The process is about to end: its helper ends first, so that nothing stays open and no zombie is left, if
/// it has nothing to do, or not for long. Any context.
pub fn at_exit() {
    if let Some((process, _quiet)) = of_this_process() {
        super::own().is_last.store(true, Ordering::Relaxed);
        end(process, BEFORE_EXIT_NS);
        super::own().is_last.store(false, Ordering::Relaxed);
    }
}

/// The same where the process goes on without the shim. With all signals blocked, and no thread in a hook.
pub fn leave_program_alone(process: &'static Process) {
    end(process, BEFORE_EXIT_NS);
}

/// The same where the process is about to become the program at `file`, if there is one; `searches` as
/// execvp(3) does.
pub fn at_exec(file: *const c_char, searches: bool) {
    if let Some((process, _quiet)) = of_this_process()
        && super::own().life.is_process()
        && exec::finds(file, searches)
    {
        end(process, BEFORE_EXEC_NS);
    }
}

fn end(process: &'static Process, patience: u64) {
    let helper = super::own();
    if !helper.life.is_process() || !helper.pool.is_there() {
        return;
    }
    helper.closed.close();
    let begun = sys::monotonic_ns();
    loop {
        let patience = match () {
            _ if helper.calls.load(Ordering::SeqCst) > 0 => FOR_CALLS_NS,
            _ if helper.jobs.load(Ordering::Acquire) > 0 => patience,
            _ => break,
        };
        if sys::monotonic_ns() >= begun + patience {
            // It learns of the end by itself.
            return;
        }
        rustix::thread::sched_yield();
    }
    if !helper.life.is_dead() {
        dismiss(process);
    }
}

/// What a helper that was killed has left is cleared away: the next need starts another.
pub fn replace(process: &'static Process) {
    dismiss(process);
}

fn dismiss(process: &'static Process) -> bool {
    let helper = super::own();
    // A process is waited for at once, and not first for the word of each of its threads: they are wake-ups.
    let ended = || helper.life.is_process() && helper.life.reap();
    let gone = || {
        helper.life.reap();
        helper.forget_descriptors();
        process.renew();
    };
    helper.pool.dismiss(nudge, lives, ended, gone)
}

/// Wakes those that take no jobs.
fn nudge() {
    super::own().nudge();
    super::own().life.nudge();
}

/// Whether the helper was not killed.
fn lives() -> bool {
    !super::own().life.is_dead()
}

/// The process, with signals blocked; nothing before boot and in a `vfork` child, whose parent's
/// threads are none of its business.
fn of_this_process() -> Option<(&'static Process, Blocked)> {
    if !process::is_open() {
        return None;
    }
    let quiet = Blocked::all();
    let process = process::this();
    (!process.is_borrowed()).then_some((process, quiet))
}

/// Threads of this process (`proc_task_getattr` in fs/proc/base.c counts them as links), without a
/// descriptor; nothing where /proc is not mounted.
fn threads() -> Option<usize> {
    let stat = rustix::fs::stat(c"/proc/self/task").ok()?;
    (stat.st_nlink as usize).checked_sub(2)
}
