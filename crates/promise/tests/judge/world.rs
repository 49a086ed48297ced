//! A process, its page cache and a filesystem, in memory.

use keepmydata_promise::{
    Debt, Ended, Event, Home, Mapping, Observer, Part, Patience, Pooled, Request, Snapshot, Target,
    Terms, Verdict,
};
use keepmydata_ranges::Ranges;
use keepmydata_sys::kernel::CacheStat;
use rustix::io::Errno;
use std::alloc::{Layout, alloc, dealloc};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

pub const PAGE: usize = 4096;
const SIZE: u64 = PAGE as u64;
/// Where the program has its mapping, and where witnesses begin.
const MAPPED: usize = 0x10_0000;
const WITNESSES: usize = 0x1000_0000;

type Page = [u8; PAGE];

/// What the filesystem does with the pages that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Honest,
    /// Acknowledges, and keeps nothing.
    BlackHole,
    /// Each sync applies one page more.
    OnePage,
    /// Of pages that are written together the first is kept.
    DropTail,
    /// The first write of each page is lost.
    LossyFirst,
    /// The first sync fails, and loses what it was given.
    EioOnce,
    /// Applies what it is given so many ns later.
    Late(u64),
    /// Keeps the first half of each page.
    Tears,
}

#[derive(Clone)]
struct Cached {
    data: Page,
    dirty: bool,
}

struct Witness {
    start: usize,
    first: usize,
    present: Vec<bool>,
}

type Meanwhile = Box<dyn Fn(&World)>;

/// All of it, page by page.
pub struct World {
    pub mode: Mode,
    pub size: Cell<u64>,
    mapped: Cell<bool>,
    cache: RefCell<Vec<Option<Cached>>>,
    disk: RefCell<Vec<Page>>,
    /// Written, and not applied: when it will be.
    pending: RefCell<Vec<(usize, Page, u64)>>,
    written: RefCell<Vec<usize>>,
    witnesses: RefCell<Vec<Witness>>,
    /// Stored to since the last msync.
    marks: RefCell<Vec<bool>>,
    pub debt: RefCell<Debt>,
    failed: Cell<bool>,
    faults: Cell<i64>,
    pub clock: Cell<u64>,
    direct: Cell<bool>,
    /// Reading back fails.
    pub unreadable: Cell<bool>,
    /// When the other client of the filesystem is shown what it holds, ns; until then it reads zeros.
    pub shown_at: Cell<u64>,
    /// Why that client cannot be asked.
    pub unseen: Cell<Option<Errno>>,
    /// The size that it is shown, where that is another.
    pub size_there: Cell<Option<u64>>,
    /// What is dirty is of other processes.
    pub of_others: Cell<bool>,
    /// Another process makes the file longer between any two looks at its size.
    pub grows: Cell<bool>,
    /// Pages that cannot be dropped from the page cache.
    pub pinned: Cell<bool>,
    /// Called once, when the flush begins: what another thread does.
    pub meanwhile: RefCell<Option<Meanwhile>>,
    /// Called before and after each sync: what another thread does all the time.
    pub always: RefCell<Option<Meanwhile>>,
    pub events: RefCell<Vec<Event>>,
}

impl World {
    fn grow(&self) {
        if self.grows.get() {
            self.size.set(self.size.get() + 1);
        }
    }

    /// A file of so many pages, of zeros and in the page cache.
    pub fn new(mode: Mode, pages: usize) -> World {
        let clean = Cached {
            data: [0; PAGE],
            dirty: false,
        };
        World {
            mode,
            size: Cell::new(pages as u64 * SIZE),
            mapped: Cell::new(true),
            cache: RefCell::new(vec![Some(clean); pages]),
            disk: RefCell::new(vec![[0; PAGE]; pages]),
            pending: RefCell::default(),
            written: RefCell::default(),
            witnesses: RefCell::default(),
            marks: RefCell::new(vec![false; pages]),
            debt: RefCell::default(),
            failed: Cell::new(false),
            faults: Cell::new(0),
            clock: Cell::new(0),
            direct: Cell::new(true),
            unreadable: Cell::new(false),
            shown_at: Cell::new(0),
            unseen: Cell::new(None),
            size_there: Cell::new(None),
            of_others: Cell::new(false),
            grows: Cell::new(false),
            pinned: Cell::new(false),
            meanwhile: RefCell::new(None),
            always: RefCell::new(None),
            events: RefCell::default(),
        }
    }

