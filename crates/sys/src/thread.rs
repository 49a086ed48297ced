//! Threads that neither the program nor its C library knows of.
//!
//! `pthread_create` allocates, counts the thread among those whose end lets `pthread_exit` end the
//! process, and makes `setuid` wait for it. clone(2) does none of that. The price: such a thread
//! has no thread control block, so it may call nothing that uses errno or thread-local storage. Its
//! thread pointer leads to zeroed memory of its own, so that a stray access hurts nobody.
//!
//! A thread may also be the first one of a process that shares the memory of the program's and is
//! outside of its thread group ([`spawn_process`]).

use super::wipe::Region;
use super::{raw, seccomp};
use crate::kernel::{Cpus, SchedAttr};
use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicU64, Ordering};
use rustix::io::Errno;

const GUARD: usize = 64 * 1024;
const TLS: usize = 16 * 1024;
const STACK: usize = 256 * 1024;

/// What the second word at a thread pointer of the shim's holds. That of the C library's threads is an
/// address there (x86-64) or unused (AArch64); this is no address on either.
const OWN: usize = 0xb6d0_6b6d_645f_6f77;

/// What a thread does, with the number that it was given; then it ends.
pub type Body = extern "C" fn(usize) -> c_int;

/// Starts `run(arg)` on a thread that shares everything with the caller, descriptor table and
/// signal mask included: block all signals first. The thread ends with `run`.
///
/// Errors: `EAGAIN` (`RLIMIT_NPROC`), `ENOMEM`, `EPERM`/`ENOSYS` under seccomp, `EINVAL` where
/// children would be of another PID namespace.
///
/// # Safety
/// `run` uses neither errno nor thread-local storage, nor what does.
pub unsafe fn spawn(run: Body, arg: usize) -> Result<(), Errno> {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS;
    // SAFETY: the caller's contract.
    unsafe { start(flags, run, arg) }.map(drop)
}

/// Starts `run(arg)` on the first thread of a new process that shares the caller's memory, root,
/// working directory, and, until it says otherwise, descriptor table; the signal mask is the caller's:
/// block all signals first. Returns its process id. It is a child that no wait(2) shows but with
/// `__WCLONE` or `__WALL`, that sends no signal when it ends, and that no tracer follows.
///
/// Errors: as [`spawn`]. Where children would be of another PID namespace it is the first process of
/// that, which is not what anybody wants: [`has_own_pid_namespace_for_children`].
///
/// # Safety
/// As [`spawn`].
pub unsafe fn spawn_process(run: Body, arg: usize) -> Result<c_int, Errno> {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_UNTRACED
        | libc::CLONE_SETTLS;
    // SAFETY: the caller's contract.
    unsafe { start(flags, run, arg) }
}

/// # Safety
/// As [`spawn`].
unsafe fn start(flags: c_int, run: Body, arg: usize) -> Result<c_int, Errno> {
    if seccomp::is_fatal(libc::SYS_clone) {
        return Err(Errno::NOSYS);
    }
    let total = GUARD + STACK + TLS;
    let mut memory = Region::new(total).ok_or(Errno::NOMEM)?;
    let base = memory.start();
    // The top half of the TLS block stays above the pointer, the lower half below it, where x86-64 and AArch64 code
    // respectively would look.
    let (stack_top, tls) = (base + GUARD + STACK, base + GUARD + STACK + TLS / 2);
    // The thread control block starts with a pointer to itself (x86-64 ABI), at +16 too.
    let block = memory.numbers_mut::<usize>(tls - base, 3);
    block.copy_from_slice(&[tls, OWN, tls]);
    let mut memory = memory.into_mapping();
    let _ = memory.forbid(0..GUARD);
    // SAFETY: a fresh stack and thread pointer, which nobody uses until it succeeds; `run` and `arg` by contract.
    let make = || unsafe { clone(flags as usize, stack_top, tls, run, arg, (base, total)) };
    let made = match make() {
        Err(Errno::AGAIN) => reset_on_fork(make),
        made => made,
    }?;
    memory.leave();
    Ok(made)
}

