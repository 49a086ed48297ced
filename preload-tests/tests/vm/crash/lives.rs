//! A machine that lives, dies by a power cut and lives again on the same disks.

use std::time::{Duration, Instant};

use preload_tests::harness::Scratch;
use preload_tests::vm::{Kernel, Line, Machine};

use super::cases::Case;
use super::job::{Part, script};
use super::random;

/// More than a busy host takes to boot the machine and run all programs once.
const PATIENCE: Duration = Duration::from_secs(400);
/// Milliseconds from the moment at which every program was promised something to the cut, at most.
const LONGEST_LIFE: u64 = 2000;
/// How much of what went wrong a message quotes, in lines.
const QUOTED: usize = 20;

/// What a case came to.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub cuts: u64,
    pub promises: u64,
    pub broken: u64,
    /// Cuts that broke any.
    pub losing_cuts: u64,
    pub details: Vec<String>,
}

/// The machine, its disks, and what was heard from it.
pub struct Lives {
    cases: Vec<Case>,
    found: Vec<Found>,
    /// Promises of the last life.
    heard: Vec<Vec<String>>,
    machine: Machine,
    seed: u64,
    lives: u64,
    _disks: Scratch,
}

impl Lives {
    /// # Errors
    /// What is missing here (to skip the test).
    pub fn new(cases: Vec<Case>, kernel: &Kernel, seed: u64) -> Result<Self, String> {
        let disks = Scratch::new();
        let mut machine = Machine::new(kernel)?.memory_mib(1536);
        for (number, case) in cases.iter().enumerate() {
            let image = disks.path(&number.to_string());
            case.filesystem.make(&image)?;
            machine = machine.disk(&image);
        }
        Ok(Self {
            found: vec![Found::default(); cases.len()],
            heard: vec![Vec::new(); cases.len()],
            cases,
            machine,
            seed,
            lives: 0,
            _disks: disks,
        })
    }

    /// One life, ended by a power cut; what the life before has left is checked in it.
    ///
    /// # Panics
    /// If the machine does not do what it should.
    pub fn cut(&mut self) {
        self.live(true);
    }

    /// A last life, which only checks.
    ///
    /// # Panics
    /// If the machine does not do what it should.
    pub fn check(&mut self) {
        self.live(false);
    }

    /// What the cuts that were checked came to.
    pub fn found(&self) -> impl Iterator<Item = (&Case, &Found)> {
        self.cases.iter().zip(&self.found)
    }

    fn live(&mut self, stores: bool) {
        let life = self.lives;
        self.lives += 1;
        let parts: Vec<Part> = self
            .cases
            .iter()
            .zip(&self.heard)
            .map(|(case, heard)| Part {
                case,
                check: life
                    .checked_sub(1)
                    .map(|before| (case.seed(self.seed, before), heard.as_slice())),
                store: stores.then(|| case.seed(self.seed, life)),
            })
            .collect();
        let mut running = self.machine.boot(&script(&parts));
        let checks = life > 0;
        let before = std::mem::replace(&mut self.heard, vec![Vec::new(); self.cases.len()]);
        let mut checked = vec![!checks; self.cases.len()];
        let mut notes = Vec::new();
        let late = Instant::now() + PATIENCE;
        let mut cut_at = late;
        loop {
            match running.line_until(cut_at) {
                Line::Printed(line) if line.starts_with("exit ") => {
                    assert!(!stores, "no program stores any more:\n{}", notes.join("\n"));
                    break;
                }
                Line::Printed(line) => self.hear(&line, life, &before, &mut checked, &mut notes),
                Line::Late if cut_at < late => break,
                Line::Late | Line::End => panic!(
                    "life {life}, of seed {}: the machine does not go on; {}\n{}\n{}",
                    self.seed,
                    self.silent(&checked),
                    notes.join("\n"),
                    running.console()
                ),
            }
            if stores && cut_at == late && self.heard.iter().all(|heard| !heard.is_empty()) {
                let life = Duration::from_millis(random(!self.seed, life) % LONGEST_LIFE);
                cut_at = Instant::now() + life;
            }
        }
        let last_words = running.cut_power();
        for line in last_words {
            self.hear(&line, life, &before, &mut checked, &mut notes);
        }
        assert!(
            checked.iter().all(|checked| *checked),
            "life {life}: {}\n{}",
            self.silent(&checked),
            notes.join("\n")
        );
    }

    fn hear(
        &mut self,
        line: &str,
        life: u64,
        before: &[Vec<String>],
        checked: &mut [bool],
        notes: &mut Vec<String>,
    ) {
        let Some((number, said)) = tagged(line) else {
            if notes.len() < QUOTED {
                notes.push(line.to_owned());
            }
            return;
        };
        let found = &mut self.found[number];
        let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
        match word.trim_end_matches(':') {
            "kept" => return self.heard[number].push(rest.to_owned()),
            "checked" => {
                let (promises, broken) = rest.split_once(' ').expect("two numbers");
                let broken: u64 = broken.parse().expect("a number");
                found.cuts += 1;
                found.promises += promises.parse::<u64>().expect("a number");
                found.broken += broken;
                found.losing_cuts += u64::from(broken > 0);
                checked[number] = true;
                return;
            }
            // A filesystem that does not mount has lost everything.
            "unmounted" if life > 0 => {
                found.cuts += 1;
                found.losing_cuts += 1;
                found.promises += before[number].len() as u64;
                found.broken += before[number].len().max(1) as u64;
                checked[number] = true;
            }
            "wrong" => found.broken += 1,
            "broken" => {}
            _ => panic!(
                "{}, life {life}: {line}\n{}",
                self.cases[number],
                notes.join("\n")
            ),
        }
        if found.details.len() < QUOTED {
            found.details.push(format!("life {life}: {said}"));
        }
    }

    /// Who has not said what it should.
    fn silent(&self, checked: &[bool]) -> String {
        let silent = self.cases.iter().enumerate().filter_map(|(number, case)| {
            match (checked[number], self.heard[number].is_empty()) {
                (false, _) => Some(format!("{case} was not checked")),
                (true, true) => Some(format!("{case} was promised nothing")),
                _ => None,
            }
        });
        silent.collect::<Vec<_>>().join(", ")
    }
}

/// `@NUMBER WORDS` is what a case says.
pub fn tagged(line: &str) -> Option<(usize, &str)> {
    let (number, said) = line.strip_prefix('@')?.split_once(' ')?;
    Some((number.parse().ok()?, said))
}
