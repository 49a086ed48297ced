//! How far the tests are: a bar on a terminal, else a line for each test.

use super::outcome::Outcome;
use super::plan::{Record, Side, Test, read_json};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};

pub struct Progress<'a> {
    name: &'static str,
    tests: &'a [Test],
    side: &'a Side,
    bar: Option<ProgressBar>,
    ended: Vec<bool>,
}

impl<'a> Progress<'a> {
    pub fn new(name: &'static str, tests: &'a [Test], side: &'a Side) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}",
            );
            ProgressBar::new(tests.len() as u64)
                .with_style(style.expect("a template of indicatif's"))
                .with_prefix(name)
        });
        Progress {
            name,
            tests,
            side,
            bar,
            ended: vec![false; tests.len()],
        }
    }

    /// Shows what happened since the last look.
    pub fn look(&mut self) {
        let mut running = None;
        for (number, test) in self.tests.iter().enumerate() {
            if self.ended[number] {
                continue;
            }
            if !self.side.record(number).exists() {
                if self.side.started(number).exists() {
                    running = Some(&test.name);
                }
                continue;
            }
            self.ended[number] = true;
            match &self.bar {
                Some(bar) => bar.inc(1),
                None => self.print(number, test),
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_message(running.cloned().unwrap_or_default());
            bar.tick();
        }
    }

    fn print(&self, number: usize, test: &Test) {
        let record: Option<Record> = read_json(&self.side.record(number)).ok();
        let outcome = Outcome::of(record.as_ref(), &test.command);
        let seconds = record.map_or(0.0, |record| record.duration_ns as f64 / 1e9);
        let line = format!(
            "{} {}/{} {}: {} ({seconds:.1} s)\n",
            self.name,
            number + 1,
            self.tests.len(),
            test.name,
            outcome.word()
        );
        let _ = io::stderr().write_all(line.as_bytes());
    }

    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
