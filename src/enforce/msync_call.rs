//! The tracked files of one msync.

use super::observer::{self, Event};
use super::request::{
    Caller, Contexts, Ended, Flushed, Known, Pooled, Request, Snapshot, patience,
};
use super::{invalidate, prepare, steps, ticket};
use crate::handles;
use crate::helper::{self, InCall, Worker};
use crate::log::Timed;
use crate::mappings::{self, file::File};
use crate::process::Process;
use crate::{config, sys};
use keepmydata_promise::{Patience, PooledList, Zero};
use keepmydata_records::Invalidate;
use libc::c_int;
use rustix::io::Errno;

/// The tracked files of one msync, all at the same step, by address: who waits for several tickets waits
/// in that order, so that no two wait for each other.
pub struct MsyncCall<Step> {
    files: PooledList<Step, Contexts>,
    common: Common,
}

/// What is not about one file.
struct Common {
    process: &'static Process,
    /// Whether other threads' flushes did some of the files.
    served: bool,
    /// Whether memory was out for some of the files.
    incomplete: bool,
    _call: InCall,
}

impl<Step> MsyncCall<Step> {
    /// Whether every file got its steps: what did not is not promised.
    pub fn complete(&self) -> Result<(), Errno> {
        match self.common.incomplete {
            true => Err(Errno::NOMEM),
            false => Ok(()),
        }
    }

    /// Whether there is no file left.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether other threads' flushes did some of the files.
    pub fn was_served(&self) -> bool {
        self.common.served
    }

    /// Has each file take a step.
    fn map<Next>(self, step: impl FnMut(Pooled<Step>) -> Pooled<Next>) -> MsyncCall<Next> {
        MsyncCall {
            files: self.files.map(step),
            common: self.common,
        }
    }

    /// Has all files take steps on the helper, in one trip; without a helper, here. There is always a result.
    pub fn in_one_trip<R>(self, steps: impl FnOnce(&Worker, Self) -> R) -> Option<R> {
        let (process, mut todo, mut done) = (self.common.process, Some((self, steps)), None);
        helper::run_or_here(process, &mut |worker| {
            if let Some((files, steps)) = todo.take() {
                done = Some(steps(worker, files));
            }
        });
        done
    }
}

impl MsyncCall<Request> {
    fn without_files(process: &'static Process) -> MsyncCall<Request> {
        MsyncCall {
            files: PooledList::default(),
            common: Common {
                process,
                served: false,
                incomplete: false,
                _call: InCall::begin(),
            },
        }
    }

    /// msync(2) of `[addr, addr + len)`: the tracked files mapped there that this process may have stored to. On a thread of
    /// the program's, with all signals blocked.
    pub fn collect(
        process: &'static Process,
        addr: usize,
        len: usize,
        flags: c_int,
    ) -> MsyncCall<Request> {
        let mut msync = MsyncCall::without_files(process);
        let end = addr.saturating_add(sys::page_up(len as u64) as usize);
        let caller = Caller::next();
        let table = mappings::lock_blocked();
        table.for_each(addr, end, |entry| {
            let excluded = table.get(entry.file).excluded;
            if excluded
                || msync.has(entry.file)
                || !entry.writable
                    && !table.is_stored_to(entry.file)
                    && !table.is_shown_elsewhere(entry.file)
            {
                return true;
            }
            let added = msync.insert(entry.file, || Request {
                addr,
                len,
                flags,
                offset: entry.offset,
                ..Request::new(entry.file, caller)
            });
            msync.common.incomplete |= !added;
            true
        });
        msync.add_twins(&table);
        drop(table);
        msync
    }

    /// One file, of which the caller leads the flush `ticket` already, or will: see [`super::before`]. Only a part of it
    /// ([`Request::is_part`]) where it `is_part`.
    pub fn of_file(
        process: &'static Process,
        file: &File,
        ticket: Option<u32>,
        is_part: bool,
    ) -> MsyncCall<Request> {
        let mut msync = MsyncCall::without_files(process);
        let added = msync.insert(file, || Request {
            settles: true,
            is_part,
            ticket,
            ..Request::new(file, Caller::next())
        });
        msync.common.incomplete = !added;
        msync
    }

    /// A FUSE daemon may show one file as two inodes, with a page cache each: both are synced.
    fn add_twins(&mut self, table: &mappings::Guard) {
        let mut at = 0;
        while let Some(first) = self.files.get(at) {
            let (key, caller) = (first.file.key, first.caller);
            let (addr, len, flags) = (first.addr, first.len, first.flags);
            // An inode that comes before this one moves it on, and it is looked at once more.
            at += 1;
            if key.handle == 0 {
                continue;
            }
            table.of_inode(key.dev, key.ino).for_each(|file| {
                if self.has(file) {
                    return;
                }
                let added = self.insert(file, || Request {
                    addr,
                    len,
                    flags,
                    ..Request::new(file, caller)
                });
                self.common.incomplete |= !added;
            });
        }
    }

    fn has(&self, file: &File) -> bool {
        self.files.iter().any(|request| *request.file == *file)
    }

