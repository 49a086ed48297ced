//! A tree that stands in for LTPROOT, so that the programs of LTP are preloaded and the shells
//! that call them are not.
//!
//! LTP's tests are programs, and scripts that start programs of LTP among others: rwtest is a
//! script that starts iogen and doio. With LD_PRELOAD in the environment, sh, awk and df would be
//! preloaded as well. So PATH and LTPROOT lead a test's shell into a tree of symbolic links, in
//! which each program that can be reached is a small script instead. The script has
//! `keepmydata ltp guest` put PATH and LTPROOT right again and become the program, preloaded.

use super::plan::{Plan, Side, read_json};
use crate::failure::Failure;
use crate::run::{self, Library, Reach};
use std::env;
use std::ffi::{OsStr, OsString, c_int};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const BIN: &str = "testcases/bin";

/// Makes the tree; `command` is this command, quoted for a shell. Returns the programs that
/// cannot be reached, with the reason.
pub fn make(root: &Path, side: &Side, command: &str) -> Result<Vec<String>, Failure> {
    let library = Library::find()?;
    let tree = side.stand_in();
    let script = tree.join("guest");
    let text = format!(
        "#!/bin/sh\nexec {command} ltp guest {} \"$0\" \"$@\"\n",
        side.0.display()
    );
    let mut refused = Vec::new();
    let made = fs::create_dir_all(&tree)
        .and_then(|()| fs::write(&script, text))
        .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o755)))
        .and_then(|()| link_all(root, &tree, &["testcases"]))
        .and_then(|()| fs::create_dir(tree.join("testcases")))
        .and_then(|()| link_all(&root.join("testcases"), &tree.join("testcases"), &["bin"]))
        .and_then(|()| {
            mirror(
                &root.join(BIN),
                &tree.join(BIN),
                &script,
                &library,
                &mut refused,
            )
        });
    made.map_err(|error| Failure::of(tree.display(), &error))?;
    Ok(refused)
}

fn link_all(from: &Path, to: &Path, except: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if !except.iter().any(|name| entry.file_name() == *name) {
            symlink(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn mirror(
    from: &Path,
    to: &Path,
    script: &Path,
    library: &Library,
    refused: &mut Vec<String>,
) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (real, link) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            mirror(&real, &link, script, library, refused)?;
            continue;
        }
        let reached = is_program(&real).then(|| run::can_be_reached(&real, library));
        match reached {
            Some(Ok(_)) => symlink(script, link)?,
            Some(Err(why)) => {
                refused.push(format!("{}: {why}", entry.file_name().display()));
                symlink(real, link)?;
            }
            None => symlink(real, link)?,
        }
    }
    Ok(())
}

/// Whether it is an executable in a format of the machine's, no script and no data.
fn is_program(file: &Path) -> bool {
    let executable = fs::metadata(file)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
    let mut magic = [0; 4];
    executable
        && fs::File::open(file).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && magic == *b"\x7fELF"
}

/// The variables by which a test's shell finds the programs of LTP: with `tree` for LTPROOT.
pub fn variables(root: &Path, tree: &Path) -> Vec<(&'static str, OsString)> {
    vec![
        ("LTPROOT", tree.as_os_str().to_owned()),
        ("PATH", path(root, tree, env::var_os("PATH").as_deref())),
    ]
}

/// PATH with the programs of `to` where it has those of `from`; at the end where it has neither,
/// as the runners put them.
fn path(from: &Path, to: &Path, before: Option<&OsStr>) -> OsString {
    let (from, to) = (from.join(BIN), to.join(BIN));
    let mut entries: Vec<PathBuf> = before.map(env::split_paths).into_iter().flatten().collect();
    let mut found = false;
    for entry in &mut entries {
        if *entry == from || *entry == to {
            *entry = to.clone();
            found = true;
        }
    }
    if !found {
        entries.push(to);
    }
    env::join_paths(entries).expect("its parts come from PATH, and the rest was checked")
}

/// `keepmydata ltp guest SIDE STAND-IN ARGS...`: becomes the program that the stand-in is for.
pub fn guest(side: &Side, command: &[OsString]) -> Result<c_int, Failure> {
    let plan: Plan = read_json(&side.plan())?;
    let tree = side.stand_in();
    // Relative where it was called as ./PROGRAM.
    let called = std::path::absolute(&command[0]).unwrap_or_default();
    let relative = called
        .strip_prefix(&tree)
        .map_err(|_| Failure::own(format!("{}: not in {}", called.display(), tree.display())))?;
    if env::current_dir().is_ok_and(|directory| directory == tree.join(BIN)) {
        let real = plan.root.join(BIN);
        env::set_current_dir(&real).map_err(|error| Failure::of(real.display(), &error))?;
    }
    let mut variables = variables(&tree, &plan.root);
    if env::var_os("LTPROOT").is_none() {
        variables.retain(|(name, _)| *name != "LTPROOT");
    }
    let mut command = command.to_vec();
    command[0] = plan.root.join(relative).into();
    run::run(&variables, Reach::Auto, &command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_leads_to_the_other_tree_and_back() {
        let (root, tree) = (Path::new("/opt/ltp"), Path::new("/tmp/o/ltp"));
        let there = |before: &str| path(root, tree, Some(OsStr::new(before)));
        assert_eq!(
            there("/bin:/opt/ltp/testcases/bin:/opt/ltp/bin"),
            "/bin:/tmp/o/ltp/testcases/bin:/opt/ltp/bin"
        );
        assert_eq!(there("/bin"), "/bin:/tmp/o/ltp/testcases/bin");
        let back = path(tree, root, Some(&there("/bin")));
        assert_eq!(back, "/bin:/opt/ltp/testcases/bin");
        assert_eq!(path(root, tree, None), "/tmp/o/ltp/testcases/bin");
    }
}
