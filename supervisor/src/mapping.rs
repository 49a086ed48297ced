//! Calls that make, change and lock mappings, and threads that unmap something.

use crate::claim::Claim;
use crate::enforce::wants_marks;
use crate::file::File;
use crate::image::{Image, lock};
use crate::maps::Area;
use crate::marks;
use crate::notify::{Answer, Notification};
use crate::stop::Stopped;
use crate::supervisor::{Supervisor, filters_of};
use keepmydata_ranges::Ranges;
use keepmydata_records::Enforce;
use keepmydata_sys::{self as sys, seccomp, userfaultfd};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Supervisor {
    pub fn mmap(&self, call: &Notification) -> Option<Answer> {
        let tid = call.tid as i32;
        let enforced = self.log.settings.enforce == Enforce::Full;
        let Some(image) = self.own_image(tid).filter(|_| enforced) else {
            return Some(Answer::Continue);
        };
        let fd = call.args[4] as i32;
        let Ok(file) = self.files.of_descriptor(tid, fd, &self.includes()) else {
            return Some(Answer::Continue);
        };
        if file.excluded || file.handle().is_err() {
            return Some(Answer::Continue);
        }
        // Before the program can store to it.
        file.plant_probe();
        let claim = file.claim(&image);
        {
            let _dropping = lock(&file.dropping);
            self.look(call, &image, &file);
            let mut state = lock(&claim.state);
            (state.made, state.making) = (state.made + 1, state.making + 1);
        }
        if self.mmap_and_track(call, &image, &file, &claim) {
            return None;
        }
        // It is made without us, and may be stored to, and gone, before anybody looks.
        let mut state = lock(&claim.state);
        state.making -= 1;
        state.doubt();
        let (offset, len) = (call.args[5], sys::page_up(call.args[1]));
        let unseen = state.unseen.entry(tid).or_default();
        unseen.add(offset, offset.saturating_add(len));
        Some(Answer::Continue)
    }

    /// Has the call made, and its mapping tracked from its first moment on; false where it was not answered, because that
    /// cannot be had.
    fn mmap_and_track(
        &self,
        call: &Notification,
        image: &Arc<Image>,
        file: &Arc<File>,
        claim: &Claim,
    ) -> bool {
        let (tid, flags) = (call.tid as i32, call.args[3] as i32);
        let tracks =
            wants_marks(&self.log.settings, file) && self.killable && marks::may_be_had(image);
        if !tracks {
            return false;
        }
        if !marks::are_had(image) && filters_of(tid).is_none_or(|filters| filters > self.filters) {
            marks::refuse(image, "the program has a sandbox of its own");
            return false;
        }
        if seccomp::is_fatal(libc::SYS_userfaultfd) {
            marks::refuse(image, "a sandbox ends whoever asks for a userfaultfd");
            return false;
        }
        let Ok(mut stopped) = Stopped::begin(tid) else {
            return false;
        };
        self.tell(call.id, Answer::Continue);
        let mapped = stopped.wait();
        if let Ok(start) = mapped
            && !(-4095..0).contains(&start)
        {
            let make = || stopped.make_userfaultfd(image);
            marks::ensure(image, make, |fd| {
                epoll::add(&self.unmapping, fd, unmaps(image.number), UNMAPS)
            });
            let start = start as usize;
            let area = Area {
                start,
                end: start.saturating_add(sys::page_up(call.args[1]) as usize),
                offset: call.args[5],
                inode: file.inode,
                writable: true,
            };
            let size = file.size().unwrap_or(0);
            let mut state = lock(&claim.state);
            state.tracked.remove(&start);
            marks::note_new(image, &area);
            if flags & libc::MAP_LOCKED != 0 {
                marks::note_locked(image, Some(area.start as u64..area.end as u64));
            }
            // Without, it counts as unknown at the next msync.
            if let Some(end) = marks::register(image, &area, size) {
                state.tracked.insert(start, end);
            }
            state.add(area);
        }
        // Before it goes on.
        lock(&claim.state).making -= 1;
        drop(stopped);
        true
    }

    /// Looks what the image has mapped of the file before it maps it once more: what is gone by now may have been stored
    /// to, unless nothing was since it was proved.
    fn look(&self, call: &Notification, image: &Arc<Image>, file: &File) {
        let tid = call.tid as i32;
        let claim = file.claim(image);
        let owes = lock(&claim.debt).owes();
        // Under the lock, so that no mapping is made known meanwhile.
        let mut state = lock(&claim.state);
        state.has_mapped(tid);
        if state.areas.is_empty() && state.unmapped.is_empty() {
            let is_first = state.making == 0
                && state.unseen.is_empty()
                && image.maps.of_file(file.inode).is_empty();
            if is_first && !owes {
                // There is nothing that it could have stored to; what it stores to from here on is counted where the page was
                // clean before.
                let dirtied = image.dirtied();
                let is_clean = file.is_clean(call.args[5], sys::page_up(call.args[1]));
                state.clean_at = dirtied.filter(|_| is_clean);
                state.seen_drops = file.ask_probe(true).drops;
            }
            return;
        }
        let drops = file.ask_probe(true).drops;
        state.look(&image.maps.of_file(file.inode));
        // Asked last: what is gone by now was not stored to before it went.
        if state.is_clean(image) {
            state.unmapped.clear();
            state.seen_drops = drops;
        }
    }

    /// Mappings are about to show other pages of their file (remap_file_pages(2)), or more of it (mremap(2)): stores to those are
    /// not tracked, and whoever takes them away need not wait for us.
    pub fn maps_other_pages(&self, call: &Notification) {
        let tid = call.tid as i32;
        if self.files.is_empty() {
            return;
        }
        let Some(image) = self.own_image(tid) else {
            return;
        };
        let [start, len, third, page, ..] = call.args;
        let is_remap = i64::from(call.number) == libc::SYS_remap_file_pages;
        let end = start.saturating_add(len.max(1));
        let areas = image.maps.shared().unwrap_or_default();
        let is_in = |area: &&Area| area.overlaps(start as usize, end as usize);
        for area in areas.iter().filter(is_in) {
            let into = start.saturating_sub(area.start as u64);
            let (from, to) = match is_remap {
                true => {
                    let from = page.saturating_mul(sys::page_size() as u64);
                    (from, from.saturating_add(sys::page_up(len)))
                }
                false => (
                    area.end_offset(),
                    area.offset + into + sys::page_up(third.min(1 << 62)),
                ),
            };
            for file in self.files.known(area.inode) {
                let claim = file.claim(&image);
                let mut state = lock(&claim.state);
                state.made += 1;
                if is_remap {
                    state.look(&image.maps.of_file(file.inode));
                    state.doubt();
                }
                let unseen = state.unseen.entry(tid).or_default();
                unseen.add(from, to);
            }
        }
    }

    /// Memory is about to be locked: stores to it are not tracked from here on. What was stored until now is owed.
    pub fn locks(&self, image: &Arc<Image>, call: &Notification) {
        let page = sys::page_size() as u64;
        let start = call.args[0] / page * page;
        let end = sys::page_up(call.args[0].saturating_add(call.args[1]));
        let addresses = (i64::from(call.number) != libc::SYS_mlockall).then_some(start..end);
        marks::note_locked(image, addresses);
        for file in self.files.all() {
            if !file.is_claimed_by(image) {
                continue;
            }
            let claim = file.claim(image);
            let areas = image.maps.of_file(file.inode);
            let mut written = Ranges::new();
            // Under the lock, so that nobody begins to track any of it meanwhile.
            let mut state = lock(&claim.state);
            for area in areas.iter().filter(|area| marks::is_locked(image, area)) {
                match state.tracked.remove(&area.start) {
                    Some(end) => {
                        let end = end.min(area.end);
                        let part = Area {
                            end,
                            ..area.clone()
                        };
                        marks::unprotect(image, &part, &mut written);
                    }
                    // It may be protected all the same, and nothing is known of it at the next msync.
                    None => marks::unprotect(image, area, &mut Ranges::new()),
                }
            }
            drop(state);
            lock(&claim.debt).owe(&written, false);
        }
    }

    /// A thread of the image's waits, which has unmapped or moved something: what that has held is proved before it goes on,
    /// and may drop it.
    pub fn before_unmapped(&self, number: u32) {
        let images = self.images.all();
        let Some(image) = images.iter().find(|image| image.number == number) else {
            return;
        };
        image
            .unmapped_at
            .store(sys::monotonic_ns(), Ordering::Relaxed);
        let mut may_close = false;
        for file in self.files.all() {
            if !file.is_claimed_by(image) {
                continue;
            }
            let claim = file.claim(image);
            let is_owed = {
                // Under the lock, so that no mapping is made known meanwhile.
                let mut state = lock(&claim.state);
                state.look(&image.maps.of_file(file.inode));
                state.may_be_unmapped()
            };
            if is_owed {
                self.settle_for(image, &file, None);
            }
            may_close |= lock(&claim.state).areas.is_empty() && !file.is_open_in(image.pid);
        }
        if may_close {
            // Whoever unmounts the filesystem next, or executes the file, finds it closed.
            self.look_what_is_unmapped();
        }
        marks::with(image, |fd| {
            userfaultfd::read_event(fd);
            let _ = epoll::modify(&self.unmapping, fd, unmaps(number), UNMAPS);
        });
    }
}

/// How a wait for a thread of image `number` that unmaps something is named.
fn unmaps(number: u32) -> EventData {
    EventData::new_u64(number.into())
}

/// One at a time.
const UNMAPS: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);
