//! The command line of `keepmydata doctor`.

use crate::junit;
use crate::run::Reach;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Clone, Serialize, Deserialize)]
pub struct Options {
    pub directory: PathBuf,
    /// Another mount of the same filesystem,
    pub client: Option<PathBuf>,
    /// on a machine where this command, for the shell, runs programs.
    pub peer: Option<String>,
    pub json: bool,
    pub junit: Option<PathBuf>,
    pub verbose: bool,
    pub reach: Reach,
}

pub fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .help(help)
            .action(ArgAction::SetTrue)
    };
    Command::new("doctor")
        .about("Tests whether the filesystem of DIR keeps the promise of msync, and what cures it")
        .long_about(
            "Tests whether readers get what was stored through a mapping once msync has returned 0: \
             natively, with each step that may help, and under the shim. Says what it saw, which \
             steps help, and what follows. Works in a directory of its own in DIR, and removes it. \
             Takes about ten seconds, more on a slow filesystem. Does not test power cuts.\n\
             \n\
             With --client it tests instead when a second client of the same filesystem sees what was \
             synced in DIR, for each way of reading and in both directions, and whether two writers \
             that take turns under a record lock lose updates. Takes about fifteen seconds, at most \
             120.",
        )
        .after_long_help(
            "Exit code:\n  \
               0    msync keeps its promise there\n  \
               1    msync breaks its promise, and the shim cures it\n  \
               2    msync breaks its promise, and the shim does not cure it, or was not found\n  \
               3    not known: no file can be made or mapped there, or msync fails\n  \
               125  bad usage, or the command itself failed\n  \
               130  interrupted (143: by SIGTERM, 129: by SIGHUP)\n\
             \n\
             Exit code with --client:\n  \
               0    the other client sees the data at once\n  \
               1    after a time, when it opens the file anew, or once it takes a record lock\n  \
               2    not within 10 s, or an update was lost\n  \
               3    not known: the two are not clients of one filesystem, or nothing could be tried\n  \
               125  bad usage, or the command itself failed\n  \
               130  interrupted (143: by SIGTERM, 129: by SIGHUP)\n\
             \n\
             Examples:\n  \
               keepmydata doctor /mnt/data\n  \
               keepmydata doctor --junit results.xml /mnt/data\n  \
               keepmydata doctor /mnt/a --client /mnt/b\n  \
               keepmydata doctor /mnt/a --client /mnt/a --peer 'ssh host2'",
        )
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .help("Any directory in which files can be made")
                .default_value(".")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("client")
                .long("client")
                .value_name("DIR2")
                .help("The same directory through a second mount: test what that client sees")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("peer")
                .long("peer")
                .value_name("COMMAND")
                .help("Reach DIR2 by this command, for example 'ssh HOST'; keepmydata must be in the PATH there")
                .requires("client"),
        )
        .arg(
            Reach::option()
                .conflicts_with("client")
                .help("How the shim is tried: preloaded, or from outside [auto, preload, supervise]")
                .long_help(
                    "How the shim is tried. [auto, preload, supervise]\n\
                     auto: the library is preloaded, and where there is none a supervisor beside the program does its work. \
                     preload: the library, or not at all. supervise: the supervisor (docs/reach.md).",
                ),
        )
        .arg(junit::option())
        .arg(flag("json", "Print one JSON object instead of text, with all evidence"))
        .arg(flag(
            "verbose",
            "Show the evidence too: each trial, the shim's records, what kernel and filesystem offer",
        ).short('v'))
}

pub fn options(matches: &ArgMatches) -> Options {
    Options {
        directory: matches
            .get_one("directory")
            .cloned()
            .expect("has a default"),
        client: matches.get_one("client").cloned(),
        peer: matches.get_one("peer").cloned(),
        json: matches.get_flag("json"),
        junit: matches.get_one("junit").cloned(),
        verbose: matches.get_flag("verbose"),
        reach: Reach::given(matches),
    }
}

/// The subcommand.
pub const GUEST: &str = "doctor-guest";

/// What the doctor runs this command as; not for people.
pub fn guest_command() -> Command {
    Command::new(GUEST)
        .hide(true)
        .arg(Arg::new("task").required(true))
}
