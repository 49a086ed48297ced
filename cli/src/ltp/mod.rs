//! `keepmydata ltp`: tests of an installed LTP, natively and under the shim.
//!
//! LTP's runner runs a runtest file of ours, each line of which calls `keepmydata ltp test`. That
//! runs the line that LTP's file has, with the environment that the runner may have thrown away,
//! and writes down how it ended. Under the shim the programs of LTP are found by way of stand-ins
//! ([`stand_in`]), which preload them and nothing else.

mod args;
mod comparison;
mod install;
mod logs;
mod outcome;
mod plan;
mod progress;
mod report;
mod results;
mod runner;
mod stand_in;
mod suite;
mod test;

pub use args::{LtpRequest, command, request};

use crate::doctor::Filesystem;
use crate::failure::Failure;
use crate::junit;
use crate::output::{self, Target};
use crate::run::{Library, reason};
use crate::sys;
use crate::typo;
use args::{How, Options};
use install::Install;
use keepmydata_records::OPTIONS;
use outcome::Difference;
use plan::{Plan, Side, Test, as_json, write_json};
use progress::Progress;
use results::{RESULTS, Results, Row, TestResult};
use runner::Reported;
use std::env;
use std::ffi::c_int;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub fn ltp(request: LtpRequest) -> Result<c_int, Failure> {
    match request {
        LtpRequest::Run(options) => run(&options),
        LtpRequest::Report { output } => output::print(report::report(&output)?).map(|()| 0),
        LtpRequest::Test { side, number } => test::test(&Side(side), number),
        LtpRequest::Guest { side, command } => stand_in::guest(&Side(side), &command),
    }
}

fn run(options: &Options) -> Result<c_int, Failure> {
    typo::warn_of_variables();
    let install = Install::find(options.ltp.as_deref(), options.runner)?;
    let tests = suite::select(&install.root, &options.files, &options.patterns)?;
    let directory = directory(&options.directory)?;
    let settings = settings(options)?;
    let json = options.json.as_deref().map(Target::open).transpose()?;
    let junit = options.junit.as_deref().map(Target::open).transpose()?;
    let output = Output::new(options.output.as_deref())?;
    sys::note_interruptions();

    let mut native = Vec::new();
    let mut shim = Vec::new();
    if options.how != How::Shim {
        native = run_side(&install, options, &directory, &output, &tests, None)?;
    }
    if options.how != How::Native {
        shim = run_side(
            &install,
            options,
            &directory,
            &output,
            &tests,
            Some(&settings),
        )?;
    }

    let (mut native, mut shim) = (native.into_iter(), shim.into_iter());
    let rows = tests.into_iter().map(|test| {
        let (native, shim) = (native.next(), shim.next());
        let difference = match (&native, &shim) {
            (Some(native), Some(shim)) => Some(Difference::between(native.outcome, shim.outcome)),
            _ => None,
        };
        Row {
            name: test.name,
            command: test.command,
            native,
            shim,
            difference,
        }
    });
    let filesystem =
        Filesystem::look(&directory).map_err(|error| Failure::of(directory.display(), &error))?;
    let results = Results {
        keepmydata: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        ltp: install.root.display().to_string(),
        ltp_version: install.version.clone(),
        runner: install.program.display().to_string(),
        directory: directory.display().to_string(),
        filesystem: filesystem.kind().to_owned(),
        settings,
        tests: rows.collect(),
    };
    write_json(&output.path.join(RESULTS), &results)?;

    let mut text = format!(
        "{}\n{}\noutput: {}\n",
        results.table(),
        results.summary(),
        output.path.display()
    );
    if options.report {
        text += &format!("\n{}\n", report::text(&results, &output.path));
    }
    let printed = output::print(text);
    let written = json.map_or(Ok(()), |json| json.write(&as_json(&results)));
    if let Some(junit) = junit {
        junit::write(junit, "keepmydata ltp", results.junit())?;
    }
    written.and(printed)?;
    Ok(results.code())
}

