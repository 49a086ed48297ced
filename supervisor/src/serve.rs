//! The supervisor's process: it receives calls that wait, has them done, and ends with the last process that it supervises.
//!
//! One thread waits for calls at all times, because a signal interrupts a call until it was received. Who has received one does it,
//! and another waits for the next: one that waits for a filesystem must not block another, whose program may be that filesystem's
//! daemon. So only the turn of a file is held while that file or its filesystem is asked.
use crate::image::{errno, lock, read_memory};
use crate::notify::{Answer, Notification};
use crate::report;
use crate::supervisor::Supervisor;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Serves, by threads.
pub struct Service {
    supervisor: Supervisor,
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
    crew: fn(&Service) -> &Crew,
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

impl Service {
    pub fn new(supervisor: Supervisor) -> Service {
        Service {
            supervisor,
            callers: Crew::default(),
            unmappers: Crew::default(),
        }
    }

    /// Serves until nobody is left to be served.
    pub fn run(self) -> Result<(), Errno> {
        let all = Arc::new(self);
        let of = &all.supervisor;
        epoll::add(
            &of.epoll,
            &of.listener,
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
                match of.files.is_empty() {
                    true => of.look_who_is_gone(),
                    // Not here: it may take long.
                    false => all.do_aside(Supervisor::look_what_is_unmapped),
                }
                next = Instant::now() + LOOK;
            }
            events.clear();
            if epoll::wait(&of.epoll, spare_capacity(&mut events), Some(&wait)).is_err() {
                continue;
            }
            for event in &events {
                let (what, flags) = (event.data.u64(), event.flags);
                if what != 0 {
                    all.do_aside(move |all| all.process_has_ended(what as u32));
                } else if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
                    // What is said at the end of each.
                    let left = of.images.all();
                    left.iter().for_each(|image| report::at_end(&of.log, image));
                    return Ok(());
                }
            }
        }
    }

    fn do_aside(self: &Arc<Self>, what: impl FnOnce(&Supervisor) + Send + 'static) {
        let all = self.clone();
        let _ = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || what(&all.supervisor));
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
                (duty.wait)(&self.supervisor)
            };
            let was_last = crew.idle.fetch_sub(1, Ordering::Relaxed) == 1;
            match next {
                Next::Do(what) => {
                    if was_last {
                        // Without, the next waits until this is done.
                        let _ = self.begin(duty);
                    }
                    (duty.run)(&self.supervisor, what);
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
}

impl Supervisor {
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

    /// A descriptor is about to be made that writes past the page cache.
    fn opens_direct(&self, call: &Notification, directory: i32, address: u64) {
        if let Some(path) = self.path(call, directory, address) {
            self.files.note_direct(path);
        }
    }
}
