//! The daemon that does what it says.

use super::FileMode;

/// Applies on WRITE: the defaults of [`FileMode`].
pub struct Honest;

impl FileMode for Honest {}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Effect, Mode};

    #[test]
    fn page_writeback_is_visible_and_stable_at_once() {
        let mut bench = Bench::new(Mode::Honest);
        assert_eq!(bench.page_write(0, "nnn"), Effect::new("applied", 3));
        assert_eq!(bench.shown(), ["nnn", "nnn", "nnn"]);
        assert_eq!(bench.fsync(), Effect::NONE);
    }
}
