//! What is installed besides the command: manual pages, completions, the package itself.

mod common;

use common::{keepmydata, stderr, stdout};
use keepmydata_records::OPTIONS;
use preload_tests::harness::{Scratch, Target, debug_shim, installed, shim};
use preload_tests::or_skip;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn generate(what: &str, directory: &Path) {
    let output = keepmydata()
        .args(["generate", what])
        .arg(directory)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Runs it; it succeeds.
#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}",
        output.status
    );
    output
}

#[test]
fn every_subcommand_and_every_setting_has_its_manual() {
    let scratch = Scratch::new();
    generate("man", scratch.dir());
    let page = |name: &str| fs::read_to_string(scratch.path(name)).unwrap();
    let main = page("keepmydata.1").replace("\\-", "-");
    for option in OPTIONS {
        assert!(
            main.contains(&format!("--{}", option.name)),
            "{}",
            option.name
        );
        assert!(main.contains(option.env), "{}", option.env);
    }
    for variable in [
        "KEEPMYDATA_LIB",
        "LD_PRELOAD",
        "SH ENVIRONMENT",
        "SH \"EXIT STATUS\"",
    ] {
        assert!(main.contains(variable), "{variable}");
    }
    let help = stdout(&keepmydata().arg("--help").output().unwrap());
    let listed = help.split_once("\nCommands:\n").expect("subcommands").1;
    let subcommands = listed.lines().take_while(|line| !line.is_empty());
    let names: Vec<&str> = subcommands
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !matches!(*name, "" | "help"))
        .collect();
    assert!(
        names.contains(&"doctor") && names.contains(&"diagnose"),
        "{names:?}"
    );
    for name in &names {
        let page = page(&format!("keepmydata-{name}.1"));
        for section in ["DESCRIPTION", "\"EXIT STATUS\"", "EXAMPLES"] {
            assert!(page.contains(&format!("SH {section}")), "{page}");
        }
    }
    let pages = fs::read_dir(scratch.dir()).unwrap().count();
    assert_eq!(pages, names.len() + 1, "no page of what is hidden");
}

#[test]
fn manual_pages_are_good_roff() {
    or_skip!(installed("groff"));
    let scratch = Scratch::new();
    generate("man", scratch.dir());
    for page in fs::read_dir(scratch.dir()).unwrap().flatten() {
        let mut groff = Command::new("groff");
        let output = run(groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(page.path()));
        assert_eq!(stderr(&output), "", "{}", page.path().display());
    }
}

#[test]
fn completions_know_the_subcommands() {
    let scratch = Scratch::new();
    generate("completions", scratch.dir());
    let bash = scratch.path("keepmydata.bash");
    let script = r#"
        . "$1"
        COMP_WORDS=(keepmydata do) COMP_CWORD=1
        _keepmydata keepmydata do keepmydata
        echo "${COMPREPLY[@]}"
    "#;
    let output = run(Command::new("bash").args(["-c", script, "bash"]).arg(&bash));
    let words = stdout(&output);
    assert_eq!(words.trim(), "doctor", "the hidden ones are not offered");
    for file in ["_keepmydata", "keepmydata.fish"] {
        let text = fs::read_to_string(scratch.path(file)).unwrap();
        assert!(
            text.contains("diagnose") && !text.contains("doctor-guest"),
            "{file}"
        );
    }
}

