//! The ends of a process that an exit handler does not see: `_exit`, and the exec family.
//!
//! libc's own `exit` runs the shim's destructor instead. Inside libc none of these is called by a name
//! that can be hooked, so each is; `posix_spawn` and `system` execute in a child that has nothing to tell.

use super::{foreign, prctl};
use crate::enforce::{before, doubt};
use crate::findings::{self, Boundary};
use crate::sys::clib;
use crate::sys::strings::{Strings, Text};
use crate::{helper, mappings, next_fn, stats};
use core::ffi::c_char;
use libc::{c_int, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

/// Runs when the program returns from main or calls exit(3).
#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = exiting;

extern "C" fn exiting() {
    if mappings::any() && !prctl::is_strict() {
        exits();
    }
}

#[cold]
fn exits() {
    if stats::on() {
        findings::at_end(Boundary::Exit);
    }
    doubt::at_end();
    helper::at_exit();
}

/// Before the program at `file` is executed, or one of that name that is `searched` for.
fn executing(file: *const c_char, searched: bool) {
    if mappings::any() {
        executes(file, searched);
    }
}

#[cold]
fn executes(file: *const c_char, searched: bool) {
    if stats::on() {
        findings::at_end(Boundary::Exec);
    }
    if before::is_needed() && helper::finds(file, searched) {
        before::executing();
        doubt::at_exec();
    }
    doubt::at_end();
    helper::at_exec(file, searched);
}

/// quick_exit(3) runs no destructors, but handlers. Called once, while booting.
pub fn boot() {
    clib::at_quick_exit(exiting);
}

hook! {
    /// Hook for [`libc::_exit`].
    fn _exit(status: c_int) -> !, real => {
        exiting();
        real()
    }
}

hook! {
    /// Hook for `_Exit`.
    fn _Exit(status: c_int) -> !, real => {
        exiting();
        real()
    }
}

hook! {
    /// Hook for [`libc::execve`].
    fn execve(path: Text<'_>, argv: Strings<'_>, env: Strings<'_>) -> c_int, real => {
        executing(path.as_ptr(), false);
        foreign::start(path, false, env, real, |env| next_fn::execve(path, argv, env))
    }
}

hook! {
    /// Hook for [`libc::execv`].
    fn execv(path: Text<'_>, argv: Strings<'_>) -> c_int, real => {
        executing(path.as_ptr(), false);
        foreign::start(path, false, Strings::environment_for(path), real, |env| next_fn::execve(path, argv, env))
    }
}

hook! {
    /// Hook for [`libc::execvp`].
    fn execvp(file: Text<'_>, argv: Strings<'_>) -> c_int, real => {
        executing(file.as_ptr(), true);
        foreign::start(file, true, Strings::environment_for(file), real, |env| next_fn::execvpe(file, argv, env))
    }
}

hook! {
    /// Hook for [`libc::execvpe`].
    fn execvpe(file: Text<'_>, argv: Strings<'_>, env: Strings<'_>) -> c_int, real => {
        executing(file.as_ptr(), true);
        foreign::start(file, true, env, real, |env| next_fn::execvpe(file, argv, env))
    }
}

hook! {
    /// Hook for [`libc::posix_spawn`].
    fn posix_spawn(
        pid: *mut pid_t,
        path: Text<'_>,
        actions: *const posix_spawn_file_actions_t,
        attributes: *const posix_spawnattr_t,
        argv: Strings<'_>,
        env: Strings<'_>,
    ) -> c_int, real => {
        foreign::start(path, false, env, real, |env| {
            // SAFETY: as the program has called this one.
            unsafe { next_fn::posix_spawn(pid, path, actions, attributes, argv, env) }
        })
    }
}

hook! {
    /// Hook for [`libc::posix_spawnp`].
    fn posix_spawnp(
        pid: *mut pid_t,
        file: Text<'_>,
        actions: *const posix_spawn_file_actions_t,
        attributes: *const posix_spawnattr_t,
        argv: Strings<'_>,
        env: Strings<'_>,
    ) -> c_int, real => {
        foreign::start(file, true, env, real, |env| {
            // SAFETY: as the program has called this one.
            unsafe { next_fn::posix_spawnp(pid, file, actions, attributes, argv, env) }
        })
    }
}

hook! {
    /// Hook for [`libc::fexecve`].
    fn fexecve(fd: c_int, argv: Strings<'_>, env: Strings<'_>) -> c_int, real => {
        executing(c"/".as_ptr(), false);
        real()
    }
}

/// execl, execlp and execle take any number of arguments, some on the stack: they are passed on where
/// they are.
macro_rules! variadic {
    ($($name:ident)*) => {$(
        #[doc = concat!("Hook for `", stringify!($name), "`.")]
        ///
        /// # Safety
        #[doc = concat!("As ", stringify!($name), "(3).")]
        #[cfg(target_arch = "x86_64")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            // The argument registers, and al, which counts vector registers in use: none.
            core::arch::naked_asm!(
                "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax",
                "call {next}",
                "mov r11, rax",
                "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
                "jmp r11",
                next = sym next::$name,
            )
        }

        #[doc = concat!("Hook for `", stringify!($name), "`.")]
        ///
        /// # Safety
        #[doc = concat!("As ", stringify!($name), "(3).")]
        #[cfg(target_arch = "aarch64")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "stp x29, x30, [sp, #-80]!",
                "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]", "stp x6, x7, [sp, #64]",
                "bl {next}",
                "mov x16, x0",
                "ldp x0, x1, [sp, #16]", "ldp x2, x3, [sp, #32]",
                "ldp x4, x5, [sp, #48]", "ldp x6, x7, [sp, #64]",
                "ldp x29, x30, [sp], #80",
                "br x16",
                next = sym next::$name,
            )
        }
    )*

        mod next {
            use core::ffi::c_char;

            $(pub extern "C" fn $name(file: *const c_char) -> usize {
                super::executing(file, stringify!($name).ends_with('p'));
                crate::next_fn::address::$name()
            })*
        }
    };
}

variadic! { execl execlp execle }
