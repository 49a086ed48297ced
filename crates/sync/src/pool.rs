//! A pool of workers: the protocol between threads that have work, those that do it, and those that give orders.
//!
//! A thread with a [`Job`] puts it into the queue and sleeps until it is done. A worker that takes a job
//! while no other is idle first has another one hired. Every worker carries out an order between two jobs, and its giver
//! waits for the last: new user ids, or to leave.

use crate::port::{self, Guard, Mutex, UnsafeCell, Word};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::Ordering;

/// Threads at the most; beyond, work waits for a thread to come free.
pub const MOST: u32 = if cfg!(loom) { 2 } else { 64 };

const NONE: u32 = 0;
const STARTING: u32 = 1;
const READY: u32 = 2;
const FAILED: u32 = 3;
const LEAVING: u32 = 4;

/// Whether there may be enough at another time (clone(2)): `EAGAIN`, for a limit of processes, and `ENOMEM`.
fn is_short(errno: u32) -> bool {
    const ENOMEM: u32 = 12;
    const EAGAIN: u32 = 11;
    matches!(errno, ENOMEM | EAGAIN)
}

/// What a thread wants done, on its stack while it waits.
pub struct Job<P> {
    next: UnsafeCell<*mut Job<P>>,
    done: Word,
    /// What a worker is to do.
    pub payload: P,
}

impl<P> Job<P> {
    /// One that is in no queue yet.
    pub fn new(payload: P) -> Job<P> {
        Job {
            next: UnsafeCell::new(null_mut()),
            done: Word::new(0),
            payload,
        }
    }

    /// Waits until the job is done; then all that was written by it is seen. `sleep` sleeps while the word
    /// is 0, and may return early. False as soon as that is: then the job is not done.
    pub fn wait(&self, sleep: impl Fn(&Word) -> bool) -> bool {
        while self.done.load(Ordering::Acquire) == 0 {
            if !sleep(&self.done) {
                return false;
            }
        }
        true
    }

    /// Wakes who waits, although the job is not done. The waiter may be about to sleep, and miss it.
    pub fn nudge(&self) {
        port::wake_one(&self.done);
    }

    /// Tells who waits that the job is done.
    ///
    /// # Safety
    /// `job` was taken from the queue, and nothing of it is used any more.
    pub unsafe fn finish(job: NonNull<Job<P>>) {
        // The waiter may be gone as soon as it sees this; the wake-up needs the address only.
        // SAFETY: live until the store; a waiter waits.
        unsafe {
            let done = &raw const (*job.as_ptr()).done;
            (*done).store(
                1,
                defect!(ResultIsNotReleased => Ordering::Relaxed; Ordering::Release),
            );
            port::wake_one(done);
        }
    }
}

/// All-zero is "not started".
#[derive(Default)]
pub struct WorkerPool<P, O> {
    state: Word,
    errno: Word,
    queue: Mutex<Queue<P, O>>,
    /// Counts jobs and orders; idle members sleep on it.
    news: Word,
    /// Counts changes that who gives an order waits for.
    changed: Word,
}

struct Queue<P, O> {
    head: *mut Job<P>,
    tail: *mut Job<P>,
    /// Whether jobs are taken.
    open: bool,
    members: u32,
    idle: u32,
    /// Threads that are being made.
    hiring: u32,
    order: Option<O>,
    /// Number of the last order.
    number: u32,
    /// Members that have not carried it out.
    outstanding: u32,
    leave: bool,
}

impl<P, O> Default for Queue<P, O> {
    fn default() -> Queue<P, O> {
        Queue {
            head: null_mut(),
            tail: null_mut(),
            open: false,
            members: 0,
            idle: 0,
            hiring: 0,
            order: None,
            number: 0,
            outstanding: 0,
            leave: false,
        }
    }
}

// SAFETY: the pointers are followed by the holder of the lock only; a job outlives its time in the
// queue, because whoever queued it waits.
unsafe impl<P, O> Send for Queue<P, O> {}

/// What became of a job that was to be queued.
#[derive(Debug, PartialEq, Eq)]
pub enum Push {
    /// A member takes it, or has: wait for it.
    Queued,
    /// The pool is leaving: see [`WorkerPool::ready`] again.
    Closed,
    /// It is not queued: the calling thread may wake nobody.
    Unheard,
}

/// What a member knows of the orders.
pub struct Member {
    number: u32,
}

