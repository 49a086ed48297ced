//! ioctl: a program that tracks stores with a userfaultfd of its own comes first.

use super::change;
use crate::enforce::before;
use crate::sys::kernel::userfaultfd::UFFDIO_REGISTER;
use crate::{dirty, mappings, next_fn, sys};
use core::ffi::{c_ulong, c_void};
use libc::c_int;

hook! {
    /// Hook for [`libc::ioctl`]. The C prototype takes the argument as a variable one, which every ABI that
    /// Linux has passes as a third.
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int, real => {
        if request as u32 == UFFDIO_REGISTER && mappings::any() {
            let state = next_fn::enter();
            dirty::give_way(argument as usize);
            next_fn::leave(state);
        }
        let targets = match before::is_needed() {
            true => Targets::of(fd, request as u32, argument as usize),
            false => Targets::NONE,
        };
        targets.each(|fd| change::before_fd(fd, 0..u64::MAX));
        let result = real();
        targets.each(change::changed_fd);
        result
    }
}

/// `FICLONE`, `FICLONERANGE`: what the descriptor is open on gets another's blocks; and `FIDEDUPERANGE`: up to so many
/// others get its, and lose their cached pages (ioctl_fideduperange(2)).
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;
const FIDEDUPERANGE: u32 = 0xc018_9436;

/// Descriptors whose files a call changes.
struct Targets {
    one: c_int,
    /// An array of `struct file_dedupe_range_info`, and how many.
    array: usize,
    count: usize,
}

impl Targets {
    const NONE: Targets = Targets {
        one: -1,
        array: 0,
        count: 0,
    };
    /// Bytes of `struct file_dedupe_range` and of each of its items.
    const HEADER: usize = 24;
    const ITEM: usize = 32;

    fn of(fd: c_int, request: u32, argument: usize) -> Targets {
        match request {
            FICLONE | FICLONERANGE => Targets {
                one: fd,
                ..Targets::NONE
            },
            FIDEDUPERANGE => {
                let mut header = [0; Targets::HEADER];
                match sys::vm::read_own_memory(argument, &mut header) {
                    Ok(Targets::HEADER) => Targets {
                        one: -1,
                        array: argument + Targets::HEADER,
                        count: u16::from_ne_bytes([header[16], header[17]]).into(),
                    },
                    _ => Targets::NONE,
                }
            }
            _ => Targets::NONE,
        }
    }

    fn each(&self, run: impl Fn(c_int)) {
        if self.one >= 0 {
            run(self.one);
        }
        for n in 0..self.count {
            let mut fd = [0; 8];
            let at = self.array + n * Targets::ITEM;
            if sys::vm::read_own_memory(at, &mut fd) != Ok(fd.len()) {
                return;
            }
            run(i64::from_ne_bytes(fd) as c_int);
        }
    }
}
