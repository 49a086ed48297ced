//! A thread of the program's, stopped as its system call returns (ptrace(2)), and made to call the kernel.

use crate::image::{Image, copy_descriptor, read_memory};
use keepmydata_sys::{seccomp, userfaultfd};
use libc::{c_int, c_long, user_regs_struct};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::ptr;

/// A thread that this thread traces. It goes on where it was when this is dropped.
pub struct Stopped {
    tid: i32,
    /// It has stopped, and where.
    registers: Option<user_regs_struct>,
    /// A stop signal came meanwhile.
    stop_signal: c_int,
}

/// How a wait for it has ended.
enum Stop {
    /// As asked for.
    Interrupt,
    /// At the entry or exit of a system call.
    Call,
    /// Because of a signal.
    Signal(c_int),
}

const EVENT_STOP: c_int = 128;

impl Stopped {
    /// Traces `tid`, which waits for the supervisor's answer, and has it stop as its system call returns: the caller gives
    /// that answer next, and then calls [`Stopped::wait`].
    ///
    /// Errors: `EPERM` where it is traced already, or may not be.
    pub fn begin(tid: i32) -> Result<Stopped, Errno> {
        if seccomp::is_fatal(libc::SYS_ptrace) {
            return Err(Errno::NOSYS);
        }
        ptrace(
            libc::PTRACE_SEIZE,
            tid,
            0,
            libc::PTRACE_O_TRACESYSGOOD as usize,
        )?;
        let stopped = Stopped {
            tid,
            registers: None,
            stop_signal: 0,
        };
        ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0)?;
        Ok(stopped)
    }

    /// Waits until it has stopped; what its system call returns, a negative errno where it fails.
    pub fn wait(&mut self) -> Result<i64, Errno> {
        loop {
            match self.next()? {
                Stop::Interrupt => break,
                Stop::Call => self.resume(libc::PTRACE_CONT, 0)?,
                Stop::Signal(signal) => self.resume(libc::PTRACE_CONT, signal)?,
            }
        }
        let registers = self.read_registers()?;
        self.registers = Some(registers);
        Ok(result_of(&registers))
    }

    /// A userfaultfd, made by the thread and taken from its process.
    pub fn make_userfaultfd(&mut self, image: &Image) -> Result<OwnedFd, &'static str> {
        let before = self.registers.ok_or("it has not stopped")?;
        if !self.is_after_call(&before) {
            return Err("the system call was not made in the ordinary way");
        }
        let mask = self
            .block_signals()
            .map_err(|_| "its signals cannot be blocked")?;
        let made = self.call(&before, libc::SYS_userfaultfd, userfaultfd::FLAGS as u64);
        let taken = made.and_then(|number| {
            let taken = copy_descriptor(image, number as i32);
            let closed = self.call(&before, libc::SYS_close, number as u64);
            closed.and(taken)
        });
        let _ = self.write_registers(&before);
        let _ = self.set_mask(mask);
        taken.map_err(|_| "the kernel makes no userfaultfd there")
    }

    /// Has it call the kernel, with all its signals blocked.
    fn call(
        &mut self,
        before: &user_regs_struct,
        number: c_long,
        argument: u64,
    ) -> Result<i64, Errno> {
        let registers = calling(before, number, argument);
        self.write_registers(&registers)?;
        for _ in 0..2 {
            self.resume(libc::PTRACE_SYSCALL, 0)?;
            loop {
                match self.next()? {
                    Stop::Call => break,
                    Stop::Interrupt => {}
                    Stop::Signal(signal) => self.stop_signal = signal,
                }
                self.resume(libc::PTRACE_SYSCALL, 0)?;
            }
        }
        match result_of(&self.read_registers()?) {
            result if (-4095..0).contains(&result) => Err(Errno::from_raw_os_error(-result as i32)),
            result => Ok(result),
        }
    }

    fn next(&self) -> Result<Stop, Errno> {
        let mut status = 0;
        loop {
            // SAFETY: the status is live.
            let waited = unsafe { libc::waitpid(self.tid, &raw mut status, libc::__WALL) };
            if waited == self.tid {
                break;
            }
            if waited == -1 && std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                return Err(Errno::SRCH);
            }
        }
        if !libc::WIFSTOPPED(status) {
            return Err(Errno::SRCH);
        }
        let signal = libc::WSTOPSIG(status);
        Ok(match status >> 16 {
            EVENT_STOP => Stop::Interrupt,
            _ if signal == libc::SIGTRAP | 0x80 => Stop::Call,
            _ => Stop::Signal(signal),
        })
    }

    fn resume(&self, how: libc::c_uint, signal: c_int) -> Result<(), Errno> {
        ptrace(how, self.tid, 0, signal as usize)
    }

    fn read_registers(&self) -> Result<user_regs_struct, Errno> {
        // SAFETY: all-zero is a valid value.
        let mut registers: user_regs_struct = unsafe { std::mem::zeroed() };
        let mut into = libc::iovec {
            iov_base: (&raw mut registers).cast(),
            iov_len: size_of::<user_regs_struct>(),
        };
        let (kind, into) = (libc::NT_PRSTATUS as usize, &raw mut into as usize);
        ptrace(libc::PTRACE_GETREGSET, self.tid, kind, into)?;
        Ok(registers)
    }

    fn write_registers(&self, registers: &user_regs_struct) -> Result<(), Errno> {
        let mut from = libc::iovec {
            iov_base: ptr::from_ref(registers).cast_mut().cast(),
            iov_len: size_of::<user_regs_struct>(),
        };
        let (kind, from) = (libc::NT_PRSTATUS as usize, &raw mut from as usize);
        ptrace(libc::PTRACE_SETREGSET, self.tid, kind, from)
    }

    /// Blocks all its signals; returns what was blocked before.
    fn block_signals(&self) -> Result<u64, Errno> {
        let mut mask = 0u64;
        let size = size_of::<u64>();
        ptrace(GETSIGMASK, self.tid, size, &raw mut mask as usize)?;
        self.set_mask(u64::MAX)?;
        Ok(mask)
    }

    fn set_mask(&self, mask: u64) -> Result<(), Errno> {
        ptrace(
            SETSIGMASK,
            self.tid,
            size_of::<u64>(),
            &raw const mask as usize,
        )
    }

    /// Whether the instruction before the one that it goes on at is that of a system call.
    fn is_after_call(&self, registers: &user_regs_struct) -> bool {
        let (at, code) = call_before(registers);
        let mut found = [0; 4];
        let found = &mut found[..code.len()];
        read_memory(self.tid, at as usize, found) && found == code
    }
}

