//! Programs that this library cannot be loaded into, started by one that it is in: of another architecture, or another C
//! library's. Their loaders find it in LD_PRELOAD all the same, and say that they cannot use it; musl's does not start
//! the program. So these get an environment without it.

use crate::helper;
use crate::next_fn::Strings;
use crate::sys::program;
use core::ffi::{CStr, c_char};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

/// Variables of an environment that is passed on without the library; a longer one is left as it is.
const MOST: usize = 1024;
/// Bytes that are left of the variable.
const REST: usize = 2048;

const VARIABLE: &[u8] = b"LD_PRELOAD=";
const LIBRARY: &[u8] = b"libkeepmydata";

/// Whether programs that this one starts are to load the library.
static IS_PASSED_ON: AtomicBool = AtomicBool::new(false);

/// Called once, while booting.
pub fn boot() {
    // SAFETY: before main nobody changes the environment.
    let names_it = unsafe {
        let value = libc::getenv(c"LD_PRELOAD".as_ptr());
        !value.is_null()
            && CStr::from_ptr(value)
                .to_bytes()
                .split(is_between)
                .any(is_own)
    };
    IS_PASSED_ON.store(names_it, Ordering::Relaxed);
}

/// As ld.so(8) separates libraries.
fn is_between(byte: &u8) -> bool {
    matches!(byte, b':' | b' ')
}

fn is_own(library: &[u8]) -> bool {
    let name = library.rsplit(|&byte| byte == b'/').next();
    name.is_some_and(|name| name.starts_with(LIBRARY))
}

/// Runs `real`, which starts the program at `file`, or one of that name that is `searched` for; or, where that is such
/// a one, `run` with the environment `env` less the library.
///
/// # Safety
/// As for execve(2), or, where it is searched for, execvp(3).
#[inline]
pub unsafe fn start<R>(
    file: *const c_char,
    searched: bool,
    env: Strings,
    real: impl FnOnce() -> R,
    run: impl FnOnce(Strings) -> R,
) -> R {
    // SAFETY: the caller's contract.
    unsafe {
        match is(file, searched) {
            true => without(env, run),
            false => real(),
        }
    }
}

/// Whether it is such a one.
///
/// # Safety
/// As [`start`].
unsafe fn is(file: *const c_char, searched: bool) -> bool {
    if !IS_PASSED_ON.load(Ordering::Relaxed) {
        return false;
    }
    if !searched || file.is_null() {
        return program::has_foreign_loader(file);
    }
    // SAFETY: the caller's contract; execvp looks at it, too.
    let name = unsafe { CStr::from_ptr(file) };
    let mut is = false;
    helper::for_each_executable(name, &mut |path| {
        is = program::has_foreign_loader(path.as_ptr());
        true
    });
    is
}

/// Runs `run` with the environment `env` less the library.
///
/// # Safety
/// `env` is null, or as for execve(2).
#[cold]
#[inline(never)]
unsafe fn without<R>(env: Strings, run: impl FnOnce(Strings) -> R) -> R {
    let mut strings = [ptr::null(); MOST];
    let mut rest = [0u8; REST];
    // SAFETY: the caller's contract.
    let is_cut = unsafe { cut(env, &mut strings, &mut rest) };
    run(if is_cut { strings.as_ptr() } else { env })
}

/// Copies the variables of `env` to `strings`, which are all null; of LD_PRELOAD what is left goes to `rest`, which is all
/// zero. Says whether there was room, and anything to be cut.
///
/// # Safety
/// As [`without`].
unsafe fn cut(env: Strings, strings: &mut [*const c_char; MOST], rest: &mut [u8; REST]) -> bool {
    if env.is_null() {
        return false;
    }
    let (mut found, mut to, mut at) = (false, 0, 0);
    loop {
        // SAFETY: not beyond the null pointer at the end.
        let text = unsafe { env.add(at).read() };
        if text.is_null() {
            return found;
        }
        at += 1;
        let value = || {
            // SAFETY: by contract a string.
            let text = unsafe { CStr::from_ptr(text) };
            text.to_bytes().strip_prefix(VARIABLE)
        };
        let value = if found { None } else { value() };
        let mut passed = text;
        if let Some(value) = value {
            found = true;
            match keep_others(value, rest) {
                Some(true) => passed = rest.as_ptr().cast(),
                Some(false) => continue,
                None => return false,
            }
        }
        match strings[..MOST - 1].get_mut(to) {
            Some(room) => *room = passed,
            None => return false,
        }
        to += 1;
    }
}

/// Writes the variable without this library to `into`, which is all zero; says whether there are others, or nothing
/// where there is no room.
fn keep_others(value: &[u8], into: &mut [u8]) -> Option<bool> {
    let mut len = 0;
    let last = into.len() - 1;
    let mut push = |bytes: &[u8]| {
        into[..last]
            .get_mut(len..len + bytes.len())?
            .copy_from_slice(bytes);
        len += bytes.len();
        Some(())
    };
    push(VARIABLE)?;
    let others = value
        .split(is_between)
        .filter(|name| !name.is_empty() && !is_own(name));
    let mut any = false;
    for name in others {
        if any {
            push(b":")?;
        }
        push(name)?;
        any = true;
    }
    Some(any)
}
