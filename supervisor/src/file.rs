//! The files that are mapped below the supervisor, and its own open file of each.

use crate::image::{Image, errno, lock};
use crate::maps::{self, Area, Inode};
use crate::own;
use crate::probe::{Answer, Probe};
use keepmydata_promise::{Debt, Traits, cached_pages};
use keepmydata_ranges::Ranges;
use keepmydata_sync::commit::{Begun, GroupCommit, Ticket};
use keepmydata_sys::{
    self as sys,
    cachestat::{CacheStat, Cached, cachestat},
    vm,
};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, inotify, openat, readlink, statx,
};
use rustix::io::Errno;
use rustix::path::Arg;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// What identifies the kernel's inode, and so the page cache: device, number, and, where two inodes may show the same,
/// a digest of the kernel's own handle.
type Key = (u64, u64, u64);

/// A file.
pub struct File {
    key: Key,
    /// As /proc/PID/maps names it.
    pub inode: Inode,
    pub dev: u64,
    pub ino: u64,
    pub path: Vec<u8>,
    pub traits: Traits,
    /// Without it nothing can be proved: why not.
    handle: Result<Handle, Errno>,
    /// Left out by `KEEPMYDATA_FILES`.
    pub excluded: bool,
    /// One enforcement at a time.
    pub turn: Mutex<()>,
    probe: Mutex<Probe>,
    last_drop: Mutex<LastDrop>,
    /// What is written to it by write(2) and its kin, once that may go past the page cache and take pages away.
    writes: OnceLock<Writes>,
    claims: Mutex<Claims>,
    /// What a flush failed with that answered no msync of the program's; 0 is nothing.
    pub unanswered: AtomicI32,
    pub doubted: AtomicBool,
}

/// A count of the times that it was found written to (inotify(7)).
struct Writes {
    /// Nothing where there is none: then it counts as written to whenever it is asked.
    events: Option<OwnedFd>,
    count: AtomicU64,
}

impl Writes {
    /// `path` is a link of /proc to the file.
    fn watch(path: &str) -> Writes {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let watch = |events: OwnedFd| {
            inotify::add_watch(&events, path, inotify::WatchFlags::MODIFY)?;
            Ok(events)
        };
        Writes {
            events: inotify::init(flags).and_then(watch).ok(),
            count: AtomicU64::new(0),
        }
    }

    fn count(&self) -> u64 {
        let mut buffer = [0; 4096];
        let mut any = self.events.is_none();
        if let Some(events) = &self.events {
            while rustix::io::read(events, &mut buffer).is_ok_and(|read| read > 0) {
                any = true;
            }
        }
        self.count.fetch_add(u64::from(any), Ordering::Relaxed) + u64::from(any)
    }
}

/// The supervisor's own open files of it.
struct Handle {
    /// For reading and writing, where that is allowed: what is mapped, so that a page can be made dirty again.
    fd: OwnedFd,
    /// What is read back from, `O_DIRECT` where the filesystem has it. For reading only: a FUSE daemon that answers such
    /// an open with FOPEN_DIRECT_IO has reads past the page cache that ask for no attributes, which may drop it
    /// (`fuse_cache_read_iter` in fs/fuse/file.c, AUTO_INVAL_DATA).
    reader: OwnedFd,
    /// The same without O_DIRECT, once that was found not to work.
    through_cache: Mutex<Option<Arc<OwnedFd>>>,
    direct: AtomicBool,
    /// Its count of cached pages is another inode's (overlayfs).
    uncounted: AtomicBool,
}

/// When the page cache of a file was last found to have been dropped.
#[derive(Default)]
struct LastDrop {
    drops: u64,
    /// Since the machine was started, ns.
    found: u64,
}

impl LastDrop {
    fn note(&mut self, drops: u64) {
        if drops != self.drops {
            *self = LastDrop {
                drops,
                found: sys::boot_ns(),
            };
        }
    }

    /// Whether that was before the image's process was started, or never.
    fn is_before(&self, image: &Image) -> bool {
        self.drops == 0 || self.found < image.began()
    }
}

