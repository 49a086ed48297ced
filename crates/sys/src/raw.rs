//! The system call instruction itself, and the calls that `rustix` does not offer, or not as they are needed.

use super::kernel::pagemap_scan::{PAGEMAP_SCAN, Region, ScanArg};
use super::kernel::{
    CacheRange, CacheStat, Cpus, FS_IOC_FIEMAP, Fiemap, FileHandle, FutexWaiter, SYS_CACHESTAT,
    SchedAttr, Statx, userfaultfd,
};
use super::seccomp::{self, SYS_FUTEX_WAITV};
use core::ffi::c_int;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::Errno;

/// Issues system call `n`. No errno is touched.
///
/// # Safety
/// The call and its arguments must be sound: pointers valid for what the kernel does with them.
#[cfg(target_arch = "x86_64")]
#[inline]
pub unsafe fn syscall(n: i64, a: [usize; 6]) -> Result<usize, Errno> {
    let ret: isize;
    // SAFETY: the x86-64 system call convention (syscall(2)); rcx and r11 are clobbered.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") n as isize => ret,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    check(ret)
}

/// Issues system call `n`. No errno is touched.
///
/// # Safety
/// The call and its arguments must be sound: pointers valid for what the kernel does with them.
#[cfg(target_arch = "aarch64")]
#[inline]
pub unsafe fn syscall(n: i64, a: [usize; 6]) -> Result<usize, Errno> {
    let ret: isize;
    // SAFETY: the AArch64 system call convention (syscall(2)).
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") n,
            inlateout("x0") a[0] => ret,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
            options(nostack),
        );
    }
    check(ret)
}

/// What a raw return value means.
#[inline]
pub fn check(ret: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&ret) {
        Err(Errno::from_raw_os_error(-ret as i32))
    } else {
        Ok(ret as usize)
    }
}

/// What a system call takes in a register.
trait Word {
    fn word(self) -> usize;
}

impl Word for usize {
    #[inline]
    fn word(self) -> usize {
        self
    }
}

impl Word for c_int {
    #[inline]
    fn word(self) -> usize {
        self as usize
    }
}

impl Word for u32 {
    #[inline]
    fn word(self) -> usize {
        self as usize
    }
}

impl Word for BorrowedFd<'_> {
    #[inline]
    fn word(self) -> usize {
        self.as_raw_fd() as usize
    }
}

impl<T: ?Sized> Word for &T {
    #[inline]
    fn word(self) -> usize {
        core::ptr::from_ref(self).cast::<u8>() as usize
    }
}

impl<T: ?Sized> Word for &mut T {
    #[inline]
    fn word(self) -> usize {
        core::ptr::from_mut(self).cast::<u8>() as usize
    }
}

/// Six registers, of which the call uses so many.
#[inline]
fn words<const N: usize>(used: [usize; N]) -> [usize; 6] {
    let mut words = [0; 6];
    words[..N].copy_from_slice(&used);
    words
}

