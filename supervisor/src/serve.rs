//! The supervisor's process: it receives calls that wait, has them done, and ends with the last process that it supervises.
//!
//! One thread waits for calls at all times, because a signal interrupts a call until it was received. Who has received one does it,
//! and another waits for the next: one that waits for a filesystem must not block another, whose program may be that filesystem's
//! daemon. So only the turn of a file is held while that file or its filesystem is asked.

use crate::call::{Began, Call};
use crate::enforce::{enforce, enforce_in_turn, is_verified, wants_marks};
use crate::file::{Bypass, Claim, File, Files};
use crate::image::{
    Image, Images, copy_descriptor, errno, has_our_rights, lock, page_out, read_memory, read_string,
};
use crate::keeper::Pending;
use crate::log::Log;
use crate::maps::{self, Area};
use crate::marks;
use crate::notify::{Answer, Listener, Notification};
use crate::report;
use crate::stop::Stopped;
use keepmydata_promise::Patience;
use keepmydata_ranges::Ranges;
use keepmydata_records::{Async, Enforce, Level, OnFailure, Uncertain, event};
use keepmydata_sys::supervised::Word;
use keepmydata_sys::{self as sys, userfaultfd, vm};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// The supervisor.
pub struct Supervisor {
    listener: Listener,
    /// For the keeper.
    pending: Option<Pending>,
    /// The listener, and the end of each process that was seen.
    epoll: OwnedFd,
    /// The userfaultfd of each image, from which a thread of it can be read that unmaps something.
    unmapping: OwnedFd,
    /// Whether a call that was received is interrupted by nothing but fatal signals.
    killable: bool,
    /// Filters that each process has as it comes, of its own and ours.
    filters: u32,
    /// It was said that a process cannot be looked into.
    unseen: AtomicBool,
    log: Log,
    images: Images,
    files: Files,
    callers: Crew,
    unmappers: Crew,
}

/// Threads of which one waits for something to do at all times, and does it; another waits then.
#[derive(Default)]
struct Crew {
    /// Held by the one that waits.
    waiting: Mutex<()>,
    /// Those that have nothing to do.
    idle: AtomicUsize,
}

/// What a crew is there for.
struct Duty<T> {
    crew: fn(&Supervisor) -> &Crew,
    wait: fn(&Supervisor) -> Next<T>,
    run: fn(&Supervisor, T),
}

enum Next<T> {
    Do(T),
    Nothing,
    /// Nothing will come any more.
    Over,
}

const CALLS: Duty<Notification> = Duty {
    crew: |all| &all.callers,
    wait: Supervisor::next_call,
    run: |all, call| all.serve(&call),
};
const UNMAPPINGS: Duty<u32> = Duty {
    crew: |all| &all.unmappers,
    wait: Supervisor::next_unmapping,
    run: Supervisor::before_unmapped,
};

/// Stack of a thread, bytes: what is known of an msync lies in boxes, lists of ranges do not.
const STACK: usize = 1 << 20;
/// Threads that stay when there is nothing to do.
const IDLE: usize = 4;
/// How often is looked who is gone, at the most.
const LOOK: Duration = Duration::from_millis(200);

impl Supervisor {
    pub fn new(
        listener: Listener,
        killable: bool,
        log: Log,
        pending: Option<Pending>,
    ) -> Result<Supervisor, Errno> {
        Ok(Supervisor {
            listener,
            pending,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            unmapping: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            killable,
            filters: filters_of("self").map_or(u32::MAX, |own| own + 1),
            unseen: AtomicBool::new(false),
            log,
            images: Images::default(),
            files: Files::default(),
            callers: Crew::default(),
            unmappers: Crew::default(),
        })
    }

