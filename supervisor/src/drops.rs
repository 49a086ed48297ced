//! Calls that drop pages of the page cache, or flush it, and are made here on the same open file.

use crate::file::File;
use crate::image::{copy_descriptor, has_our_rights, lock, page_out};
use crate::maps::{self, Area};
use crate::notify::{Answer, Notification};
use crate::supervisor::Supervisor;
use keepmydata_sys::{self as sys, vm::is_failure};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::collections::HashSet;
use std::num::NonZeroU64;
use std::sync::Arc;

impl Supervisor {
    /// posix_fadvise(2) that drops clean pages of the page cache.
    pub fn advises_descriptor(&self, call: &Notification) -> Answer {
        let tid = call.tid as i32;
        let [fd, offset, len, ..] = call.args;
        self.evict(call, &self.files_of(call, 0), || {
            let image = self.image(tid).ok()?;
            let copy = copy_descriptor(&image, fd as i32).ok()?;
            let is_usual = i64::try_from(offset).is_ok() && i64::try_from(len).is_ok();
            let advice = rustix::fs::Advice::DontNeed;
            let advise = || rustix::fs::fadvise(copy, offset, NonZeroU64::new(len), advice);
            is_usual.then(|| Answer::of(advise()))
        })
    }

    /// madvise(2) that drops pages.
    pub fn advises(&self, call: &Notification) -> Answer {
        let [start, len, advice, ..] = call.args;
        let tid = call.tid as i32;
        let end = start.saturating_add(len);
        if self.files.is_empty() {
            return Answer::Continue;
        }
        let is_in = |area: &&Area| area.overlaps(start as usize, end as usize);
        let areas = maps::shared(tid).unwrap_or_default();
        let inodes: HashSet<_> = areas.iter().filter(is_in).map(|area| area.inode).collect();
        let known = inodes.iter().flat_map(|&inode| self.files.known(inode));
        self.evict(call, &known.collect::<Vec<_>>(), || {
            let image = self.image(tid).ok()?;
            let is_page_out = advice as i32 == libc::MADV_PAGEOUT;
            // What is not done as a whole the kernel judges.
            let done =
                is_page_out && page_out(&image, start as usize, len as usize) == Ok(len as usize);
            done.then_some(Answer::Zero)
        })
    }

    /// Has the call drop pages of these files, by `drop`, which leaves it to the kernel if it says nothing. What is owed is
    /// proved before; what somebody unmaps after that, and before it is done, may be dropped with what it held.
    fn evict(
        &self,
        call: &Notification,
        files: &[Arc<File>],
        drop: impl FnOnce() -> Option<Answer>,
    ) -> Answer {
        self.settle(call.tid as i32, files);
        let files: Vec<&Arc<File>> = files.iter().filter(|file| self.is_proved(file)).collect();
        let turns: Vec<_> = files.iter().map(|file| lock(&file.turn)).collect();
        // Each thread that unmaps waits for a turn, too.
        for (file, turn) in files.iter().zip(&turns) {
            let mut left = AT_ONCE;
            while left > 0 && file.is_unmapped_by_any() {
                let images = self.images.all();
                images
                    .iter()
                    .for_each(|image| self.settle_for(image, file, Some(turn)));
                left -= 1;
            }
        }
        let waits = !files.is_empty() && self.listener.waits(call.id);
        let done = waits.then(drop).flatten();
        files.iter().for_each(|file| file.doubt_what_is_gone());
        done.unwrap_or(Answer::Continue)
    }

