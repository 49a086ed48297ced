//! Looks for programs that fail, and makes them short.

use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::bed::Mounted;
use super::model::{Judgement, Kind};
use super::program::{Only, Program, any_program};

/// What a program with a race in it must fail of this many runs once, to count as failing.
pub const TRIES: usize = 12;

/// The sequence of programs of a seed.
pub struct Programs {
    runner: TestRunner,
    only: Only,
}

pub type Tree = Box<dyn ValueTree<Value = Program>>;

impl Programs {
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self {
            runner: TestRunner::new_with_rng(Config::default(), rng),
            only: None,
        }
    }

    /// The same of few kinds of calls.
    pub fn of(seed: u64, calls: &'static [&'static str]) -> Self {
        Self {
            only: Some(calls),
            ..Self::new(seed)
        }
    }

    pub fn next(&mut self) -> Tree {
        Box::new(
            any_program(self.only)
                .new_tree(&mut self.runner)
                .expect("programs without conditions"),
        )
    }
}

/// What the program does wrong in this way, in a process of its own, if it does in one of so many runs.
pub fn fails(
    mounted: &mut Mounted<'_>,
    program: &Program,
    kind: Kind,
    tries: usize,
) -> Option<Judgement> {
    (0..tries).find_map(|_| {
        mounted.restart();
        let judgement = mounted.run(program);
        judgement.kinds().contains(&kind).then_some(judgement)
    })
}

/// Whether it fails once in as many runs as it takes.
fn fails_again(mounted: &mut Mounted<'_>, program: &Program, kind: Kind) -> Option<Judgement> {
    let tries = if program.is_threaded() { TRIES } else { 1 };
    fails(mounted, program, kind, tries)
}

/// The shortest program found that fails in this way too, and what it fails with; `None` if the program does not fail again.
pub fn shrink(
    mounted: &mut Mounted<'_>,
    tree: &mut Tree,
    kind: Kind,
    limit: Duration,
) -> Option<(Program, Judgement)> {
    let end = Instant::now() + limit;
    let mut best = (tree.current(), fails_again(mounted, &tree.current(), kind)?);
    let mut more = tree.simplify();
    while more && Instant::now() < end {
        match fails_again(mounted, &tree.current(), kind) {
            Some(judgement) => {
                best = (tree.current(), judgement);
                more = tree.simplify();
            }
            None => more = tree.complicate(),
        }
    }
    // The first and the last call of a thread are no matter of proptest's.
    let mut shorter = true;
    while std::mem::take(&mut shorter) && Instant::now() < end {
        for program in best.0.shorter() {
            if let Some(judgement) = fails_again(mounted, &program, kind) {
                best = (program, judgement);
                shorter = true;
                break;
            }
        }
    }
    Some(best)
}
