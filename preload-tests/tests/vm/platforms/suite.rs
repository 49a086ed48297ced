//! The tests of this package, each in a process of its own, on whatever kernel a script runs on.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use preload_tests::harness::{Target, command, debug_shim, shim};
use serde_json::Value;

/// Test executables that are not run, and why.
pub const LEFT_OUT: [(&str, &str); 6] = [
    ("vm", "boots machines itself"),
    (
        "clients",
        "programs and libraries as `scripts/test --clients` has them",
    ),
    (
        "real_programs",
        "programs as `scripts/test --programs` has them",
    ),
    (
        "gate_cost",
        "counts the instructions of calls that do not reach the kernel",
    ),
    ("gate_exports", "compares names in files"),
    (
        "oracle",
        "lists what is known to be wrong, which is not the same on each kernel",
    ),
];

/// A test, and the executable that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// As the file in `tests` is called.
    pub binary: String,
    executable: PathBuf,
    pub test: String,
}

impl Case {
    /// One that is not run.
    pub fn named(binary: &str, test: &str) -> Self {
        Self {
            binary: binary.to_owned(),
            executable: PathBuf::new(),
            test: test.to_owned(),
        }
    }
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Passed,
    /// With the reason.
    Skipped(String),
    /// With the end of its output.
    Failed(String),
}

#[derive(Clone, Debug)]
pub struct Ran {
    pub case: Case,
    pub seconds: u64,
    pub end: End,
}

/// The tests that are not ignored, of the executables with these names, or of all; cargo has built them or builds them
/// now.
///
/// # Panics
/// If they do not build.
pub fn tests_of(binaries: &[&str]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, executable) in executables(&Target::host(), binaries) {
        if LEFT_OUT.iter().any(|(left_out, _)| *left_out == name) {
            continue;
        }
        let listed = |options: &[&str]| list(&executable, options);
        let ignored = listed(&["--ignored"]);
        let tests = listed(&[])
            .into_iter()
            .filter(|test| !ignored.contains(test));
        cases.extend(tests.map(|test| Case {
            binary: name.clone(),
            executable: executable.clone(),
            test,
        }));
    }
    cases.sort_by(|a, b| (&a.binary, &a.test).cmp(&(&b.binary, &b.test)));
    cases
}

/// The same tests, built for another target.
///
/// # Panics
/// If they do not build.
pub fn built_for(target: &Target, cases: &[Case]) -> Vec<Case> {
    let mut wanted: Vec<&str> = cases.iter().map(|case| case.binary.as_str()).collect();
    wanted.dedup();
    let executables = executables(target, &wanted);
    let of = |case: &Case| match executables.iter().find(|(name, _)| *name == case.binary) {
        Some((_, executable)) => executable.clone(),
        None => panic!("{} was not built", case.binary),
    };
    let moved = cases.iter().map(|case| Case {
        executable: of(case),
        ..case.clone()
    });
    moved.collect()
}

/// The test executables of this package with these names, or all, which cargo builds: with the features that
/// dependencies have in the whole workspace, as `scripts/test` does. Else it would build them all once more.
fn executables(target: &Target, wanted: &[&str]) -> Vec<(String, PathBuf)> {
    let mut cargo = target.cargo("test");
    cargo.args(["--workspace", "--no-run", "--message-format", "json"]);
    match wanted {
        [] => cargo.arg("--tests"),
        wanted => cargo.args(wanted.iter().flat_map(|name| ["--test", name])),
    };
    let built = cargo.stderr(Stdio::inherit()).output().expect("cargo");
    assert!(
        built.status.success(),
        "cargo test --no-run: {}",
        built.status
    );
    let messages = String::from_utf8(built.stdout).expect("messages of cargo in UTF-8");
    let mut executables = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).expect("message of cargo");
        let name = message["target"]["name"].as_str().unwrap_or_default();
        let is_own = message["manifest_path"] == concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let is_test = is_own && message["target"]["kind"][0] == "test";
        if let Some(executable) = message["executable"].as_str().filter(|_| is_test) {
            executables.push((name.to_owned(), executable.into()));
        }
    }
    executables
}

