//! A daemon that answers FSYNC before it has done the work.

use fuser::Errno;

use super::super::backend::Backend;
use super::{Context, Effect, FileMode, Write, apply_all};

/// Holds page writeback; FSYNC schedules it to be applied after the delay.
pub struct EarlyAck;

impl FileMode for EarlyAck {
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, _cx: &Context<'_>) -> Effect {
        file.hold(write.offset, write.data);
        Effect::new("held", write.pages())
    }

    fn fsync(&mut self, file: &mut Backend, cx: &Context<'_>) -> (Result<(), Errno>, Effect) {
        if file.held().len() == 0 {
            return (Ok(()), Effect::NONE);
        }
        if !cx.selector.take() {
            return (Ok(()), apply_all(file));
        }
        let pages = file.schedule_held(cx.now + cx.parameters.delay);
        (Ok(()), Effect::new("delayed", pages))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::super::{Effect, Mode};

    #[test]
    fn fsync_is_answered_first_and_done_later() {
        let mut bench = Bench::new(Mode::EarlyAck);
        bench.other_write(0, "oo");
        bench.page_write(0, "nn");
        assert_eq!(bench.fsync(), Effect::new("delayed", 2));
        assert_eq!(bench.shown(), ["oo", "nn", "oo"]);
        bench.pass_delay();
        assert_eq!(bench.shown(), ["nn", "nn", "nn"]);
    }

    #[test]
    fn without_an_fsync_it_stays_held() {
        let mut bench = Bench::new(Mode::EarlyAck);
        bench.page_write(0, "n");
        bench.pass_delay();
        assert_eq!(bench.shown(), [".", "n", "."]);
    }
}
