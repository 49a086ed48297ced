//! How the helper starts, and how it learns that the program has ended.
//!
//! Its second thread does no work. It waits until the program has exited, was killed, or executes another program, and then
//! ends the helper at once: its open files keep a filesystem from being unmounted, and it would keep the memory.
//!
//! A thread that ends, or whose process executes another program, clears a word and wakes who sleeps on it, if somebody
//! else has the memory too (set_tid_address(2), `mm_release` in kernel/fork.c). The C library has such a word for each of its
//! threads, to join them. The helper waits for the main thread's, or, where that is not known or has ended, for another
//! one's, and then checks whether the program has ended: a thread may end while others live.
//!
//! Where the program's end is seen beforehand (`at_exit` and `at_exec` in [`super::orders`]), the helper ends first, and
//! is waited for. Otherwise it is the init process's child by then, and a zombie until that has waited for it.

use super::task::TaskPath;
use super::worker;
use crate::process;
use crate::process::Process;
use crate::sys::{self, lock, raw, thread};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mm::munmap;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::time::Timespec;

const ARRIVED: u32 = 1;
/// It cannot do its work as a process.
const REFUSED: u32 = 2;

/// How long the second thread sleeps at the most, ns: a program may have moved its word (set_tid_address(2)).
const SLEEP_NS: u64 = 10_000_000_000;
/// The same without a word, and where a word was cleared and the program has not ended.
const SOON_NS: u64 = 100_000_000;
const AT_ONCE_NS: u64 = 200_000;
/// Up to here it waits for the program's end itself, and for orders only then.
const POLLED_NS: u64 = 20_000_000;

/// The helper as a process. All-zero is "there is none".
#[derive(Default)]
pub struct Life {
    /// Its process id; 0 where its threads are the program's.
    pid: AtomicI32,
    /// Whether it has come as far as to do its work.
    arrived: lock::Word,
    /// errno of the attempt to make it a process, where that failed.
    errno: AtomicI32,
    /// Where the word is that a thread of the program's clears at its end; 0 is nowhere.
    word: AtomicUsize,
    /// Counts what the second thread must look at; it sleeps on it too.
    nudges: lock::Word,
    /// The program's thread that starts it, as /proc tells.
    starter: lock::Mutex<TaskPath>,
}

/// Starts the helper of `process`, as a process or, where that cannot be, as a thread, which says how that
/// went. On a thread of the program's.
pub fn start(process: &'static Process) -> Result<(), Errno> {
    let life = &super::own().life;
    *life.starter.lock() = TaskPath::of_caller();
    match start_process(process) {
        Ok(()) => {
            life.errno.store(0, Ordering::Relaxed);
            return Ok(());
        }
        Err(errno) => life.errno.store(errno.raw_os_error(), Ordering::Relaxed),
    }
    super::spawn(worker::first_of_threads)
}

fn start_process(process: &'static Process) -> Result<(), Errno> {
    let life = &super::own().life;
    if is_emulated() || thread::has_own_pid_namespace_for_children() || process.pid() == 0 {
        return Err(Errno::OPNOTSUPP);
    }
    life.arrived.store(0, Ordering::Relaxed);
    life.word.store(first_word(process), Ordering::Relaxed);
    // SAFETY: what runs on the helper uses neither errno nor thread-local storage.
    let pid = unsafe { thread::spawn_process(first, 0)? };
    life.pid.store(pid, Ordering::Relaxed);
    loop {
        match life.arrived.load(Ordering::Acquire) {
            ARRIVED => return Ok(()),
            0 if !life.is_dead() => lock::wait_for(&life.arrived, 0, super::LOOK_NS),
            // Who is killed at work has arrived before.
            0 if life.arrived.load(Ordering::Acquire) == ARRIVED => return Ok(()),
            _ => break,
        }
    }
    life.reap();
    Err(Errno::ACCESS)
}