    /// Adds the request that `make` makes of `file`; false where memory is out. Then none is made: what holds a file
    /// must not be dropped under the table lock, which letting go takes.
    #[must_use]
    fn insert(&mut self, file: &File, make: impl FnOnce() -> Request) -> bool {
        let is_before = |request: &&Request| *request.file < *file;
        let at = self.files.iter().take_while(is_before).count();
        self.files.insert_with(at, make)
    }

    /// Waits for the ticket of each file; those that another thread's flush served leave it. Returns what those say.
    pub fn enter(&mut self) -> Option<Result<Zero, Errno>> {
        let mut outcome = None;
        let mut at = 0;
        while let Some(request) = self.files.get(at) {
            let Some(served) = ticket::enter(&request.file) else {
                at += 1;
                continue;
            };
            self.common.served = true;
            outcome = Some(both(outcome, served));
            if !request.settles {
                observer::served(request, served.map(|_| ()));
            }
            drop(self.files.remove(at));
        }
        outcome
    }

    /// Whether the fdatasync of the handle is also what msync with `flags` asks of the kernel: where that
    /// is a part of the same ([`mappings::file::Traits::msync_is_fdatasync`]), of one file and no other,
    /// and no error waits that the program would be told and the handle not
    /// ([`mappings::table::Marks::errseq_seen`]). Asked after [`MsyncCall::enter`]: another thread's flush may have
    /// failed until then.
    pub fn is_one_sync(&self) -> bool {
        let mut files = self.files.iter();
        let (Some(only), None) = (files.next(), files.next()) else {
            return false;
        };
        !self.common.served
            && only.flags & libc::MS_SYNC != 0
            && only.file.traits.msync_is_fdatasync
            && self.is_errseq_seen(only)
    }

    /// Whether the range is nothing but mappings of the file of which the program was told all errors.
    fn is_errseq_seen(&self, request: &Request) -> bool {
        let len = sys::page_up(request.len as u64) as usize;
        let (mut seen, generation) = (0, self.common.process.generation());
        let end = request.addr.saturating_add(len);
        mappings::lock_blocked().for_each(request.addr, end, |entry| {
            let is = *entry.file == *request.file && entry.marks.errseq_seen == generation;
            seen += if is { entry.len() } else { 0 };
            is
        });
        seen == len
    }

    /// Begins step 1 for each file; says whether the dirty ranges are asked for before the flush: what can be done
    /// without, is.
    #[inline(never)]
    pub fn begin(self) -> (MsyncCall<Snapshot>, bool) {
        let mut learns = false;
        let begun = self.map(|request| {
            let (snapshot, done) = prepare::begin(request);
            learns |= !done;
            snapshot
        });
        (begun, learns)
    }

    /// All steps of [`MsyncCall::is_one_sync`]: on the calling thread where nothing needs a descriptor, else in one trip to
    /// the helper. Back come the snapshots where the flush has failed, or there is no handle: the real msync and
    /// [`MsyncCall::finish`] must follow.
    pub fn sync_at_once(self) -> Option<Result<MsyncCall<Ended>, MsyncCall<Snapshot>>> {
        let (call, learns) = self.begin();
        let is_here = !learns
            && config::settings().invalidate == Invalidate::Off
            && (call.files.iter()).all(|at| handles::is_whole_mapped(&at.known.handle));
        if is_here {
            let worker = Worker::without_descriptors(call.common.process);
            return Some(call.flush_alone(&worker, learns));
        }
        call.in_one_trip(|worker, call| call.flush_alone(worker, learns))
    }

    /// All steps of an enforcement without an msync.
    pub fn settle(self, patience: &mut Patience) -> Option<MsyncCall<Ended>> {
        let (call, learns) = self.begin();
        call.settle(learns, patience)
    }
}

#[inline(never)]
fn prepare_one(worker: &Worker, snapshot: &mut Snapshot, learns: bool) {
    if learns {
        prepare::learn(worker, snapshot);
        observer::tell(worker, snapshot, Event::Begins);
    }
    if config::settings().invalidate != Invalidate::Off {
        snapshot.known.was_clean = invalidate::nothing_is_dirty(worker, snapshot);
    }
}

impl MsyncCall<Snapshot> {
    /// The steps of [`MsyncCall::sync_at_once`].
    #[inline(never)]
    fn flush_alone(
        mut self,
        worker: &Worker,
        learns: bool,
    ) -> Result<MsyncCall<Ended>, MsyncCall<Snapshot>> {
        let (mut ended, mut left) = (PooledList::default(), PooledList::default());
        // On the program's thread that takes little of a stack.
        let is_plain = !learns && config::settings().invalidate == Invalidate::Off;
        while let Some(mut snapshot) = self.files.remove(0) {
            if !is_plain {
                prepare_one(worker, &mut snapshot, learns);
            } else if worker.has_descriptors() {
                handles::map_whole(worker, &snapshot.file);
            }
            let kept = match steps::flush_alone(worker, snapshot) {
                Ok(file) => {
                    let file = steps::conclude(worker, file, &mut patience());
                    ended.insert(ended.len(), file).map_err(drop)
                }
                Err(mut file) => {
                    handles::unmap_whole(&file.file);
                    file.known.handle.whole = 0;
                    if !worker.has_descriptors() && file.failed == Some(Errno::NOMEM) {
                        // The mapping is gone, behind the C library's back.
                        file.failed = None;
                    }
                    left.insert(left.len(), file).map_err(drop)
                }
            };
            debug_assert!(kept.is_ok(), "there is one file");
        }
        let common = self.common;
        match left.is_empty() {
            true => Ok(MsyncCall {
                files: ended,
                common,
            }),
            false => Err(MsyncCall {
                files: left,
                common,
            }),
        }
    }

