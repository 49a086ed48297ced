//! The tracked files of one msync.

use super::context::{self, Context};
use super::{invalidate, metrics, prepare, report, ticket};
use crate::helper::{self, InCall, Worker};
use crate::mappings::{self, file::File};
use crate::process::Process;
use crate::{config, sys};
use core::ptr::NonNull;
use keepmydata_records::Invalidate;
use keepmydata_sync::commit::Ticket;
use libc::c_int;
use rustix::io::Errno;

/// How a file fared.
pub type Outcome = fn(&Context) -> Result<(), Errno>;

/// The tracked files of one msync, a context each, by address: who waits for several turns waits
/// in that order, so that no two wait for each other.
pub struct MsyncCall {
    process: &'static Process,
    first: Option<NonNull<Context>>,
    /// Whether other threads' flushes did some of the files.
    pub served: bool,
    /// Whether memory was out for some of the files.
    incomplete: bool,
    pub result: Result<(), Errno>,
    _call: InCall,
}

impl MsyncCall {
    fn without_files(process: &'static Process) -> MsyncCall {
        MsyncCall {
            process,
            first: None,
            served: false,
            incomplete: false,
            result: Ok(()),
            _call: InCall::begin(),
        }
    }

    pub fn collect(process: &'static Process, addr: usize, len: usize, flags: c_int) -> MsyncCall {
        let mut msync = MsyncCall::without_files(process);
        let end = addr.saturating_add(sys::page_up(len as u64) as usize);
        let call = context::next_call();
        let tid = sys::gettid();
        let table = mappings::lock_blocked();
        table.for_each(addr, end, |entry| {
            let excluded = table.get(entry.file).excluded;
            if excluded
                || msync.has(entry.file)
                || !entry.writable && !table.is_stored_to(entry.file)
            {
                return true;
            }
            let Some(new) = context::new(entry.file) else {
                msync.incomplete = true;
                return true;
            };
            // SAFETY: made just now.
            let context = unsafe { &mut *new.as_ptr() };
            context.call = call;
            context.tid = tid;
            (context.addr, context.len, context.flags) = (addr, len, flags);
            context.offset = entry.offset;
            msync.insert(new);
            true
        });
        msync.add_twins(&table);
        drop(table);
        msync
    }

    /// One file: see [`super::before`].
    pub fn of_file(process: &'static Process, file: &File) -> MsyncCall {
        let mut msync = MsyncCall::without_files(process);
        let Some(new) = context::new(file) else {
            return msync;
        };
        // SAFETY: made just now.
        let context = unsafe { &mut *new.as_ptr() };
        context.call = context::next_call();
        context.tid = sys::gettid();
        context.flags = libc::MS_SYNC;
        context.settles = true;
        msync.insert(new);
        msync
    }

    /// A FUSE daemon may show one file as two inodes, with a page cache each: both are synced.
    fn add_twins(&mut self, table: &mappings::Guard) {
        let Some(first) = self.first else { return };
        // SAFETY: contexts of a call are its alone.
        let call = unsafe { first.as_ref() };
        let key = call.file.key;
        if key.handle == 0 {
            return;
        }
        table.of_inode(key.dev, key.ino).for_each(|file| {
            if !self.has(file)
                && let Some(new) = context::new(file)
            {
                // SAFETY: made just now.
                let context = unsafe { &mut *new.as_ptr() };
                (context.call, context.tid) = (call.call, call.tid);
                (context.addr, context.len, context.flags) = (call.addr, call.len, call.flags);
                self.insert(new);
            }
        });
    }

    /// Whether every file got its steps: what did not is not promised.
    pub fn complete(&self) -> Result<(), Errno> {
        if self.incomplete {
            Err(Errno::NOMEM)
        } else {
            Ok(())
        }
    }

    fn has(&self, file: &File) -> bool {
        let mut found = false;
        self.each(|context| found |= *context.file == *file);
        found
    }

    fn insert(&mut self, new: NonNull<Context>) {
        // SAFETY: contexts of a call are its alone.
        unsafe {
            let mut at: *mut Option<NonNull<Context>> = &raw mut self.first;
            while let Some(next) = *at
                && *(*next.as_ptr()).file < *(*new.as_ptr()).file
            {
                at = &raw mut (*next.as_ptr()).next;
            }
            (*new.as_ptr()).next = *at;
            *at = Some(new);
        }
    }

    pub fn each(&self, mut f: impl FnMut(&mut Context)) {
        let mut at = self.first;
        while let Some(context) = at {
            // SAFETY: contexts of a call are its alone.
            let context = unsafe { &mut *context.as_ptr() };
            at = context.next;
            f(context);
        }
    }

