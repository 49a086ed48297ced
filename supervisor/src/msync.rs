//! msync(2): the files of its range, each enforced.

use crate::call::{Began, Call};
use crate::enforce::enforce;
use crate::file::File;
use crate::files::Bypass;
use crate::image::{Image, lock};
use crate::maps::Area;
use crate::notify::{Answer, Notification};
use crate::report;
use crate::supervisor::Supervisor;
use keepmydata_records::{Async, Enforce, OnFailure, Uncertain};
use keepmydata_sys::supervised::Word;
use keepmydata_sys::{self as sys, vm};
use rustix::io::Errno;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Supervisor {
    pub fn msync(&self, call: &Notification) -> Answer {
        let [addr, len, bits, ..] = call.args;
        let tid = call.tid as i32;
        let word = Word::of(addr, bits);
        if word == Some(Word::Ask) {
            return Answer::Zero;
        }
        let image = match self.image(tid) {
            Ok(image) => image,
            Err(errno) => return self.msync_unseen(call, errno),
        };
        if word == Some(Word::Preloaded) {
            self.images.note_preloaded(&image);
            return Answer::Zero;
        }
        if image.is_preloaded() {
            return Answer::Continue;
        }
        let bits = bits as i32;
        if !self.promises(bits) || !is_well_formed(addr, len, bits) {
            report::passed(&self.log, &image, tid, (addr, len, bits));
            return Answer::Continue;
        }
        match self.enforce(&image, tid, addr, len, bits) {
            Ok(answer) => answer,
            Err(errno) => {
                if self.log.settings.on_failure == OnFailure::Abort && vm::is_failure(errno) {
                    let pid = rustix::process::Pid::from_raw(image.pid);
                    let abort = rustix::process::Signal::ABORT;
                    let _ = pid.map(|pid| rustix::process::kill_process(pid, abort));
                }
                Answer::Fail(errno)
            }
        }
    }

    /// msync of a process that the supervisor cannot look into: not dumpable, of another user, or without a /proc that shows it.
    fn msync_unseen(&self, call: &Notification, errno: Errno) -> Answer {
        if !self.promises(call.args[2] as i32) || !self.listener.waits(call.id) {
            return Answer::Continue;
        }
        if !self.unseen.swap(true, Ordering::Relaxed) {
            let message = format!(
                "process {} cannot be inspected ({errno}): its msync is left to the kernel, and its result is not \
                 proved. KEEPMYDATA_UNCERTAIN=error makes msync fail then. More such processes are not named",
                call.tid
            );
            self.log.warn_of_unknown(&message);
        }
        match self.log.settings.uncertain {
            Uncertain::Error => Answer::Fail(Errno::IO),
            Uncertain::Warn => Answer::Continue,
        }
    }

    /// Whether a 0 of msync with these flags is to say something.
    fn promises(&self, bits: i32) -> bool {
        let settings = &self.log.settings;
        let syncs = bits & libc::MS_SYNC != 0
            || bits & libc::MS_ASYNC != 0 && settings.async_ == Async::Sync;
        syncs && settings.enforce == Enforce::Full
    }

    /// What the call is told if all is well: unless nothing is left to do and to judge, the kernel has the last word, of holes,
    /// of locked memory, and of errors that the program's own open file has not heard of.
    fn enforce(
        &self,
        image: &Arc<Image>,
        tid: i32,
        addr: u64,
        len: u64,
        bits: i32,
    ) -> Result<Answer, Errno> {
        let began = Began::now();
        let number = image.next_call();
        let end = addr.saturating_add(sys::page_up(len)) as usize;
        let areas = match image.maps.shared() {
            Ok(areas) => areas,
            Err(error) => {
                let why = format!("what it has mapped cannot be read ({error})");
                let pages = sys::page_up(len) / sys::page_size() as u64;
                let told = self.unreachable(image, tid, pages, b"", &why);
                return told.map(|()| Answer::Continue);
            }
        };
        let mut done: Vec<Arc<File>> = Vec::new();
        let mut patience = self.patience();
        let mut result = Ok(());
        let in_range = |area: &&Area| area.overlaps(addr as usize, end);
        for area in areas.iter().filter(in_range) {
            let known = self.files.known(area.inode);
            let is_known = !known.is_empty();
            let opened = match is_known {
                true => Ok(known),
                false => self
                    .files
                    .of_area(tid, area, &self.includes())
                    .map(|file| vec![file]),
            };
            let files = match opened {
                Ok(files) => files,
                Err(Bypass::NotOurs | Bypass::ReadOnly) => continue,
                Err(Bypass::Unknown(errno)) => {
                    let why = format!("a file that is mapped there cannot be found ({errno})");
                    result = result.and(self.unreachable_area(image, tid, area, b"", &why));
                    continue;
                }
            };
            for file in files {
                if file.excluded || done.iter().any(|done| Arc::ptr_eq(done, &file)) {
                    continue;
                }
                done.push(file.clone());
                if let Err(errno) = file.handle() {
                    let why = format!("the file cannot be opened ({errno})");
                    result = result.and(self.unreachable_area(image, tid, area, &file.path, &why));
                    continue;
                }
                if !is_known && !file.traits.local_block {
                    // Nobody has seen whether the page cache was dropped until now, and opening it may have done so.
                    lock(&file.claim(image).state).seen_drops = u64::MAX;
                }
                let call = Call {
                    image: image.clone(),
                    file,
                    tid,
                    number,
                    began,
                    addr,
                    len,
                    flags: bits,
                    settles: false,
                    offset: area.offset,
                };
                let file = call.file.clone();
                let enforced = enforce(&self.log, call, &mut patience).map(drop);
                if enforced.is_err() {
                    self.files.tell(&file);
                }
                result = result.and(enforced);
            }
        }
        result?;
        let is_done =
            bits == libc::MS_SYNC && is_all_done(image, &areas, addr as usize..end, &done);
        Ok(if is_done {
            Answer::Zero
        } else {
            Answer::Continue
        })
    }

    fn unreachable_area(
        &self,
        image: &Image,
        tid: i32,
        area: &Area,
        path: &[u8],
        why: &str,
    ) -> Result<(), Errno> {
        if !area.writable {
            return Ok(());
        }
        let pages = (area.end - area.start) / sys::page_size();
        self.unreachable(image, tid, pages as u64, path, why)
    }

    fn unreachable(
        &self,
        image: &Image,
        tid: i32,
        pages: u64,
        path: &[u8],
        why: &str,
    ) -> Result<(), Errno> {
        report::unreachable(&self.log, image, tid, pages, path, why);
        match self.log.settings.uncertain {
            Uncertain::Error => Err(Errno::IO),
            Uncertain::Warn => Ok(()),
        }
    }
}