/// What a member does next.
pub enum Next<P, O> {
    /// Run this, then [`Job::finish`] it; with `true`, first make a thread, or say
    /// [`WorkerPool::not_hired`].
    Job(NonNull<Job<P>>, bool),
    /// Carry this out, then say [`WorkerPool::carried_out`].
    Order(O),
    /// The thread is a member no more, and ends.
    Leave,
}

impl<P, O: Copy> WorkerPool<P, O> {
    /// Waits until there is a pool. Without one, `hire` makes the first thread, which says
    /// [`WorkerPool::opened`] or [`WorkerPool::failed`]. The error is its errno or theirs, now and ever after; but what is
    /// short only now is asked for again by the next call.
    pub fn ready(&self, hire: impl Fn() -> Result<(), i32>) -> Result<(), i32> {
        match self.state.load(Ordering::Acquire) {
            READY => Ok(()),
            _ => self.ready_slow(hire),
        }
    }

    /// Whether there are workers that take jobs.
    pub fn is_there(&self) -> bool {
        self.state.load(Ordering::Acquire) == READY
    }

    #[cold]
    fn ready_slow(&self, hire: impl Fn() -> Result<(), i32>) -> Result<(), i32> {
        let mut is_first = true;
        loop {
            match self.state.load(Ordering::Acquire) {
                READY => return Ok(()),
                FAILED => {
                    let errno = self.errno.load(Ordering::Relaxed);
                    if !is_first || !is_short(errno) {
                        return Err(errno as i32);
                    }
                    self.switch(FAILED, NONE);
                }
                NONE => {
                    if self.switch(NONE, STARTING) {
                        self.queue.lock().hiring += 1;
                        if let Err(errno) = hire() {
                            self.failed(errno);
                        }
                    }
                }
                state => port::wait(&self.state, state),
            }
            is_first = false;
        }
    }

    fn switch(&self, from: u32, to: u32) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn settle(&self, state: u32) {
        self.state.store(state, Ordering::Release);
        port::wake_all(&self.state);
    }

    /// The first thread is there and takes jobs.
    pub fn opened(&self) -> Member {
        self.queue.lock().open = true;
        let member = self.join();
        self.settle(READY);
        member
    }

    /// The first thread cannot be made, or cannot work.
    pub fn failed(&self, errno: i32) {
        self.not_hired();
        self.errno.store(errno as u32, Ordering::Relaxed);
        self.settle(FAILED);
    }

    /// Reserves a place for a thread other than the first; says whether one may be made now. It
    /// must [`WorkerPool::join`], or where it cannot be made, [`WorkerPool::not_hired`] be called.
    pub fn hire(&self) -> bool {
        let mut queue = self.queue.lock();
        let may = queue.open;
        queue.hiring += u32::from(may);
        may
    }

    /// The same for one that takes jobs, while no other is idle.
    pub fn hire_where_none_is_idle(&self) -> bool {
        let mut queue = self.queue.lock();
        let may = queue.lacks_a_member();
        queue.hiring += u32::from(may);
        may
    }

    /// Reserves a place for a thread that is made together with the first, before that has
    /// [`WorkerPool::opened`].
    pub fn reserve(&self) {
        self.queue.lock().hiring += 1;
    }

    /// A thread for which a place was reserved is there.
    pub fn join(&self) -> Member {
        let mut queue = self.queue.lock();
        queue.hiring -= 1;
        queue.members += 1;
        let number = queue.number;
        drop(queue);
        self.announce();
        Member { number }
    }

    /// A place that was reserved stays empty.
    pub fn not_hired(&self) {
        self.queue.lock().hiring -= 1;
        self.announce();
    }

    fn announce(&self) {
        self.changed.fetch_add(1, Ordering::Relaxed);
        port::wake_all(&self.changed);
    }

    /// Queues a job.
    pub fn push(&self, job: NonNull<Job<P>>) -> Push {
        {
            let mut queue = self.queue.lock();
            if !queue.open {
                return Push::Closed;
            }
            queue.append(job);
            defect!(ForgetsTheNewsOfAJob => 0; self.news.fetch_add(1, Ordering::Relaxed));
        }
        match port::wake_one(&self.news) || !self.queue.lock().withdraw(job) {
            true => Push::Queued,
            false => Push::Unheard,
        }
    }

    /// Queues the job of who makes the first thread, in `hire` of [`WorkerPool::ready`]: that thread finds it when it
    /// comes, and need not be woken. Where there is no pool then, [`WorkerPool::take_back`].
    pub fn push_first(&self, job: NonNull<Job<P>>) {
        self.queue.lock().append(job);
    }

