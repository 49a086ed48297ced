//! The settings: read from the environment once, before main, and nowhere else.
//!
//! The program may overwrite its environment in place (setproctitle does), so the texts that
//! outlive the parsing are copied.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::slice;
use keepmydata_records::{
    BadValue, Enforce, LogFile, OptionSpec, Prealloc, SeenBy, Settings, Value, Verify,
    variable_meant,
};
use once_cell::sync::OnceCell;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};

static SETTINGS: OnceCell<Settings<'static>> = OnceCell::new();

/// The settings of this process. After [`boot`] only.
pub fn settings() -> &'static Settings<'static> {
    SETTINGS.get_or_init(Settings::default)
}

/// Whether msync of a file on such a filesystem is verified.
pub fn is_verified(local_block: bool) -> bool {
    match settings().verify {
        Verify::On => true,
        Verify::Auto => !local_block,
        Verify::Off => false,
    }
}

/// Whether the holes of mappings are to be allocated. Any context after boot.
pub fn preallocates() -> bool {
    let settings = settings();
    settings.prealloc == Prealloc::On && settings.enforce == Enforce::Full
}

/// Reads the environment; `bad` gets each value that cannot be used. Called once.
pub fn boot(bad: &mut dyn FnMut(BadValue<'_>)) {
    let mut settings = Settings::parse(&|option: &OptionSpec| keep(lookup(option.env)?), bad);
    if let Some(template) = settings.log_file.template()
        && !template.starts_with(b"/")
        && let Some(whole) = absolute(template)
    {
        settings.log_file = LogFile::parse(whole).unwrap_or(settings.log_file);
    }
    if settings.seen_by.other().is_some() {
        settings.seen_by = as_the_kernel_names_it(settings.seen_by);
    }
    let _ = SETTINGS.set(settings);
    #[cfg(feature = "defects")]
    if let Some(name) = lookup("KEEPMYDATA_DEFECT").and_then(keep) {
        crate::sys::defect::plant(name);
    }
}

/// Why `KEEPMYDATA_SEEN_BY` cannot do what it says. Called before main, after [`boot`].
pub fn why_nothing_waits() -> Option<&'static str> {
    let settings = settings();
    let (own, other) = (settings.seen_by.own()?, settings.seen_by.other()?);
    if settings.verify == Verify::Off || settings.enforce == Enforce::Off {
        return Some("has no effect where nothing is verified");
    }
    let (Some(own), other) = (device(own), device(other)) else {
        return Some("there is no such directory as the first: nothing waits for the other client");
    };
    (Some(own) == other)
        .then_some("both are one mount to the kernel, with one page cache: they are one client")
}

/// Paths of files are as the kernel has them: without symbolic links, `..` and `//`.
#[cold]
#[inline(never)]
fn as_the_kernel_names_it(seen_by: SeenBy<'static>) -> SeenBy<'static> {
    let resolved = || -> Option<&'static [u8]> {
        let own = directory(seen_by.own()?)?;
        let mut path = [0u8; libc::PATH_MAX as usize];
        match crate::sys::fd::path(own.as_raw_fd(), &mut path)? {
            path @ [b'/', _, ..] => keep(path),
            _ => None,
        }
    };
    resolved().map_or(seen_by, |own| seen_by.with_own(own))
}

fn directory(path: &[u8]) -> Option<OwnedFd> {
    let mut text = [0u8; libc::PATH_MAX as usize];
    text.get_mut(..path.len())?.copy_from_slice(path);
    let path = CStr::from_bytes_until_nul(&text).ok()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).ok()
}

/// Of the filesystem at a directory, as far as the kernel knows it without asking a daemon that may be dead.
#[cold]
#[inline(never)]
fn device(path: &[u8]) -> Option<(u32, u32)> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(directory(path)?, c"", flags, StatxFlags::TYPE).ok()?;
    Some((found.stx_dev_major, found.stx_dev_minor))
}

