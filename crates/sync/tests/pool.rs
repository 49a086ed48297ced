//! The pool of workers: every job runs exactly once and who waits sees its result; an order has
//! been carried out by every thread when who gave it goes on; those that leave do so, and the next
//! job finds others; nobody sleeps for ever.

mod checking;

#[cfg(loom)]
use checking::{assert_found, sync::defect::Defect};
use checking::{
    check,
    sync::pool::{Job, Next, Push, WorkerPool},
    sync::port::{self, UnsafeCell},
    thread,
};
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// What a job writes: loom complains where it is read too early.
struct Call {
    result: UnsafeCell<u32>,
    runs: AtomicU32,
}

struct Process {
    pool: WorkerPool<*const Call, u32>,
    /// User id of the program's threads; seen by the checks only.
    user: AtomicU32,
    /// That of each thread of the pool; `GONE` of one that has left.
    users: Vec<AtomicU32>,
    threads: std::sync::Mutex<Vec<thread::JoinHandle<()>>>,
}

const GONE: u32 = u32::MAX;

// SAFETY: calls outlive their jobs, and loom checks the use of their results.
unsafe impl Sync for Process {}
// SAFETY: as above.
unsafe impl Send for Process {}

/// Gone with its owner, but in a model: loom itself looks at an atomic once more after a store to it.
struct Kept<T>(Option<Box<T>>);

impl<T> Kept<T> {
    fn new(value: T) -> Kept<T> {
        Kept(Some(Box::new(value)))
    }
}

impl<T> core::ops::Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken by drop only")
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if cfg!(loom) {
            self.0.take().map(Box::leak);
        }
    }
}

impl Process {
    fn new() -> Arc<Process> {
        Arc::new(Process {
            pool: WorkerPool::default(),
            user: AtomicU32::new(0),
            users: (0..8).map(|_| AtomicU32::new(GONE)).collect(),
            threads: std::sync::Mutex::default(),
        })
    }

    /// A thread of the pool; like any, it starts with the ids of who makes it.
    fn hire(self: &Arc<Process>, user: u32, first: bool) {
        let process = Arc::clone(self);
        let mut threads = self.threads.lock().expect("not poisoned");
        let number = threads.len();
        self.users[number].store(user, Ordering::SeqCst);
        threads.push(thread::spawn(move || process.serve(number, first)));
    }

    fn serve(self: &Arc<Process>, number: usize, first: bool) {
        let mut member = match first {
            true => self.pool.opened(),
            false => self.pool.join(),
        };
        let user = &self.users[number];
        loop {
            match self.pool.next(&mut member, || true) {
                Next::Job(job, hire) => {
                    if hire {
                        self.hire(user.load(Ordering::SeqCst), false);
                    }
                    // SAFETY: whoever queued the job waits for it.
                    unsafe {
                        let call = &*job.as_ref().payload;
                        call.runs.fetch_add(1, Ordering::SeqCst);
                        call.result.with_mut(|result| *result += 42);
                        Job::finish(job);
                    }
                }
                Next::Order(to) => {
                    user.store(to, Ordering::SeqCst);
                    self.pool.carried_out(&mut member);
                }
                Next::Leave => {
                    user.store(GONE, Ordering::SeqCst);
                    return;
                }
            }
        }
    }

    fn run(self: &Arc<Process>) {
        let call = Kept::new(Call {
            result: UnsafeCell::new(0),
            runs: AtomicU32::new(0),
        });
        let job = Kept::new(Job::new(&raw const *call));
        let queued = Cell::new(false);
        loop {
            let hire = || {
                if !queued.replace(true) {
                    self.pool.push_first(NonNull::from(&*job));
                }
                self.hire(self.user.load(Ordering::SeqCst), true);
                Ok(())
            };
            self.pool.ready(hire).expect("a pool");
            if queued.get() || self.pool.push(NonNull::from(&*job)) == Push::Queued {
                break;
            }
        }
        job.wait(|done| {
            port::wait(done, 0);
            true
        });
        assert_eq!(call.runs.load(Ordering::SeqCst), 1, "runs of a job");
        // SAFETY: loom checks that nobody writes it.
        call.result
            .with(|result| assert_eq!(unsafe { *result }, 42));
    }

