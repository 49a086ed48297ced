//! A write-back cache without a battery.

use fuser::Errno;

use super::super::backend::{Backend, Durability};
use super::{Context, Effect, FileMode, Write, apply};

/// Every write, page writeback or not, is seen at once and lost by a power cut before FSYNC.
pub struct Volatile;

impl FileMode for Volatile {
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, cx: &Context<'_>) -> Effect {
        if !cx.selector.take() {
            return apply(file, write);
        }
        file.write(write.offset, write.data, Durability::Volatile);
        Effect::new("volatile", write.pages())
    }

    fn other_write(&mut self, file: &mut Backend, write: Write<'_>) {
        file.write(write.offset, write.data, Durability::Volatile);
    }

    fn fsync(&mut self, file: &mut Backend, _cx: &Context<'_>) -> (Result<(), Errno>, Effect) {
        (
            Ok(()),
            Effect::new("committed", file.apply_all() + file.commit()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Effect, Mode};

    #[test]
    fn only_what_was_fsynced_survives_the_cut() {
        let mut bench = Bench::new(Mode::Volatile);
        bench.other_write(0, "oooo");
        bench.fsync();
        bench.page_write(0, "nn");
        bench.other_write(2, "n");
        assert_eq!(bench.shown(), ["nnno", "nnno", "oooo"]);
        assert_eq!(bench.fsync(), Effect::new("committed", 3));
        bench.page_write(3, "n");
        bench.cut();
        assert_eq!(bench.shown(), ["nnno", "nnno", "nnno"]);
    }
}
