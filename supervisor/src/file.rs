//! A file that is mapped below the supervisor.

use crate::claim::{Claim, State};
use crate::handle::{Handle, Reader, Writes, open_handle};
use crate::image::{Image, lock};
use crate::maps::{self, Inode, Key};
use crate::own;
use crate::probe::{Answer, Probe};
use keepmydata_promise::{Traits, cached_pages};
use keepmydata_ranges::Ranges;
use keepmydata_sys::{
    self as sys,
    cachestat::{CacheStat, Cached, cachestat},
    vm,
};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat, readlink};
use rustix::io::Errno;
use rustix::path::Arg;
use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// A file.
pub struct File {
    pub key: Key,
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
    /// No mapping is begun while the page cache is dropped in part.
    pub dropping: Mutex<()>,
    probe: Mutex<Probe>,
    last_drop: Mutex<LastDrop>,
    /// What is written to it by write(2) and its kin, once that may go past the page cache and take pages away.
    writes: OnceLock<Writes>,
    pub claims: Mutex<Claims>,
    /// What a flush failed with that answered no msync of the program's; 0 is nothing.
    pub unanswered: AtomicI32,
    pub doubted: AtomicBool,
    /// A sync of the supervisor's own open file has failed, of which the program's may not have heard.
    failed: AtomicBool,
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

pub type Claims = HashMap<u32, Arc<Claim>>;

/// What others could lose by a drop ([`File::exposed`]).
#[derive(Default)]
pub struct Exposed {
    /// By the number of the image, where both are known: what its process had made dirty ([`Image::dirtied`]), and what it had
    /// stored to.
    others: HashMap<u32, (u64, Ranges)>,
    /// What was dirty, whoever has stored to it.
    unstable: Ranges,
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
            let inherits = !image.has_let_go(self.key);
            let is_safe = !inherits || lock(&self.last_drop).is_before(image);
            state.seen_drops = if is_safe { drops } else { u64::MAX };
            if inherits {
                claims
                    .values()
                    .for_each(|other| state.inherit(image, other));
            }
            drop(state);
            claims.insert(key, Arc::new(claim));
        }
        claims[&key].clone()
    }

    /// Whether an image with a claim on it has unmapped what is not proved yet: such pages can be dropped from the page cache.
    pub fn is_unmapped_by_any(&self) -> bool {
        self.any_claim(None, |_, _, state| !state.unmapped.is_empty())
    }

    /// What images other than that of `claim` could lose if the page cache were dropped in part right now; nothing where one of
    /// them has unmapped, or is about to map, what nobody has proved: then it must not be.
    pub fn exposed(&self, claim: &Claim) -> Option<Exposed> {
        let size = self.size().unwrap_or(u64::MAX);
        let mut exposed = Exposed::default();
        let may_lose = self.any_claim(Some(claim), |image, _, state| {
            if state.may_be_unmapped() {
                return true;
            }
            // Before it is looked what is stored: what is stored to after that is counted, or dirty already.
            let dirtied = image.dirtied();
            let mut stored = Ranges::new();
            let is_known = size <= LONGEST && state.add_stored(image, size, &mut stored);
            // What was unmapped meanwhile has no marks.
            state.look(&image.maps.of_file(self.inode));
            if let (Some(dirtied), true) = (dirtied, is_known) {
                exposed.others.insert(image.number, (dirtied, stored));
            }
            state.may_be_unmapped()
        });
        if may_lose {
            return None;
        }
        let unstable = &mut exposed.unstable;
        let add = |cached| cached_pages::add_unstable(cached, 0, sys::page_up(size), unstable);
        if !exposed.others.is_empty() && self.cached().map(add) != Some(Ok(())) {
            exposed.others.clear();
        }
        Some(exposed)
    }

    /// The page cache was dropped in part: what images other than that of `claim` have unmapped meanwhile, of what was
    /// `exposed`, may have gone with it.
    pub fn doubt_what_others_unmapped(&self, claim: &Claim, exposed: &Exposed) {
        let mut cached = None;
        self.any_claim(Some(claim), |image, claim, state| {
            if state.unmapped.is_empty() || state.is_clean(image) {
                return false;
            }
            let before = exposed.others.get(&image.number);
            let Some((_, stored)) = before.filter(|(count, _)| image.dirtied() == Some(*count))
            else {
                state.seen_drops = u64::MAX;
                return false;
            };
            let mut gone = Ranges::new();
            gone.add_all(stored.common(&state.unmapped));
            gone.add_all(exposed.unstable.common(&state.unmapped));
            gone.remove_all(cached.get_or_insert_with(|| self.all_cached()));
            if !gone.is_empty() {
                lock(&claim.debt).untold.add_all(gone.iter());
            }
            false
        });
    }

    /// What is in the page cache, for all that is known.
    fn all_cached(&self) -> Ranges {
        let mut cached = Ranges::new();
        if self.add_cached(&mut cached).is_err() {
            cached.clear();
        }
        cached
    }

    /// What an image has unmapped, and is not in the page cache any more, was dropped, and what it held: that is in doubt.
    pub fn doubt_what_is_gone(&self) {
        let cached = self.all_cached();
        let size = self.size().unwrap_or(u64::MAX);
        self.any_claim(None, |image, claim, state| {
            let mut gone = Ranges::new();
            gone.add_all(state.unmapped.within(0, size));
            gone.remove_all(&cached);
            if !gone.is_empty() && !state.is_clean(image) {
                lock(&claim.debt).untold.add_all(gone.iter());
            }
            let mut gone = Ranges::new();
            gone.add_all(lock(&claim.debt).refused.within(0, size));
            gone.remove_all(&cached);
            lock(&claim.debt).lose(&gone);
            false
        });
    }

    /// `gone` are pages that an msync has failed for and that are not in the page cache any more. On a local filesystem EIO may
    /// be the kernel's word for a collision with another's direct write, which takes pages away itself, and leaves no trace of
    /// them as an eviction does.
    pub fn lose(&self, claim: &Claim, gone: &Ranges) {
        if gone.is_empty() {
            return;
        }
        let mut lost = Ranges::new();
        let page = sys::page_size() as u64;
        let size = self.size().map_or(u64::MAX, sys::page_up);
        let mut debt = lock(&claim.debt);
        let may_be_taken = self.traits.local_block && debt.errno == Errno::IO.raw_os_error();
        for range in gone.within(0, size) {
            for start in (range.offset..range.end()).step_by(page as usize) {
                let is_evicted = |stat: CacheStat| stat.evicted > 0;
                if !may_be_taken || self.count(start, page).is_some_and(is_evicted) {
                    lost.add(start, start + page);
                }
            }
        }
        debt.lose(&lost);
    }

    /// The program itself has taken `[start, end)` out of the file, bytes: nothing of what was there is missing.
    pub fn forgive(&self, start: u64, end: u64) {
        for claim in lock(&self.claims).values() {
            lock(&claim.debt).forgive(start, end);
        }
    }

    /// Looks what the images with a claim have mapped of it, one after the other, until `is_it`.
    fn any_claim(
        &self,
        but: Option<&Claim>,
        mut is_it: impl FnMut(&Image, &Claim, &mut State) -> bool,
    ) -> bool {
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
            is_it(&image, claim, &mut state)
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
            let owes = is_verified && (debt.owes() || !state.unmapped.is_empty());
            let stays = owes || debt.must_be_said();
            if !stays {
                image.note_let_go(self.key);
            }
            stays
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
    pub fn descriptors(&self, tid: i32) -> impl Iterator<Item = OsString> {
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
    /// good, their syncs fail with `lost` (0 is none). Where nobody else is told, the next 0 of each image says so.
    pub fn suspect(&self, lost: i32, is_told_once: bool) {
        for claim in lock(&self.claims).values() {
            lock(&claim.debt).failed |= is_told_once;
            let mut state = lock(&claim.state);
            state.suspect = true;
            if state.lost == 0 {
                state.lost = lost;
            }
        }
    }

    /// Whether that is so for any image.
    pub fn is_suspect(&self) -> bool {
        lock(&self.claims)
            .values()
            .any(|claim| lock(&claim.state).suspect)
    }

    /// What a sync of the supervisor's own open file has returned is noted.
    pub fn noted(&self, result: Result<(), Errno>) -> Result<(), Errno> {
        self.failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
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

/// A way to a file that has no name of its own: a link of /proc, and whether opening may touch it.
pub struct Found {
    pub path: OwnedFd,
    pub leased: bool,
}

pub fn open(found: &Found, key: Key, traits: Traits, includes: &dyn Fn(&[u8]) -> bool) -> File {
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
        dropping: Mutex::default(),
        probe: Mutex::default(),
        last_drop: Mutex::default(),
        writes: OnceLock::new(),
        claims: Mutex::default(),
        unanswered: AtomicI32::new(0),
        doubted: AtomicBool::new(false),
        failed: AtomicBool::new(false),
    };
    file.plant_probe();
    file
}

/// Device and number of what `path`, a link of /proc, leads to.
pub fn identity(path: impl Arg) -> Option<(u64, u64)> {
    let found = link(path).ok()?;
    sys::fd::kind(found.as_raw_fd()).map(|kind| (kind.dev, kind.ino))
}

/// What `path`, a link of /proc, leads to, without opening it.
pub fn link(path: impl Arg) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