/// What `git archive` makes, and what is left when even the commit is gone.
#[test]
fn the_version_of_a_tarball_without_git() {
    or_skip!(installed("git"));
    let scratch = Scratch::new();
    let git = |arguments: &[&str]| {
        Command::new("git")
            .args(["-C", ROOT])
            .args(arguments)
            .output()
    };
    let head = git(&["rev-parse", "HEAD"]).unwrap();
    if !head.status.success() {
        preload_tests::skip!("these sources are not in git");
    }
    let tar = scratch.path("tar");
    let archive = git(&["archive", "--output", tar.to_str().unwrap(), "HEAD"]).unwrap();
    assert!(archive.status.success(), "{}", stderr(&archive));
    run(Command::new("tar")
        .arg("-xf")
        .arg(&tar)
        .arg("-C")
        .arg(scratch.dir()));
    let package = scratch.path("cli");
    let script = scratch.path("build-script");
    run(Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .arg(&script)
        .arg(package.join("build.rs"))
        .env("CARGO_MANIFEST_DIR", &package)
        .env("CARGO_PKG_VERSION", "1.2.3"));
    let version = || {
        let said = stdout(&run(Command::new(&script).current_dir(&package)));
        let mut lines = said.lines();
        let set = lines.find_map(|line| line.strip_prefix("cargo:rustc-env=KEEPMYDATA_VERSION="));
        set.expect("a version").to_owned()
    };
    let archived = version();
    let commit = archived
        .strip_prefix("1.2.3 (")
        .and_then(|rest| rest.strip_suffix(")"));
    let commit = commit.unwrap_or_else(|| panic!("{archived}"));
    assert!(stdout(&head).starts_with(commit), "{archived}");
    fs::write(package.join("commit.txt"), "$Format:%h$\n").unwrap();
    assert_eq!(version(), "1.2.3");
}

/// What the package depends on. Ubuntu 22.04 has 2.35, Debian 12 2.36.
const NEWEST_GLIBC: (u32, u32) = (2, 34);

/// The newest version of glibc that has all symbols that a program or library asks for.
fn needed_glibc(file: &Path) -> (u32, u32) {
    let printed = stdout(&run(Command::new("readelf").args(["-V", "-W"]).arg(file)));
    let names = printed.split_whitespace();
    let versions = names.filter_map(|name| {
        let (major, minor) = name.strip_prefix("GLIBC_")?.split_once('.')?;
        let minor = minor.split_once('.').map_or(minor, |(minor, _)| minor);
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    versions
        .max()
        .unwrap_or_else(|| panic!("{}: no versions\n{printed}", file.display()))
}

#[test]
fn nothing_needs_a_newer_c_library_than_older_systems_have() {
    or_skip!(installed("readelf"));
    let command = PathBuf::from(env!("CARGO_BIN_EXE_keepmydata"));
    let tearfs = command.with_file_name("tearfs");
    for file in [shim(), debug_shim(), &command, &tearfs] {
        let needed = needed_glibc(file);
        assert!(needed <= NEWEST_GLIBC, "{}: {needed:?}", file.display());
    }
}

/// A fresh Debian, in which nothing but the package was installed.
#[test]
#[ignore = "builds a release and bootstraps a Debian, which takes minutes"]
fn the_debian_package_works_on_a_fresh_machine() {
    or_skip!(installed("debootstrap"));
    let scratch = Scratch::new();
    let package = built("deb", &[], scratch.dir());
    let (suite, source) = or_skip!(debian());
    for suite in [suite.as_str(), "trixie"] {
        works_on_a_fresh(suite, &source, "sid", &package);
    }
}

/// The oldest that is supported, and the newest that stays for long.
#[test]
#[ignore = "builds a release and bootstraps two Ubuntus, which takes minutes"]
fn the_debian_package_works_on_a_fresh_ubuntu() {
    const MIRROR: &str = "http://archive.ubuntu.com/ubuntu";
    or_skip!(installed("debootstrap"));
    let scratch = Scratch::new();
    for suite in ["jammy", "noble"] {
        or_skip!(is_served(&format!("{MIRROR}/dists/{suite}/Release")));
    }
    let package = built("deb", &[], scratch.dir());
    for suite in ["jammy", "noble"] {
        works_on_a_fresh(suite, MIRROR, "gutsy", &package);
    }
}

/// Whether apt gets that file, as it is configured here.
fn is_served(address: &str) -> Result<(), String> {
    let scratch = Scratch::new();
    let output = Command::new("/usr/lib/apt/apt-helper")
        .args(["download-file", address])
        .arg(scratch.path("file"))
        .output()
        .map_err(|error| format!("apt-helper: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{address} cannot be had")),
    }
}

/// The release, with nothing installed but the package. The script of debootstrap's is that of all releases since,
/// also of those that are newer than it.
fn works_on_a_fresh(suite: &str, source: &str, script: &str, package: &Path) {
    let scratch = Scratch::new();
    let root = scratch.path("root");
    run(Command::new("debootstrap")
        .args(["--variant=minbase", suite])
        .args([root.as_path(), Path::new(source)])
        .arg(format!("/usr/share/debootstrap/scripts/{script}")));
    // How this machine reaches the mirror.
    let apt = stdout(&run(Command::new("apt-config").arg("dump")));
    let proxies = apt.lines().filter(|line| line.starts_with("Acquire::http"));
    let proxies: String = proxies.map(|line| format!("{line}\n")).collect();
    fs::write(root.join("etc/apt/apt.conf.d/99proxy"), proxies).unwrap();
    run(Command::new("mount")
        .args(["-t", "proc", "proc"])
        .arg(root.join("proc")));
    let fuse = root.join("dev/fuse");
    if !fuse.exists() {
        run(Command::new("mknod")
            .args(["-m", "666"])
            .arg(&fuse)
            .args(["c", "10", "229"]));
    }

    let name = package.file_name().unwrap().to_str().unwrap();
    fs::copy(package, root.join("root").join(name)).unwrap();
    let inside = |words: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(&root).args(words);
        command.env_clear().env("DEBIAN_FRONTEND", "noninteractive");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        // As apt-config, these may say how the mirror is reached.
        command.envs(
            std::env::vars_os()
                .filter(|(name, _)| name.to_string_lossy().to_lowercase().ends_with("_proxy")),
        );
        command
    };
    run(&mut inside(&[
        "sh",
        "-c",
        &format!("cd /root && apt-get -q -y install ./{name}"),
    ]));

    assert!(stdout(&run(&mut inside(&["keepmydata", "--version"]))).starts_with("keepmydata "));
    assert!(
        !inside(&["sh", "-c", "command -v cargo"])
            .status()
            .unwrap()
            .success()
    );
    let demo = stdout(&run(&mut inside(&["keepmydata", "demo"])));
    assert!(
        demo.contains("Torn without keepmydata, whole with it"),
        "{demo}"
    );
    let doctor = stdout(&run(&mut inside(&["keepmydata", "doctor", "/root"])));
    assert!(doctor.contains("msync keeps its promise here"), "{doctor}");
    assert!(!doctor.contains("from , mounted on"), "{doctor}");
    let log = run(&mut inside(&["keepmydata", "--log=info", "--", "true"]));
    assert!(
        stderr(&log).contains("start: keepmydata "),
        "{}",
        stderr(&log)
    );
    for path in [
        "usr/share/man/man1/keepmydata.1.gz",
        "usr/share/bash-completion/completions/keepmydata",
        "usr/share/zsh/vendor-completions/_keepmydata",
        "usr/share/fish/vendor_completions.d/keepmydata.fish",
        "usr/share/doc/keepmydata/docs/log.md",
    ] {
        assert!(root.join(path).exists(), "{path}");
    }

    run(&mut inside(&["apt-get", "-q", "-y", "purge", "keepmydata"]));
    assert!(!root.join("usr/lib/keepmydata").exists());
}

