//! Who is compared: the same guest, made safe by hand, by a shim, or not at all.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use preload_tests::harness::{Flags, Program, command, shim};

/// One way to run a guest.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    /// As the table calls it.
    pub name: &'static str,
    /// What the guest itself does to be sure (`parse_how` in guests/bench.h).
    how: &'static str,
    with: With,
}

#[derive(Clone, Copy, Debug)]
enum With {
    Nothing,
    Strace,
    /// The naive shim, with these settings.
    NaiveShim(&'static [(&'static str, &'static str)]),
    /// keepmydata with these settings.
    Shim(Library, &'static [(&'static str, &'static str)]),
    /// A static build of the guest, started by the command.
    Supervisor,
}

/// Which build of keepmydata.
#[derive(Clone, Copy, Debug)]
enum Library {
    /// The one that was built last.
    Current,
    /// The one of `--before`.
    Before(&'static Path),
}

const fn by_hand(name: &'static str, how: &'static str) -> Contender {
    let with = With::Nothing;
    Contender { name, how, with }
}

const fn shimmed(
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
) -> Contender {
    Contender {
        name,
        how: "msync",
        with: With::Shim(Library::Current, settings),
    }
}

pub const NATIVE: Contender = by_hand("msync", "msync");
pub const FDATASYNC: Contender = by_hand("msync + fdatasync", "fdatasync");
pub const DROP: Contender = by_hand("msync + fdatasync + madvise + fadvise", "drop");
pub const STRACE: Contender = Contender {
    with: With::Strace,
    ..by_hand("msync, strace -f -e msync", "msync")
};
pub const NAIVE: Contender = Contender {
    with: With::NaiveShim(&[]),
    ..by_hand("naive shim", "msync")
};
pub const NAIVE_KEEP: Contender = Contender {
    with: With::NaiveShim(&[("NAIVE_KEEP", "1")]),
    ..by_hand("naive shim without the drop", "msync")
};
pub const SHIM: Contender = shimmed("keepmydata", &[]);
pub const SUPERVISED: Contender = Contender {
    with: With::Supervisor,
    ..by_hand("keepmydata, supervised", "msync")
};
pub const SHIM_OFF_OFF: Contender = shimmed(
    "keepmydata VERIFY=off INVALIDATE=off",
    &[
        ("KEEPMYDATA_VERIFY", "off"),
        ("KEEPMYDATA_INVALIDATE", "off"),
    ],
);
pub const SHIM_OFF_DIRTY: Contender = shimmed(
    "keepmydata VERIFY=off INVALIDATE=dirty",
    &[
        ("KEEPMYDATA_VERIFY", "off"),
        ("KEEPMYDATA_INVALIDATE", "dirty"),
    ],
);
pub const SHIM_OFF: Contender = shimmed("keepmydata VERIFY=off", &[("KEEPMYDATA_VERIFY", "off")]);
pub const SHIM_ON: Contender = shimmed("keepmydata VERIFY=on", &[("KEEPMYDATA_VERIFY", "on")]);
pub const SHIM_ON_DIRTY: Contender = shimmed(
    "keepmydata VERIFY=on INVALIDATE=dirty",
    &[
        ("KEEPMYDATA_VERIFY", "on"),
        ("KEEPMYDATA_INVALIDATE", "dirty"),
    ],
);

impl Contender {
    pub fn how(&self) -> &'static str {
        self.how
    }

    /// The same settings with another build of the library; `None` where it is not the library's contender.
    pub fn with_library(&self, library: &'static Path) -> Option<Contender> {
        let With::Shim(_, settings) = self.with else {
            return None;
        };
        Some(Contender {
            name: format!("{}, before", self.name).leak(),
            how: self.how,
            with: With::Shim(Library::Before(library), settings),
        })
    }

    /// Starts the guest and waits until it is set up.
    ///
    /// # Errors
    /// What it said instead.
    pub fn start(&self, guest: &str, arguments: &[String]) -> Result<Running, String> {
        let tracer: &[&str] = match self.with {
            With::Strace => &["-f", "-qq", "-e", "trace=msync", "-o", "/dev/null"],
            _ => &[],
        };
        Running::start(self.command(guest, arguments, tracer))
    }

    /// The same under strace with these arguments.
    ///
    /// # Errors
    /// What it said instead.
    pub fn start_traced(
        &self,
        guest: &str,
        arguments: &[String],
        tracer: &[&str],
    ) -> Result<Running, String> {
        Running::start(self.command(guest, arguments, tracer))
    }

    fn command(&self, guest: &str, arguments: &[String], tracer: &[&str]) -> Command {
        let mut variables: Vec<(&str, OsString)> = Vec::new();
        match self.with {
            With::NaiveShim(_) => {
                let library = Program::guest_library("naive_msync");
                variables.push(("LD_PRELOAD", library.into()));
            }
            With::Shim(Library::Current, _) => variables.push(("LD_PRELOAD", shim().into())),
            With::Shim(Library::Before(library), _) => {
                variables.push(("LD_PRELOAD", library.into()));
            }
            With::Nothing | With::Strace | With::Supervisor => {}
        }
        if let With::NaiveShim(settings) | With::Shim(_, settings) = self.with {
            variables.extend(settings.iter().map(|&(name, value)| (name, value.into())));
        }
        let program = match self.with {
            With::Supervisor => {
                Program::guest_with(guest, Flags::Static).by_command(command(), [""; 0])
            }
            _ => Program::guest(guest),
        };
        let mut command;
        if tracer.is_empty() {
            command = Command::new(program.file());
            command.envs(variables);
        } else {
            command = Command::new("strace");
            command.args(tracer);
            for (name, value) in variables {
                let mut assignment = OsString::from(name);
                assignment.push("=");
                assignment.push(value);
                command.arg("-E").arg(assignment);
            }
            command.arg(program.file());
        }
        command.args(program.arguments()).args(arguments);
        command
    }
}

/// A guest that waits for its next round.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// What one round took: names and ns.
pub type Round = Vec<(String, f64)>;

impl Running {
    /// Starts `command`, a guest with `serve` of guests/bench.h.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(mut command: Command) -> Result<Running, String> {
        let program = Path::new(command.get_program()).display().to_string();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let mut running = Running {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("piped stdout")),
            child,
        };
        match running.line()?.as_str() {
            "ready" => Ok(running),
            other => Err(format!("{program}: {other}")),
        }
    }

    /// One round.
    ///
    /// # Errors
    /// If the guest ended instead.
    pub fn round(&mut self, request: &str) -> Result<Round, String> {
        let stdin = self.stdin.as_mut().ok_or("the guest was told to end")?;
        writeln!(stdin, "{request}").map_err(|error| format!("to the guest: {error}"))?;
        let line = self.line()?;
        let words: Vec<&str> = line.split_whitespace().collect();
        words
            .chunks(2)
            .map(|pair| match pair {
                [name, ns] => ns.parse().ok().map(|ns: f64| ((*name).to_owned(), ns)),
                _ => None,
            })
            .collect::<Option<Round>>()
            .ok_or_else(|| format!("from the guest: {line}"))
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line) {
            Ok(0) => Err("the guest ended: see above".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(format!("from the guest: {error}")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends with its standard input; the wait is for a last unmap.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