/// Whether the program has rights that its caller has not (getauxval(3), `AT_SECURE`: set-user-ID,
/// set-group-ID, capabilities of the file). Then nothing of the environment may count.
pub fn is_secure() -> bool {
    // SAFETY: only reads.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Takes the shim's variables out of the environment, as the loader does with its own in a program with
/// more rights: one that this starts has the same rights, and may have no sign of that any more. Called
/// before main.
pub fn clear_environment() {
    retain_variables(&mut |name| !name.starts_with(PREFIX.as_bytes()));
}

/// `typo` gets each variable that is named almost like a setting, and what was meant. They are taken out of
/// the environment, so that the programs that this one starts do not say it again. Called once, before main.
pub fn find_typos(typo: &mut dyn FnMut(&[u8], &str)) {
    retain_variables(&mut |name| match variable_meant(name) {
        None => true,
        Some(meant) => {
            typo(name, meant);
            false
        }
    });
}

/// Leaves those variables in the environment whose name `keep` says to. Called before main.
fn retain_variables(keep: &mut dyn FnMut(&[u8]) -> bool) {
    // SAFETY: before main nobody else changes the environment: a NULL-terminated array of strings, which
    // becomes shorter in place. Of each only the name is looked at: texts may be long, and every process that
    // starts waits for this.
    unsafe {
        let mut from = first_of_ours().cast_mut();
        let mut to = from;
        while !from.is_null() && !(*from).is_null() {
            let entry = *from;
            let mut len = 0;
            while !matches!(*entry.add(len) as u8, 0 | b'=') {
                len += 1;
            }
            if keep(slice::from_raw_parts(entry.cast(), len)) {
                *to = *from;
                to = to.add(1);
            }
            from = from.add(1);
        }
        if to != from {
            *to = core::ptr::null();
        }
    }
}

/// How the names of the shim's variables begin.
const PREFIX: &str = "KEEPMYDATA_";

/// The text of variable `name`, as it stands in the environment now.
fn lookup(name: &str) -> Option<&'static [u8]> {
    // SAFETY: before main nobody changes the environment: a NULL-terminated array of strings, of which none is
    // looked at beyond the first byte that differs.
    unsafe {
        let mut at = first_of_ours();
        while !at.is_null() && !(*at).is_null() {
            if begins_with(*at, name) && *(*at).add(name.len()) as u8 == b'=' {
                return Some(CStr::from_ptr((*at).add(name.len() + 1)).to_bytes());
            }
            at = at.add(1);
        }
    }
    None
}

unsafe extern "C" {
    /// environ(7).
    pub static environ: *const *const c_char;
}

/// The part of the environment that begins with the first variable of the shim's. Called before main. Every process
/// that starts waits for this, and most have none.
fn first_of_ours() -> *const *const c_char {
    // SAFETY: before main nobody changes the environment: a NULL-terminated array of strings.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() && !begins_with(*at, PREFIX) {
            at = at.add(1);
        }
        at
    }
}

/// Whether the string at `entry` begins so.
///
/// # Safety
/// It ends in a zero byte, and `with` has none.
unsafe fn begins_with(entry: *const c_char, with: &str) -> bool {
    // SAFETY: nothing is looked at beyond the first byte that differs.
    let is = |(at, byte)| unsafe { *entry.add(at) as u8 == byte };
    with.bytes().enumerate().all(is)
}

/// Memory for the texts. Two paths, a list of globs and the words fit; an environment that needs
/// more loses the last of them, and its default holds.
struct Store(UnsafeCell<(usize, [u8; 24 * 1024])>);

// SAFETY: written while booting only, by the one thread that does it.
unsafe impl Sync for Store {}

static STORE: Store = Store(UnsafeCell::new((0, [0; 24 * 1024])));

fn keep(text: &[u8]) -> Option<&'static [u8]> {
    // SAFETY: see `Store`; what was handed out earlier is not written again.
    let (used, bytes) = unsafe { &mut *STORE.0.get() };
    let room = bytes.get_mut(*used..*used + text.len())?;
    room.copy_from_slice(text);
    *used += text.len();
    Some(room)
}

/// The log path made absolute: the program may change its working directory before the first record. Apart: what it
/// takes of the stack is pages that a process without a log file need not touch.
#[cold]
#[inline(never)]
fn absolute(template: &[u8]) -> Option<&'static [u8]> {
    let mut cwd = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is live and of that size.
    let found = unsafe { libc::getcwd(cwd.as_mut_ptr().cast(), cwd.len()) };
    if found.is_null() {
        return None;
    }
    let cwd = CStr::from_bytes_until_nul(&cwd).ok()?.to_bytes();
    let mut whole = [0u8; 3 * libc::PATH_MAX as usize];
    let mut len = 0;
    let mut put = |byte: u8| -> Option<()> {
        *whole.get_mut(len)? = byte;
        len += 1;
        Some(())
    };
    for &byte in cwd {
        put(byte)?;
        if byte == b'%' {
            put(b'%')?;
        }
    }
    put(b'/')?;
    for &byte in template {
        put(byte)?;
    }
    keep(&whole[..len])
}