/// What an image has of a file.
pub struct Claim {
    image: Weak<Image>,
    group: GroupCommit,
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
    fn new(image: &Arc<Image>) -> Claim {
        Claim {
            image: Arc::downgrade(image),
            group: GroupCommit::default(),
            group_lock: Mutex::default(),
            debt: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// [`State::is_clean`] of its image.
    fn is_clean(&self, state: &State) -> bool {
        let image = self.image.upgrade();
        image.is_some_and(|image| state.is_clean(&image))
    }

    /// Waits for the caller's turn among the threads of the image.
    pub fn enter(&self) -> Ticket {
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

    /// Ends flush `number`; those that wait for it get `outcome`.
    pub fn leave(&self, number: u32, outcome: i32) {
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
    }

    /// The image may have had all that `other`'s has, if one was forked from the other, or both from a third, and nobody has seen
    /// what it has stored to, or unmapped, since.
    fn inherit(&mut self, image: &Image, other: &Claim) {
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

    /// Whether something was unmapped that is not proved yet, or is about to be mapped and nobody tracks it.
    pub fn may_be_unmapped(&self) -> bool {
        !self.unmapped.is_empty() || !self.unseen.is_empty() || self.making > 0
    }

    /// Notes a new mapping, which may have taken the place of others.
    pub fn add(&mut self, new: Area) {
        let overlaps = |old: &Area| old.start < new.end && new.start < old.end;
        for old in self.areas.iter().filter(|old| overlaps(old)) {
            self.unmapped.add(old.offset, old.end_offset());
        }
        self.areas.retain(|old| !overlaps(old));
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

impl File {
    /// Of the image `image`.
    pub fn claim(&self, image: &Arc<Image>) -> Arc<Claim> {
        let mut claims = lock(&self.claims);
        let key = image.number;
        if !claims.contains_key(&key) {
            let claim = Claim::new(image);
            let mut state = lock(&claim.state);
            let drops = self.ask_probe(false).drops;
            // What a fork child has inherited it may have stored to before that.
            let is_new = lock(&self.last_drop).is_before(image);
            state.seen_drops = if is_new { drops } else { u64::MAX };
            claims
                .values()
                .for_each(|other| state.inherit(image, other));
            drop(state);
            claims.insert(key, Arc::new(claim));
        }
        claims[&key].clone()
    }

    /// Whether an image with a claim on it has unmapped what is not proved yet: such pages can be dropped from the page cache.
    pub fn is_unmapped_by_any(&self) -> bool {
        self.any_claim(None, |_, state| !state.unmapped.is_empty())
    }

    /// The same, or is about to map what nobody tracks; of other images than that of `claim`.
    pub fn may_be_unmapped_by_others(&self, claim: &Claim) -> bool {
        self.any_claim(Some(claim), |_, state| state.may_be_unmapped())
    }

    /// The page cache was dropped in part: what others than the image of `claim` have unmapped meanwhile may have gone with it.
    pub fn doubt_what_others_unmapped(&self, claim: &Claim) {
        self.any_claim(Some(claim), |claim, state| {
            if !state.unmapped.is_empty() && !claim.is_clean(state) {
                state.seen_drops = u64::MAX;
            }
            false
        });
    }

    /// What an image has unmapped, and is not in the page cache any more, was dropped, and what it held: that is in doubt.
    pub fn doubt_what_is_gone(&self) {
        let mut cached = Ranges::new();
        if self.add_cached(&mut cached).is_err() {
            cached.clear();
        }
        let size = self.size().unwrap_or(u64::MAX);
        self.any_claim(None, |claim, state| {
            let mut gone = Ranges::new();
            gone.add_all(state.unmapped.within(0, size));
            gone.remove_all(&cached);
            if !gone.is_empty() && !claim.is_clean(state) {
                lock(&claim.debt).untold.add_all(gone.iter());
            }
            false
        });
    }

    /// Looks what the images with a claim have mapped of it, one after the other, until `is_it`.
    fn any_claim(&self, but: Option<&Claim>, is_it: impl Fn(&Claim, &mut State) -> bool) -> bool {
        let is_meant =
            |claim: &&Arc<Claim>| !but.is_some_and(|but| std::ptr::eq(but, Arc::as_ptr(claim)));
        let claims: Vec<Arc<Claim>> = lock(&self.claims)
            .values()
            .filter(is_meant)
            .cloned()
            .collect();
        claims.iter().any(|claim| {
            let Some(image) = claim.image.upgrade().filter(|image| image.lives()) else {
                return false;
            };
            // Under the lock, so that no mapping is made known meanwhile.
            let mut state = lock(&claim.state);
            state.look(&image.maps.of_file(self.inode));
            is_it(claim, &mut state)
        })
    }

    /// The image is gone.
    pub fn forget(&self, image: &Image) {
        lock(&self.claims).remove(&image.number);
    }

    /// Lets those claims go whose image has it not mapped any more, as `unmapped` finds out when it is asked, and is owed
    /// nothing. Says whether the others are of images that have it not mapped either.
    pub fn forget_unowed(
        &self,
        is_verified: bool,
        unmapped: &dyn Fn(u32) -> Option<Arc<Image>>,
    ) -> bool {
        let mut all_unmapped = true;
        lock(&self.claims).retain(|&number, claim| {
            // Whoever is about to use it has a reference, and so has who is about to map it.
            let is_used = Arc::strong_count(claim) > 1;
            let image = if is_used { None } else { unmapped(number) };
            let Some(image) = image else {
                all_unmapped = false;
                return true;
            };
            let (mut state, debt) = (lock(&claim.state), lock(&claim.debt));
            state.look(&[]);
            if state.is_clean(&image) {
                state.unmapped.clear();
            }
            is_verified && (debt.owes() || !state.unmapped.is_empty())
        });
        all_unmapped
    }

    /// Whether no image that is there has it mapped, as far as was seen.
    pub fn is_unclaimed(&self) -> bool {
        lock(&self.claims).is_empty()
    }

    pub fn handle(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.handle
            .as_ref()
            .map(|handle| handle.fd.as_fd())
            .map_err(|&errno| errno)
    }

    /// What is read back from.
    pub fn reader(&self) -> Result<Reader<'_>, Errno> {
        let handle = self.handle.as_ref().map_err(|&errno| errno)?;
        let other = lock(&handle.through_cache).clone();
        Ok(other.map_or(Reader::Handle(handle.reader.as_fd()), Reader::Other))
    }

    /// The file, where it has a page cache and a handle whose count is that of the page cache.
    pub fn cached(&self) -> Option<Cached<'_>> {
        let handle = self.handle.as_ref().ok()?;
        Cached::new(
            handle.fd.as_fd(),
            self.traits.dax || handle.uncounted.load(Ordering::Relaxed),
        )
    }

    pub fn is_direct(&self) -> Result<bool, Errno> {
        let handle = self.handle.as_ref().map_err(|&errno| errno)?;
        Ok(handle.direct.load(Ordering::Relaxed))
    }

    /// Has reads go through the page cache from here on: the handle's flag is taken back, which is no new open of the
    /// file.
    pub fn without_direct(&self) -> Result<(), Errno> {
        let handle = self.handle.as_ref().map_err(|&errno| errno)?;
        let path = format!("/proc/self/fd/{}", handle.reader.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty())?;
        *lock(&handle.through_cache) = Some(Arc::new(opened));
        handle.direct.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The size, bytes, without asking a server.
    pub fn size(&self) -> Result<u64, Errno> {
        sys::fd::size(self.handle()?)
    }

    pub fn plant_probe(&self) {
        if self.traits.local_block || self.traits.dax {
            return;
        }
        if let (Ok(handle), Ok(size)) = (self.handle(), self.size()) {
            lock(&self.probe).ensure(handle, size);
            self.look_for_stacking();
        }
    }

    /// The probe's page is mapped. If the handle's inode has not got it, another inode has the pages, and the count of
    /// this one says nothing.
    fn look_for_stacking(&self) {
        let page = sys::page_size() as u64;
        let probed = self.probed();
        if let (Some(offset), Some(cached), Ok(handle)) = (probed, self.cached(), &self.handle)
            && cachestat(cached, offset, page).is_ok_and(|stat| stat.cached == 0)
        {
            handle.uncounted.store(true, Ordering::Relaxed);
        }
    }

    /// Adds what of `ranges` is in the page cache, and maybe other pages that are.
    pub fn add_cached_of(&self, ranges: &Ranges, into: &mut Ranges) -> Result<(), Errno> {
        if ranges.is_empty() {
            return Ok(());
        }
        if let Some(cached) = self.cached()
            && ranges.iter().count() <= FEW
        {
            let size = sys::page_up(self.size()?);
            let mut all = ranges.within(0, size);
            return all.try_for_each(|range| {
                cached_pages::add_cached_in(cached, range.offset, range.end(), into)
            });
        }
        self.add_cached(into)
    }

    /// Adds what of the file is in the page cache.
    fn add_cached(&self, into: &mut Ranges) -> Result<(), Errno> {
        if let Some(cached) = self.cached()
            && cached_pages::add_cached(cached, into).is_ok()
        {
            return Ok(());
        }
        // By a mapping, of which nothing is touched (mincore(2)).
        let len = sys::page_up(self.size()?) as usize;
        if len == 0 {
            return Ok(());
        }
        let at = own::map(self.handle()?, 0, len).ok_or(Errno::NOMEM)?;
        let page = sys::page_size();
        let mut result = Ok(());
        let mut states = vec![0; STATES];
        for from in (0..len).step_by(STATES * page) {
            let states = &mut states[..STATES.min((len - from) / page)];
            result = result.and(vm::are_cached(at + from, states));
            let pages = states
                .iter()
                .enumerate()
                .filter(|(_, state)| **state & 1 != 0);
            pages.for_each(|(n, _)| {
                let start = (from + n * page) as u64;
                into.add(start, start + page as u64);
            });
        }
        own::unmap(at, len);
        result
    }

    /// Counts the pages of these bytes, or to the end of the file where `len` is 0 (cachestat(2)); nothing where that cannot
    /// be had.
    pub fn count(&self, offset: u64, len: u64) -> Option<CacheStat> {
        cachestat(self.cached()?, offset, len).ok()
    }

    /// Whether no page of these bytes is dirty; no where that takes long to tell.
    pub fn is_clean(&self, offset: u64, len: u64) -> bool {
        let is_clean = |stat| cached_pages::unstable(&stat) == 0;
        len <= LONGEST && self.count(offset, len).is_some_and(is_clean)
    }

    /// Where the page is that the probe keeps in the page cache.
    pub fn probed(&self) -> Option<u64> {
        lock(&self.probe).offset()
    }

    /// Until [`File::plant_probe`] nobody sees whether the page cache is dropped.
    pub fn clear_probe(&self) {
        lock(&self.probe).clear();
    }

    /// Has all pages but one let go of, and tells of drops by that one: until [`File::step_back`].
    pub fn step_aside(&self) {
        if let (Ok(handle), Ok(size)) = (self.handle(), self.size()) {
            lock(&self.probe).step_aside(handle, size);
        }
    }

    /// [`Probe::step_back`].
    pub fn step_back(&self) -> Option<u64> {
        let (handle, size) = (self.handle().ok()?, self.size().ok()?);
        lock(&self.probe).step_back(handle, size)
    }

    /// How often the page cache had been dropped before there was no probe for a while, which counts as a drop; nothing where
    /// there was one all the time. Asked once.
    pub fn drops_before_absence(&self) -> Option<u64> {
        let was_away = lock(&self.probe).take_absence();
        was_away.then(|| self.ask_probe(false).drops - 1)
    }

    /// What the probe tells, and whether something may have been written past the page cache, which takes pages out of it;
    /// the page cache of a local filesystem is dropped by nobody but its user.
    pub fn ask_probe(&self, again: bool) -> Answer {
        if self.traits.local_block {
            return Answer {
                drops: 0,
                unknown: false,
            };
        }
        let mut answer = lock(&self.probe).ask(again);
        answer.drops += self.writes.get().map_or(0, Writes::count);
        lock(&self.last_drop).note(answer.drops);
        answer
    }

    /// Somebody has it open so that what is written goes past the page cache, or is about to.
    pub fn note_direct(&self) {
        if let (false, Ok(handle)) = (self.traits.local_block, self.handle()) {
            let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
            self.writes.get_or_init(|| Writes::watch(&path));
        }
    }

    /// The descriptors of thread `tid`'s process that are open on it.
    fn descriptors(&self, tid: i32) -> impl Iterator<Item = OsString> {
        let all = std::fs::read_dir(format!("/proc/{tid}/fd"));
        let all = all.into_iter().flatten().flatten();
        let ours = (self.dev, self.ino);
        all.filter(move |entry| identity(entry.path()) == Some(ours))
            .map(|entry| entry.file_name())
    }

    /// Whether the process of thread `tid` has a descriptor of it.
    pub fn is_open_in(&self, tid: i32) -> bool {
        self.descriptors(tid).next().is_some()
    }

    /// A sync of it has failed, and nobody knows of what: it is verified next time, whoever asks. Where that has lost pages for
    /// good, their syncs fail with `lost` (0 is none).
    pub fn suspect(&self, lost: i32) {
        for claim in lock(&self.claims).values() {
            let mut state = lock(&claim.state);
            state.suspect = true;
            if state.lost == 0 {
                state.lost = lost;
            }
        }
    }

    /// Whether the image has a claim on it.
    pub fn is_claimed_by(&self, image: &Image) -> bool {
        lock(&self.claims).contains_key(&image.number)
    }
}

/// The kernel looks at each cached page of what it counts: not of more bytes.
const LONGEST: u64 = 64 << 20;
/// Ranges that are asked about one by one.
const FEW: usize = 32;
/// Pages that one call asks about.
const STATES: usize = 4096;

/// A descriptor to read by.
pub enum Reader<'a> {
    Handle(BorrowedFd<'a>),
    Other(Arc<OwnedFd>),
}

impl AsFd for Reader<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Reader::Handle(fd) => fd.as_fd(),
            Reader::Other(fd) => fd.as_fd(),
        }
    }
}

type Claims = HashMap<u32, Arc<Claim>>;

/// All files.
#[derive(Default)]
pub struct Files {
    by_key: Mutex<HashMap<Key, Arc<File>>>,
    /// What is owed of files that are not open any more, because nobody has them mapped.
    owed: Mutex<HashMap<Key, Claims>>,
    /// What somebody may have open for writing past the page cache.
    direct: Mutex<Direct>,
    /// Files that are being opened, each held by who opens it: another open may drop the page cache.
    opening: Mutex<HashMap<Key, Arc<Mutex<()>>>>,
    /// What a filesystem may have told once, and has told the supervisor: the program's next fsync(2) or msync(2) of that
    /// file fails with it.
    untold: Mutex<HashMap<Key, Errno>>,
}

/// Files by device and number.
#[derive(Default)]
struct Direct {
    files: HashSet<(u64, u64)>,
    /// Any may be.
    all: bool,
}

/// Files that are remembered so.
const OWED: usize = 1024;
/// Of those that may be written to past the page cache.
const DIRECT: usize = 4096;

/// Why a mapping is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// Nothing stands behind it, or it is no regular file.
    NotOurs,
    /// Nobody can store through it.
    ReadOnly,
    /// What it is cannot be found out.
    Unknown(Errno),
}

/// A way to a file that has no name of its own: a link of /proc, and whether opening may touch it.
struct Found {
    path: OwnedFd,
    leased: bool,
}

impl Files {
    /// The file behind descriptor `fd` of thread `tid`, which may be stored to through a mapping that it is about to
    /// make. Opened if nobody has mapped it before.
    pub fn of_descriptor(
        &self,
        tid: i32,
        fd: i32,
        includes: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Arc<File>, Bypass> {
        let info = std::fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}"));
        let info = info.map_err(|error| Bypass::Unknown(errno(error)))?;
        let mut lines = info.lines();
        let flags = lines.find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
        if flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDWR) {
            return Err(Bypass::ReadOnly);
        }
        let is_lease = |line: &str| {
            line.starts_with("lock:") && line.contains("LEASE") && line.contains("WRITE")
        };
        let path = link(format!("/proc/{tid}/fd/{fd}")).map_err(Bypass::Unknown)?;
        let leased = info.lines().any(is_lease);
        self.of_found(tid, &Found { path, leased }, includes)
    }

