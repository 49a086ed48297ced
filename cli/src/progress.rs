//! What a command that takes seconds is doing; on a terminal only.

use crate::failure::Failure;
use crate::sys;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error, gone when dropped.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn new(steps: u64) -> Self {
        // Not drawn where standard error is no terminal.
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// Does one step, unless the command was interrupted.
    pub fn step<T>(&self, name: &str, step: impl FnOnce() -> T) -> Result<T, Failure> {
        self.0.set_message(name.to_owned());
        let result = step();
        self.0.inc(1);
        match sys::interrupted() {
            true => Err(Failure::new(130, "interrupted")),
            false => Ok(result),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
