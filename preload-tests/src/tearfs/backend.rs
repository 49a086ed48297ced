//! What the daemon keeps of one file: what it acknowledged, what it applied, what is stable.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::pages::{Page, PageMap, page_of, pieces, zeros};
use crate::page_size;

/// What becomes of applied bytes when the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Stable,
    /// Lost unless committed first.
    Volatile,
}

/// Which of the three states of a file a reader is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// What READ is served from: all that was applied.
    Visible,
    /// What a reader gets once all that was acknowledged and not lost is applied.
    Final,
    /// What survives a power cut.
    Stable,
}

/// A page that was acknowledged but not applied.
struct Held {
    image: Arc<Page>,
    due: Option<Instant>,
}

/// The bytes of one file in three layers of whole pages, each covering the one before:
/// stable, volatile (applied, lost by a power cut), held (acknowledged, not yet applied).
///
/// Sizes, holes and names are metadata: stable at once.
#[derive(Default)]
pub struct Backend {
    size: u64,
    stable: PageMap,
    volatile: PageMap,
    held: BTreeMap<u64, Held>,
}

impl Backend {
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory that the file takes.
    pub fn allocated(&self) -> u64 {
        (self.stable.len() * page_size()) as u64
    }

    /// Grows the file so that it holds byte `end - 1`.
    pub fn extend(&mut self, end: u64) {
        self.size = self.size.max(end);
    }

    pub fn truncate(&mut self, size: u64) {
        if size < self.size {
            // To the end of the page, so that nothing comes back when the file grows again.
            self.punch(size..self.size.next_multiple_of(page_size() as u64));
            self.held.split_off(&size.div_ceil(page_size() as u64));
        }
        self.size = size;
    }

    /// Makes the bytes zeros in every layer.
    pub fn punch(&mut self, range: Range<u64>) {
        self.stable.punch(range.clone());
        self.volatile.punch(range.clone());
        for (&page, held) in &mut self.held {
            let base = page * page_size() as u64;
            let from = range.start.max(base);
            let to = range.end.min(base + page_size() as u64);
            if from < to {
                Arc::make_mut(&mut held.image)[(from - base) as usize..(to - base) as usize]
                    .fill(0);
            }
        }
    }

    /// The page as `view` shows it; `None` is a hole.
    pub fn page(&self, view: View, page: u64) -> Option<&Arc<Page>> {
        let held = || self.held.get(&page).map(|held| &held.image);
        let applied = || self.volatile.get(page);
        let stable = || self.stable.get(page);
        match view {
            View::Stable => stable(),
            View::Visible => applied().or_else(stable),
            View::Final => held().or_else(applied).or_else(stable),
        }
    }

    /// Reads up to the end of the file; the number of bytes read.
    pub fn read(&self, view: View, offset: u64, buffer: &mut [u8]) -> usize {
        let len = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        for piece in pieces(offset, len) {
            let into = &mut buffer[piece.bytes.clone()];
            match self.page(view, piece.page) {
                Some(page) => into.copy_from_slice(&page[piece.start..][..into.len()]),
                None => into.fill(0),
            }
        }
        len
    }

    /// The visible pages as they are now.
    pub fn snapshot(&self, pages: Range<u64>) -> PageMap {
        let mut snapshot = self.stable.slice(pages.clone());
        for (page, content) in self.volatile.slice(pages).drain() {
            snapshot.insert(page, content);
        }
        snapshot
    }

    /// Applies bytes. Where a page is held, they are newer than what is held of it.
    pub fn write(&mut self, offset: u64, data: &[u8], durability: Durability) {
        self.extend(offset + data.len() as u64);
        for piece in pieces(offset, data.len()) {
            let whole = piece.is_whole_page();
            let data = &data[piece.bytes.clone()];
            let patch = |page: &mut Page| page[piece.start..][..data.len()].copy_from_slice(data);
            let over = self.volatile.get(piece.page).is_some();
            if durability == Durability::Stable {
                patch(self.stable.page_mut(piece.page));
            }
            if over || durability == Durability::Volatile {
                if !over && let Some(below) = self.stable.get(piece.page) {
                    self.volatile.insert(piece.page, Arc::clone(below));
                }
                patch(self.volatile.page_mut(piece.page));
            }
            if whole {
                self.held.remove(&piece.page);
            } else if let Some(held) = self.held.get_mut(&piece.page) {
                patch(Arc::make_mut(&mut held.image));
            }
        }
    }

