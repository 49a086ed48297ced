//! The system call instruction itself, for calls that `rustix` does not offer.

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
