//! Daemons that lose part of what they acknowledge.

use std::collections::HashSet;

use super::super::backend::{Backend, Durability};
use super::super::pages::pieces;
use super::{Context, Effect, FileMode, Write, apply};
use crate::page_size;

/// Keeps the first page of a WRITE of several.
pub struct DropTail;

impl FileMode for DropTail {
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, cx: &Context<'_>) -> Effect {
        let pages = write.pages();
        if pages < 2 || !cx.selector.take() {
            return apply(file, write);
        }
        let first = page_size() - (write.offset % page_size() as u64) as usize;
        file.extend(write.range().end);
        file.write(write.offset, &write.data[..first], Durability::Stable);
        Effect::new("tail dropped", pages - 1)
    }
}

/// Drops the first write of each page.
#[derive(Default)]
pub struct LossyFirst {
    written: HashSet<u64>,
}

impl FileMode for LossyFirst {
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, cx: &Context<'_>) -> Effect {
        file.extend(write.range().end);
        let mut dropped = 0;
        let mut applied = 0;
        for piece in pieces(write.offset, write.data.len()) {
            if self.written.insert(piece.page) && cx.selector.take() {
                dropped += 1;
                continue;
            }
            applied += 1;
            let at = write.offset + piece.bytes.start as u64;
            file.write(at, &write.data[piece.bytes], Durability::Stable);
        }
        match dropped {
            0 => Effect::new("applied", applied),
            _ => Effect::new("dropped", dropped),
        }
    }
}

/// Keeps nothing.
pub struct BlackHole;

impl FileMode for BlackHole {
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, cx: &Context<'_>) -> Effect {
        if !cx.selector.take() {
            return apply(file, write);
        }
        file.extend(write.range().end);
        Effect::new("dropped", write.pages())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Effect, Mode};

    #[test]
    fn the_tail_of_a_write_is_dropped_but_single_pages_are_kept() {
        let mut bench = Bench::new(Mode::DropTail);
        bench.other_write(0, "oooo");
        assert_eq!(bench.page_write(0, "nnn"), Effect::new("tail dropped", 2));
        assert_eq!(bench.page_write(3, "n"), Effect::new("applied", 1));
        assert_eq!(bench.shown(), ["noon"; 3]);
        bench.fsync();
        assert_eq!(bench.shown(), ["noon"; 3]);
    }

    #[test]
    fn the_first_write_of_a_page_is_dropped_and_the_second_kept() {
        let mut bench = Bench::new(Mode::LossyFirst);
        bench.other_write(0, "oooo");
        assert_eq!(bench.page_write(0, "nn"), Effect::new("dropped", 2));
        assert_eq!(bench.page_write(1, "nn"), Effect::new("dropped", 1));
        assert_eq!(bench.shown(), ["onoo"; 3]);
        assert_eq!(bench.page_write(0, "n"), Effect::new("applied", 1));
        assert_eq!(bench.shown(), ["nnoo"; 3]);
    }

    #[test]
    fn a_black_hole_keeps_what_is_not_page_writeback() {
        let mut bench = Bench::new(Mode::BlackHole);
        bench.other_write(0, "ooo");
        assert_eq!(bench.page_write(0, "nn"), Effect::new("dropped", 2));
        assert_eq!(bench.fsync(), Effect::NONE);
        assert_eq!(bench.shown(), ["ooo"; 3]);
    }

    #[test]
    fn what_is_not_selected_is_kept() {
        let mut bench = Bench::new(Mode::BlackHole).selecting(1, Some(1));
        bench.page_write(0, "a");
        bench.page_write(0, "b");
        assert_eq!(bench.shown(), ["b"; 3]);
    }
}