    /// Acknowledges bytes without applying them.
    pub fn hold(&mut self, offset: u64, data: &[u8]) {
        self.extend(offset + data.len() as u64);
        for piece in pieces(offset, data.len()) {
            let below = self.page(View::Visible, piece.page).map(Arc::clone);
            let held = self.held.entry(piece.page).or_insert_with(|| Held {
                image: below.unwrap_or_else(zeros),
                due: None,
            });
            let data = &data[piece.bytes.clone()];
            Arc::make_mut(&mut held.image)[piece.start..][..data.len()].copy_from_slice(data);
        }
    }

    /// Holds a page image that is applied at `due`, whatever is applied before.
    pub fn hold_page(&mut self, page: u64, image: Arc<Page>, due: Instant) {
        let due = Some(due);
        self.held.insert(page, Held { image, due });
    }

    /// The pages held, lowest first.
    pub fn held(&self) -> impl ExactSizeIterator<Item = u64> {
        self.held.keys().copied()
    }

    /// Applies the `count` lowest pages held; how many that were.
    pub fn apply_lowest(&mut self, count: usize) -> usize {
        let mut applied = 0;
        while applied < count
            && let Some((page, held)) = self.held.pop_first()
        {
            self.apply(page, held.image);
            applied += 1;
        }
        applied
    }

    /// Applies everything held; how many pages that were.
    pub fn apply_all(&mut self) -> usize {
        self.apply_lowest(usize::MAX)
    }

    /// Gives every held page that has no time yet one to be applied at.
    pub fn schedule_held(&mut self, due: Instant) -> usize {
        let untimed = self.held.values_mut().filter(|held| held.due.is_none());
        untimed.map(|held| held.due = Some(due)).count()
    }

    /// Applies what is due; how many pages that were.
    pub fn apply_due(&mut self, now: Instant) -> usize {
        let due = |held: &Held| held.due.is_some_and(|due| due <= now);
        let pages: Vec<u64> = self
            .held
            .iter()
            .filter(|(_, held)| due(held))
            .map(|(&page, _)| page)
            .collect();
        for &page in &pages {
            let held = self.held.remove(&page).expect("a page just listed");
            self.apply(page, held.image);
        }
        pages.len()
    }

