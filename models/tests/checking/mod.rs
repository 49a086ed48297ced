//! How models are run.

use loom::model::Builder;
use std::process::Command;

/// Set where a mutant is to be run: in a process of its own, since what loom finds may end it.
const MUTANT: &str = "KEEPMYDATA_MUTANT";

/// Runs `model` in every order of steps with at most so many preemptions.
pub fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(model);
}

/// The same for a mutant: its defect must be found, with `message` among what is said.
#[track_caller]
pub fn assert_found(message: &str, model: impl Fn() + Send + Sync + 'static) {
    if std::env::var_os(MUTANT).is_some() {
        return check(2, model);
    }
    let current = std::thread::current();
    let test = current.name().expect("name of the test");
    let run = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", test, "--nocapture"])
        .env(MUTANT, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("run of the mutant");
    let said = String::from_utf8_lossy(&run.stderr).to_lowercase();
    assert!(!run.status.success(), "the defect is not found");
    assert!(
        said.contains(message),
        "{message:?} is not found, but: {said}"
    );
}