/// Calls that are sound for all values of their arguments, each with what it takes by Rust's types and what is in the
/// kernel's registers. Any context; errno is left alone, and the kernel's comes back as it is; `ENOSYS` where a sandbox would
/// end the program ([`seccomp`]).
///
/// What makes a row sound, and must be so for a new one: the kernel reads no more than what its `&` lend, writes no
/// more than what its `&mut` lend, and nothing there but numbers; what is a plain number does not make it
/// change, move or protect memory. No row has a name of the C library's: a debugger of the program's sets breakpoints by
/// name, and one would end the helper. Descriptors are no memory: that nobody else uses one that is closed or replaced is up to
/// the caller.
macro_rules! calls {
    ($($(#[$about:meta])* $name:ident($($arg:ident: $type:ty),*) = $number:expr, [$($word:expr),*];)*) => {$(
        $(#[$about])*
        // The library is smaller by 2% than where each caller has its own.
        #[inline(never)]
        pub fn $name($($arg: $type),*) -> Result<usize, Errno> {
            if seccomp::is_fatal($number) {
                return Err(Errno::NOSYS);
            }
            // SAFETY: as for every row, see above; what is lent lives until the call has returned.
            unsafe { syscall($number, words([$(Word::word($word)),*])) }
        }
    )*};
}

/// A part of memory, bytes: `struct iovec` for calls that check the address.
#[repr(C)]
struct Part {
    start: usize,
    len: usize,
}

calls! {
    /// cachestat(2), Linux 6.5: counts pages of the page cache.
    sys_cachestat(file: BorrowedFd<'_>, range: &CacheRange, stat: &mut CacheStat) = SYS_CACHESTAT, [file, range, stat, 0usize];
    /// close_range(2): closes the descriptors `first` to `last`.
    sys_close_range(first: u32, last: u32, flags: u32) = libc::SYS_close_range, [first, last, flags];
    /// close(2).
    sys_close(fd: RawFd) = libc::SYS_close, [fd];
    /// dup3(2): puts a copy of `from` in the place of `to`, in one step.
    sys_dup3(from: BorrowedFd<'_>, to: RawFd, flags: c_int) = libc::SYS_dup3, [from, to, flags];
    /// fcntl(2), `F_GETLEASE`: which lease the process has on the file.
    sys_get_lease(fd: RawFd) = libc::SYS_fcntl, [fd, libc::F_GETLEASE];
    /// fcntl(2), `F_GET_SEALS`: only files of memory have them.
    sys_get_seals(fd: RawFd) = libc::SYS_fcntl, [fd, libc::F_GET_SEALS];
    /// name_to_handle_at(2), `AT_EMPTY_PATH`: the kernel's own handle of the inode that `fd` is open on.
    sys_name_to_handle_at(fd: RawFd, handle: &mut FileHandle, mount: &mut c_int) =
        libc::SYS_name_to_handle_at, [fd, c"", handle.with_room(), mount, libc::AT_EMPTY_PATH];
    /// statx(2) of the path at an address, which is checked.
    sys_statx(dir: RawFd, path: usize, flags: c_int, wanted: u32, into: &mut Statx) = libc::SYS_statx, [
        dir, path, flags, wanted, into
    ];
    /// ioctl_fiemap(2): the extents of a part of a file.
    sys_fiemap(file: BorrowedFd<'_>, map: &mut Fiemap) = libc::SYS_ioctl, [file, FS_IOC_FIEMAP, map.with_room()];
    /// getresuid(2): real, effective and saved user id of the calling thread.
    sys_getresuid(real: &mut u32, effective: &mut u32, saved: &mut u32) = libc::SYS_getresuid, [real, effective, saved];
    /// The same of group ids.
    sys_getresgid(real: &mut u32, effective: &mut u32, saved: &mut u32) = libc::SYS_getresgid, [real, effective, saved];
    /// setresuid(2) of the calling thread alone.
    sys_setresuid(real: u32, effective: u32, saved: u32) = libc::SYS_setresuid, [real, effective, saved];
    /// setresgid(2) of the calling thread alone.
    sys_setresgid(real: u32, effective: u32, saved: u32) = libc::SYS_setresgid, [real, effective, saved];
    /// getgroups(2): says how many there are; with room for none it only says that.
    sys_getgroups(groups: &mut [u32]) = libc::SYS_getgroups, [groups.len(), groups];
    /// setgroups(2) of the calling thread alone.
    sys_setgroups(groups: &[u32]) = libc::SYS_setgroups, [groups.len(), groups];
    /// futex_waitv(2), Linux 5.16: sleeps on words, whose addresses it checks, until a monotonic time.
    sys_futex_waitv(waiters: &[FutexWaiter], until: &libc::timespec) =
        SYS_FUTEX_WAITV, [waiters, waiters.len(), 0usize, until, libc::CLOCK_MONOTONIC];
    /// futex(2), `FUTEX_WAKE`: wakes who sleeps on that address, and does not look at what lies there.
    sys_futex_wake(address: usize, private: bool, count: c_int) =
        libc::SYS_futex, [address, libc::FUTEX_WAKE | if private { libc::FUTEX_PRIVATE_FLAG } else { 0 }, count];
    /// rt_sigprocmask(2) of the calling thread.
    sys_sigprocmask(how: c_int, set: &u64, old: &mut u64) = libc::SYS_rt_sigprocmask, [how, set, old, size_of::<u64>()];
    /// sigpending(2).
    sys_sigpending(set: &mut u64) = libc::SYS_rt_sigpending, [set, size_of::<u64>()];
    /// sigtimedwait(2) that does not wait: takes a pending signal of the set.
    sys_sigpoll(set: &u64) = libc::SYS_rt_sigtimedwait, [set, 0usize, &[0i64; 2], size_of::<u64>()];
    /// sigaction(2): what a signal does by default. The kernel's structure is handler, flags, restorer, mask.
    sys_default_action(signal: c_int) = libc::SYS_rt_sigaction, [signal, &[libc::SIG_DFL, 0, 0, 0], 0usize, size_of::<u64>()];
    /// getpid(2), which a sandbox may deny.
    sys_getpid() = libc::SYS_getpid, [];
    /// gettid(2), likewise.
    sys_gettid() = libc::SYS_gettid, [];
    /// getppid(2), likewise.
    sys_getppid() = libc::SYS_getppid, [];
    /// fsync(2).
    sys_fsync(fd: RawFd) = libc::SYS_fsync, [fd];
    /// fdatasync(2).
    sys_fdatasync(fd: RawFd) = libc::SYS_fdatasync, [fd];
    /// ioctl_nsfs(2), `NS_GET_NSTYPE`: of which kind a namespace is.
    sys_namespace_kind(fd: RawFd) = libc::SYS_ioctl, [fd, 0xb703usize];
    /// kill(2): [`super::kill`] is for one process only.
    sys_kill(process: c_int, signal: c_int) = libc::SYS_kill, [process, signal];
    /// tgkill(2).
    sys_tgkill(process: c_int, thread: c_int, signal: c_int) = libc::SYS_tgkill, [process, thread, signal];
    /// exit(2): ends the calling thread.
    sys_exit(code: c_int) = libc::SYS_exit, [code];
    /// exit_group(2).
    sys_exit_group(code: c_int) = libc::SYS_exit_group, [code];
    /// unshare(2), `CLONE_FS`: root, working directory and umask are the calling thread's own from then on.
    sys_unshare_place() = libc::SYS_unshare, [libc::CLONE_FS];
    /// kcmp(2), `KCMP_VM`: 0 where two processes have one memory.
    sys_compare_memory(one: c_int, other: c_int) = libc::SYS_kcmp, [one, other, 1usize];
    /// clock_gettime(2), not through the vDSO.
    sys_clock_gettime(clock: c_int, time: &mut libc::timespec) = libc::SYS_clock_gettime, [clock, time];
    /// getrusage(2).
    sys_getrusage(who: c_int, usage: &mut libc::rusage) = libc::SYS_getrusage, [who, usage];
    /// prctl(2), `PR_GET_TID_ADDRESS`: where the kernel clears a word when the calling thread is gone.
    sys_get_tid_address(word: &mut usize) = libc::SYS_prctl, [40usize, word];
    /// sched_getaffinity(2) of the calling thread.
    sys_sched_getaffinity(cpus: &mut Cpus) = libc::SYS_sched_getaffinity, [0usize, size_of::<Cpus>(), cpus];
    /// sched_setaffinity(2) of the calling thread; an empty set is refused.
    sys_sched_setaffinity(cpus: &Cpus) = libc::SYS_sched_setaffinity, [0usize, size_of::<Cpus>(), cpus];
    /// sched_setscheduler(2) of the calling thread, for a policy of priority 0.
    sys_sched_setscheduler(policy: c_int) = libc::SYS_sched_setscheduler, [0usize, policy, &0u32];
    /// sched_getattr(2) of the calling thread.
    sys_sched_getattr(into: &mut SchedAttr) = libc::SYS_sched_getattr, [0usize, into, size_of::<SchedAttr>(), 0usize];
    /// sched_setattr(2) of the calling thread.
    sys_sched_setattr(policy: &SchedAttr) = libc::SYS_sched_setattr, [0usize, policy, 0usize];
    /// getpriority(2): 20 less the nice value of a process; 0 is the calling thread.
    sys_getpriority(process: c_int) = libc::SYS_getpriority, [libc::PRIO_PROCESS, process];
    /// setpriority(2): the nice value of the calling thread.
    sys_setpriority(nice: c_int) = libc::SYS_setpriority, [libc::PRIO_PROCESS, 0usize, nice];
    /// prctl(2), `PR_GET_SECCOMP`: whether the calling thread is under a filter (2).
    sys_get_seccomp() = libc::SYS_prctl, [libc::PR_GET_SECCOMP];
    /// wait4(2) for a child that sends no signal at its end.
    sys_wait_clone(pid: c_int, status: &mut u32) = libc::SYS_wait4, [pid, status, libc::__WCLONE, 0usize];
    /// msync(2).
    sys_msync(start: usize, len: usize, flags: c_int) = libc::SYS_msync, [start, len, flags];
    /// mincore(2) of as many pages as `states` has room for.
    sys_mincore(start: usize, states: &mut [u8]) = libc::SYS_mincore, [start, states.len() * super::page_size(), states];
    /// madvise(2), `MADV_POPULATE_READ`: faults pages in.
    sys_populate_read(start: usize, len: usize) = libc::SYS_madvise, [start, len, libc::MADV_POPULATE_READ];
    /// madvise(2), `MADV_POPULATE_WRITE`: faults pages in, which makes them dirty.
    sys_populate_write(start: usize, len: usize) = libc::SYS_madvise, [start, len, libc::MADV_POPULATE_WRITE];
    /// madvise(2), `MADV_DONTNEED_LOCKED` (Linux 5.18): empties page table entries, of locked pages too.
    sys_drop_locked(start: usize, len: usize) = libc::SYS_madvise, [start, len, libc::MADV_DONTNEED_LOCKED];
    /// madvise(2), `MADV_COLD`.
    sys_cool(start: usize, len: usize) = libc::SYS_madvise, [start, len, libc::MADV_COLD];
    /// mlock(2).
    sys_mlock(start: usize, len: usize) = libc::SYS_mlock, [start, len];
    /// munlock(2).
    sys_munlock(start: usize, len: usize) = libc::SYS_munlock, [start, len];
    /// process_vm_readv(2): copies memory of a process, whose address is checked.
    sys_process_vm_readv(process: c_int, from: usize, into: &mut [u8]) = libc::SYS_process_vm_readv, [
        process,
        &Part { start: into.as_mut_ptr() as usize, len: into.len() }, 1usize,
        &Part { start: from, len: into.len() }, 1usize
    ];
    /// getcwd(2): how many bytes of `into` it fills, with the zero at the end.
    sys_getcwd(into: &mut [u8]) = libc::SYS_getcwd, [&mut *into, into.len()];
    /// send(2).
    sys_send(socket: RawFd, bytes: &[u8], flags: c_int) = libc::SYS_sendto, [socket, bytes, bytes.len(), flags];
    /// `TCGETS`, which terminals answer (ioctl_tty(2)). The state is larger than any of the kernel's.
    sys_tcgets(fd: BorrowedFd<'_>, state: &mut [u64; 32]) = libc::SYS_ioctl, [fd, libc::TCGETS as usize, state];
    /// `UFFDIO_API` (ioctl_userfaultfd(2)): API, features, ioctls.
    sys_uffdio_api(fd: BorrowedFd<'_>, api: &mut [u64; 3]) = libc::SYS_ioctl, [fd, userfaultfd::UFFDIO_API, api];
    /// `UFFDIO_REGISTER`: start, length, mode, ioctls.
    sys_uffdio_register(fd: BorrowedFd<'_>, range: &mut [u64; 4]) = libc::SYS_ioctl, [fd, userfaultfd::UFFDIO_REGISTER, range];
    /// `UFFDIO_UNREGISTER`: start, length.
    sys_uffdio_unregister(fd: BorrowedFd<'_>, range: &[u64; 2]) = libc::SYS_ioctl, [fd, userfaultfd::UFFDIO_UNREGISTER, range];
    /// `UFFDIO_WRITEPROTECT`: start, length, mode.
    sys_uffdio_writeprotect(fd: BorrowedFd<'_>, range: &[u64; 3]) =
        libc::SYS_ioctl, [fd, userfaultfd::UFFDIO_WRITEPROTECT, range];
    /// `PAGEMAP_SCAN` (Linux 6.7): runs of pages, into `found`.
    sys_pagemap_scan(pagemap: BorrowedFd<'_>, scan: &mut ScanArg, found: &mut [Region]) =
        libc::SYS_ioctl, [pagemap, PAGEMAP_SCAN, scan.with_room(found)];
}

/// userfaultfd(2): a new descriptor.
pub fn sys_userfaultfd(flags: c_int) -> Result<OwnedFd, Errno> {
    if seccomp::is_fatal(libc::SYS_userfaultfd) {
        return Err(Errno::NOSYS);
    }
    // SAFETY: only flags are passed, and the new descriptor is nobody else's.
    unsafe {
        let fd = syscall(libc::SYS_userfaultfd, words([flags.word()]))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// vmsplice(2): puts pages themselves into a pipe, not copies of them.
///
/// # Safety
/// `pipe` is the end for writing: with the other one this writes to the memory.
pub unsafe fn sys_vmsplice(
    pipe: BorrowedFd<'_>,
    start: usize,
    len: usize,
    flags: u32,
) -> Result<usize, Errno> {
    if seccomp::is_fatal(libc::SYS_vmsplice) {
        return Err(Errno::NOSYS);
    }
    let part = Part { start, len };
    let words = words([pipe.word(), (&part).word(), 1, flags.word()]);
    // SAFETY: the vector is live, and the kernel checks the address in it; by contract it only reads there.
    unsafe { syscall(libc::SYS_vmsplice, words) }
}
