//! The manual pages: keepmydata(1), and one for each subcommand.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};
use keepmydata_records::OPTIONS;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Exit codes of the command that runs a program.
const EXIT: [(&str, &str); 3] = [
    (
        "125",
        "Bad usage, the shim was not found, the log file cannot be opened, or keepmydata itself \
         failed.",
    ),
    (
        "126",
        "The program cannot be run, or not be reached: it runs as another user (set-user-ID), or \
         is of another architecture.",
    ),
    ("127", "There is no such program."),
];

/// Besides the settings.
const ENVIRONMENT: [(&str, &str); 2] = [
    (
        "KEEPMYDATA_LIB",
        "The shim; by default libkeepmydata.so beside the command, in ../lib or in \
         ../lib/keepmydata.",
    ),
    (
        "LD_PRELOAD",
        "The shim is appended to it. Setting it by hand to the path of the shim does the same as \
         running a program with keepmydata, without its checks.",
    ),
];

/// Writes all pages.
pub fn write(command: Command, directory: &Path) -> io::Result<()> {
    // `keepmydata help` needs no page.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let file = |name: &str| File::create(directory.join(name)).map(BufWriter::new);
    let mut out = file("keepmydata.1")?;
    main_page(&command, &mut out)?;
    out.flush()?;
    // Building has named them `keepmydata-doctor` and so on.
    for sub in command.get_subcommands() {
        let name = sub.get_display_name().unwrap_or(sub.get_name());
        let mut out = file(&format!("{name}.1"))?;
        let help = sub.get_after_long_help().map(ToString::to_string);
        Man::new(
            sub.clone()
                .after_long_help(None::<&str>)
                .after_help(None::<&str>),
        )
        .render(&mut out)?;
        sections(&help.unwrap_or_default()).to_writer(&mut out)?;
        out.flush()?;
    }
    Ok(())
}

fn main_page(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let man = Man::new(command.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    man.render_subcommands_section(out)?;

    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman("The program's own, or")]);
    for (code, meaning) in EXIT {
        entry(&mut roff, code, meaning);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in ENVIRONMENT {
        entry(&mut roff, name, meaning);
    }
    roff.text([roman(
        "Each setting is a variable; an option wins over its variable. For a bad value there is a \
         message on standard error, and the default is used.",
    )]);
    for option in OPTIONS {
        let default = match option.default {
            "" => String::new(),
            default => format!(" The default is {default}."),
        };
        let meaning = format!("As --{}: {}.{default}", option.name, option.values);
        entry(&mut roff, option.env, &meaning);
    }
    roff.control("SH", ["FILES"]);
    entry(
        &mut roff,
        "/usr/lib/keepmydata/libkeepmydata.so",
        "The shim, where a package has installed it.",
    );
    entry(
        &mut roff,
        "/usr/share/doc/keepmydata/docs",
        "The documents; README.md there is the index by question.",
    );
    roff.control("SH", ["SEE ALSO"]);
    let mut also: Vec<Inline> = Vec::new();
    for sub in command.get_subcommands() {
        also.extend([
            bold(format!("keepmydata-{}", sub.get_name())),
            roman("(1), "),
        ]);
    }
    also.extend([bold("msync"), roman("(2), "), bold("ld.so"), roman("(8)")]);
    roff.text(also);
    roff.to_writer(out)?;
    man.render_version_section(out)
}

/// What follows the options in a help text, each part under a heading of its own, as it is.
fn sections(help: &str) -> Roff {
    let mut roff = Roff::new();
    for line in help.lines() {
        match line.strip_suffix(':') {
            Some(heading) if !line.starts_with(' ') => {
                let heading = heading
                    .to_uppercase()
                    .replacen("EXIT CODE", "EXIT STATUS", 1);
                roff.control("SH", [heading.as_str()]);
                roff.control("nf", []);
            }
            _ if line.is_empty() => {
                roff.control("fi", []);
            }
            _ => {
                roff.text([roman(line)]);
            }
        }
    }
    roff.control("fi", []);
    roff
}

fn entry(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(meaning)]);
}
