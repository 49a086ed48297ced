//! Which commit this is built from, for `--version`: what `git archive` wrote into `commit.txt`, else
//! what git says of this very work tree, else nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    println!("cargo:rerun-if-changed=commit.txt");
    println!("cargo:rerun-if-changed=build.rs");
    let archived = std::fs::read_to_string("commit.txt").unwrap_or_default();
    let archived = archived.trim();
    let commit = match archived.starts_with("$Format") || archived.is_empty() {
        false => archived.to_owned(),
        true => of_work_tree(&root).unwrap_or_default(),
    };
    let version = env!("CARGO_PKG_VERSION");
    match commit.as_str() {
        "" => println!("cargo:rustc-env=KEEPMYDATA_VERSION={version}"),
        commit => println!("cargo:rustc-env=KEEPMYDATA_VERSION={version} ({commit})"),
    }
}

/// Nothing where `root` is no work tree of git's, though it may lie in one.
fn of_work_tree(root: &Path) -> Option<String> {
    root.join(".git").exists().then_some(())?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("rev-parse")
            .args(arguments)
            .current_dir(root)
            .output()
            .ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| said.trim().to_owned())
    };
    // Each of these changes with another commit or branch; a path that does not exist would have
    // this run at each build.
    for file in ["HEAD", "logs/HEAD"] {
        let path: PathBuf = root.join(git(&["--git-path", file])?);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    git(&["--short=12", "HEAD"])
}
