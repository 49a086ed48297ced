//! prctl, and syscall: a thread in seccomp's strict mode may make no system call of the shim's, and a filter may have a handler of
//! the program's answer one. The C library has no function for seccomp(2). By syscall, programs also make children that its
//! fork handlers do not see, and enter namespaces.

use super::{fork, namespaces};
use crate::enforce::sandbox;
use crate::{next_fn, sys};
use core::ffi::{c_long, c_ulong};
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::c_int;

/// The threads in that mode, which none leaves again. The kernel ends a thread there that makes another call than read,
/// write, exit and sigreturn (prctl(2), `PR_SET_SECCOMP`): only hooks that natively make no other need to ask.
static STRICT: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];
/// How many calls have asked for it; those beyond the room above are for all threads.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whether the calling thread is in that mode. No system call; any context.
#[inline]
pub fn is_strict() -> bool {
    COUNT.load(Ordering::Relaxed) != 0 && is_listed()
}

#[cold]
fn is_listed() -> bool {
    let own = this_thread();
    let is_own = |thread: &AtomicUsize| thread.load(Ordering::Relaxed) == own;
    COUNT.load(Ordering::Relaxed) > STRICT.len() || STRICT.iter().any(is_own)
}

fn this_thread() -> usize {
    sys::clib::pthread_self()
}

/// Puts `to` where `from` is.
fn replace(from: usize, to: usize) {
    let put = |thread: &&AtomicUsize| {
        let done = thread.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        done.is_ok()
    };
    let _ = STRICT.iter().find(put);
}

hook! {
    /// Hook for [`libc::prctl`]. The C prototype takes all arguments but the first as variable ones, which every ABI that
    /// Linux has passes in registers; those that an option does not have are never looked at.
    fn prctl(
        option: c_int,
        second: c_ulong,
        third: c_ulong,
        fourth: c_ulong,
        fifth: c_ulong,
    ) -> c_int, real => {
        match mode(option, second) {
            libc::SECCOMP_MODE_STRICT => entering(real),
            libc::SECCOMP_MODE_FILTER => filtering(third as usize, real),
            _ => real(),
        }
    }
}

/// The mode of seccomp that prctl(2) with these arguments enters.
fn mode(option: c_int, second: c_ulong) -> u32 {
    match u32::try_from(second) {
        Ok(mode) if option == libc::PR_SET_SECCOMP => mode,
        _ => libc::SECCOMP_MODE_DISABLED,
    }
}

/// Makes a call that adds the filter of a `struct sock_fprog`.
fn filtering<R: PartialOrd + From<bool>>(program: usize, call: impl FnOnce() -> R) -> R {
    sys::signals::expect_traps();
    let before = sandbox::entering(program);
    let result = call();
    if let Some(before) = before
        && result < R::from(false)
    {
        before.restore();
    }
    result
}

/// Makes a call by which the calling thread enters that mode if the result is 0.
fn entering<R: PartialEq + From<bool>>(call: impl FnOnce() -> R) -> R {
    // Before the call: a signal handler may run right after it.
    replace(0, this_thread());
    COUNT.fetch_add(1, Ordering::Relaxed);
    let result = call();
    if result != R::from(false) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
        replace(this_thread(), 0);
    }
    result
}

/// Hook for [`libc::syscall`]: with the arguments where they are, some on the stack.
///
/// # Safety
/// As syscall(2).
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn syscall() {
    core::arch::naked_asm!(
        "cmp edi, {prctl}",
        "je {asked}",
        "cmp edi, {seccomp}",
        "je {asked}",
        "cmp edi, {setns}",
        "je {asked}",
        "cmp edi, {fork}",
        "je {asked}",
        "cmp edi, {clone}",
        "jne 3f",
        // A child with a stack of its own does not come back to who has called this, nor to one that it shares.
        "test esi, {shares}",
        "jnz 3f",
        "test rdx, rdx",
        "jz {asked}",
        "3:",
        "mov r11, qword ptr [rip + {next}]",
        "test r11, r11",
        "jz 2f",
        "jmp r11",
        "2:",
        "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax",
        "call {find}",
        "mov r11, rax",
        "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
        "jmp r11",
        prctl = const libc::SYS_prctl,
        seccomp = const libc::SYS_seccomp,
        setns = const libc::SYS_setns,
        fork = const libc::SYS_fork,
        clone = const libc::SYS_clone,
        shares = const libc::CLONE_VM,
        asked = sym asked,
        next = sym NEXT,
        find = sym find,
    )
}

