//! A directory per test process for all that tests make: files, mount points,
//! sockets, logs; and the certainty that it goes away.
//!
//! Three lines of defence. A [`Scratch`] removes its part when dropped (also by
//! a panic). The *janitor*, a shell in a session of its own, waits for the end of
//! the pipe that the test process holds: when the process dies by SIGINT, SIGKILL
//! or a timeout, it kills the guests still running, unmounts and removes. And
//! should the janitor be killed too, the next run sweeps: a directory whose
//! `alive` file nobody locks belongs to the dead.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::patience::patience;

const PREFIX: &str = "keepmydata-tests-";

/// Reads `run PGID` and `end PGID` lines; at their end kills what still runs,
/// then unmounts and removes the directory given as `$1`.
const JANITOR: &str = r#"
running=" "
while read -r verb group; do
    case $verb in
    run) running="$running$group " ;;
    end) running="${running%% $group *} ${running#* $group }" ;;
    esac
done
for group in $running; do kill -s KILL -- "-$group"; done
awk -v under="$1/" 'index($5, under) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
while read -r point; do umount -l "$point"; done
rm -rf --one-file-system "$1"
"#;

/// A directory of one test, removed with all it holds when dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new empty directory.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root().directory.join(number.to_string());
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path }
    }

    pub fn dir(&self) -> &Path {
        &self.path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A new file of that size, in MiB, which takes no room: a disk, or memory, of a machine.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn image(&self, name: &str, mib: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path)
            .and_then(|file| file.set_len(mib << 20))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_unmounted(&self.path);
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `limit` (see [`patience`]).
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let limit = patience(limit);
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} in vain for: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A child in a process group of its own, known to the janitor. The whole group
/// is killed when this is dropped.
pub(crate) struct Group {
    pub child: Child,
    group: Pid,
}

impl Group {
    /// Starts `command`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        root(); // the janitor must not be started between the child and its registration
        let child = command
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let group = Pid::from_child(&child);
        tell_janitor("run", group);
        Self { child, group }
    }

    /// Whether the child ended within `limit`.
    pub fn ends_within(&self, limit: Duration) -> bool {
        let pidfd = pidfd_open(self.group, PidfdFlags::empty()).expect("pidfd_open");
        let timeout = Timespec::try_from(limit).expect("timeout");
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&timeout)).expect("poll") > 0
    }

    pub fn kill(&self) {
        // ESRCH: the group is empty already.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
        tell_janitor("end", self.group);
    }
}

struct Root {
    directory: PathBuf,
    janitor: Mutex<ChildStdin>,
    _alive: File,
}

fn root() -> &'static Root {
    static ROOT: OnceLock<Root> = OnceLock::new();
    ROOT.get_or_init(|| {
        let parent = fs::canonicalize(std::env::temp_dir()).expect("temporary directory");
        sweep(&parent);
        make_root(&parent).expect("scratch directory")
    })
}

fn make_root(parent: &Path) -> std::io::Result<Root> {
    // A number of a process may come again while another sweeps what it left.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.subsec_nanos());
    let directory = parent.join(format!("{PREFIX}{}-{now}", std::process::id()));
    fs::create_dir(&directory)?;
    // It has that name only when it is locked: else another process's sweep might take it for a dead one's.
    let (unlocked, locked) = (directory.join("unlocked"), directory.join("alive"));
    let alive = File::create(&unlocked)?;
    alive.lock()?;
    fs::rename(&unlocked, &locked)?;
    let mut janitor = Command::new("setsid")
        .args(["sh", "-c", JANITOR, "janitor"])
        .arg(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let stdin = janitor.stdin.take().expect("piped stdin");
    Ok(Root {
        directory,
        janitor: Mutex::new(stdin),
        _alive: alive,
    })
}

fn tell_janitor(verb: &str, group: Pid) {
    let mut janitor = root()
        .janitor
        .lock()
        .unwrap_or_else(|held| held.into_inner());
    // A dead janitor fails no test: the next run's sweep takes over.
    let _ = writeln!(janitor, "{verb} {}", group.as_raw_nonzero());
}

/// Removes what dead test processes left. A directory without an `alive` file is
/// just being made by another process, or removed.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        if let Ok(alive) = File::open(entry.path().join("alive"))
            && alive.try_lock().is_ok()
        {
            remove_unmounted(&entry.path());
        }
    }
}

/// Unmounts all below `directory`, lazily, and removes it. Does not cross into
/// filesystems that could not be unmounted.
fn remove_unmounted(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<&Path> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(Path::new))
        .filter(|point| point.starts_with(directory) && *point != directory)
        .collect();
    points.sort();
    let stuck = points
        .iter()
        .rev()
        .filter(|point| unmount(**point, UnmountFlags::DETACH).is_err())
        .count();
    if stuck == 0 {
        let _ = fs::remove_dir_all(directory);
    }
}