/// Valgrind runs no process that shares memory, and ends the program that makes one ("Unsupported
/// clone() flags"). It answers this request (`RUNNING_ON_VALGRIND` in valgrind.h), which leaves a real
/// processor as it was.
fn is_emulated() -> bool {
    let request: [usize; 6] = [0x1001, 0, 0, 0, 0, 0];
    let answer: usize;
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a register is rotated by 128 bits in all, and another exchanged with itself; valgrind reads
    // the live array.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            inout("rdx") 0usize => answer,
            in("rax") request.as_ptr(),
            options(nostack),
        );
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a register is rotated by 128 bits in all, and another combined with itself; valgrind reads
    // the live array.
    unsafe {
        core::arch::asm!(
            "ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61",
            "orr x10, x10, x10",
            inout("x3") 0usize => answer,
            in("x4") request.as_ptr(),
            options(nostack),
        );
    }
    #[cfg(miri)]
    {
        answer = request[1];
    }
    answer != 0
}

impl Life {
    /// The helper does its work from now on: the thread that takes jobs says so. Who starts it sleeps until
    /// [`Life::wake_starter`], or looks after a while.
    pub fn note_working(&self) {
        self.arrived.store(ARRIVED, Ordering::Release);
    }

    /// Wakes who starts the helper, and may still wait for that.
    pub fn wake_starter(&self) {
        lock::wake_all(&self.arrived);
    }

    fn arrive(&self, how: u32) -> c_int {
        self.arrived.store(how, Ordering::Release);
        lock::wake_all(&self.arrived);
        0
    }

    /// Whether the helper is a process.
    pub fn is_process(&self) -> bool {
        self.pid.load(Ordering::Relaxed) != 0
    }

    /// Why its threads are the program's; nothing where they are not.
    pub fn why_thread(&self) -> Option<Errno> {
        let errno = self.errno.load(Ordering::Relaxed);
        (errno != 0).then(|| Errno::from_raw_os_error(errno))
    }

    /// The program's thread that started the helper.
    pub fn starter(&self) -> TaskPath {
        *self.starter.lock()
    }

    /// Wakes the second thread, to look at its orders.
    pub fn nudge(&self) {
        self.nudges.fetch_add(1, Ordering::Release);
        lock::wake_all(&self.nudges);
    }

    /// Where the helper knows of no thread whose end would wake it, it learns of the calling one.
    pub fn watch_caller(&self) {
        if self.is_process() && self.word.load(Ordering::Relaxed) == 0 {
            self.watch(thread::tid_word());
            self.nudge();
        }
    }