    /// Serves until nobody is left to be served.
    pub fn run(self) -> Result<(), Errno> {
        let all = Arc::new(self);
        epoll::add(
            &all.epoll,
            &all.listener,
            EventData::new_u64(0),
            // Its end is told of all the same.
            EventFlags::empty(),
        )?;
        all.begin(&CALLS)?;
        all.begin(&UNMAPPINGS)?;
        let mut events = Vec::with_capacity(16);
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK.as_nanos() as i64,
        };
        let mut next = Instant::now() + LOOK;
        loop {
            if Instant::now() >= next {
                match all.files.is_empty() {
                    true => all.look_who_is_gone(),
                    // Not here: it may take long.
                    false => all.do_aside(Supervisor::look_what_is_unmapped),
                }
                next = Instant::now() + LOOK;
            }
            events.clear();
            if epoll::wait(&all.epoll, spare_capacity(&mut events), Some(&wait)).is_err() {
                continue;
            }
            for event in &events {
                let (what, flags) = (event.data.u64(), event.flags);
                if what != 0 {
                    all.do_aside(move |all| all.process_has_ended(what as u32));
                } else if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
                    // What is said at the end of each.
                    let left = all.images.all();
                    left.iter()
                        .for_each(|image| report::at_end(&all.log, image));
                    return Ok(());
                }
            }
        }
    }

    fn do_aside(self: &Arc<Self>, what: impl FnOnce(&Supervisor) + Send + 'static) {
        let all = self.clone();
        let _ = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || what(&all));
    }

    /// Has one more thread do its duty.
    fn begin<T>(self: &Arc<Self>, duty: &'static Duty<T>) -> Result<(), Errno> {
        let all = self.clone();
        let idle = &(duty.crew)(self).idle;
        idle.fetch_add(1, Ordering::Relaxed);
        let made = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || all.work(duty));
        made.map(drop).map_err(|error| {
            idle.fetch_sub(1, Ordering::Relaxed);
            errno(error)
        })
    }

    fn work<T>(self: Arc<Self>, duty: &'static Duty<T>) {
        let crew = (duty.crew)(&self);
        loop {
            let next = {
                let _alone = lock(&crew.waiting);
                (duty.wait)(&self)
            };
            let was_last = crew.idle.fetch_sub(1, Ordering::Relaxed) == 1;
            match next {
                Next::Do(what) => {
                    if was_last {
                        // Without, the next waits until this is done.
                        let _ = self.begin(duty);
                    }
                    (duty.run)(&self, what);
                }
                Next::Nothing => {}
                Next::Over => return,
            }
            if crew.idle.fetch_add(1, Ordering::Relaxed) >= IDLE {
                crew.idle.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        }
    }

    fn next_call(&self) -> Next<Notification> {
        let received = match self.pending {
            Some(pending) => pending.receive(&self.listener),
            None => {
                let mut call = Notification::default();
                self.listener.receive(&mut call).map(|()| call)
            }
        };
        match received {
            Ok(call) => Next::Do(call),
            Err(_) if self.listener.is_over() => Next::Over,
            Err(_) => Next::Nothing,
        }
    }

    /// The number of the next image of which a thread waits that unmaps something.
    fn next_unmapping(&self) -> Next<u32> {
        let mut events = Vec::with_capacity(1);
        let waited = epoll::wait(&self.unmapping, spare_capacity(&mut events), None);
        match (waited, events.first()) {
            (Ok(_), Some(event)) => Next::Do(event.data.u64() as u32),
            _ => Next::Nothing,
        }
    }

    /// Does one call, and answers it.
    fn serve(&self, call: &Notification) {
        let done = catch_unwind(AssertUnwindSafe(|| self.answer(call)));
        // A mistake of the supervisor's must not leave the program waiting, nor tell it that all is well.
        let answer = match done {
            Ok(answer) => answer,
            Err(_) if i64::from(call.number) == libc::SYS_msync => Some(Answer::Fail(Errno::IO)),
            Err(_) => Some(Answer::Continue),
        };
        if let Some(answer) = answer {
            self.tell(call.id, answer);
        }
    }

    fn tell(&self, id: u64, answer: Answer) {
        self.listener.answer(id, answer);
        if let Some(pending) = self.pending {
            pending.done(id);
        }
    }

    /// What the call is told; nothing where it was told already.
    fn answer(&self, call: &Notification) -> Option<Answer> {
        match i64::from(call.number) {
            libc::SYS_msync => Some(self.msync(call)),
            libc::SYS_mmap => self.mmap(call),
            libc::SYS_exit_group => {
                self.exits(call.tid as i32);
                Some(Answer::Continue)
            }
            libc::SYS_madvise => Some(self.advises(call)),
            libc::SYS_fadvise64 => Some(self.advises_descriptor(call)),
            libc::SYS_truncate => {
                let path = self.path(call, libc::AT_FDCWD, call.args[0]);
                let files = path.map(|path| self.files.known_by_link(path));
                self.settle(call.tid as i32, &files.unwrap_or_default());
                Some(Answer::Continue)
            }
            libc::SYS_remap_file_pages | libc::SYS_mremap => {
                self.maps_other_pages(call);
                Some(Answer::Continue)
            }
            libc::SYS_copy_file_range => {
                self.settle(call.tid as i32, &self.files_of(call, 2));
                Some(Answer::Continue)
            }
            libc::SYS_ftruncate | libc::SYS_fallocate => Some(self.change(call)),
            libc::SYS_fsync | libc::SYS_fdatasync => Some(self.fsync(call)),
            libc::SYS_fcntl => {
                let (tid, fd) = (call.tid, call.args[0] as i32);
                self.files.note_direct(format!("/proc/{tid}/fd/{fd}"));
                Some(Answer::Continue)
            }
            libc::SYS_openat => {
                self.opens_direct(call, call.args[0] as i32, call.args[1]);
                Some(Answer::Continue)
            }
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => {
                self.opens_direct(call, libc::AT_FDCWD, call.args[0]);
                Some(Answer::Continue)
            }
            libc::SYS_openat2 => {
                // `struct open_how` begins with the flags.
                let mut flags = [0; 8];
                let read = read_memory(call.tid as i32, call.args[2] as usize, &mut flags);
                if read && u64::from_ne_bytes(flags) & libc::O_DIRECT as u64 != 0 {
                    self.opens_direct(call, call.args[0] as i32, call.args[1]);
                }
                Some(Answer::Continue)
            }
            // mlock(2) and its family.
            _ => {
                if let Ok(image) = self.image(call.tid as i32) {
                    self.locks(&image, call);
                }
                Some(Answer::Continue)
            }
        }
    }

    /// The image of thread `tid`; the log begins with it.
    fn image(&self, tid: i32) -> Result<Arc<Image>, Errno> {
        let image = self.images.of(tid)?;
        if !image.seen.swap(true, Ordering::Relaxed) {
            let number = EventData::new_u64(image.number.into());
            if let Some(pidfd) = &image.pidfd {
                epoll::add(&self.epoll, pidfd, number, EventFlags::IN)?;
            }
            if self.log.has(Level::Info) {
                greet(&self.log, &image);
            }
        }
        Ok(image)
    }

    fn includes(&self) -> impl Fn(&[u8]) -> bool {
        let files = self.log.settings.files;
        move |path: &[u8]| files.includes(path)
    }

    fn msync(&self, call: &Notification) -> Answer {
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
            // The kernel has the last word: of holes, of locked memory, and of errors that the program's own open file has
            // not heard of.
            Ok(()) => Answer::Continue,
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

    fn enforce(
        &self,
        image: &Arc<Image>,
        tid: i32,
        addr: u64,
        len: u64,
        bits: i32,
    ) -> Result<(), Errno> {
        let began = Began::now();
        let number = image.next_call();
        let end = addr.saturating_add(sys::page_up(len)) as usize;
        let areas = match image.maps.shared() {
            Ok(areas) => areas,
            Err(error) => {
                let why = format!("what it has mapped cannot be read ({error})");
                let pages = sys::page_up(len) / sys::page_size() as u64;
                return self.unreachable(image, tid, pages, b"", &why);
            }
        };
        let mut done: Vec<Arc<File>> = Vec::new();
        let mut patience = self.patience();
        let mut result = Ok(());
        let in_range = |area: &&Area| area.start < end && addr < area.end as u64;
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
        result
    }

    /// Thread `tid` is about to drop pages of these files: what is owed of them is proved before, to whomever.
    fn settle(&self, tid: i32, files: &[Arc<File>]) {
        if files.is_empty() {
            return;
        }
        self.see(tid, files);
        for image in self.images.all() {
            files
                .iter()
                .for_each(|file| self.settle_for(&image, file, None));
        }
    }

    /// posix_fadvise(2) that drops clean pages of the page cache.
    fn advises_descriptor(&self, call: &Notification) -> Answer {
        let tid = call.tid as i32;
        let [fd, offset, len, ..] = call.args;
        self.evict(call, &self.files_of(call, 0), || {
            let image = self.image(tid).ok()?;
            let copy = copy_descriptor(&image, fd as i32).ok()?;
            let is_usual = i64::try_from(offset).is_ok() && i64::try_from(len).is_ok();
            let advice = rustix::fs::Advice::DontNeed;
            let advise = || rustix::fs::fadvise(copy, offset, NonZeroU64::new(len), advice);
            is_usual.then(|| match advise() {
                Ok(()) => Answer::Zero,
                Err(errno) => Answer::Fail(errno),
            })
        })
    }

    /// madvise(2) that drops pages.
    fn advises(&self, call: &Notification) -> Answer {
        let [start, len, advice, ..] = call.args;
        let tid = call.tid as i32;
        let end = start.saturating_add(len);
        if self.files.is_empty() {
            return Answer::Continue;
        }
        let is_in = |area: &&Area| (area.start as u64) < end && start < area.end as u64;
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
        let verified = |file: &&Arc<File>| is_verified(&self.log.settings, file);
        let files: Vec<&Arc<File>> = files.iter().filter(verified).collect();
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

    /// The image of thread `tid`, if it is ours: not where the library is in it.
    fn own_image(&self, tid: i32) -> Option<Arc<Image>> {
        let image = self.image(tid).ok();
        image.filter(|image| !image.is_preloaded())
    }

    /// The process of thread `tid` has maybe inherited mappings of these files, and nobody has seen it yet.
    fn see(&self, tid: i32, files: &[Arc<File>]) {
        if files.is_empty() {
            return;
        }
        let Some(image) = self.own_image(tid) else {
            return;
        };
        for file in files.iter().filter(|file| !file.is_claimed_by(&image)) {
            if !image.maps.of_file(file.inode).is_empty() {
                drop(file.claim(&image));
            }
        }
    }

    /// Proves what `image` is owed of `file`, unless it is known to be nothing; in the `turn` of the file, if the caller has it.
    fn settle_for(&self, image: &Arc<Image>, file: &Arc<File>, turn: Option<&MutexGuard<'_, ()>>) {
        let is_ours = !image.is_preloaded() && file.is_claimed_by(image);
        if !is_ours || !is_verified(&self.log.settings, file) || file.handle().is_err() {
            return;
        }
        let claim = file.claim(image);
        if lock(&claim.state).is_clean(image) {
            return;
        }
        let call = Call {
            image: image.clone(),
            file: file.clone(),
            tid: image.pid,
            number: image.next_call(),
            began: Began::now(),
            addr: 0,
            len: 0,
            flags: libc::MS_SYNC,
            settles: true,
            offset: 0,
        };
        let mut patience = self.patience();
        match turn {
            Some(turn) => drop(enforce_in_turn(&self.log, call, turn, &mut patience)),
            None => drop(enforce(&self.log, call, &mut patience)),
        }
        self.files.note_untold(file);
    }

    /// Those that argument number `n`, a descriptor, is open on.
    fn files_of(&self, call: &Notification, n: usize) -> Vec<Arc<File>> {
        let (tid, fd) = (call.tid, call.args[n] as i32);
        self.files.known_by_link(format!("/proc/{tid}/fd/{fd}"))
    }

    /// The path at `address`, as it can be looked at from here; nothing where it cannot be read.
    fn path(&self, call: &Notification, directory: i32, address: u64) -> Option<OsString> {
        let tid = call.tid;
        let path = read_string(tid as i32, address as usize)?;
        let (from, rest) = match path.as_slice() {
            [b'/', ..] => {
                let own = path
                    .strip_prefix(b"/proc/self/")
                    .map(|rest| (format!("/proc/{tid}/"), rest));
                let fd = || path.strip_prefix(b"/dev/fd/");
                let own = own.or_else(|| fd().map(|rest| (format!("/proc/{tid}/fd/"), rest)));
                own.unwrap_or_else(|| (format!("/proc/{tid}/root"), &path))
            }
            _ if directory == libc::AT_FDCWD => (format!("/proc/{tid}/cwd/"), path.as_slice()),
            _ => (format!("/proc/{tid}/fd/{directory}/"), path.as_slice()),
        };
        Some(OsString::from_vec([from.as_bytes(), rest].concat()))
    }

    /// Mappings are about to show other pages of their file (remap_file_pages(2)), or more of it (mremap(2)): stores to those are
    /// not tracked, and whoever takes them away need not wait for us.
    fn maps_other_pages(&self, call: &Notification) {
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
        let is_in = |area: &&Area| (area.start as u64) < end && start < area.end as u64;
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
    fn locks(&self, image: &Arc<Image>, call: &Notification) {
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

    /// A descriptor is about to be made that writes past the page cache.
    fn opens_direct(&self, call: &Notification, directory: i32, address: u64) {
        if let Some(path) = self.path(call, directory, address) {
            self.files.note_direct(path);
        }
    }

    /// ftruncate(2) and fallocate(2), which drop the page cache of a file on FUSE: done here, on the same open file, because
    /// nobody could tell afterwards what was stored before the drop and what after it.
    fn change(&self, call: &Notification) -> Answer {
        let tid = call.tid as i32;
        let files = self.files_of(call, 0);
        let verified = |file: &&Arc<File>| is_verified(&self.log.settings, file);
        let files: Vec<Arc<File>> = files.iter().filter(verified).cloned().collect();
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
        for image in self.images.all() {
            for file in files.iter().filter(|file| file.is_claimed_by(&image)) {
                self.look_after_drop(&image, file);
            }
        }
        match done {
            Ok(()) => Answer::Zero,
            Err(errno) => Answer::Fail(errno),
        }
    }

    /// fsync(2) and fdatasync(2) fail with what the supervisor was told in their place. Done here, on the same open file, so
    /// that no flush of the supervisor's own comes in between.
    fn fsync(&self, call: &Notification) -> Answer {
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
        match done {
            Ok(()) => Answer::Zero,
            Err(errno) => {
                files.iter().for_each(|file| file.suspect(0));
                Answer::Fail(errno)
            }
        }
    }

    /// The page cache of a file may have been dropped right now: where nothing was stored since all was proved, nothing is
    /// missing, and what was dropped is not taken for stored to.
    fn look_after_drop(&self, image: &Arc<Image>, file: &File) {
        let claim = file.claim(image);
        let drops = file.ask_probe(true).drops;
        let mut state = lock(&claim.state);
        if !state.is_clean(image) {
            return;
        }
        let size = file.size().unwrap_or(0);
        let mut written = Ranges::new();
        for area in &state.areas {
            if state.tracked.contains_key(&area.start) {
                let _ = marks::take(image, &marks::inside(area, size), &mut written);
            }
        }
        match state.is_clean(image) {
            true => state.seen_drops = drops,
            false => lock(&claim.debt).owe(&written, false),
        }
    }

    /// A thread of the image's waits, which has unmapped or moved something: what that has held is proved before it goes on,
    /// and may drop it.
    fn before_unmapped(&self, number: u32) {
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

    fn patience(&self) -> Patience {
        Patience::new(self.log.settings.deadline_ms.0.saturating_mul(1_000_000))
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

    fn mmap(&self, call: &Notification) -> Option<Answer> {
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
        self.look(call, &image, &file);
        {
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

    /// The process that was first seen with image `number` has ended: what belongs to it goes, unless others have its
    /// memory.
    fn process_has_ended(&self, number: u32) {
        for image in self.images.all() {
            if let (true, Some(pidfd)) = (image.number == number, &image.pidfd) {
                let _ = epoll::delete(&self.epoll, pidfd);
            }
        }
        self.look_who_is_gone();
        self.files.close_unclaimed();
    }

    /// The process of thread `tid` is about to end: nothing of what it has mapped is held any longer. Who waits for its
    /// end may unmount the filesystem next.
    fn exits(&self, tid: i32) {
        if self.log.has(Level::Info) {
            // The log names those that have mapped and synced nothing, too.
            let _ = self.image(tid);
        }
        if let Some(image) = self.images.of_process(tid) {
            report::at_end(&self.log, &image);
            self.hand_on_to_children(&image);
            self.files.forget(&image);
            // Another thread may be looking at them.
            for _ in 0..200 {
                if self.files.close_unclaimed() {
                    break;
                }
                sys::sleep(1_000_000);
            }
        }
    }

    /// Has the children of an image that ends claim what they have inherited from it: opening that anew may drop the page
    /// cache.
    fn hand_on_to_children(&self, image: &Image) {
        let files = self.files.all();
        if files.is_empty() {
            return;
        }
        for child in children_of(image.pid) {
            let areas = maps::shared(child).unwrap_or_default();
            let has = |file: &&Arc<File>| areas.iter().any(|area| area.inode == file.inode);
            let mut inherited = files.iter().filter(has).peekable();
            if inherited.peek().is_some()
                && let Ok(image) = self.image(child)
            {
                inherited.for_each(|file| drop(file.claim(&image)));
            }
        }
    }

    fn look_who_is_gone(&self) {
        for image in self.images.take_dead() {
            report::at_end(&self.log, &image);
            self.files.forget(&image);
        }
    }

    /// Lets go of files that nobody has mapped any more.
    fn look_what_is_unmapped(&self) {
        self.look_who_is_gone();
        let files = self.files.all();
        if files.is_empty() {
            return;
        }
        let mut seen = HashMap::new();
        for image in self.images.all() {
            // Where it cannot be asked, all stays.
            if let Ok(areas) = image.maps.shared() {
                seen.insert(image.number, (image, areas));
            }
        }
        for file in files {
            let unmapped = |number: u32| {
                let (image, areas) = seen.get(&number)?;
                let has = |areas: &[Area]| areas.iter().any(|area| area.inode == file.inode);
                // It may have been mapped since.
                let is_unmapped = !has(areas) && image.maps.shared().is_ok_and(|now| !has(&now));
                is_unmapped.then(|| image.clone())
            };
            let is_verified = is_verified(&self.log.settings, &file);
            if file.forget_unowed(is_verified, &unmapped) && !self.files.close(&file) {
                self.say_what_is_forgotten(&seen, &file);
            }
        }
    }

    fn say_what_is_forgotten(&self, seen: &HashMap<u32, (Arc<Image>, Vec<Area>)>, file: &File) {
        for (image, _) in seen.values() {
            let message = format!(
                "{} and other files were stored to, not synced, and are no longer mapped: too many to remember them all",
                String::from_utf8_lossy(&file.path)
            );
            report::say(
                &self.log,
                image,
                image.pid,
                Level::Warn,
                event::DOUBT,
                &message,
            );
        }
    }
}

/// Threads that unmap a file at once while another call drops its pages.
const AT_ONCE: u32 = 8;

/// How a wait for a thread of image `number` that unmaps something is named.
fn unmaps(number: u32) -> EventData {
    EventData::new_u64(number.into())
}

/// One at a time.
const UNMAPS: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);

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

/// The children of process `pid` (proc_pid_children(5)); none where the kernel does not tell.
fn children_of(pid: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let children = threads.flat_map(|thread| {
        let list = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let numbers = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        numbers.collect::<Vec<_>>()
    });
    children.collect()
}

/// How many seccomp filters a thread has (proc_pid_status(5), Linux 5.9).
fn filters_of(tid: impl std::fmt::Display) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let mut lines = status.lines();
    let number = lines.find_map(|line| line.strip_prefix("Seccomp_filters:"))?;
    number.trim().parse().ok()
}

/// Says once at info that the image is supervised.
fn greet(log: &Log, image: &Image) {
    let message = format!(
        "keepmydata {} supervises; {}",
        env!("CARGO_PKG_VERSION"),
        log.settings
    );
    report::say(log, image, image.pid, Level::Info, event::START, &message);
}