/// Unpacked anywhere, it works from there.
#[test]
#[ignore = "builds a release, which takes minutes"]
fn the_tarball_works_from_where_it_is_unpacked() {
    let scratch = Scratch::new();
    let tarball = built("tar", &[], scratch.dir());
    run(Command::new("tar")
        .arg("-xzf")
        .arg(&tarball)
        .arg("-C")
        .arg(scratch.dir()));
    let name = tarball.file_name().unwrap().to_str().unwrap();
    let unpacked = scratch.path(name.strip_suffix(".tar.gz").unwrap());
    assert_has_no_line_tables(
        &unpacked.join("lib/keepmydata/libkeepmydata.so"),
        &scratch.path("libkeepmydata.so.debug"),
    );
    let mut command = Command::new(unpacked.join("bin/keepmydata"));
    let log = run(command
        .args(["--log=info", "--", "true"])
        .env_remove("KEEPMYDATA_LIB"));
    assert!(
        stderr(&log).contains("start: keepmydata "),
        "{}",
        stderr(&log)
    );
}

/// The line tables lie apart, and so a program that stops in the library keeps its own language in gdb.
fn assert_has_no_line_tables(library: &Path, apart: &Path) {
    let sections = |file: &Path| stdout(&run(Command::new("readelf").args(["-S", "-W"]).arg(file)));
    assert!(!sections(library).contains(".debug_"));
    assert!(sections(library).contains(".gnu_debuglink"));
    assert!(sections(apart).contains(".debug_line"));
    let named = stdout(&run(Command::new("nm").arg(library)));
    assert!(named.contains("enforce"), "stacks have no names");

    or_skip!(installed("gdb"));
    let scratch = Scratch::new();
    let program = scratch.path("mapper");
    let source = format!("{ROOT}/preload-tests/programs/mapper.c");
    run(Command::new("cc")
        .args(["-g", "-O0", "-o"])
        .arg(&program)
        .arg(source));
    let printed = |library: &Path| {
        let mut gdb = Command::new("gdb");
        // It fails where it cannot print.
        let stopped = gdb
            .args(["-nx", "-q", "-batch"])
            .args(["-ex", "set startup-with-shell off", "-ex"])
            .arg(format!("set environment LD_PRELOAD {}", library.display()))
            .args(["-ex", "catch syscall msync", "-ex", "run"])
            .args(["-ex", "print stored", "--args"])
            .arg(&program)
            .arg(scratch.path("file"))
            .output()
            .unwrap();
        let said = stdout(&stopped);
        assert!(said.contains("call to syscall msync"), "{said}");
        said.contains("$1 = ")
    };
    // Side by side gdb finds them.
    let joined = scratch.path("libkeepmydata.so");
    fs::copy(library, &joined).unwrap();
    fs::copy(apart, scratch.path("libkeepmydata.so.debug")).unwrap();
    assert!(!printed(&joined), "gdb does not look at the language");
    assert!(printed(library));
}