    /// When the next page held is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.held.values().filter_map(|held| held.due).min()
    }

    /// Whether anything was applied that is not stable.
    pub fn has_volatile(&self) -> bool {
        !self.volatile.is_empty()
    }

    /// Forgets what was applied but not stable; how many pages that were.
    pub fn drop_volatile(&mut self) -> usize {
        let dropped = self.volatile.len();
        self.volatile.clear();
        dropped
    }

    /// Makes all that was applied stable; how many pages that were.
    pub fn commit(&mut self) -> usize {
        let committed = self.volatile.len();
        for (page, content) in self.volatile.drain() {
            self.stable.insert(page, content);
        }
        committed
    }

    /// The power fails: only what is stable is left.
    pub fn cut(&mut self) -> usize {
        let held = self.held.len();
        self.held.clear();
        held + self.drop_volatile()
    }

    /// The first byte at or after `offset` that is data, or, with `data` false, in a hole.
    /// The end of the file counts as a hole. `None` if there is none before it.
    pub fn seek(&self, offset: u64, data: bool) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let next = |page| {
            let layers = [&self.stable, &self.volatile];
            layers
                .iter()
                .filter_map(|layer| layer.next_data(page))
                .min()
        };
        if data {
            let found = next(page_of(offset))? * page_size() as u64;
            return (found < self.size).then(|| found.max(offset));
        }
        let mut page = page_of(offset);
        while next(page) == Some(page) {
            page += 1;
        }
        Some((page * page_size() as u64).clamp(offset, self.size))
    }

    fn apply(&mut self, page: u64, image: Arc<Page>) {
        self.volatile.remove(page);
        self.stable.insert(page, image);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn p() -> u64 {
        page_size() as u64
    }

    /// So many pages, full of a byte.
    fn full(pages: usize, byte: u8) -> Vec<u8> {
        vec![byte; pages * page_size()]
    }

    fn read(backend: &Backend, view: View, offset: u64, len: usize) -> Vec<u8> {
        let mut buffer = vec![0xff; len];
        let n = backend.read(view, offset, &mut buffer);
        buffer.truncate(n);
        buffer
    }

    #[test]
    fn held_pages_are_final_but_neither_visible_nor_stable() {
        let mut backend = Backend::default();
        backend.write(0, &full(3, b'o'), Durability::Stable);
        backend.hold(p(), &full(2, b'n'));
        for view in [View::Visible, View::Stable] {
            assert_eq!(read(&backend, view, p(), 1), b"o");
        }
        assert_eq!(read(&backend, View::Final, p(), 1), b"n");
        assert_eq!(backend.apply_lowest(1), 1);
        assert_eq!(read(&backend, View::Stable, 2 * p() - 1, 2), b"no");
        assert_eq!(backend.held().collect::<Vec<_>>(), [2]);
        assert_eq!(backend.cut(), 1);
        assert_eq!(read(&backend, View::Final, 2 * p(), 1), b"o");
    }

    #[test]
    fn volatile_bytes_are_visible_until_the_cut() {
        let mut backend = Backend::default();
        backend.write(0, b"old", Durability::Stable);
        backend.write(1, b"X", Durability::Volatile);
        assert_eq!(read(&backend, View::Visible, 0, 3), b"oXd");
        assert_eq!(read(&backend, View::Stable, 0, 3), b"old");
        backend.write(2, b"Y", Durability::Stable);
        backend.cut();
        assert_eq!(read(&backend, View::Visible, 0, 3), b"olY");
        backend.write(0, b"Z", Durability::Volatile);
        backend.commit();
        backend.cut();
        assert_eq!(read(&backend, View::Visible, 0, 3), b"ZlY");
    }

    #[test]
    fn a_newer_write_is_not_undone_by_an_older_page_held() {
        let mut backend = Backend::default();
        backend.hold(0, &full(1, b'h'));
        backend.write(1, b"new", Durability::Stable);
        assert_eq!(read(&backend, View::Visible, 0, 5), b"\0new\0");
        backend.apply_all();
        assert_eq!(read(&backend, View::Visible, 0, 5), b"hnewh");
    }

    #[test]
    fn pages_with_a_time_are_applied_at_that_time() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut backend = Backend::default();
        backend.hold(0, b"n");
        assert_eq!(backend.schedule_held(later), 1);
        assert_eq!(backend.next_due(), Some(later));
        assert_eq!(backend.apply_due(now), 0);
        assert_eq!(backend.apply_due(later), 1);
        assert_eq!(read(&backend, View::Stable, 0, 1), b"n");
        assert_eq!(backend.next_due(), None);
    }

    #[test]
    fn truncation_cuts_every_layer_and_growth_shows_zeros() {
        let mut backend = Backend::default();
        backend.write(0, &full(2, b's'), Durability::Stable);
        backend.write(0, &full(2, b'v'), Durability::Volatile);
        backend.hold(0, &full(2, b'h'));
        backend.truncate(10);
        backend.truncate(2 * p());
        for (view, byte) in [
            (View::Stable, b's'),
            (View::Visible, b'v'),
            (View::Final, b'h'),
        ] {
            assert_eq!(read(&backend, view, 9, 2), [byte, 0]);
            assert_eq!(read(&backend, view, 2 * p() - 1, 9), [0]);
        }
    }

    #[test]
    fn holes_and_data_are_found() {
        let mut backend = Backend::default();
        backend.truncate(1 << 40);
        backend.write(5 * p() + 7, b"x", Durability::Stable);
        backend.write(6 * p(), b"x", Durability::Volatile);
        assert_eq!(backend.seek(0, true), Some(5 * p()));
        assert_eq!(backend.seek(5 * p() + 9, true), Some(5 * p() + 9));
        assert_eq!(backend.seek(5 * p() + 9, false), Some(7 * p()));
        assert_eq!(backend.seek(7 * p(), true), None);
        assert_eq!(backend.seek(3, false), Some(3));
        assert_eq!(backend.seek(1 << 40, false), None);
    }
}
