//! Results as JUnit XML, which build servers show.

use crate::failure::Failure;
use crate::output::Target;
use clap::{Arg, value_parser};
use quick_junit::{NonSuccessKind, Report, TestCaseStatus, TestSuite};
use std::path::PathBuf;

/// The option of a subcommand that has a verdict.
pub fn option() -> Arg {
    Arg::new("junit")
        .long("junit")
        .value_name("PATH")
        .help("Also write the verdict to PATH as JUnit XML")
        .value_parser(value_parser!(PathBuf))
}

/// Writes these suites.
pub fn write(target: Target, name: &str, suites: Vec<TestSuite>) -> Result<(), Failure> {
    let mut report = Report::new(name);
    report.add_test_suites(suites);
    let text = report.to_string().expect("names are UTF-8");
    target.write(&text)
}

/// It ran, and the result is bad.
pub fn failure(message: impl Into<String>) -> TestCaseStatus {
    status(NonSuccessKind::Failure, message.into())
}

/// It did not get as far as a result.
pub fn error(message: impl Into<String>) -> TestCaseStatus {
    status(NonSuccessKind::Error, message.into())
}

fn status(kind: NonSuccessKind, message: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    status
}
