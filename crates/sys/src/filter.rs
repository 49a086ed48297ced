//! What filters of system calls (seccomp(2)) do to the shim's ([`super::seccomp`]): read from the instructions before
//! one is installed ([`Filter`]); one that a program was started under cannot be read, and a child tries ([`try_calls`]).

use super::raw;
use super::seccomp::{Calls, ESSENTIAL, OTHERS};
use super::vm::read_own_memory;
use super::wipe::{Mapping, Region};
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::io::Errno;

/// One instruction of a filter (`struct sock_filter`).
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    k: u32,
}

impl Instruction {
    fn of(word: u64) -> Instruction {
        let [c0, c1, if_true, if_false, k0, k1, k2, k3] = word.to_ne_bytes();
        Instruction {
            code: u16::from_ne_bytes([c0, c1]),
            if_true,
            if_false,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        }
    }
}

/// What is known of the registers before an instruction: 0 is "it is not reached".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Registers {
    a: Option<u32>,
    x: Option<u32>,
}

impl Registers {
    const WORDS: usize = 2;
    const REACHED: u64 = 1 << 32;
    const UNKNOWN: u64 = 1 << 33;

    fn pack(self) -> [u64; Registers::WORDS] {
        [self.a, self.x].map(|value| {
            Registers::REACHED | value.map_or(Registers::UNKNOWN, |value| value.into())
        })
    }

    fn unpack(words: &[u64]) -> Option<Registers> {
        let value = |word: u64| (word & Registers::UNKNOWN == 0).then_some(word as u32);
        match *words {
            [a, x] if a & Registers::REACHED != 0 => Some(Registers {
                a: value(a),
                x: value(x),
            }),
            _ => None,
        }
    }

    /// What is known where one comes from here or from there.
    fn or(self, other: Registers) -> Registers {
        let both = |one: Option<u32>, other| one.filter(|_| one == other);
        Registers {
            a: both(self.a, other.a),
            x: both(self.x, other.x),
        }
    }
}

/// A program of a filter, and room to go through it.
pub struct Filter {
    memory: Region,
    len: usize,
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

impl Filter {
    /// The most instructions that a filter has (`BPF_MAXINSNS`).
    const MOST: usize = 4096;

    /// The filter that the `struct sock_fprog` at an address describes, which may be any; nothing where it cannot be read.
    pub fn read(program: usize) -> Option<Filter> {
        let mut head = [0u8; 16];
        if read_own_memory(program, &mut head) != Ok(head.len()) {
            return None;
        }
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let at = u64::from_ne_bytes(head[8..].try_into().ok()?) as usize;
        let mut filter = Filter::with_room(len)?;
        let bytes = filter.memory.numbers_mut::<u8>(0, len * 8);
        (read_own_memory(at, bytes) == Ok(len * 8)).then_some(filter)
    }

    fn with_room(len: usize) -> Option<Filter> {
        let words = len * (1 + Registers::WORDS);
        let is_valid = (1..=Filter::MOST).contains(&len);
        let memory = is_valid.then(|| Region::new(words * 8)).flatten()?;
        Some(Filter { memory, len })
    }

    /// The system calls that it may answer by ending the caller or by SIGSYS, with some arguments or with all.
    pub fn fatal_calls(&mut self) -> Calls {
        let mut calls = Calls::default();
        for number in 0..Calls::MOST {
            if self.may_be_fatal(number as u32) {
                calls.add(number);
            }
        }
        calls
    }

    fn registers(&mut self, at: usize) -> &mut [u64] {
        let word = self.len + at * Registers::WORDS;
        self.memory.numbers_mut(word * 8, Registers::WORDS)
    }

    /// Instruction `at` may be reached with these registers.
    fn reach(&mut self, at: usize, registers: Registers) {
        if at < self.len {
            let words = self.registers(at);
            let known = Registers::unpack(words).map_or(registers, |known| known.or(registers));
            words.copy_from_slice(&known.pack());
        }
    }

