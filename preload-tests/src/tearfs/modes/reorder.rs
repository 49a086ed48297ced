//! A daemon that lets an older version overtake a newer one.

use std::collections::BTreeMap;
use std::sync::Arc;

use fuser::Errno;

use super::super::backend::{Backend, View};
use super::super::pages::{Page, pages_of, zeros};
use super::{Context, Effect, FileMode, Write, apply, apply_all};

/// Applies page writeback at once and remembers what was there; after FSYNC and the delay,
/// the older content is applied again.
#[derive(Default)]
pub struct Reorder {
    older: BTreeMap<u64, Arc<Page>>,
}

impl FileMode for Reorder {
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, _cx: &Context<'_>) -> Effect {
        for page in pages_of(write.offset, write.data.len()) {
            let before = file.page(View::Visible, page).map(Arc::clone);
            let before = before.unwrap_or_else(zeros);
            self.older.entry(page).or_insert(before);
        }
        apply(file, write)
    }

    fn fsync(&mut self, file: &mut Backend, cx: &Context<'_>) -> (Result<(), Errno>, Effect) {
        if self.older.is_empty() {
            return (Ok(()), Effect::NONE);
        }
        let older = std::mem::take(&mut self.older);
        if !cx.selector.take() {
            return (Ok(()), apply_all(file));
        }
        let count = older.len();
        for (page, image) in older {
            file.hold_page(page, image, cx.now + cx.parameters.delay);
        }
        file.apply_due(cx.now);
        (Ok(()), Effect::new("older content follows", count))
    }

    fn discard(&mut self, range: std::ops::Range<u64>) {
        let pages = pages_of(range.start, (range.end - range.start) as usize);
        self.older.retain(|page, _| !pages.contains(page));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Effect, Mode};

    #[test]
    fn the_older_content_comes_back_after_the_delay() {
        let mut bench = Bench::new(Mode::Reorder);
        bench.other_write(0, "ooo");
        bench.page_write(0, "nn");
        let follows = Effect::new("older content follows", 2);
        assert_eq!(bench.fsync(), follows);
        assert_eq!(bench.shown(), ["nno", "ooo", "nno"]);
        bench.pass_delay();
        assert_eq!(bench.shown(), ["ooo"; 3]);
        assert_eq!(bench.fsync(), Effect::NONE);
    }

    #[test]
    fn a_page_written_again_before_the_delay_only_loses_that_write() {
        let mut bench = Bench::new(Mode::Reorder);
        bench.other_write(0, "o");
        bench.page_write(0, "n");
        bench.fsync();
        bench.page_write(0, "m");
        bench.fsync();
        bench.pass_delay();
        assert_eq!(bench.shown(), ["n"; 3]);
    }
}
