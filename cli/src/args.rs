//! The command line. Options for settings are made from the table that the shim parses by.

use crate::failure::{Failure, OWN};
use crate::ltp::{self, LtpRequest};
use crate::report::args::ReportOptions;
use crate::run::Reach;
use crate::{diagnose, doctor, generate};
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use keepmydata_records::{OPTIONS, OptionSpec, Values, meant};
use std::ffi::{OsStr, OsString, c_int};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What was asked for.
pub enum Request {
    /// Run `command` with these settings added to the environment.
    Run {
        settings: Vec<(&'static str, OsString)>,
        reach: Reach,
        command: Vec<OsString>,
    },
    Demo(DemoOptions),
    Report(ReportOptions),
    Ltp(LtpRequest),
    Diagnose(diagnose::Options),
    Doctor(doctor::Options),
    /// What the doctor runs this command as.
    DoctorGuest(String),
    /// What the doctor runs for each client of a filesystem.
    DoctorClient,
    Generate(generate::Options),
}

pub struct DemoOptions {
    pub tearfs: Option<PathBuf>,
    pub guest: Option<PathBuf>,
    pub kind: DemoKind,
}

/// What the guest of the demonstration is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DemoKind {
    /// Linked with libc, which the library is preloaded into.
    Dynamic,
    /// Static C, which is supervised.
    Static,
    /// Go, which is supervised.
    Go,
}

pub fn parse(args: &[OsString]) -> Result<Request, clap::Error> {
    let mut command = visible().subcommands([doctor::guest_command(), doctor::client_command()]);
    // `help --help` is what `help` says.
    let is_help = args.get(1).is_some_and(|word| word == "help");
    let args = args
        .iter()
        .filter(|word| !is_help || (*word != "--help" && *word != "-h"));
    let matches = command
        .try_get_matches_from_mut(args.clone())
        .map_err(|error| with_word_meant(error, &command, args.clone().nth(1)))?;
    match matches.subcommand() {
        Some(("demo", sub)) => Ok(Request::Demo(DemoOptions {
            tearfs: sub.get_one("tearfs").cloned(),
            guest: sub.get_one("guest").cloned(),
            kind: match (sub.get_flag("static"), sub.get_flag("go")) {
                (true, _) => DemoKind::Static,
                (_, true) => DemoKind::Go,
                _ => DemoKind::Dynamic,
            },
        })),
        Some(("report", sub)) => Ok(Request::Report(sub.into())),
        Some(("ltp", sub)) => Ok(Request::Ltp(ltp::request(sub))),
        Some(("diagnose", sub)) => Ok(Request::Diagnose(diagnose::options(sub))),
        Some(("doctor", sub)) => Ok(Request::Doctor(doctor::options(sub))),
        Some(("generate", sub)) => Ok(Request::Generate(generate::options(sub))),
        Some((doctor::CLIENT, _)) => Ok(Request::DoctorClient),
        Some((doctor::GUEST, sub)) => Ok(Request::DoctorGuest(
            sub.get_one("task").cloned().expect("is required"),
        )),
        Some((other, _)) => unreachable!("subcommand {other}"),
        None => run_request(&mut command, &matches),
    }
}

/// Names the option or subcommand that was meant, as for settings and programs, in place of the one that clap finds similar.
/// `first` is the first word of the command line, which may be a subcommand.
fn with_word_meant(
    mut error: clap::Error,
    command: &Command,
    first: Option<&OsString>,
) -> clap::Error {
    let text = |value: Option<&ContextValue>| match value {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let of = first.and_then(|word| command.find_subcommand(word));
            let options = of.unwrap_or(command).get_arguments();
            let options = options.filter_map(|option| Some(format!("--{}", option.get_long()?)));
            let options: Vec<String> = options.collect();
            let wrong = text(error.get(ContextKind::InvalidArg));
            if let Some(meant) = meant(wrong.as_bytes(), options.iter().map(String::as_str)) {
                let meant = ContextValue::String(meant.to_owned());
                error.insert(ContextKind::SuggestedArg, meant);
            }
            // A program of this name is not what was meant, and the usage of all subcommands would hide the tip.
            error.remove(ContextKind::Suggested);
            error.remove(ContextKind::Usage);
        }
        ErrorKind::InvalidSubcommand => {
            let wrong = text(error.get(ContextKind::InvalidSubcommand));
            let known = command.get_subcommands().filter(|sub| !sub.is_hide_set());
            if let Some(meant) = meant(wrong.as_bytes(), known.map(Command::get_name)) {
                let meant = ContextValue::Strings(vec![meant.to_owned()]);
                error.insert(ContextKind::SuggestedSubcommand, meant);
            }
            error.remove(ContextKind::Usage);
        }
        _ => {}
    }
    error
}

/// The exit code where the command line is not to be acted on: help was asked for, or it is bad usage.
pub fn exit_code(error: &clap::Error) -> c_int {
    match error.use_stderr() {
        true => OWN,
        false => 0,
    }
}