    /// The steps of [`MsyncCall::settle`] after the first.
    #[inline(never)]
    fn settle(self, learns: bool, patience: &mut Patience) -> Option<MsyncCall<Ended>> {
        self.in_one_trip(|worker, call| {
            let call = call.prepare(worker, learns);
            let call = call.map(|snapshot| steps::flush(worker, snapshot, Ok(())));
            call.conclude(worker, patience)
        })
    }

    /// The kernel has synced the range, and told the program of all errors.
    pub fn note_errseq_seen(&self, addr: usize, len: usize) {
        let generation = self.common.process.generation();
        let end = addr.saturating_add(len);
        mappings::lock_blocked().mark(addr, end, |entry, marks| {
            let is_current =
                |at: &Snapshot| *at.file == *entry.file && at.known.handle.generation == generation;
            if self.files.iter().any(is_current) {
                marks.errseq_seen = generation;
            }
        });
    }

    /// Step 1; `learns` says whether they are asked for ([`MsyncCall::begin`]). On a helper thread.
    pub fn prepare(self, worker: &Worker, learns: bool) -> MsyncCall<Snapshot> {
        let mut call = self.map(|mut snapshot| {
            prepare_one(worker, &mut snapshot, learns);
            snapshot
        });
        // The reader's page cache may be another one than the writer's (see `add_twins`).
        let was_clean = call.files.iter().all(|snapshot| snapshot.known.was_clean);
        for snapshot in call.files.iter_mut() {
            snapshot.known.was_clean = was_clean;
        }
        call
    }

    /// The kernel did not take the call, although it would have a moment ago: memory was locked meanwhile. On a helper
    /// thread.
    pub fn give_up(mut self, worker: &Worker, errno: Errno) {
        while let Some(mut file) = self.files.remove(0) {
            steps::give_up(worker, &mut file, errno);
            ticket::abandon(&file.file, number(&file.known, &file));
        }
    }

    /// The steps after the real msync, which took so long and has returned `real`. On a helper thread.
    pub fn finish(
        self,
        worker: &Worker,
        timed: Timed,
        real: Result<(), Errno>,
    ) -> MsyncCall<Ended> {
        let call = self.map(|snapshot| {
            observer::tell(worker, &snapshot, Event::Called(timed, real));
            steps::flush(worker, snapshot, real)
        });
        call.conclude(worker, &mut patience())
    }
}

impl MsyncCall<Flushed> {
    /// The steps after the flush of all files: while one is waited for, the filesystem has time for the others.
    fn conclude(self, worker: &Worker, patience: &mut Patience) -> MsyncCall<Ended> {
        self.map(|flushed| steps::conclude(worker, flushed, patience))
    }
}

/// What two files say, the first of them if there is one.
fn both(first: Option<Result<Zero, Errno>>, second: Result<Zero, Errno>) -> Result<Zero, Errno> {
    first.map_or(second, |first| first.and(second))
}

/// The number of the flush of `request`, which begins now if it has not.
fn number(known: &Known, request: &Request) -> u32 {
    let begin = || ticket::begin(&request.file).number;
    known.ticket.unwrap_or_else(begin)
}

impl MsyncCall<Ended> {
    /// Whether each file has all of it proved, and an msync would have nothing to tell, of these enforcements or of earlier ones,
    /// nor anything to show to another client.
    pub fn proves_all(&self) -> bool {
        let proves = |file: &Ended| {
            !file.is_part
                && file.is_all_proved()
                && file.refused_pages == 0
                && !file.was_untold
                && (!file.terms.seen_elsewhere || file.terms.waits_elsewhere())
        };
        self.files.iter().all(proves)
    }

    /// Whether each file has proved what it was to.
    pub fn has_proved(&self) -> bool {
        self.files.iter().all(Ended::is_all_proved)
    }

    /// Gives the tickets back: who waits for them is told how its file fared. Of no file nothing is proved.
    pub fn leave(mut self) -> Result<Zero, Errno> {
        let mut outcome = None;
        while let Some(file) = self.files.remove(0) {
            outcome = Some(both(outcome, file.zero()));
            let number = number(&file.known, &file);
            ticket::leave(&file.file, number, file.zero());
        }
        outcome.unwrap_or(Err(Errno::IO))
    }

    /// Gives the tickets back; who waits for them must do it all itself.
    pub fn abandon(mut self) {
        while let Some(file) = self.files.remove(0) {
            ticket::abandon(&file.file, number(&file.known, &file));
        }
    }
}
