//! A miniature LTP: the shape of an installed one, with programs and a runner of our own.

use crate::common::{Place, compile, copy, keepmydata};
use preload_tests::harness::shim;
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Does with its options what LTP's runltp does with those that concern us.
const RUNLTP: &str = r#"#!/bin/sh
# In place of ltp-pan:
cd "$(dirname "$0")" || exit 1
export LTPROOT=$PWD PATH="$PATH:$PWD/testcases/bin:$PWD/bin"
while getopts qQpl:o:C:T:d:f: option; do
    case $option in
    l) results=$OPTARG ;;
    o) output=$OPTARG ;;
    d) base=$OPTARG ;;
    f) file=$OPTARG ;;
    q | Q | p | C | T) ;;
    *) exit 1 ;;
    esac
done
export TMPDIR=$(mktemp -d "$base/ltp-XXXXXXXXXX")
cd testcases/bin || exit 1
bad=0
while read -r name command; do
    sh -c "$command" </dev/null >>"$output" 2>&1
    code=$?
    [ $code -eq 0 ] && result=PASS || result=FAIL
    [ $code -eq 0 ] || bad=1
    printf '%-30.30s %-10.10s %-5d\n' "$name" "$result" "$code" >>"$results"
done <"$file"
rm -rf "$TMPDIR"
exit $bad
"#;

/// All that runltp is after LTP 20260130.
pub const STUB: &str = "#!/bin/sh\necho runltp was removed from LTP use kirk instead >&2\nexit 1\n";

/// As LTP's: a script that asks tools of the system and then starts programs of LTP.
const RWTEST: &str = r#"#!/bin/bash
df -P "$TMPDIR" >/dev/null
echo "shell preloaded=$(grep -c libkeepmydata.so /proc/$$/maps)"
awk 'BEGIN { while ((getline line <"/proc/self/maps") > 0) n += line ~ /libkeepmydata/
             print "awk preloaded=" n + 0 }'
export TCID=rwtest
echo doio | ${LTPROOT}/testcases/bin/ltp_probe
${LTPROOT}/testcases/bin/doio "$1"
r=$?
if [ $r -ne 0 ]; then
    echo "rwtest 1 TFAIL : doio reported errors (r=$r)"
fi
exit $r
"#;

const MINI: &str = "\
# Lines as LTP has them.

rwtest04 export LTPROOT; rwtest $TMPDIR/mm-sync-$$
probe ltp_probe
relative ./ltp_probe TPASS 0
fails ltp_probe TFAIL 1
skipped ltp_probe TCONF 32
killed ltp_probe abort
missing no_such_test
static static_probe
hangs ltp_probe hang
";

pub struct Tree {
    pub place: Place,
}

impl Tree {
    pub fn new() -> Self {
        let tree = Tree {
            place: Place::new(),
        };
        for directory in [
            "ltp/testcases/bin",
            "ltp/testcases/data",
            "ltp/runtest",
            "work",
        ] {
            fs::create_dir_all(tree.place.path(directory)).unwrap();
        }
        fs::write(tree.root().join("VERSION"), "20251231\n").unwrap();
        fs::write(tree.root().join("runtest/mini"), MINI).unwrap();
        let executable = |name: &str, text: &str| {
            let file = tree.place.file(&name.replace('/', "-"), text.as_bytes());
            copy(&file, &tree.root().join(name));
        };
        executable("runltp", RUNLTP);
        executable("testcases/bin/rwtest", RWTEST);
        let program = |source: &str, name: &str, flags: &[&str]| {
            let built = tree.place.path(name);
            compile(source, flags, &built);
            copy(&built, &tree.root().join("testcases/bin").join(name));
        };
        program("ltp_doio", "doio", &[]);
        program("ltp_probe", "ltp_probe", &[]);
        program("ltp_probe", "static_probe", &["-static"]);
        program("ltp_probe", "setuid_probe", &[]);
        let other = tree.root().join("testcases/bin/setuid_probe");
        chown(&other, Some(65534), None).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o4755)).unwrap();
        tree
    }

    /// With the stub that runltp is since it was removed, and the real kirk.
    ///
    /// # Errors
    /// Why kirk cannot be had (to skip the test).
    pub fn with_kirk(&self) -> Result<(), String> {
        let kirk = kirk()?;
        fs::write(self.root().join("runltp"), STUB).unwrap();
        let start = format!("#!/bin/sh\nexec {} \"$@\"\n", kirk.display());
        let start = self.place.file("start-kirk", start.as_bytes());
        copy(&start, &self.root().join("kirk"));
        Ok(())
    }

    /// The LTPROOT.
    pub fn root(&self) -> PathBuf {
        self.place.path("ltp").canonicalize().unwrap()
    }

    /// Where tests may work that need no particular filesystem.
    pub fn work(&self) -> PathBuf {
        self.place.path("work")
    }

    pub fn output(&self) -> PathBuf {
        self.place.path("output")
    }

    /// `keepmydata ltp` with this tree, writing to [`Tree::output`].
    pub fn ltp(&self, directory: &Path, arguments: &[&str]) -> Output {
        self.command(directory, arguments).output().unwrap()
    }

    pub fn command(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = keepmydata();
        command
            .env("KEEPMYDATA_LIB", shim())
            .env("KEEPMYDATA_DEADLINE_MS", "300")
            .env("LTPROOT", self.root())
            .args(["ltp", "-f", "mini", "-o"])
            .arg(self.output())
            .arg("-d")
            .arg(directory)
            .args(arguments);
        command
    }

    /// What the last run wrote about a test.
    pub fn result(&self, name: &str) -> Value {
        let text = fs::read(self.output().join("results.json")).unwrap();
        let results: Value = serde_json::from_slice(&text).unwrap();
        let tests = results["tests"].as_array().unwrap();
        let found = tests.iter().find(|test| test["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}")).clone()
    }

    /// The programs of this tree that run now.
    pub fn running(&self) -> Vec<String> {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|entry| fs::read_link(entry.path().join("exe")).ok())
            .filter(|program| program.starts_with(self.root()))
            .map(|program| program.display().to_string())
            .collect()
    }

    /// What the only test of the last run printed.
    pub fn printed(&self, side: &str) -> String {
        fs::read_to_string(self.output().join(side).join("tests/0.out")).unwrap()
    }
}

/// The real kirk, installed once from PyPI.
///
/// # Errors
/// Why it cannot be had (to skip the test).
fn kirk() -> Result<PathBuf, String> {
    const VERSION: &str = "4.2.0";
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kirk-{VERSION}"));
    let lock = File::create(directory.with_extension("lock")).expect("lock file");
    lock.lock().expect("lock");
    let program = directory.join("bin/kirk");
    if program.exists() {
        return Ok(program);
    }
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(text.lines().last().unwrap_or("no reason given").to_owned())
        }
        Err(error) => Err(error.to_string()),
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&directory))
        .map_err(|why| format!("python3 -m venv: {why}"))?;
    run(Command::new(directory.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(format!("kirk=={VERSION}")))
    .map_err(|why| format!("pip install kirk: {why}"))?;
    assert!(program.exists(), "{} was not installed", program.display());
    Ok(program)
}
