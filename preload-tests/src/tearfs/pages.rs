//! A sparse run of bytes, kept as pages.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::page_size;

/// [`page_size`] bytes, as the kernel's page cache has them.
pub type Page = [u8];

/// A page of zeros.
pub fn zeros() -> Arc<Page> {
    vec![0; page_size()].into()
}

/// The page that holds byte `offset`.
pub fn page_of(offset: u64) -> u64 {
    offset / page_size() as u64
}

/// The pages that the bytes touch, in order.
pub fn pages_of(offset: u64, len: usize) -> Range<u64> {
    match len {
        0 => page_of(offset)..page_of(offset),
        _ => page_of(offset)..page_of(offset + len as u64 - 1) + 1,
    }
}

/// The part of `[offset, offset + len)` that lies in one page: where it starts in that
/// page, and which of the bytes it is.
pub struct Piece {
    pub page: u64,
    pub start: usize,
    pub bytes: Range<usize>,
}

impl Piece {
    pub fn is_whole_page(&self) -> bool {
        self.bytes.len() == page_size()
    }
}

/// Splits `[offset, offset + len)` at page boundaries.
pub fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let start = (at % page_size() as u64) as usize;
        let bytes = done..len.min(done + page_size() - start);
        done = bytes.end;
        Some(Piece {
            page: page_of(at),
            start,
            bytes,
        })
    })
}

/// Pages by index; one that is absent is a hole and reads as zeros. A clone shares the
/// pages until one side writes.
#[derive(Clone, Default)]
pub struct PageMap {
    pages: BTreeMap<u64, Arc<Page>>,
}

impl PageMap {
    pub fn get(&self, page: u64) -> Option<&Arc<Page>> {
        self.pages.get(&page)
    }

    /// The page, made of zeros first if it was a hole.
    pub fn page_mut(&mut self, page: u64) -> &mut Page {
        let shared = self.pages.entry(page).or_insert_with(zeros);
        Arc::make_mut(shared)
    }

    pub fn insert(&mut self, page: u64, content: Arc<Page>) {
        self.pages.insert(page, content);
    }

    pub fn remove(&mut self, page: u64) -> Option<Arc<Page>> {
        self.pages.remove(&page)
    }

    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub fn len(&self) -> usize {
        self.pages.len()
    }

    pub fn clear(&mut self) {
        self.pages.clear();
    }

    /// Takes all pages out, lowest first.
    pub fn drain(&mut self) -> impl Iterator<Item = (u64, Arc<Page>)> {
        std::mem::take(&mut self.pages).into_iter()
    }

    /// Takes the lowest page out.
    pub fn pop_first(&mut self) -> Option<(u64, Arc<Page>)> {
        self.pages.pop_first()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<Page>)> {
        self.pages.iter().map(|(&page, content)| (page, content))
    }

    /// A copy of the given pages only.
    pub fn slice(&self, pages: Range<u64>) -> Self {
        let pages = self.pages.range(pages);
        Self {
            pages: pages.map(|(&page, c)| (page, Arc::clone(c))).collect(),
        }
    }

    pub fn read(&self, offset: u64, buffer: &mut [u8]) {
        for piece in pieces(offset, buffer.len()) {
            let into = &mut buffer[piece.bytes.clone()];
            match self.get(piece.page) {
                Some(page) => into.copy_from_slice(&page[piece.start..][..into.len()]),
                None => into.fill(0),
            }
        }
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for piece in pieces(offset, data.len()) {
            let data = &data[piece.bytes.clone()];
            self.page_mut(piece.page)[piece.start..][..data.len()].copy_from_slice(data);
        }
    }

    /// Makes the bytes zeros; pages that lie whole inside become holes.
    pub fn punch(&mut self, range: Range<u64>) {
        let page_len = page_size() as u64;
        let first_whole = range.start.div_ceil(page_len);
        let end_whole = range.end / page_len;
        if first_whole < end_whole {
            let mut tail = self.pages.split_off(&first_whole);
            self.pages.append(&mut tail.split_off(&end_whole));
        }
        for (page, from, to) in [
            (
                page_of(range.start),
                range.start,
                range.end.min(first_whole * page_len),
            ),
            (end_whole, range.start.max(end_whole * page_len), range.end),
        ] {
            if from < to && self.pages.contains_key(&page) {
                let base = page * page_len;
                self.page_mut(page)[(from - base) as usize..(to - base) as usize].fill(0);
            }
        }
    }

    /// The first page at or after `page` that is no hole.
    pub fn next_data(&self, page: u64) -> Option<u64> {
        self.pages.range(page..).next().map(|(&page, _)| page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(map: &PageMap, offset: u64, len: usize) -> Vec<u8> {
        let mut buffer = vec![0xff; len];
        map.read(offset, &mut buffer);
        buffer
    }

    #[test]
    fn writes_are_read_back_across_pages_and_holes_are_zero() {
        let mut map = PageMap::default();
        map.write(page_size() as u64 - 6, b"0123456789");
        assert_eq!(
            bytes(&map, page_size() as u64 - 7, 12),
            b"\x000123456789\x00"
        );
        assert_eq!(map.len(), 2);
        assert_eq!(bytes(&map, 1 << 40, 3), [0; 3]);
    }

    #[test]
    fn a_clone_does_not_see_later_writes() {
        let mut map = PageMap::default();
        map.write(0, b"old");
        let snapshot = map.slice(0..1);
        map.write(0, b"new");
        assert_eq!(bytes(&snapshot, 0, 3), b"old");
    }

    #[test]
    fn a_punched_range_is_zero_and_nothing_beside_it() {
        let page = page_size();
        let mut map = PageMap::default();
        map.write(0, &vec![7; 5 * page]);
        map.punch(100..(3 * page + 10) as u64);
        let all = bytes(&map, 0, 5 * page);
        for (at, byte) in all.iter().enumerate() {
            let hole = (100..3 * page + 10).contains(&at);
            assert_eq!(*byte, if hole { 0 } else { 7 }, "byte {at}");
        }
        assert_eq!(map.next_data(1), Some(3));

        let mut map = PageMap::default();
        map.write(0, &vec![7; page]);
        map.punch(10..20);
        assert_eq!(bytes(&map, 9, 12), [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn pages_of_an_empty_range_are_none() {
        assert_eq!(pages_of(5000, 0).count(), 0);
        let page = page_size();
        assert_eq!(pages_of(page as u64 - 1, 2), 0..2);
        assert_eq!(pages_of(page as u64, page), 1..2);
    }
}
