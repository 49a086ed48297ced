//! How the tests are run: as models in every order of steps, or natively, some times.

#[cfg(loom)]
pub use keepmydata_models as sync;
#[cfg(not(loom))]
pub use keepmydata_sync as sync;
#[cfg(loom)]
pub use loom::thread;
#[cfg(not(loom))]
pub use std::thread;

/// Runs `model` in every order of steps with at most so many preemptions.
#[cfg(loom)]
pub fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(model);
}

/// Runs `model` in some of the orders that the processor takes, or Miri.
#[cfg(not(loom))]
pub fn check(_preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let rounds = if cfg!(miri) { 5 } else { 2_000 };
    (0..rounds).for_each(|_| model());
}

/// Runs `model` with `defect`, which must be found, with `message` among what is said.
#[cfg(loom)]
#[track_caller]
pub fn assert_found(
    defect: sync::defect::Defect,
    message: &str,
    model: impl Fn() + Send + Sync + 'static,
) {
    /// Set where the defect is to be run: in a process of its own, since what loom finds may end it.
    const PLANTED: &str = "KEEPMYDATA_DEFECT";
    if std::env::var_os(PLANTED).is_some() {
        sync::defect::plant(defect);
        return check(2, model);
    }
    let current = std::thread::current();
    let test = current.name().expect("name of the test");
    let run = std::process::Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", test, "--nocapture"])
        .env(PLANTED, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("run with the defect");
    let said = String::from_utf8_lossy(&run.stderr).to_lowercase();
    assert!(!run.status.success(), "the defect is not found");
    assert!(
        said.contains(message),
        "{message:?} is not found, but: {said}"
    );
}
