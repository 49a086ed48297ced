//! How far the reading is, for who waits more than two seconds at a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::io::{self, IsTerminal, Read};
use std::rc::Rc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(2);

pub struct Progress {
    total: u64,
    read: Rc<Cell<u64>>,
    begun: Instant,
    lines: u32,
    bar: Option<ProgressBar>,
    wanted: bool,
}

impl Progress {
    /// Of `total` bytes, as far as known.
    pub fn new(total: u64) -> Self {
        Progress {
            total,
            read: Rc::default(),
            begun: Instant::now(),
            lines: 0,
            bar: None,
            wanted: io::stderr().is_terminal(),
        }
    }

    /// The same input; what is read of it counts.
    pub fn counted<R: Read>(&self, input: R) -> impl Read + use<R> {
        Counted(input, Rc::clone(&self.read))
    }

    /// To be called for each line.
    pub fn show(&mut self) {
        self.lines = self.lines.wrapping_add(1);
        if !self.wanted || !self.lines.is_multiple_of(4096) || self.begun.elapsed() < PATIENCE {
            return;
        }
        let total = self.total;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total);
            let style = "reading {wide_bar} {bytes}/{total_bytes} {eta}";
            bar.set_style(ProgressStyle::with_template(style).expect("a sound template"));
            bar
        });
        bar.set_position(self.read.get());
    }

    pub fn done(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

struct Counted<R>(R, Rc<Cell<u64>>);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.set(self.1.get() + read as u64);
        Ok(read)
    }
}
