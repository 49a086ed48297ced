//! Programs that this library cannot be loaded into, started by one that it is in: of another architecture, or another C
//! library's. Their loaders find it in LD_PRELOAD all the same, and say that they cannot use it; musl's does not start
//! the program. So these get an environment without it.

use crate::sys::program;
use crate::sys::strings::{BeforeMain, Strings, Text};
use crate::{helper, process};
use core::ffi::CStr;
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
pub fn boot(environment: &BeforeMain) {
    let value = environment.get("LD_PRELOAD");
    let names_it = value.is_some_and(|value| value.split(is_between).any(is_own));
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
#[inline]
pub fn start<R>(
    file: Text<'_>,
    searched: bool,
    env: Strings<'_>,
    real: impl FnOnce() -> R,
    run: impl FnOnce(Strings<'_>) -> R,
) -> R {
    match is(file, searched) {
        true => without(env, run),
        false => real(),
    }
}

/// Whether it is such a one.
fn is(file: Text<'_>, searched: bool) -> bool {
    if !IS_PASSED_ON.load(Ordering::Relaxed) || !process::is_open() {
        return false;
    }
    // Of a path the kernel sees whether there is one.
    let name = searched.then(|| file.get()).flatten();
    let Some(name) = name else {
        return program::has_foreign_loader(file.as_ptr());
    };
    let mut is = false;
    helper::for_each_executable(name, &mut |path| {
        is = program::has_foreign_loader(path.as_ptr());
        true
    });
    is
}

/// Runs `run` with the environment `env` less the library.
#[cold]
#[inline(never)]
fn without<R>(env: Strings<'_>, run: impl FnOnce(Strings<'_>) -> R) -> R {
    let mut strings = [Text::NULL; MOST];
    let mut rest = [0u8; REST];
    run(cut(env, &mut strings, &mut rest).unwrap_or(env))
}

/// Copies the variables of `env` to `strings`, which are all null; of LD_PRELOAD what is left goes to `rest`, which is all
/// zero. The copy is returned where there was room, and anything to be cut.
fn cut<'a>(
    env: Strings<'a>,
    strings: &'a mut [Text<'a>; MOST],
    rest: &'a mut [u8; REST],
) -> Option<Strings<'a>> {
    let is_it = |text: &Text<'a>| {
        let text = text.get().map(CStr::to_bytes);
        text.is_some_and(|text| text.starts_with(VARIABLE))
    };
    let at = env.iter().position(|text| is_it(&text))?;
    let value = env.iter().nth(at)?.get()?.to_bytes();
    let others = keep_others(value.strip_prefix(VARIABLE)?, rest)?;
    let rest = CStr::from_bytes_until_nul(rest).ok()?;
    let passed = env
        .iter()
        .enumerate()
        .filter_map(|(n, text)| match n == at {
            true => others.then(|| rest.into()),
            false => Some(text),
        });
    let mut room = strings.iter_mut();
    for text in passed {
        *room.next()? = text;
    }
    Strings::of(strings)
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