/// Adds the subcommand that was meant to the complaint that there is no program `name`.
pub fn with_subcommand_meant(failure: Failure, name: &OsStr) -> Failure {
    let command = visible();
    let known = command.get_subcommands().map(Command::get_name);
    match meant(name.as_bytes(), known.chain(["help"])) {
        None => failure,
        Some(meant) => Failure {
            message: format!("{}; did you mean 'keepmydata {meant}'?", failure.message),
            ..failure
        },
    }
}

fn run_request(command: &mut Command, matches: &ArgMatches) -> Result<Request, clap::Error> {
    let Some(program) = matches.get_many::<OsString>("program") else {
        let kind = ErrorKind::MissingRequiredArgument;
        return Err(command.error(kind, "no program to run, see --help"));
    };
    let settings = OPTIONS.iter().filter_map(|option| {
        let value = match option.values {
            Values::Choice(_) => matches.get_one::<String>(option.name).map(OsString::from),
            _ => matches.get_one::<OsString>(option.name).cloned(),
        };
        Some((option.env, value?))
    });
    Ok(Request::Run {
        settings: settings.collect(),
        reach: Reach::given(matches),
        command: program.cloned().collect(),
    })
}

/// The command line as people see it.
pub fn visible() -> Command {
    Command::new("keepmydata")
        .version(env!("KEEPMYDATA_VERSION"))
        .about("Runs a program so that its msync(2) keeps its promise")
        .long_about(
            "Runs PROGRAM with the library libkeepmydata.so (the shim), which makes msync(2) keep its \
             promise. When msync returns 0, the data is on the filesystem, and on FUSE, network and \
             stacked filesystems it was read back and compared. Otherwise msync fails, and the log \
             says why.\n\
             \n\
             The program replaces this command (execve), so its process id, exit code and signals \
             stay what they are.",
        )
        .override_usage(
            "keepmydata [OPTIONS] [--] PROGRAM [ARGS]...\n       \
             keepmydata demo [--static | --go] [--tearfs PATH] [--guest PATH]\n       \
             keepmydata diagnose [OPTIONS] [--] PROGRAM [ARGS]...\n       \
             keepmydata doctor [OPTIONS] [DIR] [--client DIR2 [--peer COMMAND]]\n       \
             keepmydata report [OPTIONS] LOG...\n       \
             keepmydata ltp -d DIR -f FILE [-s PATTERN] [--native | --compare]\n       \
             keepmydata generate man|completions DIR",
        )
        .after_long_help(after_help())
        .max_term_width(100)
        .args_conflicts_with_subcommands(true)
        .args(OPTIONS.iter().map(option))
        .arg(
            Reach::option()
                .help("How the program is reached [auto, preload, supervise]")
                .long_help(
                    "How the program is reached. [auto, preload, supervise]\n\
                     auto: the library is preloaded where the loader loads it; other programs (static, Go, \
                     another libc than glibc) get a supervisor. preload: the library, or not at all. supervise: a \
                     supervisor for the program and all that it starts; it also sees raw system calls \
                     (docs/reach.md).",
                ),
        )
        .arg(
            Arg::new("program")
                .value_names(["PROGRAM", "ARGS"])
                .help("The program and its arguments; use -- before a program named like a subcommand")
                .num_args(1..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString)),
        )
        .subcommand(demo())
        .subcommand(diagnose::command())
        .subcommand(doctor::command())
        .subcommand(crate::report::args::command())
        .subcommand(ltp::command())
        .subcommand(generate::command())
}

fn option(spec: &'static OptionSpec) -> Arg {
    let parser = match spec.values {
        Values::Choice(words) => ValueParser::new(PossibleValuesParser::new(words)),
        values => ValueParser::new(OsStringValueParser::new().try_map(move |text| {
            if values.accept(text.as_bytes()) {
                Ok(text)
            } else {
                Err(format!("must be {values}"))
            }
        })),
    };
    let name = match spec.values {
        Values::Choice(_) => "WHAT",
        Values::Millis => "MS",
        Values::Bytes => "BYTES",
        Values::Globs => "GLOBS",
        Values::Mounts => "MOUNT=OTHER",
        Values::Path => "PATH",
    };
    let values = match (spec.values, spec.default) {
        (Values::Choice(words), _) => format!(" [{}]", words.join(", ")),
        (_, "") => String::new(),
        (_, default) => format!(" [{default}]"),
    };
    Arg::new(spec.name)
        .long(spec.name)
        .value_name(name)
        .value_parser(parser)
        .hide_possible_values(true)
        .help(format!("{}{values}", spec.help))
        .long_help(format!("{}.{values}\n{}", spec.help, spec.long_help))
        .help_heading("Settings (the default comes first)")
}

