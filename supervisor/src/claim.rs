//! What an image has of a file: its mappings, what is known of them, and what is owed.

use crate::image::{Image, lock};
use crate::maps::Area;
use crate::marks;
use keepmydata_promise::{Debt, Zero};
use keepmydata_ranges::Ranges;
use keepmydata_sync::commit::{Begun, GroupCommit, Ticket};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

/// What an image has of a file.
pub struct Claim {
    pub image: Weak<Image>,
    group: GroupCommit<Result<Zero, Errno>>,
    group_lock: Mutex<()>,
    pub debt: Mutex<Debt>,
    pub state: Mutex<State>,
}

/// What changes about it.
#[derive(Default)]
pub struct State {
    /// Its mappings as they were last seen.
    pub areas: Vec<Area>,
    /// How often it was mapped.
    pub made: u64,
    /// Mappings that are being made, and not among the `areas` yet: one may lie where another was.
    pub making: u32,
    /// What a thread is about to map, or has mapped and maybe unmapped since, as far as was seen: whoever is told to go on,
    /// and not stopped, makes its mapping later.
    pub unseen: HashMap<i32, Ranges>,
    /// Where the part of each that is tracked ends, by its start.
    pub tracked: HashMap<usize, usize>,
    /// Those through which the program's own msync has gone to the kernel, which has told their open file of all errors.
    pub told: Vec<Area>,
    /// What was mapped, and is not any more, and may have been stored to before.
    pub unmapped: Ranges,
    /// How often the page cache had been dropped when this was last of interest.
    pub seen_drops: u64,
    /// What is in the page cache may be older than what was proved: it was read again meanwhile, and could not be dropped.
    pub stale: bool,
    /// What the process had made dirty when nothing was owed ([`Image::dirtied`]).
    pub clean_at: Option<u64>,
    /// A sync of it failed: it is verified next time, whatever the setting.
    pub suspect: bool,
    /// The errno of a sync that lost pages for good; 0 is none.
    pub lost: i32,
}

// SAFETY: the group is used under its lock only, by the functions below; the rest is locked by itself.
unsafe impl Sync for Claim {}

impl Claim {
    pub fn new(image: &Arc<Image>) -> Claim {
        Claim {
            image: Arc::downgrade(image),
            group: GroupCommit::default(),
            group_lock: Mutex::default(),
            debt: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// Waits for the caller's turn among the threads of the image.
    pub fn enter(&self) -> Ticket<Result<Zero, Errno>> {
        let lock = || lock(&self.group_lock);
        // SAFETY: every use of the group takes this lock.
        unsafe { self.group.under(lock, 1) }.enter()
    }

    /// Begins the flush that the caller leads.
    pub fn begin(&self) -> Begun {
        let lock = || lock(&self.group_lock);
        // SAFETY: as above.
        unsafe { self.group.under(lock, 1) }.begin()
    }

    /// Ends flush `number`; those that wait for it get `outcome`, or lead another.
    pub fn leave(&self, number: u32, outcome: Option<Result<Zero, Errno>>) {
        let lock = || lock(&self.group_lock);
        // SAFETY: as above.
        unsafe { self.group.under(lock, 1) }.leave(number, outcome);
    }
}

impl State {
    /// Whether the image has stored to nothing, in any file, since all of this one was proved.
    pub fn is_clean(&self, image: &Image) -> bool {
        self.clean_at.is_some() && self.clean_at == image.dirtied()
    }

    /// What is known of the mappings is not known any more: all may be others by now.
    pub fn doubt(&mut self) {
        for area in std::mem::take(&mut self.areas) {
            self.unmapped.add(area.offset, area.end_offset());
        }
        self.tracked.clear();
        self.told.clear();
    }

    /// The image may have had all that `other`'s has, if one was forked from the other, or both from a third, and nobody has seen
    /// what it has stored to, or unmapped, since.
    pub fn inherit(&mut self, image: &Image, other: &Claim) {
        let relative = other.image.upgrade();
        if relative.is_none_or(|relative| relative.family != image.family) {
            return;
        }
        let other = lock(&other.state);
        self.areas.extend(other.areas.iter().cloned());
        self.unmapped.add_all(other.unmapped.iter());
        for ranges in other.unseen.values() {
            self.unmapped.add_all(ranges.iter());
        }
    }

    /// Adds what was stored to through its mappings since the marks were taken, in a file of `size` bytes; false where that is
    /// not known of each.
    pub fn add_stored(&self, image: &Image, size: u64, into: &mut Ranges) -> bool {
        self.areas.iter().all(|area| {
            let tracked = self.tracked_inside(area, size);
            let look = |inside: &Area| marks::look(image, inside, into);
            tracked.as_ref().map(look).is_some()
        })
    }

    /// The part of `area` that is inside a file of `size` bytes, if stores to all of that are tracked.
    pub fn tracked_inside(&self, area: &Area, size: u64) -> Option<Area> {
        let inside = marks::inside(area, size);
        let tracked = self.tracked.get(&area.start).copied().unwrap_or(0);
        (tracked >= inside.end).then_some(inside)
    }

    /// Whether something was unmapped that is not proved yet, or is about to be mapped and nobody tracks it.
    pub fn may_be_unmapped(&self) -> bool {
        !self.unmapped.is_empty() || !self.unseen.is_empty() || self.making > 0
    }

    /// Notes a new mapping, which may have taken the place of others.
    pub fn add(&mut self, new: Area) {
        let overlaps = |old: &Area| old.overlaps(new.start, new.end);
        for old in self.areas.iter().filter(|old| overlaps(old)) {
            self.unmapped.add(old.offset, old.end_offset());
        }
        self.areas.retain(|old| !overlaps(old));
        self.told.retain(|old| !overlaps(old));
        self.areas.push(new);
    }

    /// Thread `tid` is in another call: what it was about to map is mapped, or gone again.
    pub fn has_mapped(&mut self, tid: i32) {
        if let Some(ranges) = self.unseen.remove(&tid) {
            self.unmapped.add_all(ranges.iter());
        }
    }

    /// Notes that the mappings are `areas` now: what was mapped before, and is not where it was, may have been stored to
    /// in between.
    pub fn look(&mut self, areas: &[Area]) {
        for old in &self.areas {
            let mut left = Ranges::new();
            left.add(old.offset, old.end_offset());
            for area in areas {
                let (start, end) = (old.start.max(area.start), old.end.min(area.end));
                if start < end
                    && old.offset + (start - old.start) as u64
                        == area.offset + (start - area.start) as u64
                {
                    let from = old.offset + (start - old.start) as u64;
                    left.remove(from, from + (end - start) as u64);
                }
            }
            self.unmapped.add_all(left.iter());
        }
        let tracked = std::mem::take(&mut self.tracked);
        for area in areas {
            // What is left of a mapping is tracked as before.
            let rest = |old: &&Area| old.start != area.start && old.has(area);
            let old = self.areas.iter().find(rest).map(|old| old.start);
            let end = tracked.get(&area.start).or_else(|| tracked.get(&old?));
            if let Some(&end) = end.filter(|end| **end > area.start) {
                self.tracked.insert(area.start, end.min(area.end));
            }
        }
        self.areas = areas.to_vec();
    }
}
