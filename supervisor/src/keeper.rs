//! The keeper: a process that also holds the listener, and acts only if the supervisor is killed. Then it answers, so that no
//! call waits for ever: msync fails with EIO, and all else is the kernel's.

use crate::notify::{Answer, Listener};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Calls that were received and not answered yet, in memory that the supervisor and the keeper share.
#[derive(Clone, Copy)]
pub struct Pending(&'static [Slot; SLOTS]);

/// Calls beyond are not noted.
const SLOTS: usize = 4096;

struct Slot {
    /// 0 where there is none.
    id: AtomicU64,
    number: AtomicI32,
}

impl Pending {
    /// None; `None` where memory is out.
    pub fn new() -> Option<Pending> {
        let len = size_of::<[Slot; SLOTS]>();
        let both = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
        let (anywhere, shared) = (std::ptr::null_mut(), rustix::mm::MapFlags::SHARED);
        // SAFETY: a new mapping.
        let at = unsafe { rustix::mm::mmap_anonymous(anywhere, len, both, shared) }.ok()?;
        // SAFETY: zeroed, of that size, aligned to a page, and never unmapped; all-zero is a valid value.
        Some(Pending(unsafe { &*at.cast::<[Slot; SLOTS]>() }))
    }

    /// Notes a call.
    pub fn note(self, id: u64, number: i32) {
        for slot in self.from(id) {
            let taken = slot
                .id
                .compare_exchange(0, id, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                slot.number.store(number, Ordering::Release);
                return;
            }
        }
    }

    /// It is answered.
    pub fn done(self, id: u64) {
        let mut slots = self.from(id);
        if let Some(slot) = slots.find(|slot| slot.id.load(Ordering::Relaxed) == id) {
            slot.id.store(0, Ordering::Release);
        }
    }

    /// All, from the one on that `id` is noted in if that is free.
    fn from(self, id: u64) -> impl Iterator<Item = &'static Slot> {
        let start = id as usize % SLOTS;
        self.0[start..].iter().chain(&self.0[..start])
    }
}

/// Waits for the end of the supervisor, whose process is `supervisor`, or of all that it supervises; then does what is
/// left.
pub fn keep(listener: &Listener, supervisor: &OwnedFd, pending: Pending) {
    loop {
        let mut both = [
            PollFd::new(supervisor, PollFlags::IN),
            PollFd::new(listener, PollFlags::empty()),
        ];
        if poll(&mut both, None).is_err() {
            continue;
        }
        if both[1].revents().contains(PollFlags::HUP) {
            return;
        }
        if !both[0].revents().is_empty() {
            break;
        }
    }
    for slot in pending.0 {
        let id = slot.id.load(Ordering::Acquire);
        if id != 0 {
            listener.answer(id, answer(slot.number.load(Ordering::Acquire)));
        }
    }
    loop {
        let mut calls = [PollFd::new(listener, PollFlags::IN)];
        if poll(&mut calls, None).is_err() {
            continue;
        }
        if calls[0].revents().contains(PollFlags::IN) {
            if let Ok(call) = listener.receive() {
                listener.answer(call.id, answer(call.number));
            }
        } else {
            return;
        }
    }
}

fn answer(number: i32) -> Answer {
    match i64::from(number) {
        libc::SYS_msync => Answer::Fail(rustix::io::Errno::IO),
        _ => Answer::Continue,
    }
}