    /// The program stores a byte everywhere in a page.
    pub fn store(&self, page: usize, byte: u8) {
        self.store_part(page, 0..PAGE, byte);
    }

    pub fn store_part(&self, page: usize, part: std::ops::Range<usize>, byte: u8) {
        self.fault(page);
        if let Some(cached) = &mut self.cache.borrow_mut()[page] {
            cached.data[part].fill(byte);
            cached.dirty = true;
        }
        self.marks.borrow_mut()[page] = true;
    }

    /// Another process stores to a page, or this one by write(2).
    pub fn store_unseen(&self, page: usize, byte: u8) {
        self.store(page, byte);
        self.marks.borrow_mut()[page] = false;
    }

    /// The kernel drops a page: it is written back before.
    /// Another process writes past the page cache (O_DIRECT).
    pub fn write_past(&self, page: usize, byte: u8) {
        self.evict(page);
        self.disk.borrow_mut()[page].fill(byte);
    }

    pub fn evict(&self, page: usize) {
        self.write_back(page..page + 1);
        self.apply();
        self.cache.borrow_mut()[page] = None;
        for witness in self.witnesses.borrow_mut().iter_mut() {
            if let Some(n) = page.checked_sub(witness.first)
                && let Some(present) = witness.present.get_mut(n)
            {
                *present = false;
            }
        }
    }

    /// The program unmaps the file; its marks are noted with it.
    pub fn unmap(&self) {
        let mut stored = Ranges::new();
        self.take_marks(&mut stored);
        self.debt.borrow_mut().owe(&stored, false);
        self.mapped.set(false);
    }

    pub fn map(&self) {
        self.mapped.set(true);
    }

    pub fn read_only_through_cache(&self) {
        self.direct.set(false);
    }

    /// What a crash would leave.
    pub fn holds(&self, page: usize, byte: u8) -> bool {
        self.disk.borrow()[page] == [byte; PAGE]
    }

    /// Nothing of an enforcement is left behind.
    pub fn is_clean(&self) -> bool {
        self.witnesses.borrow().is_empty()
    }

    /// The first byte of a page on the disk.
    pub fn first_byte(&self, page: usize) -> u8 {
        self.disk.borrow()[page][0]
    }

    fn fault(&self, page: usize) {
        let mut cache = self.cache.borrow_mut();
        if cache[page].is_none() {
            let data = self.disk.borrow()[page];
            cache[page] = Some(Cached { data, dirty: false });
            self.faults.set(self.faults.get() + 1);
        }
    }

    fn take_marks(&self, into: &mut Ranges) {
        for (page, mark) in self.marks.borrow_mut().iter_mut().enumerate() {
            if std::mem::take(mark) {
                into.add(page as u64 * SIZE, (page as u64 + 1) * SIZE);
            }
        }
    }

    /// Hands dirty pages to the filesystem.
    fn write_back(&self, pages: std::ops::Range<usize>) {
        let mut together = false;
        for page in pages {
            let mut cache = self.cache.borrow_mut();
            let Some(cached) = cache[page].as_mut().filter(|cached| cached.dirty) else {
                together = false;
                continue;
            };
            cached.dirty = false;
            let is_first = !self.written.borrow().contains(&page);
            self.written.borrow_mut().push(page);
            let loses = match self.mode {
                Mode::BlackHole => true,
                Mode::LossyFirst => is_first,
                Mode::DropTail => together,
                Mode::EioOnce => !self.failed.get(),
                _ => false,
            };
            together = true;
            if !loses {
                let due = match self.mode {
                    Mode::Late(ns) => self.clock.get() + ns,
                    _ => 0,
                };
                self.pending.borrow_mut().push((page, cached.data, due));
            }
        }
    }

