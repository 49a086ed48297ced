//! A file's turns: its [`Group`], under the table lock.

use super::group::{ABANDONED, Begun, Group, Turn};
use crate::mappings::{self, file::File};
use crate::process;
use core::ptr::NonNull;
use rustix::io::Errno;

/// Waits for the caller's turn on `file`, which it holds.
pub fn enter(file: NonNull<File>) -> Turn {
    // SAFETY: every use of a group takes the table lock.
    unsafe { group(&file).enter(mappings::lock, process::this().birth()) }
}

/// Begins the flush that the caller leads.
pub fn begin(file: NonNull<File>) -> Begun {
    // SAFETY: as in `enter`.
    unsafe { group(&file).begin(mappings::lock, process::this().birth()) }
}

/// The number of the flush of `file`, which the caller holds, that began last.
pub fn begun(file: NonNull<File>) -> u32 {
    // SAFETY: as in `enter`.
    unsafe { group(&file).begun(mappings::lock, process::this().birth()) }
}

/// Ends flush `number` of `file` with `result`.
pub fn leave(file: NonNull<File>, number: u32, result: Result<(), Errno>) {
    end(
        file,
        number,
        result.map_or_else(Errno::raw_os_error, |()| 0),
    );
}

/// Ends flush `number` of `file`, which was not done: those who wait for it need another.
pub fn abandon(file: NonNull<File>, number: u32) {
    end(file, number, ABANDONED);
}

fn end(file: NonNull<File>, number: u32, result: i32) {
    // SAFETY: as in `enter`.
    unsafe { group(&file).leave(mappings::lock, process::this().birth(), number, result) }
}

fn group(file: &NonNull<File>) -> &Group {
    // SAFETY: held by the caller, so live; the rest of the file is not looked at.
    unsafe { &(*file.as_ptr()).group }
}
