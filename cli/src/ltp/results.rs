//! The results of a run: put together, and written as table, JSON and JUnit XML.

use super::comparison::{self, Comparison};
use super::logs::{self, Findings};
use super::outcome::{Counts, Difference, Outcome};
use super::plan::{End, Record, Side, Test, read_json};
use super::runner::Reported;
use crate::failure::Failure;
use crate::junit;
use crate::table::Table;
use crate::words::count;
use quick_junit::{TestCase, TestCaseStatus, TestSuite};
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::Duration;

/// The file in the output directory.
pub const RESULTS: &str = "results.json";

#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    pub keepmydata: String,
    pub kernel: String,
    pub ltp: String,
    pub ltp_version: String,
    pub runner: String,
    pub directory: String,
    pub filesystem: String,
    /// What was set for the shim, by name of the variable.
    pub settings: Vec<(String, String)>,
    pub tests: Vec<Row>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub command: String,
    pub native: Option<TestResult>,
    pub shim: Option<TestResult>,
    /// Where both ran.
    pub difference: Option<Difference>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct TestResult {
    pub outcome: Outcome,
    /// The exit code, or of a signal 128 more than its number.
    pub code: Option<i32>,
    pub seconds: f64,
    /// Lines of its output.
    pub counts: Counts,
    pub comparisons: Vec<Comparison>,
    /// Under the shim.
    pub findings: Option<Findings>,
}

impl TestResult {
    /// Gathers what test `number` of a side left behind. What the runner reported counts where the
    /// test itself could not leave a record.
    pub fn gather(
        side: &Side,
        number: usize,
        test: &Test,
        shimmed: bool,
        reported: &Reported,
    ) -> Result<Self, Failure> {
        let record: Option<Record> = match side.record(number).exists() {
            true => Some(read_json(&side.record(number))?),
            false => None,
        };
        let findings = match shimmed {
            true => Some(logs::gather(side, number)?),
            false => None,
        };
        let output = fs::read(side.output(number)).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let mut comparisons = comparison::parse(&output);
        if !comparisons.is_empty() {
            let log = fs::read_to_string(side.log(number)).unwrap_or_default();
            let records = logs::read(&log);
            for comparison in &mut comparisons {
                comparison.foretold = comparison
                    .verdict(&comparison.records(&records))
                    .map(|verdict| verdict.word().to_owned());
            }
        }
        let outcome = match (&record, reported.get(number, &test.name)) {
            (None, Some(outcome)) if side.started(number).exists() => outcome,
            _ => Outcome::of(record.as_ref(), &test.command),
        };
        Ok(TestResult {
            outcome,
            code: record.as_ref().and_then(|record| match record.end {
                End::Exit(code) => Some(code),
                End::Signal(signal) => Some(128 + signal),
                End::Timeout | End::Interrupted => None,
            }),
            seconds: record.map_or(0.0, |record| record.duration_ns as f64 / 1e9),
            counts: Counts::of(&output),
            comparisons,
            findings,
        })
    }

    /// Comparison errors that the log did not foretell.
    fn silent(&self) -> usize {
        self.comparisons
            .iter()
            .filter(|c| c.foretold.is_none())
            .count()
    }
}

impl Row {
    /// With the names of their directories.
    pub fn sides(&self) -> impl Iterator<Item = (&'static str, &TestResult)> {
        let native = self.native.as_ref().map(|result| ("native", result));
        native
            .into_iter()
            .chain(self.shim.as_ref().map(|result| ("shim", result)))
    }

    /// Whether it failed where that counts (under the shim, if it ran there), or differs.
    fn is_bad(&self) -> bool {
        let last = self.shim.as_ref().or(self.native.as_ref());
        last.is_some_and(|result| result.outcome.is_failure())
            || self
                .difference
                .is_some_and(|difference| difference != Difference::Same)
    }

