//! Runs a program natively, under the shim or supervised, the same call for all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::guests::{Flags, compile};
use super::library::{command, debug_shim, shim};
use super::patience::patience;
use super::records::Records;
use super::scratch::{Group, Scratch};

/// A command line, to be run any number of times.
#[derive(Clone)]
pub struct Program {
    file: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    tracer: Vec<OsString>,
    preload_before: Vec<PathBuf>,
    preload_after: Vec<PathBuf>,
    directory: Option<PathBuf>,
    timeout: Duration,
    debug_shim: bool,
}

impl Program {
    /// A guest, compiled as distributions compile.
    pub fn guest(name: &str) -> Self {
        Self::guest_with(name, Flags::Hardened)
    }

    pub fn guest_with(name: &str, flags: Flags) -> Self {
        Self::new(compile(name, flags, false))
    }

    /// A guest that is a library, for `dlopen` or LD_PRELOAD: its path.
    pub fn guest_library(name: &str) -> PathBuf {
        compile(name, Flags::Hardened, true)
    }

    /// A program of the system.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            tracer: Vec::new(),
            preload_before: Vec::new(),
            preload_after: Vec::new(),
            directory: None,
            timeout: Duration::from_secs(60),
            debug_shim: false,
        }
    }

    /// The same program where no process can be made that shares memory: the shim's helper is a thread of the
    /// program's then, which strace follows.
    pub fn where_only_threads(mut self) -> Self {
        let under = Self::guest("under").file;
        let program = std::mem::replace(&mut self.file, under);
        let before = [OsString::from("threads-only"), program.into()];
        self.arguments.splice(0..0, before);
        self
    }

    /// The same program, started by the command `keepmydata` with these options.
    pub fn by_command<A: AsRef<OsStr>>(
        &self,
        keepmydata: impl Into<PathBuf>,
        options: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut by = self.clone();
        let program = std::mem::replace(&mut by.file, keepmydata.into());
        let options = options.into_iter().map(|a| a.as_ref().to_owned());
        let before = options.chain(["--".into(), program.into_os_string()]);
        by.arguments.splice(0..0, before.collect::<Vec<_>>());
        by
    }

    /// The same program, as the last arguments of this command.
    ///
    /// # Panics
    /// If that is empty.
    pub fn by_prefix(&self, command: &[String]) -> Self {
        let (first, rest) = command.split_first().expect("a command");
        let mut by = self.clone();
        let program = std::mem::replace(&mut by.file, first.into());
        let before = rest.iter().map(Into::into);
        let before: Vec<OsString> = before.chain([program.into_os_string()]).collect();
        by.arguments.splice(0..0, before);
        by
    }

    /// The executable, for a program that runs this one.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its arguments, for a program that runs this one.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// Its variables, likewise.
    pub fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        for argument in arguments {
            self = self.arg(argument);
        }
        self
    }

    /// A variable for both ways of running.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Another library to preload in both ways, in front of the shim.
    pub fn preload_before(mut self, library: impl Into<PathBuf>) -> Self {
        self.preload_before.push(library.into());
        self
    }

    /// Another library to preload in both ways, behind the shim.
    pub fn preload_after(mut self, library: impl Into<PathBuf>) -> Self {
        self.preload_after.push(library.into());
        self
    }

    /// Runs the program as the last arguments of this command, which itself is
    /// not preloaded: `strace -E` and `env` set the environment of the program.
    pub fn traced_by<A: AsRef<OsStr>>(mut self, tracer: impl IntoIterator<Item = A>) -> Self {
        self.tracer = tracer.into_iter().map(|a| a.as_ref().to_owned()).collect();
        self
    }

    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// How long it may run (60 s if not said) before its process group is killed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The shim that it runs under is one that was built without optimisation.
    pub fn debug_shim(mut self) -> Self {
        self.debug_shim = true;
        self
    }

    fn shim(&self) -> &'static Path {
        match self.debug_shim {
            true => debug_shim(),
            false => shim(),
        }
    }

    /// Runs it without the shim.
    pub fn natively(&self) -> Outcome {
        self.run(None, &[])
    }

    /// Runs it under the shim with these settings (`("KEEPMYDATA_VERIFY", "off")`).
    /// With a log level and no log file among them, JSON records go to files of
    /// the run's own: see [`Outcome::records`]. An empty value leaves a variable unset.
    pub fn under_shim(&self, settings: &[(&str, &str)]) -> Outcome {
        self.run(Some(self.shim()), settings)
    }

    /// Runs it supervised, with settings as [`Self::under_shim`]: what no library is preloaded into.
    pub fn supervised(&self, settings: &[(&str, &str)]) -> Outcome {
        let options = ["--reach=supervise"];
        self.by_command(command(), options).run(None, settings)
    }

    /// Starts it natively, to be watched while it runs.
    pub fn start_natively(&self) -> Running {
        self.start(None, &[])
    }

    /// Starts it under the shim, to be watched while it runs.
    pub fn start_under_shim(&self, settings: &[(&str, &str)]) -> Running {
        self.start(Some(self.shim()), settings)
    }

    fn run(&self, shim: Option<&Path>, settings: &[(&str, &str)]) -> Outcome {
        self.start(shim, settings).wait(patience(self.timeout))
    }

    /// Starts it natively or under the shim, to be talked with: it reads its standard input from a pipe, and
    /// its standard output is one.
    pub fn converse(&self, shimmed: bool, settings: &[(&str, &str)]) -> Conversation {
        let shim = shimmed.then(|| self.shim());
        let Running { mut group, scratch } =
            self.start_with(shim, settings, |_| (Stdio::piped(), Stdio::piped()));
        let stdin = group.child.stdin.take().expect("piped stdin");
        let stdout = group.child.stdout.take().expect("piped stdout");
        Conversation {
            stdin,
            stdout: Some(stdout),
            running: Running { group, scratch },
        }
    }

    fn start(&self, shim: Option<&Path>, settings: &[(&str, &str)]) -> Running {
        self.start_with(shim, settings, |scratch| {
            let stdout = File::create(scratch.path("stdout")).expect("file for output");
            (Stdio::null(), stdout.into())
        })
    }

    fn start_with(
        &self,
        shim: Option<&Path>,
        settings: &[(&str, &str)],
        streams: impl FnOnce(&Scratch) -> (Stdio, Stdio),
    ) -> Running {
        let scratch = Scratch::new();
        let environment = self.variables(shim, settings, scratch.dir());
        let mut command = self.command(&environment);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"KEEPMYDATA_") {
                command.env_remove(name);
            }
        }
        if self.tracer.is_empty() {
            command.envs(environment);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let (stdin, stdout) = streams(&scratch);
        let stderr = File::create(scratch.path("stderr")).expect("file for output");
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let group = Group::spawn(&mut command);
        Running { group, scratch }
    }

    fn variables(
        &self,
        shim: Option<&Path>,
        settings: &[(&str, &str)],
        logs: &Path,
    ) -> Vec<(OsString, OsString)> {
        let mut variables = self.environment.clone();
        let preload: Vec<&OsStr> = self
            .preload_before
            .iter()
            .map(PathBuf::as_path)
            .chain(shim)
            .chain(self.preload_after.iter().map(PathBuf::as_path))
            .map(Path::as_os_str)
            .collect();
        if !preload.is_empty() {
            variables.push(("LD_PRELOAD".into(), preload.join(OsStr::new(":"))));
        }
        let is_set = |name| settings.iter().any(|(set, _)| *set == name);
        if is_set("KEEPMYDATA_LOG") && !is_set("KEEPMYDATA_LOG_FILE") {
            variables.push(("KEEPMYDATA_LOG_FILE".into(), logs.join("%p.log").into()));
            if !is_set("KEEPMYDATA_LOG_FORMAT") {
                variables.push(("KEEPMYDATA_LOG_FORMAT".into(), "json".into()));
            }
        }
        variables.extend(
            settings
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.into(), value.into())),
        );
        variables
    }

    fn command(&self, environment: &[(OsString, OsString)]) -> Command {
        let Some((tracer, arguments)) = self.tracer.split_first() else {
            let mut command = Command::new(&self.file);
            command.args(&self.arguments);
            return command;
        };
        let mut command = Command::new(tracer);
        command.args(arguments).arg("env");
        for (name, value) in environment {
            let mut assignment = name.clone();
            assignment.push("=");
            assignment.push(value);
            command.arg(assignment);
        }
        command.arg(&self.file).args(&self.arguments);
        command
    }
}