    /// Those that are open and that the kernel names so: a FUSE daemon may show one file as two.
    pub fn known(&self, inode: Inode) -> Vec<Arc<File>> {
        let files = lock(&self.by_key);
        let same = files.values().filter(|file| file.inode == inode);
        same.cloned().collect()
    }

    /// Those that the link of /proc at `path` leads to, if they are open here.
    pub fn known_by_link(&self, path: impl Arg) -> Vec<Arc<File>> {
        if lock(&self.by_key).is_empty() {
            return Vec::new();
        }
        identity(path).map_or(Vec::new(), |(dev, ino)| self.known_as(dev, ino))
    }

    fn known_as(&self, dev: u64, ino: u64) -> Vec<Arc<File>> {
        let files = lock(&self.by_key);
        let same = files
            .values()
            .filter(|file| (file.dev, file.ino) == (dev, ino));
        same.cloned().collect()
    }

    /// What the link of /proc at `path` leads to may be written to past the page cache from here on; where there is nothing,
    /// which file it will be is not known.
    pub fn note_direct(&self, path: impl Arg) {
        let found = identity(path);
        let mut direct = lock(&self.direct);
        match found {
            Some(file) if direct.files.len() < DIRECT => drop(direct.files.insert(file)),
            _ => direct.all = true,
        }
        drop(direct);
        match found {
            Some((dev, ino)) => self.known_as(dev, ino),
            None => self.all(),
        }
        .iter()
        .for_each(|file| file.note_direct());
    }