    /// Every jump is forward (`bpf_check_classic` in net/core/filter.c): one pass sees all ways. Arguments are not
    /// known.
    fn may_be_fatal(&mut self, number: u32) -> bool {
        let (from, count) = (self.len * 8, self.len * Registers::WORDS);
        self.memory.numbers_mut::<u64>(from, count).fill(0);
        let start = Registers {
            a: Some(0),
            x: Some(0),
        };
        self.reach(0, start);
        for at in 0..self.len {
            let Some(mut now) = Registers::unpack(self.registers(at)) else {
                continue;
            };
            let word = self.memory.numbers::<u64>(at * 8, 1).first();
            let it = Instruction::of(word.copied().unwrap_or_default());
            match it.code & 0x07 {
                JUMP => {
                    for to in targets(&it, now).into_iter().flatten() {
                        self.reach(at + 1 + to as usize, now);
                    }
                    continue;
                }
                RETURN => {
                    let value = match it.code & 0x18 {
                        0x10 => now.a,
                        _ => Some(it.k),
                    };
                    if value.is_none_or(is_fatal_action) {
                        return true;
                    }
                    continue;
                }
                LOAD => now.a = loaded(&it, number),
                LOAD_X => now.x = loaded(&it, number),
                ALU => now.a = computed(&it, now),
                MISC if it.code & 0x80 == 0 => now.x = now.a,
                MISC => now.a = now.x,
                // Stores to a place that no load is followed from.
                _ => (),
            }
            self.reach(at + 1, now);
        }
        false
    }
}

// Classes of instructions (linux/bpf_common.h).
const LOAD: u16 = 0;
const LOAD_X: u16 = 1;
const ALU: u16 = 4;
const JUMP: u16 = 5;
const RETURN: u16 = 6;
const MISC: u16 = 7;

/// What a load gives for call `number`: of `struct seccomp_data` number and architecture are known.
fn loaded(it: &Instruction, number: u32) -> Option<u32> {
    const IMMEDIATE: u16 = 0x00;
    const ABSOLUTE: u16 = 0x20;
    const LENGTH: u16 = 0x80;
    match (it.code & 0xe0, it.k) {
        (IMMEDIATE, k) => Some(k),
        (ABSOLUTE, 0) => Some(number),
        (ABSOLUTE, 4) => Some(ARCHITECTURE),
        (LENGTH, _) => Some(64),
        _ => None,
    }
}

fn operand(it: &Instruction, registers: Registers) -> Option<u32> {
    match it.code & 0x08 {
        0 => Some(it.k),
        _ => registers.x,
    }
}

fn computed(it: &Instruction, registers: Registers) -> Option<u32> {
    let a = registers.a?;
    if it.code & 0xf0 == 0x80 {
        return Some(a.wrapping_neg());
    }
    let by = operand(it, registers)?;
    match it.code & 0xf0 {
        0x00 => Some(a.wrapping_add(by)),
        0x10 => Some(a.wrapping_sub(by)),
        0x20 => Some(a.wrapping_mul(by)),
        0x30 => a.checked_div(by),
        0x40 => Some(a | by),
        0x50 => Some(a & by),
        0x60 => a.checked_shl(by),
        0x70 => a.checked_shr(by),
        0xa0 => Some(a ^ by),
        _ => None,
    }
}

/// How far a jump may go.
fn targets(it: &Instruction, registers: Registers) -> [Option<u32>; 2] {
    let always = it.code & 0xf0 == 0;
    if always {
        return [Some(it.k), None];
    }
    let (if_true, if_false) = (Some(it.if_true.into()), Some(it.if_false.into()));
    let (Some(a), Some(by)) = (registers.a, operand(it, registers)) else {
        return [if_true, if_false];
    };
    let is_true = match it.code & 0xf0 {
        0x10 => a == by,
        0x20 => a > by,
        0x30 => a >= by,
        0x40 => a & by != 0,
        _ => return [if_true, if_false],
    };
    [if is_true { if_true } else { if_false }, None]
}

/// Whether the kernel ends a thread or the process at an action, or sends SIGSYS, whose handler, if there is one,
/// expects other calls. An action that it does not know ends the process.
fn is_fatal_action(action: u32) -> bool {
    const ERRNO: u32 = 0x0005_0000;
    const NOTIFY: u32 = 0x7fc0_0000;
    const TRACE: u32 = 0x7ff0_0000;
    const LOG: u32 = 0x7ffc_0000;
    const ALLOW: u32 = 0x7fff_0000;
    ![ERRNO, NOTIFY, TRACE, LOG, ALLOW].contains(&(action & 0xffff_0000))
}

/// Whether the calling thread is under a filter (prctl(2), `PR_GET_SECCOMP`).
pub fn is_on() -> bool {
    raw::sys_get_seccomp() == Ok(2)
}

/// Has a child, which has the caller's filters, make each of the shim's calls, with arguments that do nothing: says at
/// which of them it was ended. Nothing where it cannot be made or waited for. A fork of the whole process.
pub fn try_calls() -> Option<Calls> {
    let memory = Mapping::shared(super::page_size())?;
    let mut calls = Calls::default();
    let mut next = 0;
    while next < count() {
        let (ended, at) = try_from(next, &memory)?;
        if !ended {
            break;
        }
        calls.add(number_of(at));
        next = at + 1;
    }
    Some(calls)
}

fn count() -> usize {
    FIRST.len() + ESSENTIAL.len() + OTHERS.len()
}

/// First what the child makes itself inconspicuous by.
const FIRST: [i64; 2] = [libc::SYS_prctl, libc::SYS_rt_sigprocmask];

fn number_of(at: usize) -> i64 {
    let mut all = FIRST.iter().chain(ESSENTIAL).chain(OTHERS);
    all.nth(at).copied().unwrap_or_default()
}

/// A child makes the calls from `first` on: whether it was ended, and at which.
fn try_from(first: usize, memory: &Mapping) -> Option<(bool, usize)> {
    let at = memory.start() as *const AtomicU32;
    // SAFETY: the mapping is larger, zeroed at first, and lives until this returns.
    let at = unsafe { &*at };
    at.store(first as u32, Ordering::Relaxed);
    let flags = libc::CLONE_UNTRACED as usize;
    // SAFETY: as fork(2); the child has a copy of the stack, makes system calls only, and ends below.
    let child = unsafe { raw::syscall(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]) }.ok()?;
    if child == 0 {
        for n in first..count() {
            at.store(n as u32, Ordering::Relaxed);
            let number = number_of(n);
            // SAFETY: of the two, the first leaves no core, and the second reads its own set. The other calls get what is
            // no descriptor, address, process, flag or number of theirs.
            let _ = unsafe { raw::syscall(number, arguments(n, number, &u64::MAX)) };
        }
        loop {
            let _ = raw::sys_exit_group(0);
        }
    }
    let mut status = 0u32;
    while let Err(errno) = raw::sys_wait_clone(child as i32, &mut status) {
        if errno != Errno::INTR {
            return None;
        }
    }
    let signal = status & 0x7f;
    Some((signal != 0, at.load(Ordering::Relaxed) as usize))
}

