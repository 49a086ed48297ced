//! `keepmydata demo`: one store, one msync, one read; without the shim and with it.

mod compiled;
mod mount;

use crate::args::{DemoKind, DemoOptions};
use crate::failure::Failure;
use crate::output::print;
use crate::run::{Library, reason};
use crate::sys;
use crate::table::Table;
use mount::Mount;
use std::env;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the guest found on reading back.
struct Outcome {
    /// `P0 [4440064,4444160)` and `new`, `old` or `mixed`.
    pages: Vec<(String, String)>,
    code: Option<i32>,
}

pub fn demo(options: &DemoOptions) -> Result<c_int, Failure> {
    sys::note_interruptions();
    let command = env::current_exe().map_err(|error| Failure::of("/proc/self/exe", &error))?;
    let tearfs = beside(&command, options.tearfs.as_deref(), "tearfs")?;
    let made =
        tempfile::tempdir().map_err(|error| Failure::of(env::temp_dir().display(), &error))?;
    let guest = match options.kind {
        DemoKind::Dynamic => {
            Library::find()?;
            beside(&command, options.guest.as_deref(), "seed")?
        }
        kind => compiled::guest(kind, made.path())?,
    };

    let page = rustix::param::page_size();
    print(format_args!(
        "keepmydata demo: does a read after msync(2) get the data?\n{}\n\
         The filesystem (tearfs --mode first-page) acknowledges an fsync after it has applied\n\
         only {} KiB. The program stores {} bytes over four pages of a mapped file, calls\n\
         msync, which returns 0, and at once reads the file back. For each page, it got:\n\n",
        match options.kind {
            DemoKind::Dynamic => "",
            DemoKind::Static => "The program is static: no library can be preloaded into it.\n",
            DemoKind::Go => "The program is in Go, which calls the kernel without libc.\n",
        },
        page >> 10,
        2 * page + 1735
    ))?;
    let without = run(&tearfs, &guest, None)?;
    let with = run(&tearfs, &guest, Some(&command))?;
    let (said, code) = verdict(&without, &with);
    print(format_args!("{}\n{said}\n", pages(&without, &with)))?;
    Ok(code)
}

/// The path given, or the file of that name beside this command or in `../lib/keepmydata`.
fn beside(command: &Path, given: Option<&Path>, name: &str) -> Result<PathBuf, Failure> {
    let path = given.map(Path::to_owned).unwrap_or_else(|| {
        let installed = command.with_file_name("../lib/keepmydata").join(name);
        match installed.exists() {
            true => installed,
            false => command.with_file_name(name),
        }
    });
    path.canonicalize().map_err(|error| {
        Failure::own(format!(
            "{}: {}; scripts/demo builds it, --{} names it",
            path.display(),
            reason(&error),
            if name == "seed" { "guest" } else { name },
        ))
    })
}

/// Runs the guest on a fresh mount; under the shim where `wrapper` is this command.
fn run(tearfs: &Path, guest: &Path, wrapper: Option<&Path>) -> Result<Outcome, Failure> {
    let mount = Mount::new(tearfs, &["--mode", "first-page"])?;
    let mut command = match wrapper {
        None => Command::new(guest),
        Some(wrapper) => {
            let mut command = Command::new(wrapper);
            command.arg("--").arg(guest);
            command
        }
    };
    // The settings of whoever calls are for programs of his, not for this comparison.
    for option in keepmydata_records::OPTIONS {
        command.env_remove(option.env);
    }
    let output = command
        .arg(mount.path("file"))
        .output()
        .map_err(|error| Failure::of(guest.display(), &error))?;
    drop(mount);
    if sys::interrupted() {
        return Err(Failure::interrupted());
    }
    outcome(guest, &output)
}

fn outcome(guest: &Path, output: &Output) -> Result<Outcome, Failure> {
    let text = String::from_utf8_lossy(&output.stdout);
    let pages: Vec<_> = text
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(page, content)| (page.to_owned(), content.to_owned()))
        .collect();
    let code = output.status.code();
    let guest = guest.display();
    if !matches!(code, Some(0 | 1 | 3)) {
        let said = String::from_utf8_lossy(&output.stderr);
        let ended = format!("{guest} ended with {}: {}", output.status, said.trim());
        return Err(Failure::own(ended.trim_end_matches(": ")));
    }
    if pages.is_empty() {
        let why = "prints no pages; the demo needs a guest such as seed";
        return Err(Failure::own(format!("{guest} {why}")));
    }
    Ok(Outcome { pages, code })
}

fn pages(without: &Outcome, with: &Outcome) -> Table {
    let mut table = Table::indented(2);
    table.row(["page of the file", "without keepmydata", "with keepmydata"]);
    for (i, (page, content)) in without.pages.iter().enumerate() {
        let healed = with.pages.get(i).map_or("?", |(_, content)| content);
        table.row([page.as_str(), content, healed]);
    }
    table
}

/// In words, and as the exit code.
fn verdict(without: &Outcome, with: &Outcome) -> (String, c_int) {
    let not = |why: &str| (why.to_owned(), 1);
    match (without.code, with.code) {
        (Some(1), Some(0)) => {
            // As it was called: it may not be in PATH.
            let name = env::args_os().next().unwrap_or_default();
            let said = format!(
                "Torn without keepmydata, whole with it; the program is the same binary.\n\
                 Next: {} --log=info -- YOUR-PROGRAM ARGS...",
                name.display()
            );
            (said, 0)
        }
        (Some(0), _) => not("Not shown: the file was whole without keepmydata too."),
        (_, Some(3)) => not("Not cured: msync failed under keepmydata."),
        _ => not("Not cured: the file was torn with keepmydata too."),
    }
}