    /// Takes `job` out of the queue; false where a member has taken it.
    pub fn take_back(&self, job: NonNull<Job<P>>) -> bool {
        self.queue.lock().withdraw(job)
    }

    /// Takes `job` out of the queue, where members that do not live any more have left it; false where they have
    /// taken it, or one of them has the lock.
    pub fn withdraw(&self, job: NonNull<Job<P>>) -> bool {
        let queue = self.queue.try_lock();
        queue.is_some_and(|mut queue| queue.withdraw(job))
    }

    /// Whether a job waits for a member.
    pub fn has_job(&self) -> bool {
        !self.queue.lock().head.is_null()
    }

    /// Sleeps until there is something to do for `member`. `may_hire` says whether another thread may be of use.
    pub fn next(&self, member: &mut Member, may_hire: impl Fn() -> bool) -> Next<P, O> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(order) = queue.order_for(member) {
                return Next::Order(order);
            }
            if let Some(job) = queue.pop() {
                let hire = queue.lacks_a_member() && may_hire();
                queue.hiring += u32::from(hire);
                return Next::Job(job, hire);
            }
            if queue.leave {
                queue.members -= 1;
                queue.outstanding -= 1;
                drop(queue);
                self.announce();
                return Next::Leave;
            }
            queue.idle += 1;
            let news = self.news.load(Ordering::Relaxed);
            drop(queue);
            port::rest(&self.news, news);
            queue = self.queue.lock();
            queue.idle -= 1;
        }
    }

    /// The order for a member that takes no jobs, and whether the pool is leaving: then it says
    /// [`WorkerPool::left`] when it is done with what it has.
    pub fn look(&self, member: &Member) -> (Option<O>, bool) {
        let queue = self.queue.lock();
        (queue.order_for(member), queue.leave)
    }

    /// The same for who must not wait for another thread, that may be killed with the lock; nothing where it is taken.
    pub fn try_look(&self, member: &Member) -> Option<(Option<O>, bool)> {
        let queue = self.queue.try_lock()?;
        Some((queue.order_for(member), queue.leave))
    }

    /// `member` has carried out the last order.
    pub fn carried_out(&self, member: &mut Member) {
        self.note_carried_out(self.queue.lock(), member);
    }

    /// The same for who must not wait for another thread; nothing where the lock is taken.
    pub fn try_carried_out(&self, member: &mut Member) -> Option<()> {
        self.note_carried_out(self.queue.try_lock()?, member);
        Some(())
    }

    fn note_carried_out(&self, mut queue: Guard<'_, Queue<P, O>>, member: &mut Member) {
        member.number = queue.number;
        queue.outstanding -= 1;
        drop(queue);
        self.announce();
    }

    /// A member that takes no jobs leaves.
    pub fn left(&self, _: Member) {
        self.note_left(self.queue.lock());
    }

    /// The same for one that must not wait for another thread; nothing where the lock is taken.
    pub fn try_left(&self) -> Option<()> {
        self.note_left(self.queue.try_lock()?);
        Some(())
    }

    fn note_left(&self, mut queue: Guard<'_, Queue<P, O>>) {
        queue.members -= 1;
        queue.outstanding -= 1;
        drop(queue);
        self.announce();
    }

    /// Has every member carry out what `order` makes, under the lock, so that the last order is
    /// made last; returns when all have. `nudge` wakes members that do not sleep in [`WorkerPool::next`].
    /// False where they have not: those that are there do not live any more, or cannot be told.
    pub fn order(
        &self,
        order: impl FnOnce() -> O,
        nudge: impl Fn(),
        lives: impl Fn() -> bool,
    ) -> bool {
        self.can_be_told() && self.tell(|queue| queue.order = Some(order()), nudge, lives, || false)
    }

    /// Whether the calling thread may wake the members.
    fn can_be_told(&self) -> bool {
        cfg!(loom) || port::wake_one(&self.news)
    }

    /// Has every member leave when all queued jobs are done, and then calls `gone`; the next
    /// [`WorkerPool::ready`] starts anew. False where there was none, or it cannot be told. `ended`
    /// waits for the end of all members' threads, where that can be waited for; where it says that it has not, each
    /// member's word that it leaves is waited for.
    pub fn dismiss(
        &self,
        nudge: impl Fn(),
        lives: impl Fn() -> bool,
        ended: impl FnOnce() -> bool,
        gone: impl FnOnce(),
    ) -> bool {
        if !self.can_be_told() || !self.switch(READY, LEAVING) {
            return false;
        }
        let leave = |queue: &mut Queue<P, O>| {
            queue.open = defect!(TakesJobsWhileLeaving => true; false);
            queue.leave = true;
        };
        let left = self.tell(leave, nudge, lives, ended);
        {
            let mut queue = self.queue.lock();
            (queue.leave, queue.order) = (false, None);
            if !left {
                (queue.members, queue.hiring, queue.idle, queue.outstanding) = (0, 0, 0, 0);
            }
        }
        gone();
        self.settle(NONE);
        true
    }

    /// False where the members have ended.
    fn tell(
        &self,
        what: impl FnOnce(&mut Queue<P, O>),
        nudge: impl Fn(),
        lives: impl Fn() -> bool,
        ended: impl FnOnce() -> bool,
    ) -> bool {
        // Who is being hired may have the ids of before.
        let is_ready = |queue: &Queue<P, O>| {
            let hired = defect!(OrderMissesWhoIsHired => true; queue.hiring == 0);
            hired && queue.outstanding == 0
        };
        let Some(mut queue) = self.wait_until(is_ready, &lives) else {
            return false;
        };
        if queue.members == 0 {
            return true;
        }
        what(&mut queue);
        queue.number = queue.number.wrapping_add(1);
        queue.outstanding = queue.members;
        let number = queue.number;
        self.news.fetch_add(1, Ordering::Relaxed);
        drop(queue);
        port::wake_all(&self.news);
        nudge();
        if ended() {
            return false;
        }
        let is_done = |queue: &Queue<P, O>| {
            let done = queue.outstanding == 0 || queue.number != number;
            defect!(OrderDoesNotWait => queue.number == number; done)
        };
        self.wait_until(is_done, &lives).is_some()
    }

    fn wait_until(
        &self,
        holds: impl Fn(&Queue<P, O>) -> bool,
        lives: &impl Fn() -> bool,
    ) -> Option<Guard<'_, Queue<P, O>>> {
        loop {
            let changed = self.changed.load(Ordering::Relaxed);
            let queue = self.queue.lock();
            if holds(&queue) {
                return Some(queue);
            }
            drop(queue);
            if !lives() {
                return None;
            }
            port::wait(&self.changed, changed);
        }
    }

    /// How many members there are, when those that are being made have joined; 0 where they have ended.
    pub fn members(&self, lives: impl Fn() -> bool) -> u32 {
        let queue = self.wait_until(|queue| queue.hiring == 0, &lives);
        queue.map_or(0, |queue| queue.members)
    }
}