    /// The filesystem applies what is due.
    fn apply(&self) {
        let mut pending = self.pending.borrow_mut();
        let mut disk = self.disk.borrow_mut();
        let mut room = match self.mode {
            Mode::OnePage => 1,
            _ => usize::MAX,
        };
        pending.retain(|(page, data, due)| {
            let now = *due <= self.clock.get() && room > 0;
            if now {
                room -= 1;
                let kept = match self.mode {
                    Mode::Tears => PAGE / 2,
                    _ => PAGE,
                };
                disk[*page][..kept].copy_from_slice(&data[..kept]);
            }
            !now
        });
    }

    fn sync(&self) -> Result<(), Errno> {
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile(self);
        }
        let always = || {
            if let Some(always) = &*self.always.borrow() {
                always(self);
            }
        };
        always();
        let pages = self.cache.borrow().len();
        self.write_back(0..pages);
        self.apply();
        always();
        if self.mode == Mode::EioOnce && !self.failed.replace(true) {
            return Err(Errno::IO);
        }
        Ok(())
    }

    /// Adds the cached pages in `[start, end)` that are so.
    fn add_pages(&self, start: u64, end: u64, into: &mut Ranges, is: impl Fn(&Cached) -> bool) {
        for (page, cached) in self.cache.borrow().iter().enumerate() {
            let at = page as u64 * SIZE;
            if (start..end).contains(&at) && cached.as_ref().is_some_and(&is) {
                into.add(at, at + SIZE);
            }
        }
    }

    /// The page that lies at `at` in a witness, and whether it is there.
    fn of_witness<R>(&self, at: usize, f: impl FnOnce(usize, &mut bool) -> R) -> R {
        let mut witnesses = self.witnesses.borrow_mut();
        let inside = |w: &&mut Witness| (w.start..w.start + w.present.len() * PAGE).contains(&at);
        let witness = witnesses.iter_mut().find(inside).expect("a witness");
        let n = (at - witness.start) / PAGE;
        f(witness.first + n, &mut witness.present[n])
    }
}

impl Target for &World {
    fn each_mapping(&self, each: &mut dyn FnMut(Mapping)) {
        if self.mapped.get() {
            each(Mapping {
                start: MAPPED,
                offset: 0,
                len: self.cache.borrow().len() * PAGE,
            });
        }
    }

    fn duplicate(&self, Mapping { start, len, .. }: Mapping) -> Option<usize> {
        let mut witnesses = self.witnesses.borrow_mut();
        let at = WITNESSES + witnesses.len() * 0x100_0000;
        witnesses.push(Witness {
            start: at,
            first: (start - MAPPED) / PAGE,
            present: vec![false; len / PAGE],
        });
        Some(at)
    }

    fn unmap(&self, witness: usize, _: usize) {
        self.witnesses
            .borrow_mut()
            .retain(|known| known.start != witness);
    }

    fn are_cached(&self, witness: usize, states: &mut [u8]) -> Result<(), Errno> {
        for (n, state) in states.iter_mut().enumerate() {
            let page = self.of_witness(witness + n * PAGE, |page, _| page);
            *state = u8::from(self.cache.borrow()[page].is_some());
        }
        Ok(())
    }

    fn read_witness(&self, witness: usize, into: &mut [u8]) -> Result<(), Errno> {
        for (n, into) in into.chunks_mut(PAGE).enumerate() {
            let page = self.of_witness(witness + n * PAGE, |page, present| {
                *present = true;
                page
            });
            if page as u64 * SIZE >= self.size.get() {
                return Err(Errno::FAULT);
            }
            self.fault(page);
            let cache = self.cache.borrow();
            let cached = cache[page].as_ref().expect("read in");
            into.copy_from_slice(&cached.data[..into.len()]);
        }
        Ok(())
    }

    fn is_present(&self, witness: usize) -> bool {
        self.of_witness(witness, |_, present| *present)
    }

    fn faults(&self) -> i64 {
        self.faults.get()
    }

    fn make_dirty(&self, witness: usize) -> Result<(), Errno> {
        let page = self.of_witness(witness, |page, present| {
            *present = true;
            page
        });
        self.fault(page);
        if let Some(cached) = &mut self.cache.borrow_mut()[page] {
            cached.dirty = true;
        }
        Ok(())
    }