fn demo() -> Command {
    Command::new("demo")
        .about("Shows torn data after msync, and the same program with whole data under the shim")
        .long_about(
            "Mounts the misbehaving filesystem tearfs, runs a program on it without and with the \
             shim, and prints for each page whether it was read back new, old or mixed. Needs FUSE.",
        )
        .after_long_help(
            "Exit code:\n  \
               0    torn without the shim, whole with it\n  \
               1    anything else\n  \
               125  bad usage, or it could not be tried\n  \
               130  interrupted (143: by SIGTERM, 129: by SIGHUP)\n\
             \n\
             Examples:\n  \
               keepmydata demo\n  \
               keepmydata demo --static",
        )
        .arg(path("tearfs").help("The test bed's filesystem [default: tearfs beside this command, or in ../lib/keepmydata]"))
        .arg(
            Arg::new("static")
                .long("static")
                .action(ArgAction::SetTrue)
                .help("Use a static program, which is supervised; needs a C compiler"),
        )
        .arg(
            Arg::new("go")
                .long("go")
                .action(ArgAction::SetTrue)
                .conflicts_with("static")
                .help("Use a Go program, which is supervised; needs a Go compiler"),
        )
        .arg(path("guest").conflicts_with_all(["static", "go"]).help("The program to run [default: seed beside this command, or in ../lib/keepmydata]"))
}

fn path(name: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
}

fn after_help() -> String {
    let mut help = String::from(
        "Exit code:\n  \
           The program's own, or\n  \
           125  bad usage, the shim was not found, the log file cannot be opened, or keepmydata\n       \
                itself failed\n  \
           126  the program cannot be run, or not be reached: it runs as another user (set-user-ID),\n       \
                or is of another architecture\n  \
           127  there is no such program\n\
         \n\
         Environment:\n  \
           KEEPMYDATA_LIB  the shim; by default libkeepmydata.so beside this command, in ../lib\n                  \
                           or in ../lib/keepmydata\n  \
           LD_PRELOAD      the shim is appended to it\n  \
           Each setting is also a variable; an option wins over its variable:\n",
    );
    for option in OPTIONS {
        writeln!(help, "    {:24} --{}", option.env, option.name).expect("writing to a String");
    }
    help.push_str(
        "\nExamples:\n  \
           keepmydata ./mytest /mnt/data\n  \
           keepmydata --log=info --log-file=/tmp/%p.log -- ./mytest\n  \
           LD_PRELOAD=/usr/lib/keepmydata/libkeepmydata.so KEEPMYDATA_LOG=info ./mytest",
    );
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Request, clap::Error> {
        parse(&text.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    fn run(text: &str) -> (Vec<(&'static str, OsString)>, Vec<OsString>) {
        match words(text) {
            Ok(Request::Run {
                settings, command, ..
            }) => (settings, command),
            Ok(_) => panic!("{text}: a subcommand"),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        visible().debug_assert();
    }

    #[test]
    fn every_help_has_exit_codes_and_examples() {
        let mut commands = vec![visible()];
        while let Some(command) = commands.pop() {
            let help = command.get_after_long_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            for part in ["Exit code:\n", "\nExamples:\n  keepmydata "] {
                assert!(help.contains(part), "{}: no {part}", command.get_name());
            }
            let subcommands = command.get_subcommands().filter(|sub| !sub.is_hide_set());
            commands.extend(subcommands.cloned());
        }
    }

    #[test]
    fn what_follows_the_program_is_the_programs() {
        let (settings, command) = run("keepmydata --verify=on ls --verify off -l -- demo --help");
        assert_eq!(settings, [("KEEPMYDATA_VERIFY", OsString::from("on"))]);
        assert_eq!(
            command,
            ["ls", "--verify", "off", "-l", "--", "demo", "--help"]
        );
    }

    #[test]
    fn subcommands_and_programs_of_the_same_name() {
        assert!(matches!(words("keepmydata demo"), Ok(Request::Demo(_))));
        assert_eq!(run("keepmydata -- demo x").1, ["demo", "x"]);
        assert_eq!(run("keepmydata --log info -- doctor").1, ["doctor"]);
        assert_eq!(run("keepmydata ls demo").1, ["ls", "demo"]);
        assert_eq!(run("keepmydata -- -x").1, ["-x"]);
    }

    #[test]
    fn every_setting_is_an_option() {
        for option in OPTIONS {
            let value = match option.values {
                Values::Globs => "*.db",
                Values::Mounts => "/a=/b",
                _ => option.default,
            };
            let (settings, _) = run(&format!("keepmydata --{} {value} ls", option.name));
            assert_eq!(settings, [(option.env, OsString::from(value))]);
        }
    }

    #[test]
    fn bad_values_are_bad_usage() {
        for text in [
            "keepmydata",
            "keepmydata --verify=perhaps ls",
            "keepmydata --deadline-ms=2s ls",
            "keepmydata --files=[ ls",
            "keepmydata --bogus ls",
            "keepmydata doctor a b",
        ] {
            assert_eq!(
                words(text).err().map(|e| exit_code(&e)),
                Some(OWN),
                "{text}"
            );
        }
    }
}
