//! Who and where the program is: users, roots, namespaces, sandboxes. Where a
//! mechanism is denied the next one takes over.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use preload_tests::harness::{
    LoopFs, Program, TearFs, assert_same, assert_same_under_shim, kernel,
};
use preload_tests::or_skip;

fn identity(what: &str) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("identity").arg(fs.dir()).arg(what));
}

#[test]
fn setuid_in_a_multi_threaded_program() {
    identity("setuid");
}

#[test]
fn every_call_that_changes_ids() {
    identity("ids");
}

#[test]
fn supplementary_groups() {
    identity("groups");
}

#[test]
fn ids_that_change_while_threads_sync() {
    identity("crowd");
}

#[test]
fn chroot() {
    identity("chroot");
}

#[test]
fn unshare_of_cwd_and_descriptors() {
    identity("fs");
}

#[test]
fn user_namespace() {
    identity("user");
}

#[test]
fn namespaces_of_other_kinds() {
    identity("namespaces");
}

#[test]
fn entering_a_mount_namespace() {
    identity("setns");
}

#[test]
fn sandbox_after_start() {
    identity("seccomp");
}

fn moves(arguments: &[&str]) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("moves").arg(fs.dir()).args(arguments));
}

#[test]
fn a_file_that_the_new_user_may_not_open() {
    moves(&["secret"]);
}

#[test]
fn no_descriptors_before_the_first_mapping() {
    moves(&["soft-nofile"]);
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("moves").arg(fs.dir()).arg("nofile");
    let native = guest.natively().expect_success("natively");
    for verify in ["auto", "on"] {
        let shimmed = guest.under_shim(&[("KEEPMYDATA_VERIFY", verify)]);
        assert_same(&native, &shimmed, verify);
        let doubts = shimmed.stderr.contains("the file cannot be opened again");
        assert_eq!(doubts, verify == "on", "{shimmed:?}");
    }
}

#[test]
fn children_in_another_pid_namespace_before_the_first_mapping() {
    moves(&["newpid"]);
}

/// What is synced after it is proved, too. That of a kind the child has left is the parent's again at its end.
#[test]
fn entering_a_namespace_of_each_kind() {
    or_skip!(TearFs::available());
    for kind in ["mnt", "user", "pid", "net", "uts", "ipc", "cgroup"] {
        for how in ["file", "any", "process"] {
            moves(&["setns", kind, how]);
            let honest = TearFs::mount(&["--mode", "honest"]);
            let torn = TearFs::mount(&["--mode", "first-page"]);
            let guest = |fs: &TearFs| {
                let guest = Program::guest("moves").arg(fs.dir());
                guest.args(["setns", kind, how])
            };
            let native = guest(&honest).natively().expect_success("natively");
            let shimmed = guest(&torn).under_shim(&[]);
            assert_same(&native, &shimmed, &format!("{kind} {how}"));
            torn.cut();
            let whole = honest.final_bytes("f", 0, 5 * 4096);
            assert!(
                torn.final_bytes("f", 0, 5 * 4096) == whole,
                "{kind} {how}: torn"
            );
        }
    }
}

/// Each system call denied in turn, by an error, by a handler of the program's, as in the sandboxes of browsers, or by the
/// end of the process:
/// msync says what it says natively, nothing hangs, and nobody is killed. (A process
/// id of -1, which is what a denied getpid(2) may be taken for, is everybody's.)
#[test]
fn every_system_call_denied() {
    or_skip!(TearFs::available());
    let fuse = TearFs::mount(&["--mode", "honest"]);
    let ext4 = or_skip!(LoopFs::mount("ext4"));
    for (file, when, error) in [
        (fuse.path("b"), "before", "EPERM"),
        (fuse.path("a"), "after", "ENOSYS"),
        (ext4.path("b"), "before", "ENOSYS"),
        (ext4.path("a"), "after", "EPERM"),
        (fuse.path("c"), "before", "trap"),
        (fuse.path("d"), "after", "trap"),
        (fuse.path("e"), "before", "kill"),
        (fuse.path("f"), "after", "kill"),
        (ext4.path("c"), "inherited", "kill"),
    ] {
        let guest = Program::guest("denied").arg(file).args([when, error]);
        let guest = guest.timeout(Duration::from_secs(300));
        let native = guest.natively().expect_success("natively");
        assert!(native.stdout.contains("done"), "{native:?}");
        let shimmed = guest.under_shim(&[]);
        assert_same(&native, &shimmed, &format!("{when} {error}"));
    }
}

