//! User and group ids of a thread.

use super::{raw, wipe};
use core::ptr::{NonNull, null_mut};
use core::slice;
use rustix::io::Errno;
use rustix::mm::munmap;

/// Real, effective and saved; as getresuid(2) and getresgid(2) give them.
type Three = [u32; 3];

/// What setuid(3) and its relatives change.
pub struct Ids {
    users: Three,
    groups: Three,
    supplementary: Option<List>,
}

impl Ids {
    /// Those of the calling thread. Any context.
    pub fn of_caller() -> Ids {
        Ids {
            users: three(libc::SYS_getresuid),
            groups: three(libc::SYS_getresgid),
            supplementary: List::of_caller(),
        }
    }

    /// Has the calling thread take them on. What changed in one call of the program's, a thread
    /// with the ids of before may change too (setresuid(2)).
    ///
    /// Errors: `EPERM` where the thread may not; `ENOMEM`.
    pub fn adopt(&self) -> Result<(), Errno> {
        let list = self.supplementary.as_ref().ok_or(Errno::NOMEM)?;
        let own = Ids::of_caller();
        let same = own
            .supplementary
            .is_some_and(|own| own.as_slice() == list.as_slice());
        if !same {
            let ids = list.as_slice();
            let arguments = [ids.len(), ids.as_ptr() as usize, 0, 0, 0, 0];
            // SAFETY: the list is live.
            unsafe { raw::syscall(libc::SYS_setgroups, arguments)? };
        }
        // Groups first: who is no longer root may not change them.
        set(libc::SYS_setresgid, own.groups, self.groups)?;
        set(libc::SYS_setresuid, own.users, self.users)
    }
}

fn three(call: i64) -> Three {
    let mut ids = Three::default();
    let [real, effective, saved] = &mut ids;
    let [real, effective, saved] = [real, effective, saved].map(|id| &raw mut *id as usize);
    // SAFETY: three live numbers.
    let _ = unsafe { raw::syscall(call, [real, effective, saved, 0, 0, 0]) };
    ids
}

fn set(call: i64, own: Three, to: Three) -> Result<(), Errno> {
    if own == to {
        return Ok(());
    }
    let [real, effective, saved] = to.map(|id| id as usize);
    // SAFETY: only numbers are passed.
    unsafe { raw::syscall(call, [real, effective, saved, 0, 0, 0]) }.map(drop)
}

/// Supplementary groups: up to 65,536, so in memory of their own.
struct List {
    at: *mut u32,
    room: usize,
    count: usize,
}

impl List {
    /// getgroups(2); nothing where memory is out.
    fn of_caller() -> Option<List> {
        let none = [0; 6];
        // SAFETY: a size of 0 only asks for the number.
        let count = unsafe { raw::syscall(libc::SYS_getgroups, none) }.ok()?;
        if count == 0 {
            return Some(List {
                at: null_mut(),
                room: 0,
                count,
            });
        }
        let at: NonNull<u32> = wipe::map(count * size_of::<u32>())?.cast();
        let mut list = List {
            at: at.as_ptr(),
            room: count,
            count,
        };
        let into = [count, list.at as usize, 0, 0, 0, 0];
        // SAFETY: room for that many; only this thread's own calls change them.
        list.count = unsafe { raw::syscall(libc::SYS_getgroups, into) }.unwrap_or(0);
        Some(list)
    }

    fn as_slice(&self) -> &[u32] {
        match self.at.is_null() {
            true => &[],
            // SAFETY: mapped, and filled that far.
            false => unsafe { slice::from_raw_parts(self.at, self.count) },
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if !self.at.is_null() {
            // SAFETY: a mapping of its own; munmap takes whole pages.
            let _ = unsafe { munmap(self.at.cast(), self.room * size_of::<u32>()) };
        }
    }
}