fn list(executable: &Path, options: &[&str]) -> Vec<String> {
    let listed = Command::new(executable)
        .args(["--list", "--format", "terse"])
        .args(options)
        .output()
        .expect("list of tests");
    assert!(
        listed.status.success(),
        "{}: {listed:?}",
        executable.display()
    );
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect()
}

/// The shim that the tests use.
pub struct Shims {
    pub lib: PathBuf,
    /// Where a test uses it.
    pub debug_lib: Option<PathBuf>,
    /// The command, likewise.
    pub command: Option<PathBuf>,
}

impl Shims {
    pub fn here() -> Self {
        Self {
            lib: shim().clone(),
            debug_lib: Some(debug_shim().clone()),
            command: Some(command().clone()),
        }
    }

    /// Built for another target, and not optimised too where a test of `cases` uses that.
    pub fn built_for(target: &Target, cases: &[Case]) -> Self {
        let is_more = cases.iter().any(|case| !super::is_of_sample(case));
        Self {
            lib: target.shim(true),
            debug_lib: is_more.then(|| target.shim(false)),
            command: is_more.then(|| target.command()),
        }
    }
}

/// How tests are run.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    /// A command that runs each test, or nothing.
    pub under: &'a str,
    pub parallel: u32,
    /// How many times slower than usual the machine may be.
    pub patience: u32,
    /// Seconds of a test of endurance.
    pub seconds: u32,
}

/// A script for bash that runs `cases` in `$TMPDIR`. It prints a block of lines for each test that
/// ended ([`Report`] reads them), and fails only where it could not run them.
pub fn script(cases: &[Case], shims: &Shims, how: How<'_>) -> String {
    let more = [("DEBUG_LIB", &shims.debug_lib), ("COMMAND", &shims.command)];
    let more: String = more
        .iter()
        .filter_map(|(name, path)| Some((name, path.as_ref()?)))
        .map(|(name, path)| format!(" KEEPMYDATA_{name}='{}'", path.display()))
        .collect();
    let mut script = format!(
        "cd '{directory}'
unset KEEPMYDATA_WRITE_DOCS KEEPMYDATA_LONG
export KEEPMYDATA_LIB='{lib}'{more}
export KEEPMYDATA_TEST_PATIENCE={patience} KEEPMYDATA_TEST_SECONDS={seconds}
run() {{
    local began=$SECONDS status out=$TMPDIR/out.$BASHPID attempts=1
    # Races at full speed, and with timers, in which a control may not show its tear.
    [[ ! $2 =~ /(modes|spine|verify_honest)-[^/]*$ ]] || attempts=3
    until
        status=0
        KEEPMYDATA_SKIPS_FILE=$out.skips timeout -k 10 {limit} {under} \"$2\" --exact \"$3\" \\
            </dev/null >\"$out\" 2>&1 || status=$?
        [[ $status -eq 0 || $((attempts -= 1)) -eq 0 ]]
    do :; done
    {{
        echo \"test $1 $status $((SECONDS - began))\"
        [[ ! -e $out.skips ]] || sed 's/^/: /' \"$out.skips\"
        [[ $status -eq 0 ]] || tail -c 16000 \"$out\" | tr -d '\\0' | sed 's/^/| /'
        echo end
    }} >\"$out.block\"
    flock \"$TMPDIR\" cat \"$out.block\"
    rm -f \"$out\"*
}}
export -f run
echo \"kernel $(uname -r)\"
echo \"pages $(getconf PAGESIZE)\"
LD_PRELOAD=$KEEPMYDATA_LIB KEEPMYDATA_LOG=info {under} /bin/true 2>&1 |
    sed -n 's/.*\\(trackers\\) available: \\([^;]*\\);.*/\\1 \\2/p' | tail -n 1
xargs -P {parallel} -n 3 bash -c 'run \"$@\"' run <<'LIST'
",
        directory = env!("CARGO_MANIFEST_DIR"),
        lib = shims.lib.display(),
        more = more,
        patience = how.patience,
        seconds = how.seconds,
        limit = 200 * how.patience,
        under = how.under,
        parallel = how.parallel,
    );
    for (number, case) in cases.iter().enumerate() {
        let _ = writeln!(
            script,
            "{number} {} {}",
            case.executable.display(),
            case.test
        );
    }
    script + "LIST\n"
}

