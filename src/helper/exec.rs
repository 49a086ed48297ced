//! Whether an exec will find its program: one that fails must not cost the helper, with what it knows.

use crate::sys::vm;
use core::ffi::{CStr, c_char};
use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Bytes of a path that is looked at; a longer one is taken to lead somewhere.
const PATH: usize = 512;

/// Whether there is something to execute at `file`, which may be any pointer, or, if that `searches` and
/// there is no slash in it, at `file` in a directory of `PATH` (execvp(3)). On a thread of the program's that
/// calls exec.
pub fn finds(file: *const c_char, searches: bool) -> bool {
    let mut name = [0u8; PATH];
    let Some(name) = vm::read_path(file, &mut name) else {
        return !file.is_null();
    };
    match searches {
        true => for_each_executable(name, &mut |_| true),
        false => is_executable(name),
    }
}

/// Tells `each` of what execvp(3) finds by that `name`, which is a path where it has a slash, until it returns true: says
/// whether it did, or nobody knows. The directories are those of the environment.
pub fn for_each_executable(name: &CStr, each: &mut dyn FnMut(&CStr) -> bool) -> bool {
    if name.to_bytes().contains(&b'/') {
        return is_executable(name) && each(name);
    }
    // SAFETY: as execvp itself does, which the program calls.
    let directories = unsafe {
        let value = libc::getenv(c"PATH".as_ptr());
        match value.is_null() {
            true => c"/bin:/usr/bin",
            false => CStr::from_ptr(value),
        }
    };
    let mut directories = directories.to_bytes().split(|&b| b == b':');
    directories.any(|directory| is_in(directory, name.to_bytes(), each))
}

fn is_in(directory: &[u8], name: &[u8], each: &mut dyn FnMut(&CStr) -> bool) -> bool {
    let mut path = [0u8; PATH];
    let parts = [
        directory,
        if directory.is_empty() { b"" } else { b"/" },
        name,
    ];
    let mut len = 0;
    for part in parts {
        match path.get_mut(len..len + part.len()) {
            Some(room) => room.copy_from_slice(part),
            None => return true,
        }
        len += part.len();
    }
    match CStr::from_bytes_until_nul(&path) {
        Ok(path) => is_executable(path) && each(path),
        Err(_) => true,
    }
}

fn is_executable(path: &CStr) -> bool {
    accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()).is_ok()
}