    fn msync(&self, witness: usize, len: usize) -> Result<(), Errno> {
        let page = self.of_witness(witness, |page, _| page);
        self.write_back(page..page + len / PAGE);
        self.apply();
        Ok(())
    }

    fn fdatasync(&self) -> Result<(), Errno> {
        self.sync()
    }

    fn fsync(&self) -> Result<(), Errno> {
        self.sync()
    }

    fn size(&self) -> Result<u64, Errno> {
        self.grow();
        Ok(self.size.get())
    }

    fn reads_past_cache(&self) -> Result<bool, Errno> {
        Ok(self.direct.get())
    }

    fn read_through_cache(&mut self) -> Result<(), Errno> {
        self.direct.set(false);
        Ok(())
    }

    fn is_encoded(&self, _: u64, _: u64) -> bool {
        false
    }

    fn read_back(&self, parts: &mut [Part], buffer: &mut [u8], _: &mut bool) {
        for part in parts {
            if self.unreadable.get() {
                part.read = Err(Errno::IO);
                continue;
            }
            let mut read = 0;
            for n in 0..part.count {
                let start = part.offset + (n * PAGE) as u64;
                let valid = self.size.get().saturating_sub(start).min(SIZE) as usize;
                let page = (start / SIZE) as usize;
                let into = &mut buffer[part.into + n * PAGE..][..valid];
                let cache = self.cache.borrow();
                match &cache[page] {
                    Some(cached) if !self.direct.get() => {
                        into.copy_from_slice(&cached.data[..valid])
                    }
                    _ => into.copy_from_slice(&self.disk.borrow()[page][..valid]),
                }
                read += valid;
            }
            part.read = Ok(read);
        }
    }

    fn read_elsewhere(&self, parts: &mut [Part], buffer: &mut [u8]) {
        for part in parts {
            let shown = self.clock.get() >= self.shown_at.get();
            for (n, into) in buffer[part.into..][..part.bytes()]
                .chunks_mut(PAGE)
                .enumerate()
            {
                match shown {
                    true => {
                        into.copy_from_slice(&self.disk.borrow()[part.offset as usize / PAGE + n])
                    }
                    false => into.fill(0),
                }
            }
            part.read = Ok(part.bytes());
        }
    }

    fn open_elsewhere(&mut self) -> Result<bool, Errno> {
        self.unseen.get().map_or(Ok(true), Err)
    }

    fn size_elsewhere(&self, _: u64) -> Result<u64, Errno> {
        self.grow();
        Ok(self.size_there.get().unwrap_or(self.size.get()))
    }

    fn count(&self, start: u64, end: u64) -> Option<CacheStat> {
        let mut stat = CacheStat::default();
        for page in (start / SIZE) as usize..(end / SIZE) as usize {
            if let Some(cached) = &self.cache.borrow()[page] {
                stat.cached += 1;
                stat.dirty += u64::from(cached.dirty);
            }
        }
        Some(stat)
    }

    fn add_unstable(&self, start: u64, end: u64, into: &mut Ranges) -> Result<(), Errno> {
        self.add_pages(start, end, into, |cached| cached.dirty);
        Ok(())
    }

    fn add_all_cached(&self, into: &mut Ranges) -> Result<(), Errno> {
        self.add_pages(0, u64::MAX, into, |_| true);
        Ok(())
    }

    fn add_absent(&self, ranges: &Ranges, into: &mut Ranges) -> Result<(), Errno> {
        for range in ranges.iter() {
            for page in range.offset / SIZE..range.end() / SIZE {
                if self.cache.borrow()[page as usize].is_none() {
                    into.add(page * SIZE, (page + 1) * SIZE);
                }
            }
        }
        Ok(())
    }

    fn uncache(&self, ranges: &Ranges, stayed: &mut Ranges) {
        for range in ranges.iter() {
            for page in range.offset / SIZE..range.end() / SIZE {
                if !self.pinned.get() {
                    self.evict(page as usize);
                }
            }
            self.add_pages(range.offset, range.end(), stayed, |_| true);
        }
    }

    fn recached(&self) {}