    fn watch(&self, word: usize) {
        let _ = self
            .word
            .compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether the helper has ended, although nobody had it end. A sandbox that denies the question says nothing
    /// of that. On a thread of the program's.
    pub fn is_dead(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.is_process() && matches!(self.wait(look), Ok(true) | Err(Errno::CHILD))
    }

    /// Waits for the end of the helper, with all its threads and descriptors, so that it is no zombie; false where that
    /// cannot be waited for, because a sandbox denies it. On a thread of the program's.
    pub fn reap(&self) -> bool {
        let ended = !self.is_process()
            || matches!(self.wait(WaitIdOptions::EXITED), Ok(_) | Err(Errno::CHILD));
        self.pid.store(0, Ordering::Relaxed);
        ended
    }

    /// waitid(2) for the helper: whether it has ended.
    fn wait(&self, options: WaitIdOptions) -> Result<bool, Errno> {
        const WCLONE: WaitIdOptions = WaitIdOptions::from_bits_retain(libc::__WCLONE as u32);
        let pid = Pid::from_raw(self.pid.load(Ordering::Relaxed)).ok_or(Errno::CHILD)?;
        if sys::seccomp::is_fatal(libc::SYS_waitid) {
            return Err(Errno::NOSYS);
        }
        Ok(waitid(WaitId::Pid(pid), options | WCLONE)?.is_some())
    }

    /// Ends the program if the helper was killed: what it was at cannot be completed, and may hold locks.
    /// Killing a thread of the program's ends it too.
    pub fn must_live(&self) {
        if !self.is_dead() {
            return;
        }
        let process = process::this();
        super::say(
            &super::Worker::without_descriptors(process),
            super::News::WasKilled,
        );
        sys::kill(process.pid(), libc::SIGKILL);
        // Where a sandbox denies that.
        let _ = raw::sys_exit_group(128 + libc::SIGKILL);
    }
}

/// The main thread's word as it was at the start of the program, and which process that was.
static MAIN_WORD: AtomicUsize = AtomicUsize::new(0);
static MAIN_PID: AtomicI32 = AtomicI32::new(0);

/// Learns where the main thread's word is; called once, while booting.
pub fn note_main_thread() {
    let pid = sys::getpid();
    if pid == sys::gettid() {
        MAIN_WORD.store(thread::tid_word(), Ordering::Relaxed);
        MAIN_PID.store(pid, Ordering::Relaxed);
    }
}

/// The word to begin with. The main thread lives longest; in a fork child that is another.
fn first_word(process: &Process) -> usize {
    match MAIN_PID.load(Ordering::Relaxed) == process.pid() {
        true => MAIN_WORD.load(Ordering::Relaxed),
        false => thread::tid_word(),
    }
}

/// The first thread of the process: it takes jobs.
extern "C" fn first(_: usize) -> c_int {
    let process = process::this();
    let helper = super::own();
    if settle(process).is_err() {
        helper.forget_descriptors();
        return helper.life.arrive(REFUSED);
    }
    helper.pool.reserve();
    if super::spawn(second).is_err() {
        helper.pool.not_hired();
        helper.forget_descriptors();
        return helper.life.arrive(REFUSED);
    }
    // Who starts the helper waits for this thread, and not for the start of another one.
    worker::first_of_process(process)
}

extern "C" fn second(_: usize) -> c_int {
    watch(process::this(), super::own().pool.join())
}

/// Leaves what is the program's to it, and makes sure that its descriptors can be reached. Root and
/// working directory stay shared: a process outside of what the program calls chroot(2) to would be a
/// way out, through /proc/PID/root.
fn settle(process: &'static Process) -> Result<(), Errno> {
    // By what it learns of the program's end, which a sandbox may deny.
    if sys::getppid() != process.pid() {
        return Err(Errno::PERM);
    }
    worker::leave_program(process)?;
    // A group and session of its own: those of the program's are empty without it.
    let _ = rustix::process::setsid();
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    worker::open_descriptors(process);
    let worker = super::Worker::new(process, true);
    // What needs the same right as to open the program's descriptors anew (proc_pid_fd(5)).
    let program = worker.program().ok_or(Errno::NOENT)?;
    rustix::fs::readlinkat_raw(program, c"cwd", &mut [0u8; 8]).map(drop)
}

/// Waits for the program's end, and carries out orders meanwhile.
fn watch(process: &'static Process, mut member: super::Member) -> c_int {
    let life = &super::own().life;
    // The word that is watched, and what it holds while its thread lives.
    let (mut watched, mut tid) = (0, 0);
    let mut patience = SOON_NS;
    loop {
        let nudges = life.nudges.load(Ordering::Acquire);
        if until_unlocked(process, || super::own().try_attend(&mut member)) {
            until_unlocked(process, || super::own().try_leave());
            return worker::end_thread();
        }
        if watched == 0 {
            watched = life.word.load(Ordering::Acquire);
            tid = value(watched);
            patience = if watched == 0 { SOON_NS } else { patience };
        }
        let ended = watched != 0 && (tid == 0 || value(watched) != tid);
        if is_gone(process, ended && tid as i32 == process.pid()) || ended && is_killed() {
            end();
        }
        if ended {
            // From its next job on, another thread may be watched.
            life.word.store(0, Ordering::Release);
            (watched, patience) = (0, AT_ONCE_NS);
        }
        if watched == 0 {
            if patience > POLLED_NS || !poll_program(patience) {
                lock::wait_for(&life.nudges, nudges, patience);
            }
            patience = (patience * 2).min(SOON_NS);
        } else {
            lock::wait_either(&life.nudges, nudges, watched, tid, SLEEP_NS);
        }
    }
}

/// Tries again while a thread of the program's has the lock, which it has for ever where the program was killed with
/// it.
fn until_unlocked<R>(process: &Process, mut attempt: impl FnMut() -> Option<R>) -> R {
    let life = &super::own().life;
    loop {
        let nudges = life.nudges.load(Ordering::Acquire);
        if let Some(done) = attempt() {
            return done;
        }
        if is_gone(process, false) {
            end();
        }
        lock::wait_for(&life.nudges, nudges, AT_ONCE_NS);
    }
}

/// Waits for `ns` at the most for the last thread of the program to end; false where nobody can tell.
fn poll_program(ns: u64) -> bool {
    let worker = super::Worker::new(process::this(), true);
    let Some(pidfd) = worker.pidfd() else {
        return false;
    };
    let mut polled = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: ns as i64,
    };
    // Woken too early, one looks again.
    poll(&mut polled, Some(&time)).is_ok()
}

