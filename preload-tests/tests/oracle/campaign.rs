//! Runs programs over many rows, in turn.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::bed::Mounted;
use super::known;
use super::model::{Judgement, Kind};
use super::program::Only;
use super::rows::Row;
use super::search::{Programs, Tree, shrink};
use super::tally::{Failure, Table};

/// Rows at once: what waits for a deadline leaves the processor to another.
const WORKERS: usize = 3;

/// How long a failing program is made shorter.
const SHRINKING: Duration = Duration::from_secs(30);

/// Of one row in one turn.
#[derive(Clone, Copy)]
pub struct Turn {
    pub seed: u64,
    /// At most so many programs.
    pub programs: u64,
    /// At most so long, shrinking apart.
    pub time: Duration,
    /// No row is begun after that.
    pub end: Option<Instant>,
}

/// What was found so far.
#[derive(Default)]
pub struct Found {
    pub table: Table,
    pub failures: Vec<Failure>,
}

impl Found {
    fn has(&self, row: &str, kind: Kind) -> bool {
        self.failures
            .iter()
            .any(|failure| failure.row == row && failure.kind == kind)
    }
}

pub struct Campaign {
    pub native: bool,
    /// What is known counts as a failure too, and is made short.
    pub strict: bool,
    /// Only programs of one thread in one process.
    pub alone: bool,
    /// Only programs of these calls, and of map, sync and store.
    pub only: Only,
    pub found: Mutex<Found>,
}

impl Campaign {
    pub fn new(native: bool) -> Self {
        Self {
            native,
            strict: false,
            alone: false,
            only: None,
            found: Mutex::default(),
        }
    }

    /// One turn of each row.
    pub fn round(&self, rows: &[Row], turn: Turn) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while turn.end.is_none_or(|end| Instant::now() < end)
                        && let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        self.turn(row, turn);
                    }
                });
            }
        });
    }

    fn turn(&self, row: &Row, turn: Turn) {
        let mut mounted = match Mounted::new(row, self.native) {
            Ok(mounted) => mounted,
            Err(reason) => return println!("not run: {}: {reason}", row.name),
        };
        let any = || Programs::new(turn.seed);
        let mut programs = self
            .only
            .map_or_else(any, |only| Programs::of(turn.seed, only));
        let begin = Instant::now();
        for _ in 0..turn.programs {
            if begin.elapsed() > turn.time {
                break;
            }
            let mut tree = programs.next();
            if self.alone && !tree.current().is_alone() {
                continue;
            }
            let judgement = mounted.run(&tree.current());
            let mut found = self.found.lock().expect("found");
            found
                .table
                .0
                .entry(row.name.clone())
                .or_default()
                .add(&judgement);
            drop(found);
            for kind in judgement.kinds() {
                self.fail(row, kind, &mut mounted, &mut tree, &judgement);
            }
        }
    }

    /// Makes what failed short, once a row and kind, unless it is known.
    fn fail(
        &self,
        row: &Row,
        kind: Kind,
        mounted: &mut Mounted<'_>,
        tree: &mut Tree,
        judgement: &Judgement,
    ) {
        let whole = tree.current();
        let races =
            (!whole.is_alone() || mounted.had_threads()) && known::is_race(&row.name, kind, &whole);
        let is_known = !self.native
            && !self.strict
            && (races || known::is_listed(&row.name, kind) || known::is_known(&row.name, kind));
        if is_known || self.found.lock().expect("found").has(&row.name, kind) {
            return;
        }
        let shrunk = shrink(mounted, tree, kind, SHRINKING);
        let again = shrunk.is_some();
        let (program, judgement) = shrunk.unwrap_or((whole, judgement.clone()));
        let failure = Failure {
            row: row.name.clone(),
            kind,
            program,
            again,
            why: judgement
                .wrong
                .into_iter()
                .map(|(kind, why)| format!("{kind}: {why}"))
                .collect(),
        };
        println!("{}", failure.text());
        self.found.lock().expect("found").failures.push(failure);
    }
}
