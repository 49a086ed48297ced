//! The address table against a plain list of pages, with memory that runs out.

use crate::memory::{self, Limited};
use keepmydata_table::{Entry, Marks};

/// A file's number stands for it.
type Table = keepmydata_table::Table<u8, Limited>;

const PAGE: usize = 4096;
/// Addresses of the table's entries, in pages.
const PAGES: usize = if cfg!(miri) { 512 } else { 2048 };

/// What the table should hold, page by page: offset in the file in pages, and the rest.
type Model = Vec<Option<What>>;
type What = (u64, u8, bool, Marks);

/// Each step is four bytes: what, where (two), how long.
///
/// # Panics
/// If the table is not what the model is.
pub fn run(input: &[u8]) {
    {
        let table = Table::new();
        let mut model: Model = vec![None; PAGES];
        for step in input.chunks_exact(4) {
            one(&table, &mut model, step);
        }
        compare(&table, &model);
    }
    // SAFETY: the table is gone.
    unsafe { memory::reset() };
}

fn one(table: &Table, model: &mut Model, step: &[u8]) {
    let from = usize::from(u16::from_le_bytes([step[1], step[2]])) % PAGES;
    let to = (from + 1 + usize::from(step[3])).min(PAGES);
    let free = model[from..to].iter().all(Option::is_none);
    assert_eq!(table.overlaps(from * PAGE, to * PAGE), !free);
    match step[0] % 8 {
        0..4 if free => {
            let what = (
                u64::from(step[3]),
                file(step[0]),
                step[0] & 64 == 0,
                Marks {
                    registered: u32::from(step[2]),
                    errseq_seen: 0,
                    tracked: to * PAGE,
                },
            );
            if insert(table, from, to, what) {
                fill(model, from, to, what);
            }
        }
        // Many small ones, so that leaves split.
        4 => {
            for page in (from..to).step_by(2) {
                let what = (page as u64, file(step[0]), true, Marks::default());
                if model[page].is_none() && insert(table, page, page + 1, what) {
                    fill(model, page, page + 1, what);
                }
            }
        }
        5 => remove(table, model, from, to),
        6 => memory::limit(Some(usize::from(step[1] % 4))),
        7 if step[0] & 8 == 0 => memory::limit(None),
        7 => mark(table, model, from, to, u32::from(step[0])),
        _ => remove(table, model, from, to),
    }
    if step[3].is_multiple_of(16) {
        compare(table, model);
    }
}

fn file(which: u8) -> u8 {
    which >> 7
}

fn insert(table: &Table, from: usize, to: usize, (offset, file, writable, marks): What) -> bool {
    let entry = Entry {
        start: from * PAGE,
        end: to * PAGE,
        offset: offset * PAGE as u64,
        file,
        writable,
        marks,
    };
    table.insert(entry).is_ok()
}

fn fill(model: &mut Model, from: usize, to: usize, what: What) {
    let (offset, file, writable, marks) = what;
    for (at, page) in model[from..to].iter_mut().enumerate() {
        *page = Some((offset + at as u64, file, writable, marks));
    }
}

fn remove(table: &Table, model: &mut Model, from: usize, to: usize) {
    let mut pages = 0;
    let mut last = from * PAGE;
    let result = table.remove(from * PAGE, to * PAGE, |piece, stays| {
        assert!(last <= piece.start && piece.start < piece.end && piece.end <= to * PAGE);
        assert!(stays <= 2);
        last = piece.end;
        pages += piece.len() / PAGE;
    });
    let there = model[from..to].iter().flatten().count();
    match result {
        Ok(()) => {
            assert_eq!(pages, there, "pages removed");
            model[from..to].fill(None);
        }
        // The table is as it was.
        Err(_) => assert_eq!(pages, 0),
    }
}

fn mark(table: &Table, model: &mut Model, from: usize, to: usize, errseq_seen: u32) {
    let mut pages = 0;
    table.mark(from * PAGE, to * PAGE, |entry, marks| {
        marks.errseq_seen = errseq_seen;
        let entry = entry.start / PAGE..entry.end / PAGE;
        pages += entry.end.min(to) - entry.start.max(from);
        for page in &mut model[entry] {
            page.as_mut().expect("a page of an entry").3.errseq_seen = errseq_seen;
        }
    });
    let there = model[from..to].iter().flatten().count();
    assert_eq!(pages, there, "pages of marked entries");
}

fn compare(table: &Table, model: &Model) {
    let mut held: Model = vec![None; PAGES];
    table.for_each(0, PAGES * PAGE, |entry| {
        let what = (
            entry.offset / PAGE as u64,
            entry.file,
            entry.writable,
            entry.marks,
        );
        let (from, to) = (entry.start / PAGE, entry.end / PAGE);
        assert!(held[from..to].iter().all(Option::is_none), "two at {from}");
        fill(&mut held, from, to, what);
        true
    });
    assert!(held == *model, "the table is not what was entered");
    for from in (0..PAGES).step_by(37) {
        let to = (from + 5).min(PAGES);
        let some = model[from..to].iter().any(Option::is_some);
        assert_eq!(table.overlaps(from * PAGE, to * PAGE), some, "at {from}");
    }
}
