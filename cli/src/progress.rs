//! What a command that takes seconds is doing; on a terminal only.

use crate::failure::Failure;
use crate::sys;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};

/// A bar on standard error, gone when dropped.
pub struct Progress {
    bar: ProgressBar,
    pulses: bool,
}

/// What a step that ends prints on standard output, for whoever supervises.
pub const PULSE: u8 = 0;

impl Progress {
    pub fn new(steps: u64) -> Self {
        // Not drawn where standard error is no terminal.
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Progress { bar, pulses: false }
    }

    /// One that also prints a [`PULSE`] on standard output after each step.
    pub fn pulsing(steps: u64) -> Self {
        let mut progress = Progress::new(steps);
        progress.pulses = true;
        progress
    }

    /// Does one step, unless the command was interrupted.
    pub fn step<T>(&self, name: &str, step: impl FnOnce() -> T) -> Result<T, Failure> {
        self.bar.set_message(name.to_owned());
        let result = step();
        self.bar.inc(1);
        if self.pulses {
            let mut stdout = io::stdout();
            let _ = stdout.write_all(&[PULSE]).and_then(|()| stdout.flush());
        }
        match sys::interrupted() {
            true => Err(Failure::interrupted()),
            false => Ok(result),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
