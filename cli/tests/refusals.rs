//! Programs that the shim cannot be loaded into: said plainly, in one line, with the exit code
//! that a shell would give, and not run.

mod common;

use common::{Place, stderr, stdout};
use preload_tests::skip;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Output;

/// Runs `program` and expects it to be refused.
#[track_caller]
fn refused(place: &Place, program: &Path, code: i32, why: &str) {
    check_refused(
        &place
            .keepmydata()
            .arg("--reach=preload")
            .arg(program)
            .output()
            .unwrap(),
        program,
        code,
        why,
    );
}

#[track_caller]
fn check_refused(output: &Output, program: &Path, code: i32, why: &str) {
    let message = format!("keepmydata: {}: {why}", program.display());
    let said = stderr(output);
    assert!(
        said.starts_with(&message),
        "{said:?} starts with {message:?}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(stdout(output), "");
}

#[test]
fn missing() {
    let place = Place::new();
    refused(
        &place,
        &place.path("none"),
        127,
        "No such file or directory",
    );
    refused(
        &place,
        Path::new("no-such-program-anywhere"),
        127,
        "command not found",
    );
    refused(&place, Path::new(""), 127, "command not found");
}

#[test]
fn not_executable() {
    let place = Place::new();
    refused(&place, place.directory.path(), 126, "Is a directory");
    let text = place.file("text", b"#!/bin/sh\necho ran\n");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&place, &text, 126, "Permission denied");
    let below = text.join("below");
    refused(&place, &below, 127, "No such file or directory");
    let turning = place.path("loop");
    std::os::unix::fs::symlink(&turning, &turning).unwrap();
    let why = "Too many levels of symbolic links";
    refused(&place, &turning, 126, why);
}

#[test]
fn no_format() {
    let place = Place::new();
    refused(
        &place,
        &place.file("binary", b"\x01\0\x02"),
        126,
        "Exec format error",
    );
    refused(&place, &place.file("empty", b""), 126, "Exec format error");
    refused(
        &place,
        &place.file("stump", b"\x7fELF\x02\x01\x01"),
        126,
        "Exec format error",
    );
}

#[test]
fn statically_linked() {
    let place = Place::new();
    for flags in [&["-static"][..], &["-static-pie", "-fPIE"]] {
        let program = place.program("static", flags);
        refused(&place, &program, 126, "statically linked");
    }
}

#[test]
fn a_script_of_a_static_interpreter() {
    let place = Place::new();
    let interpreter = place.program("static", &["-static"]);
    let shown = interpreter.display();
    let script = place.file("script", format!("#!{shown} -x\n").as_bytes());
    let why = format!("its interpreter {shown}: statically linked");
    refused(&place, &script, 126, &why);
    let outer = place.file("outer", format!("#!{}\n", script.display()).as_bytes());
    refused(&place, &outer, 126, &why);
    let by_env = place.file("by-env", b"#!/usr/bin/env static\n");
    let path = format!("{}:/usr/bin:/bin", place.directory.path().display());
    let output = place
        .keepmydata()
        .env("PATH", path)
        .arg("--reach=preload")
        .arg(&by_env)
        .output()
        .unwrap();
    check_refused(&output, &by_env, 126, &why);
}

#[test]
fn scripts_without_an_end() {
    let place = Place::new();
    let missing = place.file("missing", b"#!/no/such/interpreter\n");
    let why = "its interpreter /no/such/interpreter: No such file or directory";
    refused(&place, &missing, 127, why);
    let itself = place.path("itself");
    place.file("itself", format!("#!{}\n", itself.display()).as_bytes());
    refused(&place, &itself, 126, "Too many levels of interpreters");
}

#[test]
fn another_architecture() {
    let place = Place::new();
    // ELF headers, the first of a 32-bit x86 program, the second of a big-endian 64-bit s390 one.
    let mut x86 = vec![0; 52];
    x86[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    x86[16..20].copy_from_slice(&[2, 0, 3, 0]);
    refused(
        &place,
        &place.file("x86", &x86),
        126,
        "a 32-bit x86 program, and the shim is 64-bit",
    );
    let mut s390 = vec![0; 64];
    s390[..7].copy_from_slice(b"\x7fELF\x02\x02\x01");
    s390[16..20].copy_from_slice(&[0, 2, 0, 22]);
    refused(
        &place,
        &place.file("s390", &s390),
        126,
        "a 64-bit s390 program, and the shim is",
    );
}

#[test]
fn not_linked_with_anything() {
    let place = Place::new();
    let source = place.path("lonely.c");
    fs::write(&source, "void _start(void) { for (;;); }\n").unwrap();
    let program = place.path("lonely");
    let status = std::process::Command::new("cc")
        .args(["-nostdlib", "-pie", "-fPIE", "-o"])
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(status.success());
    refused(&place, &program, 126, "not linked with libc");
}

/// Whether this test can give files away.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

#[test]
fn set_user_id() {
    if !is_root() {
        skip!("only root can make a set-user-ID program of another user");
    }
    let place = Place::new();
    let program = place.program("program", &[]);
    let give = |user, group, mode| {
        std::os::unix::fs::chown(&program, Some(user), Some(group)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    };
    give(65534, 0, 0o4755);
    refused(
        &place,
        &program,
        126,
        "set-user-ID: ld.so ignores LD_PRELOAD",
    );
    give(0, 65534, 0o2755);
    refused(
        &place,
        &program,
        126,
        "set-group-ID: ld.so ignores LD_PRELOAD",
    );
    // For its own user such a program is like any other.
    give(0, 0, 0o6755);
    assert_eq!(
        stdout(&place.keepmydata().arg(&program).output().unwrap()),
        "ran\n"
    );
}

#[test]
fn file_capabilities() {
    if !is_root() {
        skip!("only root can give capabilities to a file");
    }
    let place = Place::new();
    let program = place.program("program", &[]);
    // `struct vfs_ns_cap_data`, revision 2, effective: cap_net_raw.
    let mut capabilities = [0u8; 20];
    capabilities[..4].copy_from_slice(&0x0200_0001u32.to_le_bytes());
    capabilities[4..8].copy_from_slice(&(1u32 << 13).to_le_bytes());
    let set = rustix::fs::setxattr(
        &program,
        c"security.capability",
        &capabilities,
        rustix::fs::XattrFlags::empty(),
    );
    if let Err(error) = set {
        skip!(
            "no capabilities on files of {}: {error}",
            place.directory.path().display()
        );
    }
    // Where others may not look, the command itself could not be started as another user.
    let copy = place.path("keepmydata");
    common::copy(Path::new(env!("CARGO_BIN_EXE_keepmydata")), &copy);
    let mut command = std::process::Command::new(&copy);
    command
        .env("KEEPMYDATA_LIB", place.path("libhello.so"))
        .uid(65534)
        .gid(65534)
        .arg(&program);
    check_refused(
        &command.output().unwrap(),
        &program,
        126,
        "has file capabilities: ld.so",
    );
}