/// What a word of the program's holds; 0 where it is not mapped any more.
fn value(word: usize) -> u32 {
    let mut bytes = [0; 4];
    match sys::vm::read_own_memory(word, &mut bytes) {
        Ok(4) if word != 0 => u32::from_ne_bytes(bytes),
        _ => 0,
    }
}

/// Whether the program has ended, or this memory is not its own any more. `main_ended`: the main thread's
/// word was cleared.
fn is_gone(process: &Process, main_ended: bool) -> bool {
    // The kernel gives the helper another parent when the last thread has ended.
    let parent = sys::getppid();
    if parent != process.pid() {
        return true;
    }
    let other = match raw::sys_compare_memory(sys::getpid(), parent) {
        Ok(order) => order != 0,
        // A sandbox, or a kernel without it. A main thread that has no word and is not ending is one
        // of another program.
        Err(_) => main_ended,
    };
    // A thread that ends has no memory either. Asked later than the memory was, so that this is seen.
    other && main_is_ending() == Some(false)
}

/// Whether the main thread has ended, or is about to (proc_pid_stat(5), flags). Others may live.
fn main_is_ending() -> Option<bool> {
    const FLAGS: usize = 6;
    const PF_EXITING: u64 = 4;
    Some(main_stat(FLAGS)? & PF_EXITING != 0)
}

/// Whether a signal ends the program, all threads of it (`do_task_stat` in fs/proc/array.c: the exit code is that of
/// the group). What it dies of is seen sooner than that it is dead.
fn is_killed() -> bool {
    const EXIT_CODE: usize = 49;
    const SIGNAL: u64 = 0x7f;
    // There it is the one that has stopped the program, too.
    const STOPS: [c_int; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let signal = main_stat(EXIT_CODE).map_or(0, |code| code & SIGNAL) as c_int;
    signal != 0 && !STOPS.contains(&signal)
}

/// The number in field `index` of /proc/PID/stat, counted from the one behind the name.
fn main_stat(index: usize) -> Option<u64> {
    let worker = super::Worker::new(process::this(), true);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let stat = openat(worker.program()?, c"stat", flags, Mode::empty()).ok()?;
    let mut text = [0u8; 1024];
    let length = rustix::io::read(stat.as_fd(), &mut text[..]).ok()?;
    let text = text.get(..length)?;
    // The name, in parentheses, may hold anything.
    let after = text.iter().rposition(|&b| b == b')')?;
    let text = text.get(after + 1..)?.trim_ascii_end();
    sys::lines::number(sys::lines::fields(text).nth(index)?, 10)
}

/// Ends the helper with all its threads, whatever they do.
fn end() {
    if super::own().jobs.load(Ordering::Acquire) == 0 {
        let_go_of_files();
    }
    let _ = raw::sys_exit_group(0);
}

/// Before the memory goes, which takes long where the program was large: what others may wait for. Nobody works any
/// more.
fn let_go_of_files() {
    let process = process::this();
    let unmap = |line: &[u8]| {
        let mut fields = sys::lines::fields(line);
        let range = fields.next().and_then(sys::lines::span);
        let is_shared = fields
            .next()
            .is_some_and(|rights| rights.get(3) == Some(&b's'));
        let is_file = fields.nth(2).is_some_and(|inode| inode != b"0");
        if let Some((start, end)) = range.filter(|_| is_shared && is_file) {
            // SAFETY: the program, whose memory it was, has ended.
            let _ = unsafe { munmap(start as *mut c_void, end - start) };
        }
    };
    if let Ok(maps) = super::Worker::new(process, true).open_maps(OFlags::RDONLY) {
        let _ = sys::lines::for_each(maps.as_fd(), unmap);
    }
    // Nothing is done with any descriptor any more.
    let _ = raw::sys_close_range(0, u32::MAX, 0);
    let alone = raw::sys_unshare_place();
    if alone.is_ok() {
        let _ = rustix::process::chdir(c"/");
    }
}