/// One way of running all tests.
fn run_side(
    install: &Install,
    options: &Options,
    directory: &Path,
    output: &Output,
    tests: &[Test],
    settings: Option<&[(String, String)]>,
) -> Result<Vec<TestResult>, Failure> {
    let name = if settings.is_some() { "shim" } else { "native" };
    let side = Side(output.path.join(name));
    for part in [side.tests(), side.0.join("logs"), side.0.join("runner.tmp")] {
        fs::create_dir_all(&part).map_err(|error| Failure::of(part.display(), &error))?;
    }
    let command = this_command()?;
    if settings.is_some() {
        let refused = stand_in::make(&install.root, &side, &command)?;
        let list = side.0.join("not-preloaded");
        fs::write(&list, refused.join("\n") + "\n")
            .map_err(|error| Failure::of(list.display(), &error))?;
    }
    suite::write(tests, &command, &side)?;
    let plan = Plan {
        root: install.root.clone(),
        shimmed: settings.is_some(),
        environment: settings.unwrap_or_default().to_vec(),
        timeout_seconds: options.timeout.as_secs(),
        tests: tests.to_vec(),
    };
    write_json(&side.plan(), &plan)?;

    let scratch = Scratch::new(directory, name)?;
    let mut progress = Progress::new(name, tests, &side);
    let ran = runner::run(
        install,
        &side,
        &scratch.0,
        &options.runner_arguments,
        || {
            progress.look();
        },
    );
    progress.end();
    test::end_leftovers(&side, tests.len());
    ran?;
    let reported = Reported::read(install.runner, &side);
    (0..tests.len())
        .map(|number| TestResult::gather(&side, number, &tests[number], plan.shimmed, &reported))
        .collect()
}

/// What the tests' environment must hold for the shim: the caller's settings, and a log for us.
fn settings(options: &Options) -> Result<Vec<(String, String)>, Failure> {
    let mut settings = Vec::new();
    for option in OPTIONS {
        if let Some(value) = env::var_os(option.env) {
            let value = value.into_string().map_err(|value| {
                Failure::own(format!("{}={}: not UTF-8", option.env, value.display()))
            })?;
            settings.push((option.env.to_owned(), value));
        }
    }
    let ours = ["KEEPMYDATA_LOG_FORMAT", "KEEPMYDATA_LOG_FILE"];
    settings.retain(|(name, _)| !ours.contains(&name.as_str()));
    settings.push(("KEEPMYDATA_LOG_FORMAT".to_owned(), "json".to_owned()));
    // Below info nothing tells whether the shim was there at all.
    let tells = |value: &str| ["info", "debug", "trace"].contains(&value);
    settings.retain(|(name, value)| name != "KEEPMYDATA_LOG" || tells(value));
    if !settings.iter().any(|(name, _)| name == "KEEPMYDATA_LOG") {
        let level = if options.report { "trace" } else { "info" };
        settings.push(("KEEPMYDATA_LOG".to_owned(), level.to_owned()));
    }
    if options.how != How::Native {
        let library = Library::find()?.path().display().to_string();
        settings.push(("KEEPMYDATA_LIB".to_owned(), library));
    }
    Ok(settings)
}

fn directory(named: &Path) -> Result<PathBuf, Failure> {
    let directory = named
        .canonicalize()
        .map_err(|error| Failure::of(named.display(), &error))?;
    if !directory.is_dir() {
        return Err(Failure::new(
            2,
            format!("{}: Not a directory", named.display()),
        ));
    }
    words(&directory)
}

/// This command, for a shell.
fn this_command() -> Result<String, Failure> {
    let command = env::current_exe().map_err(|error| Failure::of("/proc/self/exe", &error))?;
    words(&command).map(|command| command.display().to_string())
}

/// The path, unless a runner, its runtest file or PATH would tear it apart.
fn words(path: &Path) -> Result<PathBuf, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%=".contains(c);
    match path.to_str() {
        Some(text) if text.chars().all(plain) => Ok(path.to_owned()),
        _ => Err(Failure::new(
            2,
            format!(
                "{}: LTP cannot handle a path with such characters",
                path.display()
            ),
        )),
    }
}

/// The directory that keeps all that is written.
struct Output {
    path: PathBuf,
}

impl Output {
    fn new(named: Option<&Path>) -> Result<Self, Failure> {
        let path = match named {
            Some(path) => {
                std::path::absolute(path).map_err(|error| Failure::of(path.display(), &error))?
            }
            None => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let seconds = now.unwrap_or_default().as_secs();
                let name = format!("keepmydata-ltp-{seconds}-{}", std::process::id());
                env::temp_dir().join(name)
            }
        };
        let path = words(&path)?;
        fs::create_dir(&path).map_err(|error| Failure::of(path.display(), &error))?;
        Ok(Output { path })
    }
}

/// A directory on the filesystem under test, for the tests of one side; gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(directory: &Path, name: &str) -> Result<Self, Failure> {
        let path = directory.join(format!("keepmydata-ltp-{}-{name}", std::process::id()));
        // Open to all, as the runners make theirs: some tests go on as another user.
        fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o777)))
            .map_err(|error| Failure::of(path.display(), &error))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            let path = self.0.display();
            output::say(format_args!("warning: {path}: {}", reason(&error)));
        }
    }
}
