//! Mounting, and unmounting in all the ways in which the daemon can end.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL};
use rustix::fs::{major, minor};
use rustix::mount::{UnmountFlags, unmount};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::cluster::Client;
use super::control;
use super::daemon::Daemon;
use super::fs::TearFs;
use super::keeper::Keeper;
use super::oplog::OpLog;
use super::options::Options;

/// Threads that serve requests. Slow answers are given by a timer and occupy none.
const THREADS: usize = 4;

/// How long programs that still have files open may delay the end.
const GRACE: Duration = Duration::from_secs(1);

/// Why the filesystem could not run.
#[derive(Debug)]
pub enum Failure {
    /// An option names something that cannot be used.
    Option(String),
    /// FUSE cannot be used here.
    Fuse(String),
    Session(io::Error),
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Session(_) => 1,
            Failure::Option(_) => 2,
            Failure::Fuse(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Option(reason) | Failure::Fuse(reason) => f.write_str(reason),
            Failure::Session(error) => write!(f, "the FUSE session failed: {error}"),
        }
    }
}

/// Mounts, serves and unmounts.
///
/// # Errors
/// Why it could not be mounted, or why it ended before its time.
pub fn run(options: Options) -> Result<(), Failure> {
    options.check().map_err(Failure::Option)?;
    let named = |what: &Path, error| format!("{}: {error}", what.display());
    let mut points = Vec::new();
    for point in [Some(&options.mountpoint), options.second.as_ref()] {
        let Some(point) = point else { continue };
        let whole = point.canonicalize();
        points.push(whole.map_err(|error| Failure::Option(named(point, error)))?);
    }
    let op_log = options.op_log.clone();
    let log = OpLog::open(op_log.as_deref())
        .map_err(|error| Failure::Option(named(&op_log.unwrap_or_default(), error)))?;
    check_device().map_err(Failure::Fuse)?;

    let daemon = Arc::new(Daemon::new(options, log));
    // Installed before the mount, so that no signal can leave one behind.
    let signals = Signals::new([SIGINT, SIGTERM]).map_err(Failure::Session)?;
    let mut socket = None;
    if let Some(path) = &daemon.options.control {
        control::serve(path, &daemon).map_err(|error| Failure::Option(named(path, error)))?;
        socket = Some(SocketFile(path.clone()));
    }
    // All of them before the first mount: what is made later has its connection with the kernel open as well.
    let keepers = points.iter().map(|_| Keeper::start());
    let mut keepers = keepers
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::Session)?;
    let mut sessions = Vec::new();
    for ((point, keeper), client) in points.iter().zip(&mut keepers).zip(Client::ALL) {
        let fs = TearFs {
            daemon: Arc::clone(&daemon),
            client,
        };
        let session = Session::new(fs, point, &config());
        let session = session.map_err(|error| Failure::Fuse(cannot_mount(point, &error)))?;
        keeper.watch(point);
        daemon.mounted(client, session.notifier());
        sessions.push(session);
    }
    stop_on_signal(signals, points.clone(), &daemon);
    if daemon.options.exit_with_stdin {
        stop_on_end_of_stdin(points.clone(), &daemon);
    }
    let second = sessions.split_off(1).pop().map(Session::spawn);
    let second = second.transpose().map_err(Failure::Session)?;
    announce(&points);
    let first = sessions.pop().expect("a mount point");
    let ended = first.run().map_err(Failure::Session);
    // The first was unmounted, and takes the other with it.
    if let Some((_, point)) = second.zip(points.get(1)) {
        detach(point);
    }
    if ended.is_ok() {
        keepers.iter_mut().for_each(Keeper::done);
    }
    drop(socket);
    ended
}

/// Where others may use the mount, fusermount3 stays with it and takes it away when this process dies,
/// of a panic or SIGKILL too; where it does not, [`Keeper`] does. Where others may not, the mount is the
/// caller's alone.
fn config() -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("tearfs".into()),
        MountOption::Subtype("tearfs".into()),
        MountOption::DefaultPermissions,
    ];
    config.acl = SessionACL::Owner;
    if may_allow_others() {
        config.mount_options.push(MountOption::AutoUnmount);
        config.acl = SessionACL::All;
    }
    config.n_threads = Some(THREADS);
    config
}

/// Root may let other users use a mount; so may others where fuse.conf(5) allows it.
fn may_allow_others() -> bool {
    let configuration = || std::fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    rustix::process::geteuid().is_root()
        || configuration()
            .lines()
            .any(|line| line.trim() == "user_allow_other")
}

/// Whether /dev/fuse can be opened, and is what it should be: container runtimes hide devices by
/// binding /dev/null over them.
///
/// # Errors
/// Why FUSE cannot be used here.
pub fn check_device() -> Result<(), String> {
    let device = "/dev/fuse";
    let opened = File::options().read(true).write(true).open(device);
    let number = opened
        .and_then(|file| file.metadata())
        .map(|metadata| metadata.rdev())
        .map_err(|error| {
            format!("{device}: {error} (is the fuse module loaded, and may this user use it?)")
        })?;
    match (major(number), minor(number)) {
        (10, 229) => Ok(()),
        _ => Err(format!(
            "{device}: not the FUSE device, something else is mounted over it"
        )),
    }
}

fn cannot_mount(mountpoint: &Path, error: &io::Error) -> String {
    let point = mountpoint.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("cannot mount on {point}: no fusermount3 (package fuse3)")
        }
        _ => format!("cannot mount on {point}: {}", error.to_string().trim()),
    }
}

fn announce(points: &[PathBuf]) {
    let mut stdout = io::stdout();
    let points: Vec<_> = points.iter().map(|point| point.to_string_lossy()).collect();
    // A reader that went away does not matter; the mount does.
    let _ = writeln!(stdout, "ready {}", points.join(" "));
    let _ = stdout.flush();
}

fn stop_on_signal(mut signals: Signals, points: Vec<PathBuf>, daemon: &Arc<Daemon>) {
    let daemon = Arc::clone(daemon);
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            stop(&points, &daemon, format_args!("signal {signal}"));
        }
    });
}

fn stop_on_end_of_stdin(points: Vec<PathBuf>, daemon: &Arc<Daemon>) {
    let daemon = Arc::clone(daemon);
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while matches!(io::stdin().read(&mut buffer), Ok(1..)) {}
        stop(&points, &daemon, format_args!("end of stdin"));
    });
}

/// Detaches the mounts, the first one last: that ends its session and with it `run`. Where programs still use the
/// filesystem it would not end: then they lose it.
fn stop(points: &[PathBuf], daemon: &Daemon, reason: fmt::Arguments<'_>) {
    daemon.log.line(format_args!("Unmount: {reason}"));
    points.iter().rev().for_each(|point| detach(point));
    thread::sleep(GRACE);
    if let Some(socket) = &daemon.options.control {
        let _ = std::fs::remove_file(socket);
    }
    process::exit(0);
}

fn detach(mountpoint: &Path) {
    if unmount(mountpoint, UnmountFlags::DETACH).is_err() {
        // Only root may, and fusermount3 for the others.
        let mut fusermount = Command::new("fusermount3");
        let _ = fusermount.args(["-u", "-q", "-z"]).arg(mountpoint).status();
    }
}

/// Removes the socket's file when dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