    fn findings(&self) -> String {
        let mut words = Vec::new();
        for (name, result) in self.sides() {
            let errors = result.comparisons.len();
            if errors != 0 {
                let silent = match (name, result.silent()) {
                    ("shim", 0) => ", all foretold".to_owned(),
                    ("shim", silent) => format!(", {silent} NOT foretold"),
                    _ => String::new(),
                };
                words.push(format!(
                    "{} ({name}{silent})",
                    count(errors as u64, "comparison error")
                ));
            }
        }
        let findings = self
            .shim
            .as_ref()
            .and_then(|result| result.findings.as_ref());
        words.extend(
            findings
                .map(Findings::words)
                .filter(|words| !words.is_empty()),
        );
        words.join("; ")
    }
}

impl Results {
    /// 0 where nothing failed and nothing differs.
    pub fn code(&self) -> i32 {
        self.tests.iter().any(Row::is_bad).into()
    }

    pub fn table(&self) -> Table {
        let mut table = Table::default();
        table.row([
            "test",
            "native",
            "shim",
            "difference",
            "native s",
            "shim s",
            "findings",
        ]);
        let word = |result: &Option<TestResult>| match result {
            None => "-".to_owned(),
            Some(TestResult { outcome, code, .. }) => match code {
                Some(code) if *code != 0 => format!("{} {code}", outcome.word()),
                _ => outcome.word().to_owned(),
            },
        };
        let seconds = |result: &Option<TestResult>| match result {
            None => "-".to_owned(),
            Some(result) => format!("{:.2}", result.seconds),
        };
        for row in &self.tests {
            table.row([
                &row.name,
                &word(&row.native),
                &word(&row.shim),
                &row.difference
                    .map_or(String::new(), |difference| difference.to_string()),
                &seconds(&row.native),
                &seconds(&row.shim),
                &row.findings(),
            ]);
        }
        table
    }

    /// How many tests ended how, in one line.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for (name, side) in [
            (
                "natively",
                self.tests
                    .iter()
                    .filter_map(|row| row.native.as_ref())
                    .collect(),
            ),
            (
                "under the shim",
                self.tests
                    .iter()
                    .filter_map(|row| row.shim.as_ref())
                    .collect(),
            ),
        ] as [(&str, Vec<&TestResult>); 2]
        {
            if !side.is_empty() {
                let failed = side
                    .iter()
                    .filter(|result| result.outcome.is_failure())
                    .count();
                let seconds: f64 = side.iter().map(|result| result.seconds).sum();
                parts.push(format!(
                    "{name} {failed} of {} failed ({seconds:.1} s)",
                    side.len()
                ));
            }
        }
        let compared = self.tests.iter().filter_map(|row| row.difference);
        if compared.clone().next().is_some() {
            let differ = compared
                .filter(|difference| *difference != Difference::Same)
                .count();
            parts.push(format!("{differ} differ"));
        }
        parts.join("; ")
    }

    /// A suite for each side, and one for the comparison.
    pub fn junit(&self) -> Vec<TestSuite> {
        let mut suites = Vec::new();
        for side in ["native", "shim"] {
            let mut suite = TestSuite::new(side);
            for row in &self.tests {
                let result = row.sides().find(|(name, _)| *name == side);
                if let Some((_, result)) = result {
                    suite.add_test_case(case(row, result));
                }
            }
            if !suite.test_cases.is_empty() {
                suites.push(suite);
            }
        }
        let mut suite = TestSuite::new("compare");
        for row in &self.tests {
            let Some(difference) = row.difference else {
                continue;
            };
            let status = match difference {
                Difference::Same => TestCaseStatus::success(),
                _ => junit::failure(difference.to_string()),
            };
            suite.add_test_case(TestCase::new(row.name.as_str(), status));
        }
        if !suite.test_cases.is_empty() {
            suites.push(suite);
        }
        suites
    }
}

fn case(row: &Row, result: &TestResult) -> TestCase {
    let status = match result.outcome {
        Outcome::Passed | Outcome::Warned => TestCaseStatus::success(),
        Outcome::Skipped => TestCaseStatus::skipped(),
        outcome => {
            let findings = row.findings();
            let separator = if findings.is_empty() { "" } else { ": " };
            junit::failure(format!("{}{separator}{findings}", outcome.word()))
        }
    };
    let mut case = TestCase::new(row.name.as_str(), status);
    case.set_time(Duration::from_secs_f64(result.seconds));
    case.set_classname(row.command.as_str());
    case
}