/// Whether the flush of the only file in `range` was what the kernel would do for the program, and its open file there has heard
/// of every error that the supervisor's own has. If not, it hears of them now, by the program's own call.
fn is_all_done(
    image: &Arc<Image>,
    areas: &[Area],
    range: Range<usize>,
    files: &[Arc<File>],
) -> bool {
    let has_all = |area: &&Area| area.start <= range.start && range.end <= area.end;
    let (Some(area), [file]) = (areas.iter().find(has_all), files) else {
        return false;
    };
    if !file.traits.msync_is_fdatasync || file.has_failed() {
        return false;
    }
    let claim = file.claim(image);
    let mut state = lock(&claim.state);
    let part = Area {
        start: range.start,
        end: range.end,
        offset: area.offset + (range.start - area.start) as u64,
        ..area.clone()
    };
    let is_told = |told: &Area| told.writable == part.writable && told.has(&part);
    if state.told.iter().any(is_told) {
        return true;
    }
    // What is left of a mapping, or has become of it, is told anew.
    state.told.retain(|told| areas.contains(told));
    state.told.push(area.clone());
    false
}

/// Whether the kernel takes such a call, for all that its arguments tell.
fn is_well_formed(addr: u64, len: u64, bits: i32) -> bool {
    let known = libc::MS_SYNC | libc::MS_ASYNC | libc::MS_INVALIDATE;
    let both = libc::MS_SYNC | libc::MS_ASYNC;
    bits & !known == 0
        && bits & both != both
        && addr.is_multiple_of(sys::page_size() as u64)
        && len > 0
        && addr.checked_add(len).is_some()
}
