//! Daemons whose FSYNC applies a few pages of what they hold.

use fuser::Errno;

use super::super::backend::Backend;
use super::{Context, Effect, FileMode, Write, apply_all};

/// Holds page writeback; an FSYNC applies the lowest pages held.
pub struct Paced {
    /// Whether the FSYNC after a partial one applies all.
    rest_follows: bool,
    /// Whether the last FSYNC was a partial one.
    partial: bool,
}

impl Paced {
    pub fn first_then_rest() -> Self {
        Self {
            rest_follows: true,
            partial: false,
        }
    }

    pub fn always() -> Self {
        Self {
            rest_follows: false,
            partial: false,
        }
    }
}

impl FileMode for Paced {
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, _cx: &Context<'_>) -> Effect {
        file.hold(write.offset, write.data);
        Effect::new("held", write.pages())
    }

    fn fsync(&mut self, file: &mut Backend, cx: &Context<'_>) -> (Result<(), Errno>, Effect) {
        if file.held().len() == 0 {
            self.partial = false;
            return (Ok(()), Effect::NONE);
        }
        if (self.rest_follows && self.partial) || !cx.selector.take() {
            self.partial = false;
            return (Ok(()), apply_all(file));
        }
        let applied = file.apply_lowest(cx.parameters.pages_per_fsync);
        self.partial = file.held().len() > 0;
        let action = if self.partial {
            "applied in part"
        } else {
            "applied"
        };
        (Ok(()), Effect::new(action, applied))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Effect, Mode};

    #[test]
    fn the_first_fsync_applies_the_lowest_page_and_the_next_the_rest() {
        let mut bench = Bench::new(Mode::FirstPage);
        bench.other_write(0, "ooooo");
        assert_eq!(bench.page_write(1, "nnn"), Effect::new("held", 3));
        assert_eq!(bench.shown(), ["ooooo", "onnno", "ooooo"]);
        let effect = bench.fsync();
        assert_eq!(effect, Effect::new("applied in part", 1));
        assert_eq!(bench.shown(), ["onooo", "onnno", "onooo"]);
        assert_eq!(bench.fsync(), Effect::new("applied", 2));
        assert_eq!(bench.shown(), ["onnno"; 3]);
        assert_eq!(bench.fsync(), Effect::NONE);
    }

    #[test]
    fn writes_after_a_partial_fsync_go_with_the_rest_and_then_it_starts_over() {
        let mut bench = Bench::new(Mode::FirstPage);
        bench.page_write(0, "nn");
        bench.fsync();
        bench.page_write(3, "nn");
        assert_eq!(bench.fsync(), Effect::new("applied", 3));
        bench.page_write(0, "mm");
        assert_eq!(bench.fsync(), Effect::new("applied in part", 1));
    }

    #[test]
    fn one_page_an_fsync_until_nothing_is_held() {
        let mut bench = Bench::new(Mode::OnePage);
        bench.page_write(0, "nnn");
        let effects: Vec<_> = (0..4).map(|_| bench.fsync().action).collect();
        assert_eq!(
            effects,
            ["applied in part", "applied in part", "applied", ""]
        );
        bench.parameters.pages_per_fsync = 2;
        bench.page_write(0, "mmmm");
        assert_eq!(bench.fsync(), Effect::new("applied in part", 2));
        assert_eq!(bench.fsync(), Effect::new("applied", 2));
    }

    #[test]
    fn an_fsync_that_is_not_selected_applies_all() {
        let mut bench = Bench::new(Mode::OnePage).selecting(2, None);
        bench.page_write(0, "nnn");
        assert_eq!(bench.fsync(), Effect::new("applied", 3));
        bench.page_write(0, "mmm");
        assert_eq!(bench.fsync(), Effect::new("applied in part", 1));
    }

    #[test]
    fn a_cut_leaves_what_fsync_applied() {
        let mut bench = Bench::new(Mode::FirstPage);
        bench.page_write(0, "nn");
        bench.fsync();
        bench.cut();
        assert_eq!(bench.shown(), ["n."; 3]);
    }
}
