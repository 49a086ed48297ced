//! `scripts/bench`: what msync costs under keepmydata, side by side with what people do without.
//! See its --help.

mod cases;
mod checks;
mod contender;
mod docs;
mod filesystem;
mod json;
mod limits;
mod machine;
mod options;
mod plots;
mod run;
mod stats;
mod table;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use filesystem::Filesystem;
use json::Results;
use options::{CaseName, FsName, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(error) = check_outputs(&options) {
        eprintln!("scripts/bench: {error}");
        return ExitCode::from(2);
    }
    let mut results = Results {
        machine: machine::describe(),
        rows: vec![],
        checks: vec![],
        dirty_pages: vec![],
        file_size: vec![],
        not_measured: vec![],
    };
    println!("{}\n", results.machine);
    let _limits = limits::Raised::new();
    for fs in FsName::ALL.into_iter().filter(|&fs| options.wants_fs(fs)) {
        if let Err(error) = measure(fs, &options, &mut results) {
            eprintln!("scripts/bench: {error}");
            return ExitCode::from(3);
        }
    }
    for what in &results.not_measured {
        eprintln!("NOT MEASURED: {what}");
    }
    match (results.not_measured.is_empty(), results.all_reached()) {
        (false, _) => ExitCode::from(3),
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
    }
}

/// Whether the results can be written, before minutes are spent on them.
fn check_outputs(options: &Options) -> Result<(), String> {
    let cannot = |path: &Path, error| format!("{}: {error}", path.display());
    if let Some(directory) = &options.docs {
        fs::create_dir_all(directory).map_err(|error| cannot(directory, error))?;
    }
    if let Some(library) = &options.before {
        fs::metadata(library).map_err(|error| cannot(library, error))?;
    }
    let document = options.docs.as_deref().map(docs::document);
    for path in options.json.iter().chain(&document) {
        let mut file = fs::File::options();
        file.append(true).create(true);
        file.open(path).map_err(|error| cannot(path, error))?;
    }
    Ok(())
}

/// The filesystem, or a note that it was not measured.
fn mount(fs: FsName, results: &mut Results) -> Option<Filesystem> {
    let mounted = Filesystem::mount(fs);
    let note = |reason| format!("{}: {reason}", fs.name());
    mounted
        .map_err(|reason| results.not_measured.push(note(reason)))
        .ok()
}

/// All that is wanted on one filesystem. The files are written after each case: what was measured
/// is there when the rest is interrupted.
fn measure(fs: FsName, options: &Options, results: &mut Results) -> Result<(), String> {
    let mut cases = cases::of(fs, options.quick);
    cases.retain(|case| options.wants_case(case.name));
    if let Some(library) = options.before.clone() {
        return compare(fs, library.leak(), cases, options, results);
    }
    let mut wanted = [CaseName::DirtyPages, CaseName::FileSize].to_vec();
    wanted.retain(|&name| options.wants_case(name) && plots::FILESYSTEMS.contains(&fs));
    if cases.is_empty() && wanted.is_empty() {
        return Ok(());
    }
    let Some(mounted) = mount(fs, results) else {
        return write_files(options, results);
    };
    let before = results.rows.len();
    for case in &cases {
        let progress = bar(run::steps(case), format!("{}: {}", fs.name(), case.title));
        let outcome = run::rows_of(case, fs, &mounted, &progress).and_then(|rows| {
            table::print(&rows);
            results.rows.extend(rows);
            checks::count(case, fs, &mounted.path("counted"))
        });
        progress.finish_and_clear();
        match outcome {
            Ok(check) => table::print_checks(check, results),
            Err(reason) => {
                results
                    .not_measured
                    .push(format!("{}, {}: {reason}", fs.name(), case.title))
            }
        }
        write_files(options, results)?;
    }
    let added: Vec<_> = results.rows[before..]
        .iter()
        .filter(|row| row.metric == cases::ONE_MORE)
        .collect();
    let flat = checks::flat(&added, contender::SHIM.name);
    table::print_checks(flat, results);
    for name in wanted {
        plot(name, fs, &mounted, options, results);
        write_files(options, results)?;
    }
    Ok(())
}

/// Each preloaded contender of the cases beside itself with an older build of the library.
fn compare(
    fs: FsName,
    library: &'static Path,
    cases: Vec<cases::Case>,
    options: &Options,
    results: &mut Results,
) -> Result<(), String> {
    let Some(mounted) = mount(fs, results) else {
        return Ok(());
    };
    for mut case in cases {
        for pair in case.pairs(library) {
            case.compare(pair);
            let progress = bar(run::steps(&case), format!("{}: {}", fs.name(), case.title));
            let outcome = run::rows_of(&case, fs, &mounted, &progress);
            progress.finish_and_clear();
            match outcome {
                Ok(rows) => {
                    table::print(&rows);
                    results.rows.extend(rows);
                }
                Err(reason) => {
                    results
                        .not_measured
                        .push(format!("{}, {}: {reason}", fs.name(), case.title))
                }
            }
        }
        write_files(options, results)?;
    }
    Ok(())
}

fn plot(
    name: CaseName,
    fs: FsName,
    mounted: &Filesystem,
    options: &Options,
    results: &mut Results,
) {
    let progress = bar(
        plots::steps(name, options.quick),
        format!("{}: {name:?}", fs.name()),
    );
    let outcome = match name {
        CaseName::DirtyPages => plots::against_dirty_pages(fs, mounted, options.quick, &progress),
        _ => plots::against_size(fs, mounted, options.quick, &progress),
    };
    progress.finish_and_clear();
    match outcome {
        Ok(series) if name == CaseName::DirtyPages => {
            table::print_series("dirty pages", &series, plots::count_text);
            table::print_checks(plots::linear(&series), results);
            results.dirty_pages.extend(series);
        }
        Ok(series) => {
            table::print_series("file size", &series, plots::size_text);
            table::print_checks(plots::flat(&series), results);
            results.file_size.extend(series);
        }
        Err(reason) => results
            .not_measured
            .push(format!("{}, {name:?}: {reason}", fs.name())),
    }
}

fn write_files(options: &Options, results: &Results) -> Result<(), String> {
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", results.json());
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    match &options.docs {
        Some(directory) => docs::write(directory, results),
        None => Ok(()),
    }
}

/// A progress bar on standard error, if that is a terminal.
fn bar(steps: u64, what: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg} {bar:30} {pos}/{len} {eta}")
        .expect("a template that is known to be good");
    ProgressBar::new(steps).with_style(style).with_message(what)
}