/// For the other processor: not run, but what it is made of is looked at.
#[test]
#[ignore = "builds a release, which takes minutes"]
fn the_debian_package_for_aarch64() {
    or_skip!(Target::aarch64());
    let scratch = Scratch::new();
    let package = built("deb", &["--aarch64"], scratch.dir());
    let name = package.file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with("_arm64.deb"), "{name}");
    let field = |field: &str| {
        let said = run(Command::new("dpkg-deb").arg("-f").arg(&package).arg(field));
        stdout(&said).trim().to_owned()
    };
    assert_eq!(field("Architecture"), "arm64");
    assert!(
        field("Depends").contains("libc6 (>= 2.34)"),
        "{}",
        field("Depends")
    );
    let root = scratch.path("root");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root));
    for file in [
        "usr/bin/keepmydata",
        "usr/lib/keepmydata/libkeepmydata.so",
        "usr/lib/keepmydata/tearfs",
        "usr/lib/keepmydata/seed",
    ] {
        let file = root.join(file);
        let header = stdout(&run(Command::new("readelf").arg("-h").arg(&file)));
        assert!(header.contains("AArch64"), "{header}");
        let needed = needed_glibc(&file);
        assert!(needed <= NEWEST_GLIBC, "{}: {needed:?}", file.display());
    }
}

/// What `scripts/package` prints last: a path in `directory`.
fn built(what: &str, options: &[&str], directory: &Path) -> PathBuf {
    let script = format!("{ROOT}/scripts/package");
    let output = run(Command::new(script).arg(what).args(options).arg(directory));
    let said = stdout(&output);
    PathBuf::from(said.lines().last().expect("a path"))
}

/// The release that this machine has, and where it came from.
fn debian() -> Result<(String, String), String> {
    let release = fs::read_to_string("/etc/os-release").map_err(|error| error.to_string())?;
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .ok_or("this is no Debian")?;
    let targets = Command::new("apt-get")
        .args(["indextargets", "--format", "$(CODENAME) $(REPO_URI)"])
        .arg("Created-By: Packages")
        .output()
        .map_err(|error| format!("apt-get: {error}"))?;
    let targets = String::from_utf8_lossy(&targets.stdout).into_owned();
    let mirror = targets
        .lines()
        .find_map(|line| line.strip_prefix(suite)?.strip_prefix(' '))
        .ok_or("apt knows no mirror of this release")?;
    Ok((suite.to_owned(), mirror.to_owned()))
}