/// Those that are in a call of theirs when another locks them in, too; and a line says that their file is left alone.
#[test]
fn threads_that_sync_are_locked_in() {
    let ext4 = or_skip!(LoopFs::mount("ext4"));
    let program = Program::guest("locked_in").arg(ext4.path("f"));
    let native = program.natively().expect_success("natively");
    for _ in 0..10 {
        let shimmed = program.under_shim(&[("KEEPMYDATA_VERIFY", "on")]);
        assert_same(&native, &shimmed, "threads");
        assert!(shimmed.stderr.contains("enters a sandbox"), "{shimmed:?}");
    }
}

/// The seed case run by the `under` guest: whole all the same.
#[track_caller]
fn whole_under(restriction: &[&str], settings: &[(&str, &str)]) {
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let seed = Program::guest("seed");
    let guest = Program::guest("under")
        .args(restriction)
        .arg(seed.file())
        .arg(fs.path("f"));
    let native = guest.natively();
    assert_eq!(native.code(), Some(1), "control, torn natively: {native:?}");
    let shimmed = guest.under_shim(settings);
    assert_eq!(shimmed.code(), Some(0), "{restriction:?}: {shimmed:?}");
}

/// What an msync of the seed case says of itself under a denial: as text, its log goes to standard
/// error where no helper is there to open a file.
#[track_caller]
fn said_under(restriction: &[&str]) -> String {
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let guest = Program::guest("under")
        .args(restriction)
        .arg(Program::guest("seed").file())
        .arg(fs.path("f"));
    let shimmed = guest.under_shim(&[
        ("KEEPMYDATA_LOG", "info"),
        ("KEEPMYDATA_LOG_FILE", "stderr"),
    ]);
    assert_eq!(shimmed.code(), Some(0), "{restriction:?}: {shimmed:?}");
    shimmed.stderr
}

/// The verdicts of the seed case: four pages, or also clean ones where dirty pages are not known.
fn verified() -> &'static str {
    match kernel::page_tracking() {
        Ok(()) => "(verified 4 newer 0 stale 0 uncertain 0)",
        Err(_) => " newer 0 stale 0 uncertain 0)",
    }
}

/// Each denial with each error: the data is whole, and the log says by which mechanism, or which
/// step was left out.
macro_rules! denied {
    ($($test:ident: $call:literal, [$($error:literal)*], $said:expr;)*) => {
        $(
            #[test]
            fn $test() {
                or_skip!(TearFs::available());
                for error in [$($error),*] {
                    let denial = ["seccomp", $call, error];
                    whole_under(&denial, &[]);
                    whole_under(&denial, &[("KEEPMYDATA_VERIFY", "off")]);
                    let expected: &str = $said;
                    let said = said_under(&denial);
                    assert!(said.contains(expected), "{denial:?}: no {expected:?} in {said}");
                }
            }
        )*
    };
}

denied! {
    without_process_vm_readv: "process_vm_readv", ["EPERM" "ENOSYS" "kill"], verified();
    without_userfaultfd: "userfaultfd", ["EPERM" "ENOSYS" "kill"], "tracker whole";
    without_close_range: "close_range", ["EPERM" "ENOSYS" "kill"], "reason: not verified: the file cannot be opened again";
    without_pidfd_open: "pidfd_open", ["EPERM" "ENOSYS" "kill"], verified();
    without_pidfd_getfd: "pidfd_getfd", ["EPERM" "ENOSYS" "kill"], verified();
    without_pidfd_send_signal: "pidfd_send_signal", ["EPERM" "ENOSYS" "kill"], verified();
    without_cachestat: "cachestat", ["EPERM" "ENOSYS" "kill"], match kernel::page_tracking() {
        Ok(()) => "tracker pagemap",
        Err(_) => "tracker whole",
    };
    without_statx: "statx", ["EPERM" "ENOSYS" "kill"], verified();
    without_name_to_handle_at: "name_to_handle_at", ["EPERM" "ENOSYS" "kill"], verified();
    without_clone: "clone", ["EPERM" "ENOSYS"], "reason: not verified: the file cannot be opened again";
    without_fadvise: "fadvise64", ["EPERM" "ENOSYS" "kill"], "dropped 0";
    without_madvise: "madvise", ["EPERM" "ENOSYS"], verified();
}