fn arguments(n: usize, number: i64, all: &u64) -> [usize; 6] {
    const NOTHING: usize = usize::MAX;
    match (n, number) {
        (0, _) => [libc::PR_SET_DUMPABLE as usize, 0, 0, 0, 0, 0],
        (1, _) => [
            libc::SIG_SETMASK as usize,
            core::ptr::from_ref(all) as usize,
            0,
            size_of::<u64>(),
            0,
            0,
        ],
        (_, libc::SYS_kill | libc::SYS_tgkill) => {
            [i32::MAX as usize, i32::MAX as usize, 0, 0, 0, 0]
        }
        // Without CLONE_VM that is refused.
        (_, libc::SYS_clone) => [libc::CLONE_SIGHAND as usize, 0, 0, 0, 0, 0],
        _ => [NOTHING; 6],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NR: u64 = word(0x20, 0, 0, 0);
    const ARCH: u64 = word(0x20, 0, 0, 4);
    const ARGUMENT: u64 = word(0x20, 0, 0, 16);
    const ALLOWED: u64 = word(0x06, 0, 0, 0x7fff_0000);
    const KILLED: u64 = word(0x06, 0, 0, 0);
    const TRAPPED: u64 = word(0x06, 0, 0, 0x0003_0000);
    const REFUSED: u64 = word(0x06, 0, 0, 0x0005_0001);

    const fn word(code: u16, if_true: u8, if_false: u8, k: u32) -> u64 {
        code as u64 | (if_true as u64) << 16 | (if_false as u64) << 24 | (k as u64) << 32
    }

    const fn equal(k: u32, if_true: u8, if_false: u8) -> u64 {
        word(0x15, if_true, if_false, k)
    }

    fn of(program: &[u64]) -> Filter {
        let mut filter = Filter::with_room(program.len()).expect("memory");
        let words = filter.memory.numbers_mut(0, program.len());
        words.copy_from_slice(program);
        filter
    }

    #[test]
    #[cfg_attr(miri, ignore = "mmap(2)")]
    fn what_a_list_leaves_out_is_fatal() {
        let mut list = of(&[NR, equal(3, 1, 0), KILLED, ALLOWED]);
        assert!(!list.may_be_fatal(3));
        assert!(list.may_be_fatal(4));
        let calls = list.fatal_calls();
        assert!(!calls.has(3) && calls.has(0) && calls.has(511));
        assert_eq!(calls.first_essential(), Some(libc::SYS_futex));
    }

    #[test]
    #[cfg_attr(miri, ignore = "mmap(2)")]
    fn errors_are_not_fatal_and_traps_are() {
        let mut filter = of(&[NR, equal(3, 0, 1), TRAPPED, REFUSED]);
        assert!(filter.may_be_fatal(3));
        assert!(!filter.may_be_fatal(4));
    }

    #[test]
    #[cfg_attr(miri, ignore = "mmap(2)")]
    fn another_architecture_is_not_ours() {
        let mut filter = of(&[
            ARCH,
            equal(ARCHITECTURE, 1, 0),
            KILLED,
            NR,
            equal(7, 0, 1),
            KILLED,
            ALLOWED,
        ]);
        assert!(filter.may_be_fatal(7));
        assert!(!filter.may_be_fatal(8));
    }

    #[test]
    #[cfg_attr(miri, ignore = "mmap(2)")]
    fn an_argument_may_be_any() {
        let mut filter = of(&[
            NR,
            equal(7, 0, 2),
            ARGUMENT,
            equal(1, 1, 0),
            ALLOWED,
            KILLED,
        ]);
        assert!(filter.may_be_fatal(7));
        assert!(!filter.may_be_fatal(8));
    }

    #[test]
    #[cfg_attr(miri, ignore = "mmap(2)")]
    fn what_is_computed_is_known() {
        let and = word(0x54, 0, 0, 0xf0);
        let to_x = word(0x07, 0, 0, 0);
        let immediate = word(0x00, 0, 0, 0x30);
        let equals_x = word(0x1d, 0, 1, 0);
        let mut filter = of(&[NR, and, to_x, immediate, equals_x, KILLED, ALLOWED]);
        assert!(filter.may_be_fatal(0x37));
        assert!(!filter.may_be_fatal(0x47));
    }

    #[test]
    #[cfg_attr(miri, ignore = "mmap(2)")]
    fn ways_that_meet_know_what_both_know() {
        // A is 1 or 2 by an argument: both are looked for.
        let one = word(0x00, 0, 0, 1);
        let two = word(0x00, 0, 0, 2);
        let jump = word(0x05, 0, 0, 1);
        let program = [
            ARGUMENT,
            equal(9, 0, 2),
            one,
            jump,
            two,
            equal(2, 0, 1),
            KILLED,
            ALLOWED,
        ];
        assert!(of(&program).may_be_fatal(0));
    }
}
