//! The test bed as a filesystem and as a process: it does what programs expect of any
//! filesystem, survives what its users do, and leaves no mount behind.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use preload_tests::harness::{Program, Scratch, TearFs, wait_until};
use preload_tests::{or_skip, page_size, skip};
use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom, fallocate, fcntl_lock, seek};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon without the harness's care, to see what becomes of its mount.
struct Daemon {
    child: Child,
    scratch: Scratch,
}

impl Daemon {
    fn start(arguments: &[&str]) -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("mount")).expect("mount point");
        let mut child = tearfs()
            .args(arguments)
            .arg(scratch.path("mount"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tearfs");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("stdout");
        let daemon = Self { child, scratch };
        assert_eq!(line, format!("ready {}\n", daemon.mount().display()));
        assert!(daemon.is_mounted());
        daemon
    }

    fn mount(&self) -> std::path::PathBuf {
        self.scratch.path("mount")
    }

    fn is_mounted(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let mount = self.mount();
        mounts
            .lines()
            .any(|line| line.split(' ').nth(4).map(Path::new) == Some(&mount))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("kill");
    }

    /// A second descriptor of its connection with the kernel.
    fn device(&self) -> Result<OwnedFd, String> {
        let pid = Pid::from_child(&self.child);
        let open = format!("/proc/{}/fd", pid.as_raw_nonzero());
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| error.to_string())?;
        let found = fs::read_dir(open).expect("descriptors").flatten();
        let number = found
            .filter(|entry| {
                fs::read_link(entry.path()).is_ok_and(|to| to == Path::new("/dev/fuse"))
            })
            .find_map(|entry| entry.file_name().to_str()?.parse().ok());
        pidfd_getfd(
            process,
            number.expect("/dev/fuse"),
            PidfdGetfdFlags::empty(),
        )
        .map_err(|error| format!("pidfd_getfd: {error}"))
    }

    /// Waits until it has ended and its mount is gone; the exit code.
    fn expect_gone(mut self) -> Option<i32> {
        wait_until("the end of tearfs", PATIENCE, || {
            self.child.try_wait().expect("wait").is_some()
        });
        wait_until("the unmount", PATIENCE, || !self.is_mounted());
        self.child.wait().expect("wait").code()
    }
}

fn tearfs() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tearfs"))
}

#[test]
fn signals_and_the_end_of_stdin_unmount() {
    or_skip!(TearFs::available());
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = Daemon::start(&[]);
        daemon.signal(signal);
        assert_eq!(daemon.expect_gone(), Some(0), "{signal:?}");
    }
    let mut daemon = Daemon::start(&["--exit-with-stdin"]);
    drop(daemon.child.stdin.take());
    assert_eq!(daemon.expect_gone(), Some(0));

    let mut daemon = Daemon::start(&[]);
    drop(daemon.child.stdin.take());
    fs::write(daemon.mount().join("f"), "still there").expect("stdin does not matter");
    daemon.signal(Signal::TERM);
    daemon.expect_gone();
}

#[test]
fn a_mount_in_use_goes_too_and_so_does_one_whose_daemon_was_killed() {
    or_skip!(TearFs::available());
    let daemon = Daemon::start(&[]);
    let file = File::create(daemon.mount().join("open")).expect("create");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.expect_gone(), Some(0));
    assert!(file.sync_all().is_err(), "the filesystem is gone");

    for signal in [Signal::KILL, Signal::ABORT] {
        let daemon = Daemon::start(&[]);
        let _file = File::create(daemon.mount().join("open")).expect("create");
        daemon.signal(signal);
        assert_eq!(daemon.expect_gone(), None, "{signal:?}");
    }
}

/// fusermount3 tries the mount when the daemon's socket has closed, and leaves it where that is not refused with
/// ENOTCONN: the device may be closed a moment later.
#[test]
fn the_mount_of_a_daemon_that_was_killed_goes_while_its_device_is_still_open() {
    or_skip!(TearFs::available());
    let daemon = Daemon::start(&[]);
    let device = or_skip!(daemon.device());
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.expect_gone(), None);
    drop(device);
}

#[test]
fn an_unmount_from_outside_ends_it() {
    or_skip!(TearFs::available());
    let daemon = Daemon::start(&[]);
    rustix::mount::unmount(daemon.mount(), rustix::mount::UnmountFlags::empty()).expect("umount");
    assert_eq!(daemon.expect_gone(), Some(0));
}

#[test]
fn a_guest_killed_at_any_point_does_no_harm() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&[
        "--mode",
        "early-ack",
        "--fsync-delay-ms",
        "2",
        "--read-delay-ms",
        "1",
    ]);
    for round in 0..30 {
        let guest = Program::guest("doio")
            .args(["-n", "2", "-t", "60", "-s", &round.to_string()])
            .arg(fs.path("f"))
            .start_natively();
        let requests = fs.op_log().len();
        wait_until("some requests", PATIENCE, || {
            fs.op_log().len() > requests + 100 * round
        });
        guest.kill();
    }
    fs.control(serde_json::json!({"op": "settle"}));
    fs.control(serde_json::json!({"op": "mode", "mode": "honest"}));
    let seed = Program::guest("seed").arg(fs.path("f")).natively();
    assert_eq!(seed.code(), Some(0), "{seed:?}");
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("run")
}