    /// Waits for the turn on each file; those that another thread's flush served leave it.
    pub fn enter(&mut self) -> Result<(), Errno> {
        let mut result = Ok(());
        let mut at: *mut Option<NonNull<Context>> = &raw mut self.first;
        // SAFETY: contexts of a call are its alone.
        unsafe {
            while let Some(context) = *at {
                let c = &mut *context.as_ptr();
                match ticket::enter(&c.file) {
                    Ticket::Lead => at = &raw mut c.next,
                    Ticket::Served(errno) => {
                        let served = match errno {
                            0 => Ok(()),
                            errno => Err(Errno::from_raw_os_error(errno)),
                        };
                        self.served = true;
                        result = result.and(served);
                        if !c.settles {
                            metrics::served(c);
                            report::shared(c, served);
                        }
                        *at = c.next;
                        context::give(context);
                    }
                }
            }
        }
        result
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Whether the fdatasync of the handle is also what msync with `flags` asks of the kernel: where that
    /// is a part of the same ([`mappings::file::Traits::msync_is_fdatasync`]), of one file and no other,
    /// and no error waits that the program would be told and the handle not
    /// ([`mappings::table::Marks::errseq_seen`]). Asked after [`MsyncCall::enter`]: another thread's flush may have
    /// failed until then.
    pub fn is_one_sync(&self) -> bool {
        let Some(only) = self.first.filter(|_| !self.served) else {
            return false;
        };
        // SAFETY: contexts of a call are its alone.
        let only = unsafe { only.as_ref() };
        only.flags & libc::MS_SYNC != 0
            && only.next.is_none()
            && only.traits.msync_is_fdatasync
            && self.is_errseq_seen(only)
    }

    /// Whether the range is nothing but mappings of the file that the program has heard all errors of.
    fn is_errseq_seen(&self, context: &Context) -> bool {
        let len = sys::page_up(context.len as u64) as usize;
        let (mut heard, generation) = (0, self.process.generation());
        let end = context.addr.saturating_add(len);
        mappings::lock_blocked().for_each(context.addr, end, |entry| {
            let is = *entry.file == *context.file && entry.marks.errseq_seen == generation;
            heard += if is { entry.len() } else { 0 };
            is
        });
        heard == len
    }

    /// All steps of [`MsyncCall::is_one_sync`] in one trip to the helper; false where the flush has failed,
    /// or there is no handle: the real msync and [`super::finish`] must follow.
    pub fn sync_at_once(&self) -> bool {
        let learns = self.learns();
        let mut done = false;
        self.in_one_trip(|worker| {
            self.each(|context| {
                Self::prepare_one(worker, context, learns);
                if worker.borrow_handle(&context.handle).is_some() {
                    super::flush(worker, context);
                    done = context.flush_error.is_none();
                }
                if done {
                    super::conclude(worker, context);
                }
            });
        });
        done
    }

    /// The kernel has synced the range, and told the program of all errors.
    pub fn note_errseq_seen(&self, addr: usize, len: usize) {
        let generation = self.process.generation();
        let end = addr.saturating_add(len);
        mappings::lock_blocked().mark(addr, end, |entry, marks| {
            self.each(|context| {
                if *context.file == *entry.file && context.handle.generation == generation {
                    marks.errseq_seen = generation;
                }
            });
        });
    }

    /// Whether anything is to be learnt before the flush; what can be done without, is.
    pub fn learns(&self) -> bool {
        let mut learns = false;
        self.each(|context| learns |= !prepare::prepare_here(context));
        learns
    }

    fn prepare_one(worker: &Worker, context: &mut Context, learns: bool) {
        if learns {
            metrics::open(context);
            prepare::prepare(worker, context);
            metrics::begin(worker, context);
        }
        if config::settings().invalidate != Invalidate::Off {
            context.was_clean = invalidate::nothing_is_dirty(worker, context);
        }
    }

    /// Step 1; `learns` says whether anything is to be learnt ([`MsyncCall::learns`]). On a helper thread.
    pub fn prepare(&self, worker: &Worker, learns: bool) {
        self.each(|context| Self::prepare_one(worker, context, learns));
        // The reader's page cache may be another one than the writer's (see `add_twins`).
        let mut was_clean = true;
        self.each(|context| was_clean &= context.was_clean);
        self.each(|context| context.was_clean = was_clean);
    }

    /// Runs `steps` on the helper; without a helper, here.
    pub fn in_one_trip(&self, mut steps: impl FnMut(&Worker)) {
        if helper::run(self.process, |worker| steps(worker)).is_err() {
            steps(&Worker::without_descriptors(self.process));
        }
    }

    /// Lets everything go, and the turns go on.
    pub fn let_go(&mut self) {
        while let Some(context) = self.first {
            // SAFETY: contexts of a call are its alone.
            let c = unsafe { &mut *context.as_ptr() };
            self.first = c.next;
            if !c.kept {
                context::give(context);
            }
        }
    }

    /// Ends the turns and lets everything go; `result` tells how each file fared, and is none where
    /// nothing was done.
    pub fn leave(&mut self, result: Option<Outcome>) {
        while let Some(context) = self.first {
            // SAFETY: contexts of a call are its alone.
            let c = unsafe { &mut *context.as_ptr() };
            let number = c.ticket.unwrap_or_else(|| ticket::begin(&c.file).number);
            match result {
                Some(result) => {
                    let outcome = result(c);
                    self.result = self.result.and(outcome);
                    ticket::leave(&c.file, number, outcome);
                }
                None => ticket::abandon(&c.file, number),
            }
            self.first = c.next;
            if !c.kept {
                context::give(context);
            }
        }
    }
}
