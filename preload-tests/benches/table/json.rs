//! The results for programs.

use serde_json::{Value, json};

use crate::checks::Check;
use crate::plots::Series;
use crate::run::Row;
use crate::stats::Spread;

/// Everything that was measured. Times are in ns.
pub struct Results {
    pub machine: String,
    pub rows: Vec<Row>,
    pub checks: Vec<Check>,
    pub dirty_pages: Vec<Series>,
    pub file_size: Vec<Series>,
    pub not_measured: Vec<String>,
}

impl Results {
    pub fn json(&self) -> Value {
        json!({
            "machine": self.machine,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "checks": self.checks.iter().map(check).collect::<Vec<_>>(),
            "dirty_pages": self.dirty_pages.iter().map(series).collect::<Vec<_>>(),
            "file_size": self.file_size.iter().map(series).collect::<Vec<_>>(),
            "not_measured": self.not_measured,
        })
    }

    /// Whether every goal that was measured is reached.
    pub fn all_reached(&self) -> bool {
        self.checks.iter().all(Check::is_reached)
            && self
                .rows
                .iter()
                .all(|row| !matches!(row.goal, Some((_, false))))
    }
}

fn spread(spread: &Spread) -> Value {
    json!({"min": spread.min, "median": spread.median, "max": spread.max})
}

fn row(row: &Row) -> Value {
    json!({
        "case": row.case,
        "fs": row.fs,
        "metric": row.metric,
        "contender": row.contender,
        "rounds": row.rounds,
        "ns": spread(&row.ns),
        "baseline": row.baseline,
        "ratio": spread(&row.ratio),
        "goal": row.goal.map(|(goal, _)| goal.text()),
        "reached": row.goal.map(|(_, reached)| reached),
    })
}

fn check(check: &Check) -> Value {
    json!({
        "fs": check.fs,
        "what": check.what,
        "measured": check.measured,
        "at_most": check.at_most,
        "reached": check.is_reached(),
    })
}

fn series(series: &Series) -> Value {
    let points = series
        .points
        .iter()
        .map(|(x, ns)| json!({"x": x, "ns": spread(ns)}));
    json!({
        "fs": series.fs,
        "contender": series.contender,
        "points": points.collect::<Vec<_>>(),
    })
}
