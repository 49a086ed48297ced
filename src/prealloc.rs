//! Blocks for what is mapped, before anything is stored to it (`KEEPMYDATA_PREALLOC=on`).
//!
//! A store into a hole needs blocks. If there are none, the program dies of SIGBUS, or the data is lost at writeback.
//! fallocate(2) of a new mapping's holes asks for them while nothing can be lost yet. It does not change the size of the file,
//! nor what the mapping has beyond its end.

use crate::helper::{self, Worker};
use crate::log::{self, FileName, Timer};
use crate::mappings::{self, table::Entry};
use crate::process;
use crate::sys::extents::{self, Hole};
use crate::sys::{self, signals::Blocked};
use crate::{config, handles};
use keepmydata_records::{self as records, HexU64, Level, LineBuf, event};
use rustix::fd::BorrowedFd;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

/// Allocates the holes of the writable mappings in `[start, end)`, of files that are looked at. On a
/// thread of the program's, before it learns that these are mapped. Failures are in the log.
pub fn range(start: usize, end: usize) {
    if config::preallocates() && !process::this().is_borrowed() {
        allocate_range(start, end);
    }
}

#[cold]
fn allocate_range(start: usize, end: usize) {
    let _quiet = Blocked::all();
    let tid = sys::gettid();
    mappings::each(start, end, |entry| {
        if !entry.writable || mappings::lock().get(entry.file).excluded {
            return;
        }
        let _ = helper::run(process::this(), |worker| {
            let timer = Timer::start();
            let outcome = allocate(worker, entry);
            tell(worker, entry, outcome, tid, timer);
        });
    });
}

/// What was allocated, bytes, or the hole where that ended.
type Outcome = Result<u64, Failed>;

struct Failed {
    offset: u64,
    length: u64,
    errno: Errno,
}

/// Allocates the holes of `entry`.
fn allocate(worker: &Worker, entry: &Entry<'_>) -> Outcome {
    let start = entry.offset;
    let whole = |errno| Failed {
        offset: start,
        length: entry.len() as u64,
        errno,
    };
    // A fork child has none of a mapping that it inherited.
    handles::reopen(worker, entry.file);
    let handle = mappings::handle_of(entry.file);
    let Some(fd) = worker.borrow_handle(&handle) else {
        let errno = match handle.errno {
            0 => Errno::BADF,
            errno => Errno::from_raw_os_error(errno),
        };
        return Err(whole(errno));
    };
    let space = sys::fd::space(fd).map_err(whole)?;
    let end = space.size.min(start + entry.len() as u64);
    if !handle.writable {
        return Err(whole(Errno::ACCESS));
    }
    let mut filler = Filler { fd, outcome: Ok(0) };
    let fill = |from, to| filler.fill(from, to);
    match extents::holes(fd, start, end, Hole::Unpromised, fill) {
        Err(Errno::OPNOTSUPP | Errno::NOTTY) => {
            let fill = |from, to| filler.fill(from, to);
            extents::holes_by_seek(fd, start, end, fill).map_err(whole)?;
            // A FUSE daemon without lseek: somewhere there are holes.
            if matches!(filler.outcome, Ok(0)) && space.allocated < space.size && start < end {
                filler.fill(start, end);
            }
        }
        asked => asked.map_err(whole)?,
    }
    filler.outcome
}

/// Allocates holes, until that fails.
struct Filler<'a> {
    fd: BorrowedFd<'a>,
    outcome: Outcome,
}

impl Filler<'_> {
    /// Says whether to go on.
    fn fill(&mut self, from: u64, to: u64) -> bool {
        let (offset, length) = (from, to - from);
        match (self.allocate(offset, length), &mut self.outcome) {
            (Ok(()), Ok(bytes)) => *bytes += length,
            (Err(errno), outcome) => {
                *outcome = Err(Failed {
                    offset,
                    length,
                    errno,
                });
            }
            (Ok(()), Err(_)) => {}
        }
        self.outcome.is_ok()
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<(), Errno> {
        retry_on_intr(|| fallocate(self.fd, FallocateFlags::KEEP_SIZE, offset, length))
    }
}

/// What could not be allocated at warn, what was at debug.
fn tell(worker: &Worker, entry: &Entry<'_>, outcome: Outcome, tid: i32, timer: Timer) {
    let level = match outcome {
        Ok(0) => return,
        Ok(_) => Level::Debug,
        Err(_) => Level::Warn,
    };
    if !log::enabled(level) {
        return;
    }
    let name = FileName::of(entry.file);
    let mut message = LineBuf::<64>::new();
    let mut record = log::record(worker.process(), level, tid, event::PREALLOC);
    timer.stamp(&mut record);
    name.fill(&mut record);
    record.addr = Some(HexU64(entry.start as u64));
    match outcome {
        Ok(bytes) => {
            (record.offset, record.length) = (Some(entry.offset), Some(entry.len() as u64));
            log::text(
                &mut message,
                format_args!("{bytes} bytes of holes allocated"),
            );
            record.message = message.as_str().into();
        }
        Err(failed) => {
            (record.offset, record.length) = (Some(failed.offset), Some(failed.length));
            record.result = Some(-1);
            record.errno = Some(records::Errno(failed.errno.raw_os_error()));
            record.message =
                "a hole of this mapping could not be allocated: a store into it may end \
                              the program with SIGBUS, or be lost at writeback"
                    .into();
        }
    }
    log::emit(worker, &record);
}