/// A program that runs. Its process group is killed when this is dropped.
pub struct Running {
    group: Group,
    scratch: Scratch,
}

impl Running {
    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        text(&self.scratch, "stdout")
    }

    /// Whether it has ended by itself.
    pub fn ended(&self) -> bool {
        self.group.ends_within(Duration::ZERO)
    }

    /// Kills it now.
    pub fn kill(self) -> Outcome {
        self.wait(Duration::ZERO)
    }

    /// Waits for its end, and kills it (and what it left behind) after `limit`.
    pub fn wait(self, limit: Duration) -> Outcome {
        let Self { mut group, scratch } = self;
        let timed_out = !group.ends_within(limit);
        group.kill();
        let status = group.child.wait().expect("wait for the program");
        drop(group);
        Outcome {
            status,
            timed_out,
            stdout: text(&scratch, "stdout"),
            stderr: text(&scratch, "stderr"),
            scratch,
        }
    }
}

/// A program that is talked with. Its process group is killed when this is dropped.
pub struct Conversation {
    stdin: ChildStdin,
    stdout: Option<ChildStdout>,
    running: Running,
}

impl Conversation {
    /// Where it reads.
    pub fn stdin(&mut self) -> &mut ChildStdin {
        &mut self.stdin
    }

    /// Where it writes, once: for a thread that reads.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        text(&self.running.scratch, "stderr")
    }

    /// Closes its standard input, and waits for its end until `limit`; whether it came to it.
    pub fn end(self, limit: Duration) -> bool {
        drop(self.stdin);
        self.running.group.ends_within(limit)
    }
}

