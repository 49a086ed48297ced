//! The settings: read from the environment once, before main, and nowhere else.
//!
//! The program may overwrite its environment in place (setproctitle does), so the texts that
//! outlive the parsing are copied.

use crate::sys::fd::statx;
use crate::sys::strings::{BeforeMain, value_of};
use crate::sys::{clib, raw};
use core::cell::UnsafeCell;
use core::ffi::CStr;
use keepmydata_records::{
    BadValue, Enforce, LogFile, OptionSpec, Prealloc, SeenBy, Settings, Value, Verify,
    variable_meant,
};
use once_cell::sync::OnceCell;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, makedev, openat};

static SETTINGS: OnceCell<Settings<'static>> = OnceCell::new();
static DEVICE_OF_FIRST: OnceCell<Option<u64>> = OnceCell::new();

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
pub fn boot(environment: &BeforeMain, bad: &mut dyn FnMut(BadValue<'_>)) {
    // Every process that starts waits for this, and most have none.
    let mut ours = [c""; MOST];
    let mut count = 0;
    let found = environment.variables().filter(|variable| is_ours(variable));
    for (ours, found) in ours.iter_mut().zip(found) {
        *ours = found;
        count += 1;
    }
    let lookup = |name| {
        let mut ours = ours[..count].iter();
        ours.find_map(|variable| value_of(name, variable))
    };
    let mut settings = Settings::parse(&|option: &OptionSpec| keep(lookup(option.env)?), bad);
    if let Some(template) = settings.log_file.template()
        && !template.starts_with(b"/")
        && let Some(whole) = absolute(template)
    {
        settings.log_file = LogFile::parse(whole).unwrap_or(settings.log_file);
    }
    if settings.seen_by.other().is_some() {
        settings.seen_by = as_the_kernel_names_it(settings.seen_by);
        let first = settings.seen_by.own().and_then(device);
        let _ = DEVICE_OF_FIRST.set(first.map(|(major, minor)| makedev(major, minor)));
    }
    let _ = SETTINGS.set(settings);
    #[cfg(feature = "defects")]
    if let Some(name) = environment.get("KEEPMYDATA_DEFECT").and_then(keep) {
        crate::sys::defect::plant(name);
    }
}

/// Whether another client of a filesystem is to be shown what is synced (`KEEPMYDATA_SEEN_BY`). Any context after [`boot`].
pub fn has_other_client() -> bool {
    settings().seen_by.other().is_some()
}

/// The filesystem at the first mount of `KEEPMYDATA_SEEN_BY`, as stat(2) numbers it; nothing where there was none. Any context
/// after [`boot`].
pub fn device_of_first() -> Option<u64> {
    DEVICE_OF_FIRST.get().copied().flatten()
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
    clib::getauxval(libc::AT_SECURE) != 0
}

/// Takes the shim's variables out of the environment, as the loader does with its own in a program with
/// more rights: one that this starts has the same rights, and may have no sign of that any more. Called
/// before main.
pub fn clear_environment(environment: &mut BeforeMain) {
    environment.retain(|variable| !is_ours(variable));
}

/// `typo` gets each variable that is named almost like a setting, and what was meant. They are taken out of
/// the environment, so that the programs that this one starts do not say it again. Called once, before main.
pub fn find_typos(environment: &mut BeforeMain, typo: &mut dyn FnMut(&[u8], &str)) {
    if !environment.variables().any(is_ours) {
        return;
    }
    environment.retain(|variable| {
        let name = variable.to_bytes().split(|&byte| byte == b'=').next();
        let name = name.unwrap_or_default();
        let meant = variable_meant(name);
        meant.inspect(|meant| typo(name, meant)).is_none()
    });
}

/// Variables of the shim's that are looked at: some more than there are settings.
const MOST: usize = 64;

/// How the names of the shim's variables begin.
const PREFIX: &str = "KEEPMYDATA_";

fn is_ours(variable: &CStr) -> bool {
    variable.to_bytes().starts_with(PREFIX.as_bytes())
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
    let len = raw::sys_getcwd(&mut cwd).ok()?;
    let cwd = cwd[..len].strip_suffix(b"\0")?;
    // "(unreachable)" is no path.
    cwd.starts_with(b"/").then_some(())?;
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