    fn was_dropped(&self) -> bool {
        false
    }

    fn with_debt(&self, f: &mut dyn FnMut(&mut Debt)) {
        f(&mut self.debt.borrow_mut());
    }

    fn now(&self) -> u64 {
        self.clock.get()
    }

    fn sleep(&self, ns: u64) {
        self.clock.set(self.clock.get() + ns);
        self.apply();
    }
}

/// Nothing is asked for but the file.
pub struct Call;

impl Request for Call {
    type Known = ();
}

impl Observer<Call> for &World {
    type Began = ();

    fn begin(&self) {}

    fn tell(&self, _: &Snapshot<Call>, (): (), event: Event) {
        self.events.borrow_mut().push(event);
        // Every step takes a moment.
        self.clock.set(self.clock.get() + 1);
    }
}

/// The allocator's memory.
pub struct Heap;

thread_local!(static TAKEN: Cell<usize> = const { Cell::new(0) });

/// Blocks that were taken on this thread and not given back.
pub fn taken() -> usize {
    TAKEN.get()
}

// SAFETY: a block of its own each time, of that layout.
unsafe impl Home for Heap {
    type Block = Ended<Call>;

    fn take() -> Option<NonNull<Ended<Call>>> {
        TAKEN.set(TAKEN.get() + 1);
        // SAFETY: the layout has a size.
        NonNull::new(unsafe { alloc(Layout::new::<Ended<Call>>()) }.cast())
    }

    unsafe fn give(block: NonNull<Ended<Call>>) {
        TAKEN.set(TAKEN.get() - 1);
        // SAFETY: taken above, with that layout.
        unsafe { dealloc(block.as_ptr().cast(), Layout::new::<Ended<Call>>()) };
    }
}

/// As a FUSE filesystem is judged, by default.
pub fn terms() -> Terms {
    Terms {
        is_verified: true,
        copy_budget: 1 << 30,
        ..Terms::default()
    }
}

/// The program's msync of the whole file.
pub fn msync(world: &World) -> Pooled<Ended<Call>, Heap> {
    msync_by(world, terms())
}

pub fn msync_by(world: &World, terms: Terms) -> Pooled<Ended<Call>, Heap> {
    enforce(world, terms, true)
}

/// The same where there is no memory to compare anything.
pub fn msync_unverified(world: &World, terms: Terms) -> Pooled<Ended<Call>, Heap> {
    enforce(world, terms, false)
}

fn enforce(world: &World, terms: Terms, verify: bool) -> Pooled<Ended<Call>, Heap> {
    let mut target = world;
    let request = Pooled::<Call, Heap>::new(Call).expect("memory");
    let mut snapshot = Snapshot::begin(request, terms);
    (snapshot.verify, snapshot.dirty_known, snapshot.sees_stores) = (verify, true, true);
    world.take_marks(&mut snapshot.dirty);
    if world.of_others.get() {
        let snapshot = &mut *snapshot;
        snapshot.of_others.add_all(snapshot.dirty.iter());
    }
    // What is dirty and was dropped is not there to be copied.
    let mut absent = Ranges::new();
    target
        .add_absent(&snapshot.dirty, &mut absent)
        .expect("the model's");
    snapshot.gone.add_all(absent.iter());
    world.debt.borrow_mut().take(&mut snapshot, false, 0);
    if verify && !snapshot.dirty.is_empty() {
        keepmydata_promise::take(&target, &mut snapshot).expect("memory");
    }
    let flushed = keepmydata_promise::flush(&target, &world, snapshot, Ok(()));
    let patience = &mut Patience::new(100_000_000);
    let compared = keepmydata_promise::compare(&mut target, &world, flushed, patience);
    let mut ended = match keepmydata_promise::judge(&target, compared) {
        Verdict::Proved(mut proved) => {
            proved.let_go_witnesses(&target);
            proved.end()
        }
        Verdict::Refused(mut refused) => {
            refused.gather_evidence(&target);
            refused.let_go_witnesses(&target);
            refused.end()
        }
    };
    keepmydata_promise::pay(&target, &ended, ended.result());
    ended.let_go_copies(&target);
    ended
}
