//! What all that the supervisor does has in common: the listener, the log, the images and the files.

use crate::file::File;
use crate::files::Files;
use crate::image::{Image, Images, read_string};
use crate::keeper::Pending;
use crate::log::Log;
use crate::notify::{Answer, Listener, Notification};
use crate::report;
use keepmydata_promise::Patience;
use keepmydata_records::{Level, event};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The supervisor.
pub struct Supervisor {
    pub listener: Listener,
    /// For the keeper.
    pub pending: Option<Pending>,
    /// The listener, and the end of each process that was seen.
    pub epoll: OwnedFd,
    /// The userfaultfd of each image, from which a thread of it can be read that unmaps something.
    pub unmapping: OwnedFd,
    /// Whether a call that was received is interrupted by nothing but fatal signals.
    pub killable: bool,
    /// Filters that each process has as it comes, of its own and ours.
    pub filters: u32,
    /// It was said that a process cannot be looked into.
    pub unseen: AtomicBool,
    pub log: Log,
    pub images: Images,
    pub files: Files,
}

impl Supervisor {
    pub fn new(
        listener: Listener,
        killable: bool,
        log: Log,
        pending: Option<Pending>,
    ) -> Result<Supervisor, Errno> {
        Ok(Supervisor {
            listener,
            pending,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            unmapping: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            killable,
            filters: filters_of("self").map_or(u32::MAX, |own| own + 1),
            unseen: AtomicBool::new(false),
            log,
            images: Images::default(),
            files: Files::default(),
        })
    }

    pub fn tell(&self, id: u64, answer: Answer) {
        self.listener.answer(id, answer);
        if let Some(pending) = self.pending {
            pending.done(id);
        }
    }

    /// The image of thread `tid`; the log begins with it.
    pub fn image(&self, tid: i32) -> Result<Arc<Image>, Errno> {
        let image = self.images.of(tid)?;
        if !image.seen.swap(true, Ordering::Relaxed) {
            let number = EventData::new_u64(image.number.into());
            if let Some(pidfd) = &image.pidfd {
                epoll::add(&self.epoll, pidfd, number, EventFlags::IN)?;
            }
            if self.log.has(Level::Info) {
                greet(&self.log, &image);
            }
        }
        Ok(image)
    }

    /// The image of thread `tid`, if it is ours: not where the library is in it.
    pub fn own_image(&self, tid: i32) -> Option<Arc<Image>> {
        let image = self.image(tid).ok();
        image.filter(|image| !image.is_preloaded())
    }

    pub fn includes(&self) -> impl Fn(&[u8]) -> bool {
        let files = self.log.settings.files;
        move |path: &[u8]| files.includes(path)
    }

    pub fn patience(&self) -> Patience {
        Patience::new(self.log.settings.deadline_ms.0.saturating_mul(1_000_000))
    }

    /// Those that argument number `n`, a descriptor, is open on.
    pub fn files_of(&self, call: &Notification, n: usize) -> Vec<Arc<File>> {
        let (tid, fd) = (call.tid, call.args[n] as i32);
        self.files.known_by_link(format!("/proc/{tid}/fd/{fd}"))
    }

    /// The path at `address`, as it can be looked at from here; nothing where it cannot be read.
    pub fn path(&self, call: &Notification, directory: i32, address: u64) -> Option<OsString> {
        let tid = call.tid;
        let path = read_string(tid as i32, address as usize)?;
        let (from, rest) = match path.as_slice() {
            [b'/', ..] => {
                let own = path
                    .strip_prefix(b"/proc/self/")
                    .map(|rest| (format!("/proc/{tid}/"), rest));
                let fd = || path.strip_prefix(b"/dev/fd/");
                let own = own.or_else(|| fd().map(|rest| (format!("/proc/{tid}/fd/"), rest)));
                own.unwrap_or_else(|| (format!("/proc/{tid}/root"), &path))
            }
            _ if directory == libc::AT_FDCWD => (format!("/proc/{tid}/cwd/"), path.as_slice()),
            _ => (format!("/proc/{tid}/fd/{directory}/"), path.as_slice()),
        };
        Some(OsString::from_vec([from.as_bytes(), rest].concat()))
    }
}

/// How many seccomp filters a thread has (proc_pid_status(5), Linux 5.9).
pub fn filters_of(tid: impl std::fmt::Display) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let mut lines = status.lines();
    let number = lines.find_map(|line| line.strip_prefix("Seccomp_filters:"))?;
    number.trim().parse().ok()
}

/// Says once at info that the image is supervised.
fn greet(log: &Log, image: &Image) {
    let message = format!(
        "keepmydata {} supervises; {}",
        env!("CARGO_PKG_VERSION"),
        log.settings
    );
    report::say(log, image, image.pid, Level::Info, event::START, &message);
}
