//! `keepmydata generate man|completions DIR`: what a package installs beside the command, made from
//! the same definitions as the command line.

mod man;

use crate::failure::Failure;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use std::ffi::c_int;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy)]
enum What {
    Man,
    Completions,
}

pub struct Options {
    what: What,
    directory: PathBuf,
}

pub fn command() -> Command {
    Command::new("generate")
        .about("Writes the manual pages, or the completions for bash, fish and zsh")
        .after_long_help(
            "Exit code:\n  \
               0    they are written\n  \
               125  bad usage, or a file cannot be written\n\
             \n\
             Examples:\n  \
               keepmydata generate man /usr/local/share/man/man1\n  \
               keepmydata generate completions /tmp/completions",
        )
        .arg(
            Arg::new("what")
                .value_name("WHAT")
                .help("What to write")
                .required(true)
                .value_parser(
                    PossibleValuesParser::new(["man", "completions"]).map(|what| {
                        match what.as_str() {
                            "man" => What::Man,
                            _ => What::Completions,
                        }
                    }),
                ),
        )
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .help("Where to; made if it does not exist")
                .required(true)
                .value_parser(value_parser!(PathBuf)),
        )
}

pub fn options(matches: &ArgMatches) -> Options {
    Options {
        what: *matches.get_one("what").expect("is required"),
        directory: matches.get_one("directory").cloned().expect("is required"),
    }
}

/// What is made is about the command that `visible` defines.
pub fn generate(options: &Options, visible: fn() -> Command) -> Result<c_int, Failure> {
    let directory = &options.directory;
    let made = std::fs::create_dir_all(directory).and_then(|()| match options.what {
        What::Man => man::write(visible(), directory),
        What::Completions => completions(visible, directory),
    });
    made.map_err(|error| match directory.is_file() {
        true => Failure::own(format!("{}: Not a directory", directory.display())),
        false => Failure::of(directory.display(), &error),
    })?;
    Ok(0)
}

fn completions(visible: fn() -> Command, directory: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut visible(), "keepmydata", directory)?;
    }
    Ok(())
}
