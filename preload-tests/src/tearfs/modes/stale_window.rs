//! A daemon with a read cache that it does not keep up to date.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use fuser::Errno;

use super::super::backend::{Backend, Durability, View};
use super::super::pages::PageMap;
use super::{Context, Effect, FileMode, Write, apply, apply_all};
use crate::page_size;

/// Applies page writeback, but READ is answered from windows cached by earlier READs. A
/// window that was overtaken by a write is dropped some time after an FSYNC.
#[derive(Default)]
pub struct StaleWindow {
    windows: BTreeMap<u64, Window>,
}

/// An aligned part of the file, as it was at an earlier READ.
struct Window {
    bytes: Range<u64>,
    pages: PageMap,
    /// Page writeback has gone past it.
    stale: bool,
    /// FSYNCs since it became stale.
    fsyncs: u32,
    expires: Option<Instant>,
}

impl Window {
    fn new(file: &Backend, start: u64, len: u64) -> Self {
        let bytes = start..(start + len).min(file.size());
        let page = page_size() as u64;
        Self {
            pages: file.snapshot(start / page..(start + len) / page),
            bytes,
            stale: false,
            fsyncs: 0,
            expires: None,
        }
    }
}

impl StaleWindow {
    fn expire(&mut self, now: Instant) {
        let expired = |window: &Window| window.expires.is_some_and(|at| at <= now);
        self.windows.retain(|_, window| !expired(window));
    }

    fn overlapping(&mut self, range: Range<u64>) -> impl Iterator<Item = &mut Window> {
        let overlaps =
            move |w: &&mut Window| w.bytes.start < range.end && range.start < w.bytes.end;
        self.windows.values_mut().filter(overlaps)
    }
}

impl FileMode for StaleWindow {
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, cx: &Context<'_>) -> Effect {
        self.expire(cx.now);
        let applied = apply(file, write);
        let mut overtaken = 0;
        for window in self.overlapping(write.range()) {
            window.stale = true;
            overtaken += 1;
        }
        match overtaken {
            0 => applied,
            _ => Effect::new("applied past cached windows", overtaken),
        }
    }

    fn other_write(&mut self, file: &mut Backend, write: Write<'_>) {
        file.write(write.offset, write.data, Durability::Stable);
        for window in self.overlapping(write.range()) {
            window.pages.write(write.offset, write.data);
        }
    }

    fn read(
        &mut self,
        file: &Backend,
        offset: u64,
        buffer: &mut [u8],
        cx: &Context<'_>,
    ) -> (usize, Effect) {
        self.expire(cx.now);
        let read = file.read(View::Visible, offset, buffer);
        let end = offset + read as u64;
        let len = cx.parameters.window;
        let mut stale = 0;
        let mut start = offset - offset % len;
        while start < end {
            if !self.windows.contains_key(&start) && cx.selector.take() {
                self.windows.insert(start, Window::new(file, start, len));
            }
            if let Some(window) = self.windows.get(&start).filter(|window| window.stale) {
                let from = window.bytes.start.max(offset);
                let to = window.bytes.end.min(end);
                if from < to {
                    stale += 1;
                    let into = (from - offset) as usize..(to - offset) as usize;
                    window.pages.read(from, &mut buffer[into]);
                }
            }
            start += len;
        }
        match stale {
            0 => (read, Effect::NONE),
            _ => (read, Effect::new("stale window served", stale)),
        }
    }

    fn served(&self, file: &Backend, offset: u64, buffer: &mut [u8], now: Instant) {
        let read = file.read(View::Visible, offset, buffer);
        let bytes = offset..offset + read as u64;
        for window in self.windows.values() {
            let valid = window.expires.is_none_or(|at| at > now);
            let from = window.bytes.start.max(bytes.start);
            let to = window.bytes.end.min(bytes.end);
            if window.stale && valid && from < to {
                let into = (from - offset) as usize..(to - offset) as usize;
                window.pages.read(from, &mut buffer[into]);
            }
        }
    }

    fn fsync(&mut self, file: &mut Backend, cx: &Context<'_>) -> (Result<(), Errno>, Effect) {
        apply_all(file);
        self.expire(cx.now);
        let delay = cx.parameters.delay;
        let mut stale = 0;
        self.windows.retain(|_, window| {
            if !window.stale {
                return true;
            }
            stale += 1;
            window.fsyncs += 1;
            if delay.is_zero() {
                return window.fsyncs < 2;
            }
            window.expires.get_or_insert(cx.now + delay);
            true
        });
        match stale {
            0 => (Ok(()), Effect::NONE),
            _ => (Ok(()), Effect::new("windows stale", stale)),
        }
    }

    fn discard(&mut self, range: Range<u64>) {
        let overlaps = |w: &Window| w.bytes.start < range.end && range.start < w.bytes.end;
        self.windows.retain(|_, window| !overlaps(window));
    }

    fn next_due(&self) -> Option<Instant> {
        self.windows
            .values()
            .filter_map(|window| window.expires)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Effect, Mode};
    use std::time::Duration;

    #[test]
    fn a_window_read_before_the_write_is_served_until_the_delay_after_fsync() {
        let mut bench = Bench::new(Mode::StaleWindow);
        bench.other_write(0, "oooo");
        assert_eq!(bench.read(), "oooo");
        let past = Effect::new("applied past cached windows", 1);
        assert_eq!(bench.page_write(1, "nn"), past);
        assert_eq!(
            bench.shown(),
            ["onno"; 3],
            "the backend itself is up to date"
        );
        bench.pass_delay();
        assert_eq!(bench.read(), "oooo", "no FSYNC: the window stays");
        assert_eq!(bench.fsync(), Effect::new("windows stale", 1));
        bench.fsync();
        assert_eq!(bench.read(), "oooo");
        bench.pass_delay();
        assert_eq!(bench.read(), "onno");
    }

    #[test]
    fn what_would_be_served_is_what_a_read_gets() {
        let mut bench = Bench::new(Mode::StaleWindow);
        bench.other_write(0, "oooo");
        bench.page_write(0, "n");
        assert_eq!(bench.served(), "nooo", "no window is made by asking");
        bench.read();
        bench.page_write(1, "nn");
        bench.fsync();
        assert_eq!(bench.served(), "nooo");
        assert_eq!(bench.read(), "nooo");
        bench.pass_delay();
        assert_eq!(bench.served(), "nnno");
    }

    #[test]
    fn without_a_delay_the_second_fsync_ends_it() {
        let mut bench = Bench::new(Mode::StaleWindow);
        bench.parameters.delay = Duration::ZERO;
        bench.other_write(0, "oooo");
        bench.read();
        bench.page_write(1, "nn");
        bench.fsync();
        assert_eq!(bench.read(), "oooo");
        bench.fsync();
        assert_eq!(bench.read(), "onno");
    }

    #[test]
    fn other_writes_reach_cached_windows_and_growth_is_seen() {
        let mut bench = Bench::new(Mode::StaleWindow);
        bench.other_write(0, "oo");
        bench.read();
        bench.page_write(0, "n");
        bench.other_write(1, "xyz");
        assert_eq!(bench.read(), "oxyz");
    }

    #[test]
    fn a_truncated_window_is_forgotten() {
        let mut bench = Bench::new(Mode::StaleWindow);
        bench.other_write(0, "oo");
        bench.read();
        bench.page_write(0, "n");
        bench.discard();
        assert_eq!(bench.read(), "no");
    }
}