impl<P, O: Copy> Queue<P, O> {
    fn order_for(&self, member: &Member) -> Option<O> {
        let new = !self.leave && member.number != self.number;
        self.order.filter(|_| new)
    }

    /// Whether a member more may be hired, and none is idle.
    fn lacks_a_member(&self) -> bool {
        self.open && self.idle == 0 && self.members + self.hiring < MOST
    }

    fn append(&mut self, job: NonNull<Job<P>>) {
        match NonNull::new(self.tail) {
            // SAFETY: a queued job is live, and the lock is held.
            Some(last) => unsafe { last.as_ref().next.with_mut(|next| *next = job.as_ptr()) },
            None => self.head = job.as_ptr(),
        }
        self.tail = job.as_ptr();
    }

    /// Takes `job` out again, if no member has.
    fn withdraw(&mut self, job: NonNull<Job<P>>) -> bool {
        let mut before = null_mut::<Job<P>>();
        let mut at = self.head;
        while let Some(here) = NonNull::new(at) {
            // SAFETY: a queued job is live, and the lock is held.
            let next = unsafe { here.as_ref().next.with(|next| *next) };
            if here != job {
                (before, at) = (at, next);
                continue;
            }
            match NonNull::new(before) {
                // SAFETY: as above.
                Some(before) => unsafe { before.as_ref().next.with_mut(|link| *link = next) },
                None => self.head = next,
            }
            if next.is_null() {
                self.tail = before;
            }
            // SAFETY: as above.
            unsafe { here.as_ref().next.with_mut(|link| *link = null_mut()) };
            return true;
        }
        false
    }

    fn pop(&mut self) -> Option<NonNull<Job<P>>> {
        let job = NonNull::new(self.head)?;
        // SAFETY: a queued job is live, and the lock is held.
        self.head = unsafe { job.as_ref().next.with(|next| *next) };
        let is_last = self.head.is_null();
        if defect!(JobStaysQueued => !is_last; is_last) {
            self.tail = null_mut();
        }
        Some(job)
    }
}