    /// As setuid(3): first the program's threads, by the C library.
    fn setuid(&self, user: u32) {
        self.user.store(user, Ordering::SeqCst);
        self.pool
            .order(|| self.user.load(Ordering::SeqCst), || (), || true);
        for thread in &self.users {
            let other = thread.load(Ordering::SeqCst);
            assert!(other == GONE || other == user, "a thread is left behind");
        }
    }

    fn dismiss(&self) -> bool {
        self.pool.dismiss(|| (), || true, || false, || ())
    }

    fn end(&self) {
        self.dismiss();
        assert_eq!(self.pool.members(|| true), 0, "a thread is left behind");
        let threads = self.threads.lock().expect("not poisoned").split_off(0);
        threads
            .into_iter()
            .for_each(|t| t.join().expect("a member"));
    }
}

fn beside(process: &Arc<Process>, f: fn(&Arc<Process>)) -> thread::JoinHandle<()> {
    let process = Arc::clone(process);
    thread::spawn(move || f(&process))
}

fn jobs() {
    let process = Process::new();
    let other = beside(&process, Process::run);
    process.run();
    other.join().expect("a caller");
    process.end();
}

fn one_job() {
    let process = Process::new();
    process.run();
    process.end();
}

fn jobs_in_turn() {
    let process = Process::new();
    process.run();
    process.run();
    process.end();
}

fn job_and_order() {
    let process = Process::new();
    let other = beside(&process, Process::run);
    process.setuid(1);
    other.join().expect("a caller");
    process.end();
}

fn orders() {
    let process = Process::new();
    process.run();
    process.setuid(1);
    process.setuid(2);
    process.run();
    process.end();
}

fn job_and_leave() {
    let process = Process::new();
    let other = beside(&process, Process::run);
    process.dismiss();
    other.join().expect("a caller");
    process.end();
}

#[test]
fn one_caller() {
    check(2, one_job);
}

#[test]
fn two_callers() {
    check(1, jobs);
}

#[test]
fn one_caller_twice() {
    check(1, jobs_in_turn);
}

#[test]
fn order_while_a_job_runs() {
    check(2, job_and_order);
}

#[test]
fn orders_in_turn() {
    check(1, orders);
}

#[test]
fn leave_while_a_job_comes() {
    check(2, job_and_leave);
}

#[cfg(loom)]
#[test]
fn lost_wake_up_is_found() {
    assert_found(Defect::ForgetsTheNewsOfAJob, "deadlock", jobs_in_turn);
}

#[cfg(loom)]
#[test]
fn result_seen_too_early_is_found() {
    assert_found(Defect::ResultIsNotReleased, "causality violation", one_job);
}

#[cfg(loom)]
#[test]
fn job_that_is_lost_is_found() {
    assert_found(Defect::JobStaysQueued, "deadlock", jobs_in_turn);
}

#[cfg(loom)]
#[test]
fn thread_left_behind_is_found() {
    assert_found(Defect::OrderMissesWhoIsHired, "left behind", job_and_order);
}

#[cfg(loom)]
#[test]
fn order_not_waited_for_is_found() {
    assert_found(Defect::OrderDoesNotWait, "left behind", orders);
}

#[cfg(loom)]
#[test]
fn job_for_nobody_is_found() {
    assert_found(Defect::TakesJobsWhileLeaving, "left behind", job_and_leave);
}

/// A thread that is killed while it gives an order keeps the lock for ever: who ends with it must not wait for that.
#[cfg(not(loom))]
#[test]
fn who_must_not_wait_finds_the_lock_taken() {
    let process = Process::new();
    let opened = std::cell::Cell::new(None);
    let hire = || {
        opened.set(Some(process.pool.opened()));
        Ok(())
    };
    process.pool.ready(hire).expect("a pool");
    let mut member = opened.take().expect("a member");
    let (taken, looked) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    let ordered = || {
        taken.wait();
        looked.wait();
        7
    };
    std::thread::scope(|scope| {
        scope.spawn(|| process.pool.order(ordered, || (), || true));
        taken.wait();
        assert!(process.pool.try_look(&member).is_none(), "taken");
        looked.wait();
        let order = loop {
            if let Some((Some(order), _)) = process.pool.try_look(&member) {
                break order;
            }
            std::thread::yield_now();
        };
        assert_eq!(order, 7);
        process.pool.carried_out(&mut member);
    });
    std::thread::scope(|scope| {
        scope.spawn(|| process.dismiss());
        while !matches!(process.pool.try_look(&member), Some((_, true))) {
            std::thread::yield_now();
        }
        process.pool.left(member);
    });
    process.end();
}
