//! The contents of one file, and the mode that handles them.

use std::ops::Range;
use std::time::Instant;

use fuser::Errno;

use super::backend::Backend;
use super::cluster::{Client, Coherence, Views};
use super::modes::{Context, Effect, FileMode, Honest, Mode, Write};

/// A file's bytes and what the mode remembers of the file.
pub struct Contents {
    pub backend: Backend,
    /// What the clients of a cluster are shown otherwise.
    views: Box<Views>,
    mode: Box<dyn FileMode>,
    /// For when the mode does not apply to this file.
    honest: Honest,
    /// The switch of modes that `mode` belongs to; `u64::MAX` before the first use.
    switch: u64,
    /// Whether the mode applies to this file, by its path.
    concerned: bool,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            views: Box::default(),
            mode: Box::new(Honest),
            honest: Honest,
            switch: u64::MAX,
            concerned: false,
        }
    }
}

impl Contents {
    /// Brings the contents up to the moment: what is due is applied, and after a switch of
    /// modes the new mode takes over with no memory of the file. How many pages were applied.
    pub fn catch_up(&mut self, now: Instant, mode: Mode, switch: u64) -> usize {
        if self.switch != switch {
            self.switch = switch;
            self.mode = mode.of_file();
        }
        self.backend.apply_due(now)
    }

    /// The file is opened by a path to which the mode applies, or not.
    pub fn set_concerned(&mut self, concerned: bool) {
        self.concerned = concerned;
    }

    fn split(&mut self) -> (&mut Backend, &mut dyn FileMode) {
        if self.concerned {
            (&mut self.backend, &mut *self.mode)
        } else {
            (&mut self.backend, &mut self.honest)
        }
    }

    pub fn page_write(&mut self, write: Write<'_>, cx: &Context<'_>) -> Effect {
        let (backend, mode) = self.split();
        mode.page_write(backend, write, cx)
    }

    pub fn other_write(&mut self, write: Write<'_>) {
        let (backend, mode) = self.split();
        mode.other_write(backend, write);
    }

    pub fn read(&mut self, offset: u64, buffer: &mut [u8], cx: &Context<'_>) -> (usize, Effect) {
        let (backend, mode) = self.split();
        mode.read(backend, offset, buffer, cx)
    }

    /// A client of a cluster is about to write.
    pub fn before_write(
        &mut self,
        (client, coherence): (Client, Coherence),
        write: Write<'_>,
        until: Instant,
    ) {
        match coherence {
            Coherence::Propagation => self.views.delay(&self.backend, client, write, until),
            Coherence::StaleWriteback => {
                let (offset, len) = (write.offset, write.data.len());
                self.views.learn(&self.backend, client, offset, len);
            }
            _ => {}
        }
    }

    /// It has written.
    pub fn after_write(&mut self, (client, coherence): (Client, Coherence), write: Write<'_>) {
        if coherence == Coherence::StaleWriteback {
            self.views.write_back(&mut self.backend, client, write);
        }
    }

    /// It has read these bytes: puts into them what it is shown otherwise.
    pub fn after_read(
        &mut self,
        (client, coherence): (Client, Coherence),
        offset: u64,
        bytes: &mut [u8],
        now: Instant,
    ) {
        match coherence {
            Coherence::Propagation => self.views.show(client, offset, bytes, now),
            Coherence::StaleWriteback => {
                self.views.learn(&self.backend, client, offset, bytes.len());
            }
            _ => {}
        }
    }

    /// Fills the buffer with what a READ would be answered with, without being one.
    pub fn served(&self, offset: u64, buffer: &mut [u8], now: Instant) {
        let mode: &dyn FileMode = if self.concerned {
            &*self.mode
        } else {
            &self.honest
        };
        mode.served(&self.backend, offset, buffer, now);
    }

    pub fn fsync(&mut self, cx: &Context<'_>) -> (Result<(), Errno>, Effect) {
        let (backend, mode) = self.split();
        mode.fsync(backend, cx)
    }

    pub fn flush(&mut self) -> (Result<(), Errno>, Effect) {
        self.split().1.flush()
    }

    pub fn truncate(&mut self, size: u64) {
        let old = self.backend.size();
        self.backend.truncate(size);
        self.views.discard(&(size.min(old)..size.max(old)));
        self.mode.discard(size.min(old)..size.max(old));
    }

    /// Makes the bytes zeros.
    pub fn punch(&mut self, range: Range<u64>) {
        self.backend.punch(range.clone());
        self.views.discard(&range);
        self.mode.discard(range);
    }

    /// The power fails; how many pages were lost.
    pub fn cut(&mut self, mode: Mode) -> usize {
        self.mode = mode.of_file();
        self.backend.cut()
    }

    /// When what a reader gets next changes of itself.
    pub fn next_due(&self) -> Option<Instant> {
        let both = [self.backend.next_due(), self.mode.next_due()];
        both.into_iter().flatten().min()
    }
}
