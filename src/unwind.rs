//! The unwinder's functions, looked up with their first use.
//!
//! Rust's standard library refers to them for panics, which the library has none of, so the dynamic loader would bring
//! libgcc_s into every program: half of what the library adds to the start of a process. Hidden, these are found first.
//! When a thread is cancelled, the C library loads libgcc_s itself; it calls these only for a frame that has something to
//! drop, which no hook has that is a cancellation point.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};

/// What the functions are called: in a program of tests, other than what its standard library calls.
#[cfg(not(test))]
macro_rules! symbol {
    ($name:literal) => {
        $name
    };
}
#[cfg(test)]
macro_rules! symbol {
    ($name:literal) => {
        concat!("tested", $name)
    };
}

macro_rules! unwinder {
    ($($index:literal $name:literal)*) => {
        const NAMES: &[&CStr] = &[$(
            match CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            }
        ),*];

        #[cfg(target_arch = "x86_64")]
        core::arch::global_asm!(
            ".macro unwinder name, index",
            ".globl \\name",
            ".hidden \\name",
            ".type \\name, @function",
            "\\name:",
            "mov r11, qword ptr [rip + {found} + 8 * \\index]",
            "test r11, r11",
            "jz 2f",
            "jmp r11",
            "2:",
            "mov r11d, \\index",
            "jmp 3f",
            ".endm",
            ".text",
            ".p2align 4",
            $(concat!("unwinder ", symbol!($name), ", ", $index),)*
            "3:",
            "push rdi",
            "push rsi",
            "push rdx",
            "push rcx",
            "push r8",
            "push r9",
            "push r11",
            "mov edi, r11d",
            "call {find}",
            "pop r11",
            "pop r9",
            "pop r8",
            "pop rcx",
            "pop rdx",
            "pop rsi",
            "pop rdi",
            "jmp rax",
            ".purgem unwinder",
            found = sym FOUND,
            find = sym find,
        );

        #[cfg(target_arch = "aarch64")]
        core::arch::global_asm!(
            ".macro unwinder name, index",
            ".globl \\name",
            ".hidden \\name",
            ".type \\name, @function",
            "\\name:",
            "adrp x16, {found} + 8 * \\index",
            "ldr x16, [x16, #:lo12:{found} + 8 * \\index]",
            "cbz x16, 2f",
            "br x16",
            "2:",
            "mov w17, #\\index",
            "b 3f",
            ".endm",
            ".text",
            ".p2align 4",
            $(concat!("unwinder ", symbol!($name), ", ", $index),)*
            "3:",
            "stp x29, x30, [sp, #-80]!",
            "stp x0, x1, [sp, #16]",
            "stp x2, x3, [sp, #32]",
            "stp x4, x5, [sp, #48]",
            "stp x6, x7, [sp, #64]",
            "mov w0, w17",
            "bl {find}",
            "mov x16, x0",
            "ldp x0, x1, [sp, #16]",
            "ldp x2, x3, [sp, #32]",
            "ldp x4, x5, [sp, #48]",
            "ldp x6, x7, [sp, #64]",
            "ldp x29, x30, [sp], #80",
            "br x16",
            ".purgem unwinder",
            found = sym FOUND,
            find = sym find,
        );
    };
}

unwinder! {
    0 "_Unwind_Backtrace"
    1 "_Unwind_DeleteException"
    2 "_Unwind_GetDataRelBase"
    3 "_Unwind_GetIP"
    4 "_Unwind_GetIPInfo"
    5 "_Unwind_GetLanguageSpecificData"
    6 "_Unwind_GetRegionStart"
    7 "_Unwind_GetTextRelBase"
    8 "_Unwind_RaiseException"
    9 "_Unwind_Resume"
    10 "_Unwind_SetGR"
    11 "_Unwind_SetIP"
}

static FOUND: [AtomicUsize; NAMES.len()] = [const { AtomicUsize::new(0) }; NAMES.len()];

/// Where the unwinder's function number `which` is. It is loaded as it was natively: what a frame has to
/// drop is dropped by it, or the program ends.
extern "C" fn find(which: usize) -> usize {
    // SAFETY: the names are NUL-terminated.
    let found: *mut c_void = unsafe {
        match libc::dlopen(c"libgcc_s.so.1".as_ptr(), libc::RTLD_LAZY) {
            unwinder if unwinder.is_null() => unwinder,
            unwinder => libc::dlsym(unwinder, NAMES[which].as_ptr()),
        }
    };
    if found.is_null() {
        std::process::abort();
    }
    FOUND[which].store(found.addr(), Ordering::Relaxed);
    found.addr()
}

#[cfg(test)]
mod tests {
    use core::ffi::{c_int, c_void};

    unsafe extern "C" {
        #[link_name = "tested_Unwind_Backtrace"]
        fn backtrace(
            each: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
            data: *mut c_void,
        ) -> c_int;
        #[link_name = "tested_Unwind_GetIP"]
        fn instruction(frame: *mut c_void) -> usize;
    }

    extern "C" fn count(frame: *mut c_void, frames: *mut c_void) -> c_int {
        // SAFETY: called by the unwinder with the number below.
        unsafe { *frames.cast::<usize>() += usize::from(instruction(frame) != 0) };
        0
    }

    #[test]
    fn functions_of_the_unwinder_are_found_and_called() {
        for _ in 0..2 {
            let mut frames = 0usize;
            // SAFETY: the prototypes of unwind.h; the number outlives the call.
            unsafe { backtrace(count, (&raw mut frames).cast()) };
            assert!(frames > 2, "{frames} frames");
        }
        assert_ne!(super::FOUND[0].load(super::Ordering::Relaxed), 0);
    }
}
