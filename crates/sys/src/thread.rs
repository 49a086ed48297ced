//! Threads that neither the program nor its C library knows of.
//!
//! `pthread_create` allocates, counts the thread among those whose end lets `pthread_exit` end the
//! process, and makes `setuid` wait for it. clone(2) does none of that. The price: such a thread
//! has no thread control block, so it may call nothing that uses errno or thread-local storage. Its
//! thread pointer leads to zeroed memory of its own, so that a stray access hurts nobody.

use super::{raw, wipe};
use core::ffi::{c_int, c_void};
use rustix::io::Errno;
use rustix::mm::{MprotectFlags, mprotect, munmap};

const GUARD: usize = 64 * 1024;
const TLS: usize = 16 * 1024;
const STACK: usize = 256 * 1024;

/// Starts `run(arg)` on a thread that shares everything with the caller, descriptor table and
/// signal mask included: block all signals first. The thread ends with `run`.
///
/// Errors: `EAGAIN` (`RLIMIT_NPROC`), `ENOMEM`, `EPERM`/`ENOSYS` under seccomp.
///
/// # Safety
/// `arg` must be valid for `run` on another thread, for as long as that takes.
pub unsafe fn spawn(
    run: extern "C" fn(*mut c_void) -> c_int,
    arg: *mut c_void,
) -> Result<(), Errno> {
    let total = GUARD + STACK + TLS;
    let base = wipe::map(total).ok_or(Errno::NOMEM)?;
    let base = base.as_ptr();
    // SAFETY: the guard is the lowest part of the mapping just made.
    let _ = unsafe { mprotect(base.cast(), GUARD, MprotectFlags::empty()) };
    // SAFETY: inside the mapping; the top half of the TLS block stays above the pointer, the lower
    // half below it, where x86-64 and AArch64 code respectively would look.
    let (stack_top, tls) = unsafe { (base.add(GUARD + STACK), base.add(GUARD + STACK + TLS / 2)) };
    // SAFETY: the thread control block starts with a pointer to itself (x86-64 ABI), at +16 too.
    unsafe {
        tls.cast::<*mut u8>().write(tls);
        tls.add(16).cast::<*mut u8>().write(tls);
    }
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS;
    // SAFETY: a fresh stack and thread pointer; `run` and `arg` by contract.
    let made = unsafe { clone(flags as usize, stack_top, tls, run, arg, (base, total)) };
    if let Err(errno) = made {
        // SAFETY: no thread was made, so nobody uses the mapping.
        let _ = unsafe { munmap(base.cast(), total) };
        return Err(errno);
    }
    Ok(())
}

/// clone(2) itself: the C library's wrapper would write errno, which is the caller's.
///
/// # Safety
/// As [`spawn`]; `stack_top` is 16-byte aligned and the stack below it unused. `memory` (start,
/// bytes) is what the thread unmaps at its end.
#[cfg(target_arch = "x86_64")]
unsafe fn clone(
    flags: usize,
    stack_top: *mut u8,
    tls: *mut u8,
    run: extern "C" fn(*mut c_void) -> c_int,
    arg: *mut c_void,
    memory: (*mut u8, usize),
) -> Result<(), Errno> {
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
    raw::check(ret).map(drop)
}

/// clone(2) itself: the C library's wrapper would write errno, which is the caller's.
///
/// # Safety
/// As [`spawn`]; `stack_top` is 16-byte aligned and the stack below it unused. `memory` (start,
/// bytes) is what the thread unmaps at its end.
#[cfg(target_arch = "aarch64")]
unsafe fn clone(
    flags: usize,
    stack_top: *mut u8,
    tls: *mut u8,
    run: extern "C" fn(*mut c_void) -> c_int,
    arg: *mut c_void,
    memory: (*mut u8, usize),
) -> Result<(), Errno> {
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
    raw::check(ret).map(drop)
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
    // SAFETY: all-zero is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    let arguments = [who as usize, &raw mut usage as usize, 0, 0, 0, 0];
    // SAFETY: the structure is live.
    let _ = unsafe { raw::syscall(libc::SYS_getrusage, arguments) };
    usage
}
