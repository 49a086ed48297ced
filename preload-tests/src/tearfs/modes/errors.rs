//! Daemons whose writes fail.

use fuser::Errno;

use super::super::backend::{Backend, Durability};
use super::{Context, Effect, FileMode, Write, apply};

/// An FSYNC fails once and drops what it should have written.
#[derive(Default)]
pub struct EioOnce {
    failed: bool,
}

impl FileMode for EioOnce {
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, _cx: &Context<'_>) -> Effect {
        file.write(write.offset, write.data, Durability::Volatile);
        Effect::new("volatile", write.pages())
    }

    fn fsync(&mut self, file: &mut Backend, cx: &Context<'_>) -> (Result<(), Errno>, Effect) {
        file.apply_all();
        if file.has_volatile() && self.fails(cx) {
            self.failed = true;
            let dropped = file.drop_volatile();
            return (Err(Errno::EIO), Effect::new("failed and dropped", dropped));
        }
        (Ok(()), Effect::new("committed", file.commit()))
    }
}

impl EioOnce {
    fn fails(&self, cx: &Context<'_>) -> bool {
        if cx.parameters.selective {
            cx.selector.take()
        } else {
            !self.failed
        }
    }
}

/// WRITE fails inside; the error comes out at FLUSH.
#[derive(Default)]
pub struct SilentEio {
    failed: bool,
}

impl FileMode for SilentEio {
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, cx: &Context<'_>) -> Effect {
        if !cx.selector.take() {
            return apply(file, write);
        }
        self.failed = true;
        file.extend(write.range().end);
        Effect::new("failed silently", write.pages())
    }

    fn flush(&mut self) -> (Result<(), Errno>, Effect) {
        if std::mem::take(&mut self.failed) {
            return (Err(Errno::EIO), Effect::new("error told", 0));
        }
        (Ok(()), Effect::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Effect, Mode};
    use fuser::Errno;

    #[test]
    fn the_first_fsync_with_something_to_write_fails_and_loses_it() {
        let mut bench = Bench::new(Mode::EioOnce);
        bench.other_write(0, "ooo");
        assert_eq!(bench.fsync_result().0, Ok(()));
        bench.page_write(0, "nn");
        assert_eq!(bench.shown(), ["nno", "nno", "ooo"]);
        let failed = Effect::new("failed and dropped", 2);
        assert_eq!(bench.fsync_result(), (Err(Errno::EIO), failed));
        assert_eq!(bench.fsync_result().0, Ok(()));
        assert_eq!(bench.shown(), ["ooo"; 3]);
        bench.page_write(0, "nn");
        assert_eq!(bench.fsync_result().0, Ok(()));
        assert_eq!(bench.shown(), ["nno"; 3]);
    }

    #[test]
    fn the_selection_says_which_fsyncs_fail() {
        let mut bench = Bench::new(Mode::EioOnce).selecting(2, None);
        let results: Vec<_> = (0..4)
            .map(|_| {
                bench.page_write(0, "n");
                bench.fsync_result().0.is_ok()
            })
            .collect();
        assert_eq!(results, [true, false, true, false]);
    }

    #[test]
    fn the_silent_error_is_told_once_at_flush() {
        let mut bench = Bench::new(Mode::SilentEio);
        bench.other_write(0, "oo");
        assert_eq!(bench.flush(), Ok(()));
        bench.page_write(0, "n");
        assert_eq!(bench.fsync_result().0, Ok(()));
        assert_eq!(bench.shown(), ["oo"; 3]);
        assert_eq!(bench.flush(), Err(Errno::EIO));
        assert_eq!(bench.flush(), Ok(()));
    }
}