/// Hook for [`libc::syscall`]: with the arguments where they are, some on the stack.
///
/// # Safety
/// As syscall(2).
#[cfg(target_arch = "aarch64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn syscall() {
    core::arch::naked_asm!(
        "cmp w0, #{prctl}",
        "b.eq {asked}",
        "cmp w0, #{seccomp}",
        "b.eq {asked}",
        "cmp w0, #{setns}",
        "b.eq {asked}",
        "cmp w0, #{clone}",
        "b.ne 3f",
        // As on x86-64.
        "tst w1, #{shares}",
        "b.ne 3f",
        "cbnz x2, 3f",
        "b {asked}",
        "3:",
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "cbz x16, 2f",
        "br x16",
        "2:",
        "stp x29, x30, [sp, #-80]!",
        "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]",
        "stp x4, x5, [sp, #48]", "stp x6, x7, [sp, #64]",
        "bl {find}",
        "mov x16, x0",
        "ldp x0, x1, [sp, #16]", "ldp x2, x3, [sp, #32]",
        "ldp x4, x5, [sp, #48]", "ldp x6, x7, [sp, #64]",
        "ldp x29, x30, [sp], #80",
        "br x16",
        prctl = const libc::SYS_prctl,
        seccomp = const libc::SYS_seccomp,
        setns = const libc::SYS_setns,
        clone = const libc::SYS_clone,
        shares = const libc::CLONE_VM,
        asked = sym asked,
        next = sym NEXT,
        find = sym find,
    )
}

/// Where the next `syscall` in line is, once that was looked up.
static NEXT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn find() -> usize {
    let next = next_fn::address::syscall();
    NEXT.store(next, Ordering::Relaxed);
    next
}

/// Those that are asked about, which have five arguments at the most.
unsafe extern "C" fn asked(
    number: c_long,
    first: c_ulong,
    second: c_ulong,
    third: c_ulong,
    fourth: c_ulong,
    fifth: c_ulong,
) -> c_long {
    type Next = unsafe extern "C" fn(c_long, c_ulong, c_ulong, c_ulong, c_ulong, c_ulong) -> c_long;
    const SET_MODE_STRICT: u32 = 0;
    const SET_MODE_FILTER: u32 = 1;
    let mode = match (number, first as u32) {
        (libc::SYS_seccomp, SET_MODE_STRICT) => libc::SECCOMP_MODE_STRICT,
        (libc::SYS_seccomp, SET_MODE_FILTER) => libc::SECCOMP_MODE_FILTER,
        (libc::SYS_prctl, _) => mode(first as c_int, second),
        _ => libc::SECCOMP_MODE_DISABLED,
    };
    // SAFETY: the C library's `syscall` takes the arguments so.
    let next: Next = unsafe { core::mem::transmute(find()) };
    // SAFETY: the caller's contract.
    let call = || unsafe { next(number, first, second, third, fourth, fifth) };
    match (number, mode) {
        (libc::SYS_setns, _) => namespaces::before_setns(first as c_int, second as c_int),
        (_, libc::SECCOMP_MODE_STRICT) => return entering(call),
        (_, libc::SECCOMP_MODE_FILTER) => return filtering(third as usize, call),
        (libc::SYS_prctl | libc::SYS_seccomp, _) => {}
        _ => return fork::around(call),
    }
    call()
}