/// The exit code and the one line on stderr.
fn complaint(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("tearfs: "), "{text}");
    assert!(output.stdout.is_empty());
    (output.status.code(), text)
}

#[test]
fn bad_options_are_told_in_one_line() {
    for (arguments, word) in [
        (&["--mode", "polite", "/tmp"][..], "polite"),
        (&["--window", "5", "/tmp"], "--window"),
        (&["--delay-ms", "soon", "/tmp"], "--delay-ms"),
        (&["--glob", "[", "/tmp"], "--glob"),
        (&["--colour", "/tmp"], "--colour"),
        (&["/nonexistent/point"], "/nonexistent/point"),
        (
            &["--op-log", "/nonexistent/log", "/tmp"],
            "/nonexistent/log",
        ),
        (&[], "MOUNTPOINT"),
    ] {
        let (code, text) = complaint(&run(tearfs().args(arguments)));
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
}

#[test]
fn help_explains_every_mode() {
    let output = run(tearfs().arg("--help"));
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8_lossy(&output.stdout);
    for word in [
        "first-page:",
        "black-hole:",
        "CONTROL CHANNEL",
        "EXIT STATUS",
        "FOPEN_DIRECT_IO",
    ] {
        assert!(help.contains(word), "{word} in\n{help}");
    }
}

/// Runs the test bed in a mount namespace of its own, in which `mount` was called with `arguments` before.
fn after_mounting(arguments: &str) -> Output {
    let scratch = Scratch::new();
    let script = format!("mount {arguments} && exec \"$0\" \"$1\"");
    let mut namespace = Command::new("unshare");
    namespace.args(["--mount", "sh", "-c", &script]);
    run(namespace
        .arg(env!("CARGO_BIN_EXE_tearfs"))
        .arg(scratch.dir()))
}

#[test]
fn without_fuse_it_says_so() {
    // An empty /dev of our own.
    let output = after_mounting("-t tmpfs none /dev");
    if !String::from_utf8_lossy(&output.stderr).starts_with("tearfs") {
        skip!("no mount namespace: {output:?}");
    }
    let (code, text) = complaint(&output);
    assert_eq!(code, Some(3));
    assert!(text.contains("/dev/fuse"), "{text}");
}

/// Container runtimes bind /dev/null over devices that a container is not to have.
#[test]
fn a_masked_device_is_named() {
    let output = after_mounting("--bind /dev/null /dev/fuse");
    if !String::from_utf8_lossy(&output.stderr).starts_with("tearfs") {
        skip!("no /dev/fuse, or no mount namespace: {output:?}");
    }
    let (code, text) = complaint(&output);
    assert_eq!(code, Some(3));
    assert!(text.contains("/dev/fuse: not the FUSE device"), "{text}");
}

/// Who may not let others use a mount, as fuse.conf(5) has it by default, has it for himself.
#[test]
fn an_ordinary_user_mounts_for_himself() {
    or_skip!(TearFs::available());
    let scratch = Scratch::new();
    let tearfs = scratch.path("tearfs");
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_tearfs"))
        .arg(&tearfs)
        .status();
    assert!(copied.expect("cp").success());
    fs::create_dir(scratch.path("mount")).expect("mount point");
    // A /dev/fuse that everybody may open, as most machines have it, and fuse.conf as it is by default.
    let script = "cd \"$0\" && chmod 755 . tearfs && chown 65534 mount && mknod -m 666 fuse c 10 229 && \
         : > fuse.conf && mount --bind fuse.conf /etc/fuse.conf && mount --bind fuse /dev/fuse && \
         echo prepared && exec setpriv --reuid 65534 --regid 65534 --clear-groups \
         ./tearfs --exit-with-stdin mount";
    let mut namespace = Command::new("unshare");
    let mut child = namespace
        .args(["--mount", "sh", "-c", script])
        .arg(scratch.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut next = || {
        let mut line = String::new();
        stdout.read_line(&mut line).expect("stdout");
        line
    };
    let prepared = next() == "prepared\n";
    let ready = next();
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("wait");
    if !prepared {
        skip!("not root, or no mount namespace: {output:?}");
    }
    assert!(ready.starts_with("ready "), "{ready} {output:?}");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn without_fusermount_it_says_so() {
    or_skip!(TearFs::available());
    let scratch = Scratch::new();
    let mut command = tearfs();
    command.env("FUSERMOUNT_PATH", "/nonexistent/fusermount3");
    let (code, text) = complaint(&run(command.arg(scratch.dir())));
    assert_eq!(code, Some(3));
    assert!(text.contains("fusermount3"), "{text}");
}

#[test]
fn names_are_those_of_any_filesystem() {
    or_skip!(TearFs::available());
    let bed = TearFs::mount(&[]);
    let root = bed.path("");
    fs::create_dir(root.join("d")).expect("mkdir");
    fs::write(root.join("d/a"), "a").expect("create");
    let code = |result: std::io::Result<()>| result.expect_err("allowed").raw_os_error();
    assert_eq!(code(fs::create_dir(root.join("d"))), Some(libc::EEXIST));
    assert_eq!(code(fs::remove_dir(root.join("d"))), Some(libc::ENOTEMPTY));
    assert_eq!(
        code(fs::remove_file(root.join("d/none"))),
        Some(libc::ENOENT)
    );
    fs::write(root.join("b"), "b").expect("create");
    fs::rename(root.join("d/a"), root.join("b")).expect("rename over a file");
    assert_eq!(fs::read(root.join("b")).expect("read"), b"a");
    fs::rename(root.join("d"), root.join("e")).expect("rename of a directory");
    fs::remove_dir(root.join("e")).expect("rmdir");

    let file = File::create(root.join("unlinked")).expect("create");
    fs::remove_file(root.join("unlinked")).expect("unlink");
    file.write_all_at(b"lives", 0).expect("write");
    assert_eq!(file.metadata().expect("fstat").size(), 5);

    for number in 0..500 {
        File::create(root.join(format!("many{number}"))).expect("create");
    }
    let listed = fs::read_dir(&root).expect("readdir").count();
    assert_eq!(listed, 501, "500 and b");
    for entry in fs::read_dir(&root).expect("readdir") {
        fs::remove_file(entry.expect("entry").path()).expect("unlink while reading");
    }
    assert_eq!(fs::read_dir(&root).expect("readdir").count(), 0);

    let attributes = fs::metadata(&root).expect("stat");
    assert!(attributes.is_dir());
    let room = rustix::fs::statvfs(&root).expect("statfs");
    assert!(room.f_bavail > 1 << 30);
    let missing = rustix::fs::getxattr(&root, c"user.x", &mut [0; 8][..]);
    assert_eq!(
        missing,
        Err(rustix::io::Errno::NOTSUP),
        "no extended attributes"
    );
}

#[test]
fn files_are_sparse_up_to_terabytes() {
    or_skip!(TearFs::available());
    let bed = TearFs::mount(&[]);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(bed.path("big"))
        .expect("create");
    let far = 3 << 40;
    let page = page_size() as u64;
    file.set_len(far + page).expect("truncate");
    file.write_all_at(b"here", far).expect("write");
    assert_eq!(file.metadata().expect("fstat").blocks(), page / 512);
    assert_eq!(seek(&file, SeekFrom::Data(0)), Ok(far));
    assert_eq!(seek(&file, SeekFrom::Hole(far)), Ok(far + page));

    file.write_all_at(&vec![7; 3 * page_size()], 0)
        .expect("write");
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // From the first page into the third.
    let hole = 1000..2 * page + 808;
    fallocate(&file, punch, hole.start, hole.end - hole.start).expect("punch");
    let mut bytes = vec![1; 3 * page_size()];
    file.read_exact_at(&mut bytes, 0).expect("read");
    assert!(
        bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| { *byte == if hole.contains(&(at as u64)) { 0 } else { 7 } })
    );
    assert_eq!(seek(&file, SeekFrom::Hole(0)), Ok(page));
    fallocate(&file, FallocateFlags::empty(), far, 2 * page).expect("allocate");
    assert_eq!(file.metadata().expect("fstat").len(), far + 2 * page);
    let refused = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, page);
    assert_eq!(refused, Err(rustix::io::Errno::OPNOTSUPP));

    file.set_len(10).expect("truncate");
    file.set_len(100).expect("grow");
    let mut bytes = Vec::new();
    File::open(bed.path("big"))
        .expect("open")
        .read_to_end(&mut bytes)
        .expect("read");
    assert_eq!(bytes, [[7; 10].as_slice(), &[0; 90]].concat());
}

#[test]
fn direct_io_and_record_locks_work() {
    or_skip!(TearFs::available());
    let bed = TearFs::mount(&["--direct-io", "none"]);
    let open = |flags| {
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .create(true)
            .custom_flags(flags);
        options.open(bed.path("f")).expect("open")
    };
    let (cached, direct) = (open(0), open(libc::O_DIRECT));
    // FUSE asks no alignment of memory, but keep to the habit of whole pages.
    let size = page_size();
    cached.write_all_at(&vec![1; 2 * size], 0).expect("write");
    let mut page = vec![0; size];
    direct
        .read_exact_at(&mut page, size as u64)
        .expect("O_DIRECT read");
    assert_eq!(page, vec![1; size]);
    direct
        .write_all_at(&vec![2; size], size as u64)
        .expect("O_DIRECT write");
    cached.read_exact_at(&mut page, size as u64).expect("read");
    assert_eq!(page, vec![2; size]);

    fcntl_lock(&cached, FlockOperation::LockExclusive).expect("lock");
    fcntl_lock(&cached, FlockOperation::Unlock).expect("unlock");
    let log = bed.op_log();
    assert!(
        !log.contains("Setlk") && !log.contains("Getlk"),
        "the kernel keeps locks itself"
    );
}