const GETSIGMASK: libc::c_uint = 0x420a;
const SETSIGMASK: libc::c_uint = 0x420b;

impl Drop for Stopped {
    fn drop(&mut self) {
        let detach = || ptrace(libc::PTRACE_DETACH, self.tid, 0, self.stop_signal as usize);
        if detach().is_err() && self.registers.is_none() {
            // It runs: it must stop to be left.
            let _ = self.next().and_then(|_| detach());
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn result_of(registers: &user_regs_struct) -> i64 {
    registers.rax as i64
}

/// `syscall`, and where it is.
#[cfg(target_arch = "x86_64")]
fn call_before(registers: &user_regs_struct) -> (u64, &'static [u8]) {
    (registers.rip.wrapping_sub(2), &[0x0f, 0x05])
}

#[cfg(target_arch = "x86_64")]
fn calling(before: &user_regs_struct, number: c_long, argument: u64) -> user_regs_struct {
    user_regs_struct {
        rip: before.rip.wrapping_sub(2),
        rax: number as u64,
        // No call of which anything is to be restarted.
        orig_rax: u64::MAX,
        rdi: argument,
        ..*before
    }
}

#[cfg(target_arch = "aarch64")]
fn result_of(registers: &user_regs_struct) -> i64 {
    registers.regs[0] as i64
}

/// `svc #0`, and where it is.
#[cfg(target_arch = "aarch64")]
fn call_before(registers: &user_regs_struct) -> (u64, &'static [u8]) {
    (registers.pc.wrapping_sub(4), &[0x01, 0x00, 0x00, 0xd4])
}

#[cfg(target_arch = "aarch64")]
fn calling(before: &user_regs_struct, number: c_long, argument: u64) -> user_regs_struct {
    let mut registers = *before;
    registers.pc = before.pc.wrapping_sub(4);
    registers.regs[8] = number as u64;
    registers.regs[0] = argument;
    registers
}

fn ptrace(request: libc::c_uint, tid: i32, address: usize, data: usize) -> Result<(), Errno> {
    // SAFETY: the callers pass live structures of the kind that the request asks for, or numbers.
    match unsafe { libc::ptrace(request, tid, address, data) } {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}