/// What the lines of a script's output come to.
pub struct Report {
    cases: Vec<Case>,
    ran: Vec<Ran>,
    /// The block that is not whole yet.
    block: Vec<String>,
    /// Lines outside of any block.
    stray: Vec<String>,
}

impl Report {
    pub fn new(cases: &[Case]) -> Self {
        Self {
            cases: cases.to_owned(),
            ran: Vec::new(),
            block: Vec::new(),
            stray: Vec::new(),
        }
    }

    /// Takes the next line, and tells on standard error of a test that has ended with it.
    pub fn line(&mut self, line: String) {
        if self.block.is_empty() && !line.starts_with("test ") {
            eprintln!("{line}");
            self.stray.push(line);
        } else if line == "end" {
            let ran = self.of_block();
            eprintln!(
                "[{}/{}] {} {}: {} ({} s)",
                self.ran.len() + 1,
                self.cases.len(),
                ran.case.binary,
                ran.case.test,
                match &ran.end {
                    End::Passed => "ok".to_owned(),
                    End::Skipped(reason) => format!("SKIPPED: {reason}"),
                    End::Failed(output) => format!("FAILED\n{output}"),
                },
                ran.seconds
            );
            self.ran.push(ran);
            self.block.clear();
        } else {
            self.block.push(line);
        }
    }

    /// The release of the kernel; of one that is not Debian's, its version.
    pub fn kernel(&self) -> String {
        let release = self.said("kernel ");
        match release.split_once('-') {
            Some((version, rest)) if !rest.contains("amd64") && !rest.contains("arm64") => {
                version.to_owned()
            }
            _ => release,
        }
    }

    /// Those that the shim says are there.
    pub fn trackers(&self) -> String {
        self.said("trackers ")
    }

    /// The size of the kernel's pages.
    pub fn page_size(&self) -> String {
        self.said("pages ")
    }

    /// Lines that are not about a test.
    pub fn others(&self) -> &[String] {
        &self.stray
    }

    fn said(&self, what: &str) -> String {
        let said = self.stray.iter().find_map(|line| line.strip_prefix(what));
        let all = self.stray.join("\n");
        said.unwrap_or_else(|| panic!("nothing said of {what}:\n{all}"))
            .to_owned()
    }

    fn of_block(&self) -> Ran {
        let head: Vec<u64> = self.block[0]
            .split(' ')
            .skip(1)
            .map(|number| number.parse().expect("number"))
            .collect();
        let [number, status, seconds] = head[..] else {
            panic!("not the head of a block: {}", self.block[0]);
        };
        let lines = |mark: &str| -> Vec<&str> {
            let marked = |line| str::strip_prefix(line, mark);
            self.block.iter().filter_map(|line| marked(line)).collect()
        };
        // "SKIPPED: test: reason"
        let skipped = lines(": ").first().map(|line| {
            let reason = line.splitn(3, ": ").nth(2).unwrap_or(line);
            reason.to_owned()
        });
        let end = match (status, skipped) {
            (0, None) => End::Passed,
            (0, Some(reason)) => End::Skipped(reason),
            (124 | 137, _) => End::Failed(format!("took too long\n{}", lines("| ").join("\n"))),
            _ => End::Failed(lines("| ").join("\n")),
        };
        Ran {
            case: self.cases[usize::try_from(number).expect("number")].clone(),
            seconds,
            end,
        }
    }

    /// What has run, in the order of the cases.
    ///
    /// # Panics
    /// If not all have.
    pub fn finish(mut self) -> Vec<Ran> {
        assert_eq!(
            self.ran.len(),
            self.cases.len(),
            "tests that ended\n{}",
            self.stray.join("\n")
        );
        let place = |ran: &Ran| self.cases.iter().position(|case| *case == ran.case);
        self.ran.sort_by_key(place);
        self.ran
    }
}

/// The tests that failed, for a message.
pub fn failures(ran: &[Ran]) -> String {
    let mut text = String::new();
    for ran in ran {
        if let End::Failed(output) = &ran.end {
            let _ = writeln!(text, "{} {}:\n{output}", ran.case.binary, ran.case.test);
        }
    }
    text
}