/// Has `make` make a thread or process whose policy is the default one: one with a deadline may have none of its own policy
/// (sched_setattr(2), `EAGAIN` in fork(2)).
#[cold]
fn reset_on_fork(make: impl FnOnce() -> Result<c_int, Errno>) -> Result<c_int, Errno> {
    let mut policy = SchedAttr::default();
    if raw::sys_sched_getattr(&mut policy).is_err() || !policy.has_deadline() {
        return Err(Errno::AGAIN);
    }
    // Parameters that stay the same change nothing: the thread's deadline stays where it was.
    raw::sys_sched_setattr(&policy.reset_on_fork()).or(Err(Errno::AGAIN))?;
    let made = make();
    let _ = raw::sys_sched_setattr(&policy);
    made
}

/// Whether the calling thread is one of the shim's. Any context.
#[inline]
pub fn is_own() -> bool {
    !cfg!(miri) && word_of_block::<1>() == OWN
}

/// A word of the calling thread's own, if that is one of the shim's: what [`set_own_word`] gave it, 0 at first. Any
/// context.
pub fn own_word() -> Option<usize> {
    is_own().then(word_of_block::<3>)
}

/// Word number `N` of the thread control block, which every thread has.
#[inline]
fn word_of_block<const N: usize>() -> usize {
    let word: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads a word that is always there.
    unsafe {
        core::arch::asm!("mov {}, fs:[8*{}]", out(reg) word, const N,
            options(nostack, readonly, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a word that is always there.
    unsafe {
        core::arch::asm!("mrs {0}, tpidr_el0", "ldr {0}, [{0}, #8*{1}]", out(reg) word, const N,
            options(nostack, readonly, preserves_flags));
    }
    word
}

/// Sets [`own_word`]; nothing on a thread that is not one of the shim's. Any context.
pub fn set_own_word(word: usize) {
    if !is_own() {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    // SAFETY: in the block that the thread pointer of such a thread leads to, where nothing else lies.
    unsafe {
        core::arch::asm!("mov fs:[24], {}", in(reg) word, options(nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: in the block that the thread pointer of such a thread leads to, where nothing else lies.
    unsafe {
        core::arch::asm!("mrs {0}, tpidr_el0", "str {1}, [{0}, #24]", out(reg) _, in(reg) word,
            options(nostack, preserves_flags));
    }
}

/// Whether a child would be of another PID namespace than the caller (unshare(2), `CLONE_NEWPID`), or
/// that cannot be told.
pub fn has_own_pid_namespace_for_children() -> bool {
    // `PID_NS_INIT_INO` in linux/nsfs.h: its processes are in no other, because nobody gets into one above his own.
    const FIRST: u64 = 0xefff_fffc;
    // By stat(2), which programs make before their filters know of the shim.
    let namespace = |path: &CStr| {
        rustix::fs::stat(path)
            .ok()
            .map(|stat| (stat.st_dev, stat.st_ino))
    };
    let of_children = namespace(c"/proc/thread-self/ns/pid_for_children");
    if of_children.is_some_and(|(_, number)| number == FIRST) {
        return false;
    }
    of_children.is_none() || of_children != namespace(c"/proc/thread-self/ns/pid")
}

/// What the link at `path` holds (readlink(2)), as far as there is room.
pub fn read_link<'b>(path: &CStr, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = rustix::fs::readlinkat_raw(rustix::fs::CWD, path, &mut *buffer).ok()?;
    buffer.get(..length)
}

/// Where the kernel clears and wakes a word when the calling thread is gone, or executes another
/// program, while somebody else has its memory (prctl(2), `PR_GET_TID_ADDRESS`); 0 where there is no
/// such word, or the kernel does not say (`CONFIG_CHECKPOINT_RESTORE`). Sleep on it as on one that is
/// shared between processes.
pub fn tid_word() -> usize {
    let mut word = 0usize;
    match raw::sys_get_tid_address(&mut word) {
        Ok(_) => word,
        Err(_) => 0,
    }
}

/// CPUs that the process was allowed at its start: whoever ran it may have said so (taskset(1)).
static CPUS: [AtomicU64; size_of::<Cpus>() / 8] = [const { AtomicU64::new(0) }; _];

/// Learns which CPUs the process may use; called once, while booting.
pub fn boot() {
    let mut cpus: Cpus = [0; _];
    if raw::sys_sched_getaffinity(&mut cpus).is_ok() {
        for (kept, word) in CPUS.iter().zip(cpus) {
            kept.store(word, Ordering::Relaxed);
        }
    }
}

/// Has the calling thread of the shim's scheduled as the process was at its start: on all its CPUs, by
/// the default policy, and as nice as process `program`. It inherits from whichever thread made it,
/// and others wait for it: pinned to a CPU that a thread of real-time priority keeps busy, it would not
/// run at all.
pub fn schedule_as_process(program: c_int) {
    let cpus = CPUS.each_ref().map(|word| word.load(Ordering::Relaxed));
    let _ = raw::sys_sched_setaffinity(&cpus);
    let _ = raw::sys_sched_setscheduler(libc::SCHED_OTHER);
    if let (Ok(wanted), Ok(have)) = (raw::sys_getpriority(program), raw::sys_getpriority(0))
        && wanted != have
    {
        let _ = raw::sys_setpriority(20 - wanted as c_int);
    }
}

/// clone(2) itself: the C library's wrapper would write errno, which is the caller's.
///
/// # Safety
/// As [`spawn`]; `stack_top` is 16-byte aligned and the stack below it unused. `memory` (start,
/// bytes) is what the thread unmaps at its end.
#[cfg(target_arch = "x86_64")]
unsafe fn clone(
    flags: usize,
    stack_top: usize,
    tls: usize,
    run: Body,
    arg: usize,
    memory: (usize, usize),
) -> Result<c_int, Errno> {
    let ret: isize;
    // SAFETY: the parent falls through with the result; the child has the registers of the parent
    // and an empty stack, calls `run`, unmaps that stack, and ends with exit(2), which needs none.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "mov rdi, r14",
            "mov rsi, r15",
            "mov eax, 11",
            "syscall",
            "xor edi, edi",
            "mov eax, 60",
            "syscall",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => ret,
            in("rdi") flags, in("rsi") stack_top,
            in("rdx") 0usize, in("r10") 0usize, in("r8") tls,
            in("r12") run, in("r13") arg, in("r14") memory.0, in("r15") memory.1,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    raw::check(ret).map(|id| id as c_int)
}

/// clone(2) itself: the C library's wrapper would write errno, which is the caller's.
///
/// # Safety
/// As [`spawn`]; `stack_top` is 16-byte aligned and the stack below it unused. `memory` (start,
/// bytes) is what the thread unmaps at its end.
#[cfg(target_arch = "aarch64")]
unsafe fn clone(
    flags: usize,
    stack_top: usize,
    tls: usize,
    run: Body,
    arg: usize,
    memory: (usize, usize),
) -> Result<c_int, Errno> {
    let ret: isize;
    // SAFETY: as for x86-64 above.
    unsafe {
        core::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x20",
            "mov x0, x22",
            "mov x1, x23",
            "mov x8, 215",
            "svc 0",
            "mov x0, xzr",
            "mov x8, 93",
            "svc 0",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone,
            inlateout("x0") flags as isize => ret,
            in("x1") stack_top, in("x2") 0usize, in("x3") tls, in("x4") 0usize,
            in("x20") run, in("x21") arg, in("x22") memory.0, in("x23") memory.1,
        );
    }
    raw::check(ret).map(|id| id as c_int)
}

/// Whether the program has one thread, for all that the C library knows (`__libc_single_threaded`, glibc 2.32).
pub fn is_single() -> bool {
    crate::clib::__libc_single_threaded.load(Ordering::Relaxed) != 0
}

/// Page faults of the calling thread so far, minor and major (getrusage(2), `RUSAGE_THREAD`). The
/// kernel counts those that system calls take on the thread's behalf too.
pub fn faults() -> i64 {
    let usage = usage(libc::RUSAGE_THREAD);
    usage.ru_minflt + usage.ru_majflt
}

/// Page faults of the process so far, minor and major (`RUSAGE_SELF`).
pub fn process_faults() -> (u64, u64) {
    let usage = usage(libc::RUSAGE_SELF);
    (usage.ru_minflt as u64, usage.ru_majflt as u64)
}

fn usage(who: c_int) -> libc::rusage {
    const NONE: libc::timeval = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let mut usage = libc::rusage {
        ru_utime: NONE,
        ru_stime: NONE,
        ru_maxrss: 0,
        ru_ixrss: 0,
        ru_idrss: 0,
        ru_isrss: 0,
        ru_minflt: 0,
        ru_majflt: 0,
        ru_nswap: 0,
        ru_inblock: 0,
        ru_oublock: 0,
        ru_msgsnd: 0,
        ru_msgrcv: 0,
        ru_nsignals: 0,
        ru_nvcsw: 0,
        ru_nivcsw: 0,
    };
    let _ = raw::sys_getrusage(who, &mut usage);
    usage
}