    /// ftruncate(2) and fallocate(2), which drop the page cache of a file on FUSE: done here, on the same open file, because
    /// nobody could tell afterwards what was stored before the drop and what after it.
    pub fn change(&self, call: &Notification) -> Answer {
        let tid = call.tid as i32;
        let files = self.files_of(call, 0);
        let files: Vec<Arc<File>> = files
            .iter()
            .filter(|file| self.is_proved(file))
            .cloned()
            .collect();
        self.settle(tid, &files);
        let [fd, first, second, third, ..] = call.args;
        let is_allocation = i64::from(call.number) == libc::SYS_fallocate;
        let end = match is_allocation {
            true => second.saturating_add(third),
            false => first,
        };
        // What depends on who asks is the kernel's.
        let same = || {
            let (Some(image), true) = (self.images.of_process(tid), has_our_rights(tid)) else {
                return None;
            };
            let limit = largest_file_of(tid)?;
            (end <= limit).then_some(image)
        };
        let copy = match files.is_empty() {
            true => None,
            false => same().and_then(|image| copy_descriptor(&image, fd as i32).ok()),
        };
        let Some(copy) = copy else {
            return Answer::Continue;
        };
        if !self.listener.waits(call.id) {
            return Answer::Continue;
        }
        let done = match is_allocation {
            true => {
                let mode = FallocateFlags::from_bits_retain(first as u32);
                rustix::fs::fallocate(&copy, mode, second, third)
            }
            false => rustix::fs::ftruncate(&copy, first),
        };
        if done.is_ok()
            && let Some((start, end)) = taken_out(is_allocation, first, second, third)
        {
            files.iter().for_each(|file| file.forgive(start, end));
        }
        for image in self.images.all() {
            for file in files.iter().filter(|file| file.is_claimed_by(&image)) {
                self.look_after_drop(&image, file);
            }
        }
        Answer::of(done)
    }

    /// fsync(2) and fdatasync(2) fail with what the supervisor was told in their place. Done here, on the same open file, so
    /// that no flush of the supervisor's own comes in between.
    pub fn fsync(&self, call: &Notification) -> Answer {
        let (tid, fd) = (call.tid as i32, call.args[0] as i32);
        let files = self.files_of(call, 0);
        let turns: Vec<_> = files.iter().map(|file| lock(&file.turn)).collect();
        files.iter().for_each(|file| self.files.note_untold(file));
        if let Some(errno) = self.files.take_untold(format!("/proc/{tid}/fd/{fd}")) {
            return Answer::Fail(errno);
        }
        // Of a child that nobody has seen yet, too: what it is told, its parent is not.
        let image = (!turns.is_empty()).then(|| self.image(tid).ok()).flatten();
        let Some(copy) = image.and_then(|image| copy_descriptor(&image, fd).ok()) else {
            return Answer::Continue;
        };
        if !self.listener.waits(call.id) {
            return Answer::Continue;
        }
        let done = match i64::from(call.number) {
            libc::SYS_fsync => rustix::fs::fsync(&copy),
            _ => rustix::fs::fdatasync(&copy),
        };
        if done.is_err_and(|errno| is_failure(errno) && errno != Errno::BADF) {
            files.iter().for_each(|file| file.suspect(0, true));
        }
        Answer::of(done)
    }
}

/// The whole pages that fallocate(2), or else ftruncate(2), takes out of a file, bytes.
fn taken_out(is_allocation: bool, first: u64, second: u64, third: u64) -> Option<(u64, u64)> {
    const RANGE: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::ZERO_RANGE);
    const REST: FallocateFlags = FallocateFlags::COLLAPSE_RANGE.union(FallocateFlags::INSERT_RANGE);
    let mode = FallocateFlags::from_bits_retain(first as u32);
    let start = sys::page_up(if is_allocation { second } else { first });
    match is_allocation {
        false => Some((start, u64::MAX)),
        true if mode.intersects(RANGE) => Some((start, sys::page_down(second + third))),
        true if mode.intersects(REST) => Some((start, u64::MAX)),
        true => None,
    }
}

/// Threads that unmap a file at once while another call drops its pages.
const AT_ONCE: u32 = 8;

/// How large a file thread `tid` may make (getrlimit(2), `RLIMIT_FSIZE`), bytes.
fn largest_file_of(tid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{tid}/limits")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max file size"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}