/// A service whose filter ends it at all that is not on a list (systemd.exec(5), SystemCallFilter).
#[test]
fn in_a_service() {
    or_skip!(TearFs::available());
    whole_under(&["service"], &[]);
    whole_under(&["service"], &[("KEEPMYDATA_VERIFY", "off")]);
    // Without mincore(2) nobody knows whether a page is what was stored or was read in anew.
    let said = said_under(&["service"]);
    assert!(said.contains("uncertain 4)"), "{said}");
}

/// A log file is written without them too.
#[test]
fn log_file_without_pidfds() {
    or_skip!(TearFs::available());
    for call in ["pidfd_open", "pidfd_getfd"] {
        let fs = TearFs::mount(&["--mode", "first-page"]);
        let guest = Program::guest("under")
            .args(["seccomp", call, "ENOSYS"])
            .arg(Program::guest("seed").file())
            .arg(fs.path("f"));
        let shimmed = guest.under_shim(&[("KEEPMYDATA_LOG", "info")]);
        assert_eq!(shimmed.code(), Some(0), "{call}: {shimmed:?}");
        assert!(shimmed.records().of("msync").count() > 0, "{call}");
    }
}

#[test]
fn without_proc() {
    or_skip!(TearFs::available());
    whole_under(&["noproc"], &[]);
}

#[test]
fn with_little_address_space() {
    or_skip!(TearFs::available());
    for megabytes in ["64", "32", "24"] {
        whole_under(&["as", megabytes], &[]);
    }
}

/// Runs the seed case where the shim lacks what it needs: it must not crash, and data
/// that is not safe is in the log.
#[track_caller]
fn whole_or_logged_under(restriction: &[&str]) {
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let logs = fs.path("logs");
    fs::create_dir(&logs).expect("directory for logs");
    fs::set_permissions(&logs, Permissions::from_mode(0o777)).expect("chmod");
    fs::set_permissions(fs.dir(), Permissions::from_mode(0o777)).expect("chmod");
    let guest = Program::guest("under")
        .args(restriction)
        .arg(Program::guest("seed").file())
        .arg(fs.path("f"));
    let native = guest.natively();
    assert_eq!(native.code(), Some(1), "control, torn natively: {native:?}");
    let log_file = logs.join("%p");
    let shimmed = guest.under_shim(&[
        ("KEEPMYDATA_LOG", "warn"),
        ("KEEPMYDATA_LOG_FILE", log_file.to_str().expect("UTF-8")),
    ]);
    let log: String = fs::read_dir(&logs)
        .expect("logs")
        .flatten()
        .map(|entry| fs::read_to_string(entry.path()).expect("log"))
        .collect();
    match shimmed.code() {
        Some(0) => {}
        // Without a helper there is no log file: what is at risk is told on stderr.
        Some(1) if !log.is_empty() || shimmed.stderr.contains(" ERROR ") => {
            println!("{restriction:?}: torn, and says so: {log}")
        }
        _ => panic!("{restriction:?}: neither whole nor logged: {shimmed:?}"),
    }
}

#[test]
fn without_address_space_to_spare() {
    or_skip!(TearFs::available());
    // With less there is no room for the file beside the library, which takes a MiB.
    for megabytes in ["21", "20", "19", "18", "17"] {
        whole_or_logged_under(&["as", megabytes]);
    }
}

/// No helper can start.
#[test]
fn without_tasks_to_spare() {
    or_skip!(TearFs::available());
    whole_or_logged_under(&["nproc", "54321"]);
}
