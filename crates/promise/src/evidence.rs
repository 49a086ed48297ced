//! What a report shows of pages that are not safe.

use crate::copies::{Copies, State};
use crate::target::{Part, Target};
use keepmydata_ranges::Ranges;
use keepmydata_records::{Content, HexBytes, HexU64, PageRow, Verdict, page_hash};
use keepmydata_sys::{self as sys, list::List};

/// Rows of a report's page table; the counts are complete, the table is not beyond this.
const ROWS: usize = 64;

/// Every page that is not safe, and the first ones as a report shows them.
#[derive(Default)]
pub struct Evidence {
    /// All of them, in bytes of the file.
    pub pages: Ranges,
    /// One by one, up to 64.
    pub rows: List<PageRow, ROWS, ROWS>,
}

impl Evidence {
    /// Makes the value at `at` an empty one, without a copy of it on the stack.
    ///
    /// # Safety
    /// `at` is valid for writes.
    pub(crate) unsafe fn init(at: *mut Evidence) {
        // SAFETY: by contract.
        unsafe {
            Ranges::init(&raw mut (*at).pages);
            List::init(&raw mut (*at).rows);
        }
    }

    /// Fills both, which reads back what is not safe.
    pub fn gather(&mut self, target: &impl Target, copies: &mut Copies) {
        self.pages.clear();
        for page in 0..copies.pages() {
            let verdict = match copies.state(page) {
                State::Stale => Verdict::Stale,
                State::Racing if copies.copy(page).is_some() => Verdict::Stale,
                State::Racing
                | State::Uncertain
                | State::Gone
                | State::Unread
                | State::Unseen
                | State::Refilled => Verdict::Uncertain,
                _ => continue,
            };
            let (start, _) = copies.place_of(page);
            self.pages.add(start, start + sys::page_size() as u64);
            if self.rows.as_slice().len() < ROWS
                && let Some(row) = row(target, copies, page, verdict)
            {
                self.rows.push(row);
            }
        }
    }

    /// Adds what was not copied, and another client is not shown.
    pub fn add_hidden(&mut self, hidden: &Ranges) {
        let size = sys::page_size() as u64;
        self.pages.add_all(hidden.iter());
        for range in hidden.iter() {
            for start in (range.offset..range.end()).step_by(size as usize) {
                if self.rows.as_slice().len() >= ROWS {
                    return;
                }
                self.rows.push(PageRow {
                    page: start / size,
                    start,
                    end: start + size,
                    verdict: Verdict::Uncertain,
                    ..PageRow::default()
                });
            }
        }
    }
}

fn row(
    target: &impl Target,
    copies: &mut Copies,
    page: usize,
    verdict: Verdict,
) -> Option<PageRow> {
    let size = target.size().ok()?;
    let (start, _) = copies.place_of(page);
    let end = (start + sys::page_size() as u64).min(size.max(start));
    let mut row = PageRow {
        page: start / sys::page_size() as u64,
        start,
        end,
        verdict,
        ..PageRow::default()
    };
    if copies.state(page) == State::Gone {
        return Some(row);
    }
    let mut part = [Part::new(page, 1, start, 0)];
    let state = copies.state(page);
    let buffer = copies.buffer_mut();
    match state {
        State::Unseen => target.read_elsewhere(&mut part, buffer),
        _ => target.read_back(&mut part, buffer, &mut false),
    }
    let read = part[0].read.unwrap_or(0);
    let actual = &copies.buffer()[..read.min((end - start) as usize)];
    row.expected_hash = Some(HexU64(copies.hash_at_copy(page)));
    row.actual_hash = Some(HexU64(page_hash(actual)));
    if let Some(expected) = copies.copy(page) {
        compare(&mut row, &expected[..(end - start) as usize], actual);
    }
    Some(row)
}

/// Where and how `actual` differs from `expected`.
fn compare(row: &mut PageRow, expected: &[u8], actual: &[u8]) {
    let differs = |i: &usize| actual.get(*i) != expected.get(*i);
    let Some(first) = (0..expected.len()).find(differs) else {
        // Right by now: a daemon that applies late.
        row.content = Some(Content::New);
        return;
    };
    let last = (first..expected.len()).rev().find(differs).unwrap_or(first);
    let wrong = (first..=last).filter(differs).count();
    row.first_diff = Some(row.start + first as u64);
    row.wrong_bytes = Some(wrong as u64);
    row.content = Some(match wrong * 2 > last - first {
        true => Content::Old,
        false => Content::Mixed,
    });
    row.expected_hex = Some(hex(&expected[first..]));
    row.actual_hex = Some(hex(actual.get(first..).unwrap_or_default()));
}

fn hex(bytes: &[u8]) -> HexBytes {
    HexBytes::new(&bytes[..bytes.len().min(32)])
}