    /// Whether that is so of the file that is about to be mapped by thread `tid`, which may have it open for longer than
    /// anybody has seen.
    fn may_be_direct(&self, tid: i32, file: &File) -> bool {
        let direct = lock(&self.direct);
        if direct.all || direct.files.contains(&(file.dev, file.ino)) {
            return true;
        }
        drop(direct);
        let is_direct = |number: &OsString| {
            let path = format!("/proc/{tid}/fdinfo/{}", number.to_string_lossy());
            let info = std::fs::read_to_string(path).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
            flags.is_some_and(|flags| flags & libc::O_DIRECT != 0)
        };
        file.descriptors(tid).any(|number| is_direct(&number))
    }

    /// The file that is mapped as `area` by thread `tid`'s process, and not known yet: opened by the kernel's link to the
    /// mapping, or by a descriptor of the process that leads to it.
    pub fn of_area(
        &self,
        tid: i32,
        area: &Area,
        includes: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Arc<File>, Bypass> {
        let link_to = |path: String| {
            let path = link(path)?;
            Ok(Found {
                path,
                leased: false,
            })
        };
        let (start, end) = (area.start, area.end);
        let found = link_to(format!("/proc/{tid}/map_files/{start:x}-{end:x}"));
        let found = match found {
            Ok(found) => Ok(found),
            Err(errno) => descriptor_of(tid, area).ok_or(errno),
        };
        let found = found.map_err(Bypass::Unknown)?;
        self.of_found(tid, &found, includes)
    }

    fn of_found(
        &self,
        tid: i32,
        found: &Found,
        includes: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Arc<File>, Bypass> {
        let path = &found.path;
        let kind = sys::fd::kind(path.as_raw_fd()).ok_or(Bypass::NotOurs)?;
        if kind.file_type != FileType::RegularFile {
            return Err(Bypass::NotOurs);
        }
        let traits = Traits::of(path.as_fd()).map_err(Bypass::Unknown)?;
        let traits = traits.ok_or(Bypass::NotOurs)?;
        let key = key_of(path, &kind);
        let known = || lock(&self.by_key).get(&key).cloned();
        if let Some(file) = known() {
            return Ok(file);
        }
        // Not under the lock of all: a FUSE daemon that is asked may wait for the supervisor itself.
        let opening = lock(&self.opening).entry(key).or_default().clone();
        let turn = lock(&opening);
        if let Some(file) = known() {
            lock(&self.opening).remove(&key);
            return Ok(file);
        }
        let file = Arc::new(open(found, key, traits, includes));
        if !traits.local_block && self.may_be_direct(tid, &file) {
            file.note_direct();
        }
        let mut files = lock(&self.by_key);
        let file = files.entry(key).or_insert(file).clone();
        drop(turn);
        lock(&self.opening).remove(&key);
        if let Some(claims) = lock(&self.owed).remove(&key) {
            lock(&file.claims).extend(claims);
        }
        Ok(file)
    }

    /// A flush of the supervisor's own accord has failed.
    pub fn note_untold(&self, file: &File) {
        let errno = file.unanswered.swap(0, Ordering::Relaxed);
        let mut untold = lock(&self.untold);
        if errno != 0 && untold.len() < OWED {
            untold.insert(file.key, Errno::from_raw_os_error(errno));
        }
    }

    /// The program is told what it was not told of the file.
    pub fn tell(&self, file: &File) {
        lock(&self.untold).remove(&file.key);
    }

    /// The same of what the link of /proc at `path` leads to, and what that is.
    pub fn take_untold(&self, path: impl Arg) -> Option<Errno> {
        if lock(&self.untold).is_empty() {
            return None;
        }
        let found = link(path).ok()?;
        let key = key_of(&found, &sys::fd::kind(found.as_raw_fd())?);
        lock(&self.untold).remove(&key)
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.by_key).is_empty()
    }

    pub fn all(&self) -> Vec<Arc<File>> {
        lock(&self.by_key).values().cloned().collect()
    }

    /// Closes `file`, which the caller has a reference to, unless others have. What is owed of it is kept; false where that
    /// is too much.
    pub fn close(&self, file: &Arc<File>) -> bool {
        let mut files = lock(&self.by_key);
        // The table's, and the caller's.
        if Arc::strong_count(file) > 2 {
            return true;
        }
        files.remove(&file.key);
        let claims = std::mem::take(&mut *lock(&file.claims));
        for claim in claims.values() {
            // Nobody sees any more whether the page cache is dropped.
            let mut state = lock(&claim.state);
            (state.seen_drops, state.clean_at) = (u64::MAX, None);
        }
        let mut owed = lock(&self.owed);
        let is_kept = claims.is_empty() || owed.len() < OWED;
        if is_kept && !claims.is_empty() {
            owed.insert(file.key, claims);
        }
        is_kept
    }

    /// The image is gone.
    pub fn forget(&self, image: &Image) {
        self.all().iter().for_each(|file| file.forget(image));
        lock(&self.owed).retain(|_, claims| {
            claims.remove(&image.number);
            !claims.is_empty()
        });
    }

    /// Closes those that nobody claims; false where some are in use yet.
    pub fn close_unclaimed(&self) -> bool {
        let mut closed = Vec::new();
        let mut all = true;
        lock(&self.by_key).retain(|_, file| {
            // Whoever is about to claim it has a reference.
            let is_unclaimed = file.is_unclaimed();
            let stays = !is_unclaimed || Arc::strong_count(file) > 1;
            all &= !(stays && is_unclaimed);
            if !stays {
                closed.push(file.clone());
            }
            stays
        });
        all
    }
}

fn key_of(path: &OwnedFd, kind: &sys::fd::Kind) -> Key {
    let on_device = rustix::fs::major(kind.dev) != 0;
    let digest = match on_device {
        true => kind.born,
        false => sys::fd::inode_handle(path.as_raw_fd()),
    };
    (kind.dev, kind.ino, digest)
}

/// Device and number of what `path`, a link of /proc, leads to.
fn identity(path: impl Arg) -> Option<(u64, u64)> {
    let found = link(path).ok()?;
    sys::fd::kind(found.as_raw_fd()).map(|kind| (kind.dev, kind.ino))
}

/// What `path`, a link of /proc, leads to, without opening it.
fn link(path: impl Arg) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// A descriptor of the process that leads to the file that it has mapped as `area`.
fn descriptor_of(tid: i32, area: &Area) -> Option<Found> {
    let descriptors = std::fs::read_dir(format!("/proc/{tid}/fd")).ok()?;
    for descriptor in descriptors.flatten() {
        let Ok(path) = link(descriptor.path()) else {
            continue;
        };
        let kind = sys::fd::kind(path.as_raw_fd())?;
        let same = kind.ino == area.inode.number
            && rustix::fs::major(kind.dev) == area.inode.major
            && rustix::fs::minor(kind.dev) == area.inode.minor;
        if same {
            return Some(Found {
                path,
                leased: false,
            });
        }
    }
    None
}

fn open(found: &Found, key: Key, traits: Traits, includes: &dyn Fn(&[u8]) -> bool) -> File {
    let by = format!("/proc/self/fd/{}", found.path.as_raw_fd());
    let path = readlink(by.as_str(), Vec::new()).map(|path| path.into_bytes());
    let path = path.unwrap_or_default();
    let excluded = !includes(&path);
    let opened = match () {
        () if excluded => Err(Errno::CANCELED),
        // Opening it would break the lease.
        () if found.leased => Err(Errno::AGAIN),
        () => open_handle(&by, &traits),
    };
    let (dev, ino, _) = key;
    let mut inode = Inode {
        major: rustix::fs::major(dev),
        minor: rustix::fs::minor(dev),
        number: ino,
    };
    if let Ok(handle) = &opened
        && let Some(addr) = own::map(handle.fd.as_fd(), 0, sys::page_size())
    {
        if let Ok(Some(named)) = maps::own(addr) {
            inode = named;
        }
        own::unmap(addr, sys::page_size());
    }
    let file = File {
        key,
        inode,
        dev,
        ino,
        path,
        traits,
        handle: opened,
        excluded,
        turn: Mutex::default(),
        probe: Mutex::default(),
        last_drop: Mutex::default(),
        writes: OnceLock::new(),
        claims: Mutex::default(),
        unanswered: AtomicI32::new(0),
        doubted: AtomicBool::new(false),
    };
    file.plant_probe();
    file
}

const FLAGS: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
/// `STATX_DIOALIGN` (Linux 6.1), which rustix does not name.
const DIOALIGN: u32 = 0x2000;

/// Opens the handle; `O_NOATIME` where it is allowed, so that reads leave no trace.
fn open_handle(path: &str, traits: &Traits) -> Result<Handle, Errno> {
    let open = |flags: OFlags| {
        let flags = FLAGS | flags;
        match openat(CWD, path, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => openat(CWD, path, flags, Mode::empty()),
            opened => opened,
        }
    };
    let (reader, direct) = match open(OFlags::RDONLY | OFlags::DIRECT) {
        Err(Errno::INVAL) => (open(OFlags::RDONLY)?, false),
        opened => (opened?, true),
    };
    let fd = match open(OFlags::RDWR) {
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => open(OFlags::RDONLY)?,
        opened => opened?,
    };
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::from_bits_retain(DIOALIGN);
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    // 0 where the kernel says that there are no direct reads: the flag is taken, and they come from the page cache.
    let works = match statx(&reader, c"", flags, wanted) {
        Ok(x) if x.stx_mask & DIOALIGN != 0 => {
            (1..=sys::page_size() as u32).contains(&x.stx_dio_offset_align.max(x.stx_dio_mem_align))
        }
        _ => true,
    };
    Ok(Handle {
        fd,
        reader,
        through_cache: Mutex::default(),
        direct: AtomicBool::new(direct && works && !traits.dax),
        uncounted: AtomicBool::new(false),
    })
}