fn text(scratch: &Scratch, name: &str) -> String {
    let bytes = fs::read(scratch.path(name)).expect("output of the program");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a run came to. The files of the run (its log among them) live as long.
pub struct Outcome {
    pub status: ExitStatus,
    /// It was killed for running too long.
    pub timed_out: bool,
    pub stdout: String,
    pub stderr: String,
    scratch: Scratch,
}

impl Outcome {
    /// Its exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// The log records of all its processes, in order of time.
    ///
    /// # Panics
    /// If a line is not JSON.
    pub fn records(&self) -> Records {
        Records::read(self.scratch.dir())
    }

    /// The log files as text, one after the other.
    pub fn log_text(&self) -> String {
        Records::text(self.scratch.dir())
    }

    /// What a test compares between two runs: everything but time.
    pub fn result(&self) -> (Option<i32>, Option<i32>, &str, &str) {
        (self.code(), self.signal(), &self.stdout, &self.stderr)
    }

    /// # Panics
    /// If it did not end by itself with exit code 0.
    #[track_caller]
    pub fn expect_success(self, what: &str) -> Self {
        assert!(
            self.status.success() && !self.timed_out,
            "{what}: {self:?}\n{}",
            self.log_text()
        );
        self
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let late = if self.timed_out { " (timed out)" } else { "" };
        writeln!(f, "{}{late}", self.status)?;
        write!(f, "stdout:\n{}stderr:\n{}", self.stdout, self.stderr)
    }
}
