//! The keeper: a process that also holds the listener, and acts only if the supervisor is killed. Then it answers, so that no
//! call waits for ever: msync fails with EIO, and all else is the kernel's.

use crate::notify::{Answer, Listener, Notification};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// Calls that were received and not answered yet, in memory that the supervisor and the keeper share.
#[derive(Clone, Copy)]
pub struct Pending(&'static Calls);

/// Calls beyond are not noted.
const SLOTS: usize = 4096;

/// Calls that are received at the same time. Beyond, one is lost if the supervisor is killed between receiving and noting it.
const PLACES: usize = 64;

struct Calls {
    noted: [Slot; SLOTS],
    received: [Place; PLACES],
}

// SAFETY: a place is its thread's while it is taken, and the keeper's when the supervisor is gone.
unsafe impl Sync for Calls {}

struct Slot {
    /// 0 where there is none.
    id: AtomicU64,
    number: AtomicI32,
}

/// Where the kernel writes what it hands over: whoever is killed right after that has told the keeper already.
struct Place {
    is_taken: AtomicBool,
    call: UnsafeCell<Notification>,
}

impl Pending {
    /// None; `None` where memory is out.
    pub fn new() -> Option<Pending> {
        let len = size_of::<Calls>();
        let both = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
        let (anywhere, shared) = (std::ptr::null_mut(), rustix::mm::MapFlags::SHARED);
        // SAFETY: a new mapping.
        let at = unsafe { rustix::mm::mmap_anonymous(anywhere, len, both, shared) }.ok()?;
        // SAFETY: zeroed, of that size, aligned to a page, and never unmapped; all-zero is a valid value.
        Some(Pending(unsafe { &*at.cast::<Calls>() }))
    }

    /// Receives a call, and notes it.
    ///
    /// Errors: those of [`Listener::receive`].
    pub fn receive(self, listener: &Listener) -> Result<Notification, Errno> {
        let mut places = self.0.received.iter();
        let place = places.find(|place| !place.is_taken.swap(true, Ordering::Acquire));
        let mut own = Notification::default();
        let call = match place {
            // SAFETY: it is this thread's until it is given back.
            Some(place) => unsafe { &mut *place.call.get() },
            None => &mut own,
        };
        let received = listener.receive(call).map(|()| *call);
        if let Ok(call) = &received {
            self.note(call.id, call.number);
        }
        *call = Notification::default();
        if let Some(place) = place {
            place.is_taken.store(false, Ordering::Release);
        }
        received
    }

    /// Answers all that is left, when the supervisor is gone.
    fn answer_all(self, listener: &Listener) {
        for place in &self.0.received {
            // SAFETY: nobody else is left who writes there.
            let call = unsafe { place.call.get().read_volatile() };
            if call.id != 0 {
                listener.answer(call.id, answer(call.number));
            }
        }
        // One that was being noted, and has no number here, is answered now.
        for slot in &self.0.noted {
            let id = slot.id.load(Ordering::Acquire);
            if id != 0 {
                listener.answer(id, answer(slot.number.load(Ordering::Acquire)));
            }
        }
    }

    /// Notes a call.
    fn note(self, id: u64, number: i32) {
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
        self.0.noted[start..].iter().chain(&self.0.noted[..start])
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
    pending.answer_all(listener);
    loop {
        let mut calls = [PollFd::new(listener, PollFlags::IN)];
        if poll(&mut calls, None).is_err() {
            continue;
        }
        if calls[0].revents().contains(PollFlags::IN) {
            let mut call = Notification::default();
            if listener.receive(&mut call).is_ok() {
                listener.answer(call.id, answer(call.number));
            }
        } else {
            return;
        }
    }
}

fn answer(number: i32) -> Answer {
    match i64::from(number) {
        libc::SYS_msync => Answer::Fail(Errno::IO),
        _ => Answer::Continue,
    }
}
