//! Runs the contenders of a case by turns.

use std::fs;

use indicatif::ProgressBar;

use crate::cases::{Case, Goal};
use crate::contender::{Contender, Round, Running};
use crate::filesystem::Filesystem;
use crate::options::FsName;
use crate::stats::Spread;

/// One line of the table.
pub struct Row {
    pub case: String,
    pub fs: &'static str,
    pub metric: &'static str,
    pub contender: &'static str,
    pub rounds: usize,
    pub ns: Spread,
    pub baseline: &'static str,
    /// The baseline's median.
    pub baseline_ns: f64,
    pub ratio: Spread,
    pub goal: Option<(Goal, bool)>,
}

/// The rounds before figures count: what is new is faulted in.
pub const WARM_UP: usize = 1;

/// How many steps of progress [`rounds_of`] makes.
pub fn steps(case: &Case) -> u64 {
    (case.contenders.len() * (case.rounds + WARM_UP)) as u64
}

/// The rows of `case`.
///
/// # Errors
/// Why it could not be measured.
pub fn rows_of(
    case: &Case,
    fs: FsName,
    mounted: &Filesystem,
    progress: &ProgressBar,
) -> Result<Vec<Row>, String> {
    let rounds = rounds_of(case, mounted, progress)?;
    let mut rows = Vec::new();
    for metric in &case.metrics {
        let figures: Vec<Vec<f64>> = rounds
            .iter()
            .map(|rounds| {
                let figure = |round: &Round| sum(round, metric.columns) / metric.per;
                rounds.iter().map(figure).collect()
            })
            .collect();
        let is = |a: &Contender, b: &Contender| a.name == b.name;
        let baseline = case
            .contenders
            .iter()
            .position(|c| is(c, &metric.baseline))
            .expect("the baseline is a contender");
        for (contender, ns) in case.contenders.iter().zip(&figures) {
            let spread = Spread::of(ns.iter().copied());
            let ratio = Spread::of_ratios(ns, &figures[baseline]);
            let base = Spread::of(figures[baseline].iter().copied()).median;
            let goal = metric.goals.iter().find(|(who, _)| is(who, contender));
            rows.push(Row {
                case: case.title.clone(),
                fs: fs.name(),
                metric: metric.name,
                contender: contender.name,
                rounds: ns.len(),
                ns: spread,
                baseline: metric.baseline.name,
                baseline_ns: base,
                ratio,
                goal: goal
                    .map(|&(_, goal)| (goal, goal.is_reached(ratio.median, spread.median, base))),
            });
        }
    }
    Ok(rows)
}

/// What each contender's rounds took.
///
/// # Errors
/// Why it could not be measured.
pub fn rounds_of(
    case: &Case,
    mounted: &Filesystem,
    progress: &ProgressBar,
) -> Result<Vec<Vec<Round>>, String> {
    let paths: Vec<_> = (0..case.contenders.len())
        .map(|n| mounted.path(&format!("f{n}")))
        .collect();
    let outcome = (|| {
        let mut guests = Vec::new();
        for (contender, path) in case.contenders.iter().zip(&paths) {
            let arguments = (case.arguments)(case, path, contender.how());
            guests.push(contender.start(case.guest, &arguments)?);
        }
        let mut rounds = vec![Vec::new(); guests.len()];
        for round in 0..case.rounds + WARM_UP {
            take_turns(case, round, &mut guests, &mut rounds, progress)?;
        }
        Ok(rounds)
    })();
    for path in paths {
        let _ = match path.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
    }
    outcome
}

fn take_turns(
    case: &Case,
    round: usize,
    guests: &mut [Running],
    rounds: &mut [Vec<Round>],
    progress: &ProgressBar,
) -> Result<(), String> {
    let request = (case.request)(round);
    for turn in 0..guests.len() {
        // Nobody always comes first, nor always after the same one.
        let turn = match round % 2 {
            0 => turn,
            _ => guests.len() - 1 - turn,
        };
        let n = (turn + round) % guests.len();
        let result = guests[n]
            .round(&request)
            .map_err(|error| format!("{}: {error}", case.contenders[n].name))?;
        if round >= WARM_UP {
            rounds[n].push(result);
        }
        progress.inc(1);
    }
    Ok(())
}

/// The sum of these columns of a round.
pub fn sum(round: &Round, columns: &[&str]) -> f64 {
    round
        .iter()
        .filter(|(name, _)| columns.contains(&name.as_str()))
        .map(|(_, ns)| ns)
        .sum()
}
