//! Records of mapping calls: level trace, and what went wrong at warn.

use super::Mmap;
use crate::log::{FileName, Timer, emit_from_program, enabled, errno_now, record, text};
use crate::mappings::classify::Bypass;
use crate::mappings::file::{File, Key};
use crate::mappings::{self, Taken};
use crate::{process, sys};
use keepmydata_records::{HexU64, Level, LineBuf, event, flags};
use libc::c_int;

/// mmap(2) of a file: it is tracked now, or `tracked` says why not.
#[cold]
pub fn mmap(call: &Mmap, addr: usize, tracked: Result<Key, Bypass>, timer: Timer) {
    let (event, level) = match tracked {
        Ok(_) => (event::MMAP, Level::Trace),
        // A quiet path: LTP's harness maps a file of /dev/shm in every test.
        Err(Bypass::NotRegular | Bypass::NoBackingStore | Bypass::BadDescriptor) => return,
        // What is stored there is not promised.
        Err(Bypass::OutOfMemory) => (event::BYPASS, Level::Error),
        Err(Bypass::Excluded | Bypass::Sandbox) => (event::BYPASS, Level::Trace),
    };
    if !enabled(level) {
        return;
    }
    let (mut by_name, mut prot, mut reason) = (LineBuf::new(), LineBuf::new(), LineBuf::new());
    flag_names(&mut by_name, flags::mmap(call.flags));
    flag_names(&mut prot, flags::prot(call.prot));
    let name = tracked.ok().and_then(name_of);
    let mut record = record(process::this(), level, sys::gettid(), event);
    timer.stamp(&mut record);
    if let Some(name) = &name {
        name.fill(&mut record);
    }
    if let Err(bypass) = tracked {
        text::<64>(&mut reason, format_args!("{bypass}"));
        record.reason = reason.as_str().into();
    }
    record.fd = Some(call.fd);
    record.offset = Some(call.offset as u64);
    record.length = Some(call.len as u64);
    record.addr = Some(HexU64(addr as u64));
    record.prot = prot.as_str().into();
    record.flags = by_name.as_str().into();
    emit_from_program(&record);
}

/// munmap(2) of tracked mappings; before they are let go.
#[cold]
pub fn munmap(addr: usize, len: usize, result: c_int, taken: Option<&Taken>, timer: Timer) {
    if !enabled(Level::Trace) || taken.is_none() {
        return;
    }
    let errno = (result != 0).then(errno_now);
    let name = taken.and_then(Taken::first_file).map(FileName::of);
    let mut record = record(process::this(), Level::Trace, sys::gettid(), event::MUNMAP);
    timer.stamp(&mut record);
    if let Some(name) = &name {
        name.fill(&mut record);
    }
    record.addr = Some(HexU64(addr as u64));
    record.length = Some(len as u64);
    record.result = Some(i64::from(result));
    record.errno = errno;
    emit_from_program(&record);
}

/// mremap(2) of a tracked mapping of `file`.
#[cold]
pub fn mremap(
    from: usize,
    old_len: usize,
    new_len: usize,
    bits: c_int,
    to: usize,
    file: Option<&File>,
    timer: Timer,
) {
    if !enabled(Level::Trace) || file.is_none() {
        return;
    }
    let failed = to == libc::MAP_FAILED as usize;
    let errno = failed.then(errno_now);
    let mut by_name = LineBuf::new();
    flag_names(&mut by_name, flags::mremap(bits));
    let name = file.map(FileName::of);
    let mut record = record(process::this(), Level::Trace, sys::gettid(), event::MREMAP);
    timer.stamp(&mut record);
    if let Some(name) = &name {
        name.fill(&mut record);
    }
    record.addr = Some(HexU64(from as u64));
    record.length = Some(old_len as u64);
    record.new_addr = (!failed).then_some(HexU64(to as u64));
    record.new_length = Some(new_len as u64);
    record.flags = by_name.as_str().into();
    record.errno = errno;
    emit_from_program(&record);
}

/// The name of a tracked file; nothing if it is tracked no more.
fn name_of(key: Key) -> Option<FileName> {
    let file = mappings::lock().find(&key).map(File::hold);
    file.map(|file| FileName::of(&file))
}

fn flag_names(buffer: &mut LineBuf<{ flags::LONGEST }>, names: flags::Flags) {
    text(buffer, format_args!("{names}"));
}
