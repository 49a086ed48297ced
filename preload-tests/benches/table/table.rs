//! The results as text.

use crate::checks::Check;
use crate::json::Results;
use crate::plots::Series;
use crate::run::Row;
use crate::stats::{Spread, duration};

/// Prints the rows of one case on one filesystem.
pub fn print(rows: &[Row]) {
    let mut heading = String::new();
    for row in rows {
        let new = format!("{}, {}: {}", row.fs, row.case, row.metric);
        if new != heading {
            println!("{new}");
            println!(
                "  {:<40}{:>9}{:>9}{:>9}   {:<24}(min median max)",
                "", "min", "median", "max", "x of baseline"
            );
            heading = new;
        }
        println!("{}", line(row));
    }
    println!();
}

fn line(row: &Row) -> String {
    let Spread { min, median, max } = row.ns;
    let ratio = match row.contender == row.baseline {
        true => "baseline".to_owned(),
        false => format!(
            "{:.2} {:.2} {:.2}",
            row.ratio.min, row.ratio.median, row.ratio.max
        ),
    };
    let goal = row.goal.map_or(String::new(), |(goal, reached)| {
        let verdict = if reached { "reached" } else { "MISSED" };
        format!("{}: {verdict}", goal.text())
    });
    format!(
        "  {:<40}{:>9}{:>9}{:>9}   {ratio:<24}{goal}",
        row.contender,
        duration(min),
        duration(median),
        duration(max)
    )
    .trim_end()
    .to_owned()
}

/// Prints checks, and puts them with the results.
pub fn print_checks(checks: impl IntoIterator<Item = Check>, results: &mut Results) {
    let before = results.checks.len();
    results.checks.extend(checks);
    for check in &results.checks[before..] {
        println!("{}", check.line());
    }
    if results.checks.len() > before {
        println!();
    }
}

/// Prints the medians behind a plot.
pub fn print_series(what: &str, series: &[Series], text: fn(f64) -> String) {
    let Some(first) = series.first() else { return };
    let column = |text: String| format!("{text:>10}");
    let heads = first.points.iter().map(|(x, _)| column(text(*x)));
    println!("{}, msync by {what}, medians", first.fs);
    println!("  {:<40}{}", "", heads.collect::<String>());
    for series in series {
        let medians = series.points.iter();
        let medians = medians.map(|(_, spread)| column(duration(spread.median)));
        println!("  {:<40}{}", series.contender, medians.collect::<String>());
    }
    println!();
}
