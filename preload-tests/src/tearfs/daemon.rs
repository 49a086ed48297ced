//! The daemon's state, and what can be asked of it apart from FUSE requests.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use fuser::{Errno, FileHandle, Notifier};

use super::backend::View;
use super::cluster::{Client, Coherence, Teller};
use super::file::Contents;
use super::inode::Inode;
use super::locks::Locks;
use super::modes::{Context, Effect, Mode, Parameters};
use super::names::Names;
use super::oplog::{Did, OpLog};
use super::options::Options;
use super::select::Selector;
use super::timers::Timers;

/// Handles carry the number of the power cut before which they were opened.
const CUT_SHIFT: u32 = 40;

pub struct Daemon {
    pub options: Options,
    pub parameters: Parameters,
    pub selector: Selector,
    pub names: RwLock<Names>,
    pub log: Arc<OpLog>,
    pub timers: Timers,
    /// Record locks of a cluster.
    pub locks: Mutex<Locks>,
    /// Of each client, set once it is mounted.
    tellers: [OnceLock<Teller>; 2],
    /// The mode, and how often it was switched.
    mode: Mutex<(Mode, u64)>,
    cuts: AtomicU64,
    handles: AtomicU64,
    /// Replies and late writes that wait for their time.
    waiting: Arc<AtomicU64>,
}

impl Daemon {
    pub fn new(options: Options, log: OpLog) -> Self {
        let mut names = Names::new(
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        names.reuses = options.reuse_numbers;
        Self {
            parameters: options.parameters(),
            selector: options.selector(),
            names: RwLock::new(names),
            log: Arc::new(log),
            timers: Timers::start(),
            locks: Mutex::default(),
            tellers: Default::default(),
            mode: Mutex::new((options.mode, 0)),
            cuts: AtomicU64::new(0),
            handles: AtomicU64::new(0),
            waiting: Arc::default(),
            options,
        }
    }

    pub fn mode(&self) -> Mode {
        self.mode.lock().expect("mode").0
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            now: Instant::now(),
            parameters: &self.parameters,
            selector: &self.selector,
        }
    }

    /// The file's contents as they are now, locked.
    ///
    /// # Errors
    /// EISDIR for a directory.
    pub fn contents<'a>(&self, inode: &'a Inode) -> Result<MutexGuard<'a, Contents>, Errno> {
        let mut contents = inode.contents()?;
        let (mode, switch) = *self.mode.lock().expect("mode");
        let applied = contents.catch_up(Instant::now(), mode, switch);
        if applied > 0 {
            let effect = Effect::new("applied late", applied);
            self.log.count(mode, effect);
            self.log.line(format_args!(
                "Apply: ino({}){}",
                inode.ino,
                Did(mode, effect)
            ));
        }
        Ok(contents)
    }

    /// Does what is due at the file when it is due, not only when the file is next used.
    pub fn watch(self: &Arc<Self>, inode: &Arc<Inode>, contents: &Contents) {
        if let Some(due) = contents.backend.next_due() {
            let (daemon, inode) = (Arc::clone(self), Arc::downgrade(inode));
            self.timers.at(due, move || {
                if let Some(inode) = inode.upgrade() {
                    drop(daemon.contents(&inode));
                }
            });
        }
    }

    /// Runs the job now, or after the delay without holding anybody up.
    pub fn after(&self, delay_ms: u64, job: impl FnOnce() + Send + 'static) {
        if delay_ms == 0 {
            return job();
        }
        let waiting = Arc::clone(&self.waiting);
        waiting.fetch_add(1, Ordering::SeqCst);
        self.timers.at(
            Instant::now() + Duration::from_millis(delay_ms),
            move || {
                job();
                waiting.fetch_sub(1, Ordering::SeqCst);
            },
        );
    }

    /// The client is mounted.
    pub fn mounted(&self, client: Client, notifier: Notifier) {
        let _ = self.tellers[client.index()].set(Teller::start(notifier));
    }

    fn teller(&self, client: Client) -> Option<&Teller> {
        self.tellers[client.index()].get()
    }

    /// The client has changed the file: what the other one is told, and when.
    pub fn changed(&self, client: Client, inode: &Inode) {
        inode.changed_by(client);
        let Some(other) = self.teller(client.other()) else {
            return;
        };
        match self.options.coherence {
            Coherence::Coherent | Coherence::StaleWriteback => other.forget(inode.nodes()),
            Coherence::Propagation => {
                let (other, nodes) = (other.clone(), inode.nodes());
                let due = Instant::now() + self.options.coherence_time();
                self.timers.at(due, move || other.forget(nodes));
            }
            Coherence::AttributeCache
            | Coherence::CloseToOpen
            | Coherence::LateOpen
            | Coherence::OnLock
            | Coherence::OnOpen
            | Coherence::Recall
            | Coherence::NoInvalidation => {}
        }
    }

    /// Runs the job once the other client has done what it was told.
    pub fn after_telling(&self, client: Client, job: impl FnOnce() + Send + 'static) {
        match self.teller(client.other()) {
            None => job(),
            Some(other) => other.then(move |_| job()),
        }
    }

    /// The client has got a record lock: runs the job once it has dropped what it must.
    pub fn after_lock(&self, client: Client, inode: &Inode, job: impl FnOnce() + Send + 'static) {
        match self.teller(client) {
            Some(own) if self.options.coherence == Coherence::OnLock => {
                own.forget(inode.nodes());
                own.then(move |_| job());
            }
            _ => job(),
        }
    }

    /// The client opens the file: runs the job once the other has dropped what it must.
    pub fn after_open(
        &self,
        client: Client,
        inode: &Inode,
        flags: i32,
        job: impl FnOnce() + Send + 'static,
    ) {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let takes = match self.options.coherence {
            Coherence::OnOpen => writes,
            Coherence::Recall => writes | inode.take_change_of(client.other()),
            _ => false,
        };
        match self.teller(client.other()) {
            Some(other) if takes => {
                other.forget(inode.nodes());
                other.then(move |_| job());
            }
            _ => job(),
        }
    }

    pub fn new_handle(&self) -> FileHandle {
        let number = self.handles.fetch_add(1, Ordering::Relaxed) + 1;
        FileHandle(self.cuts.load(Ordering::SeqCst) << CUT_SHIFT | number)
    }

    /// Whether a descriptor was opened since the last power cut: of a machine that lost power
    /// no descriptor is left, so what is written through an older one must not reach the
    /// backend, and its FSYNC must not succeed. To be asked with the contents locked.
    ///
    /// # Errors
    /// EIO if it was not.
    pub fn check_handle(&self, handle: FileHandle) -> Result<(), Errno> {
        if handle.0 >> CUT_SHIFT == self.cuts.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(Errno::EIO)
        }
    }

    /// # Errors
    /// ENOENT; EISDIR for a directory.
    pub fn file_at(&self, path: &str) -> Result<Arc<Inode>, Errno> {
        let inode = self
            .names
            .read()
            .expect("names")
            .resolve(OsStr::new(path))?;
        drop(inode.contents()?);
        Ok(inode)
    }

    /// Bytes of the file at a path; fewer than `len` at its end.
    ///
    /// # Errors
    /// ENOENT; EISDIR for a directory.
    pub fn view(&self, path: &str, view: View, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let inode = self.file_at(path)?;
        let contents = self.contents(&inode)?;
        let rest = contents.backend.size().saturating_sub(offset);
        let mut data = vec![0; len.min(usize::try_from(rest).unwrap_or(usize::MAX))];
        contents.backend.read(view, offset, &mut data);
        Ok(data)
    }

    /// All bytes of the file at a path, at one moment: what survives a power cut, and what READ is answered with.
    ///
    /// # Errors
    /// ENOENT; EISDIR for a directory.
    pub fn both(&self, path: &str) -> Result<[Vec<u8>; 2], Errno> {
        let inode = self.file_at(path)?;
        let contents = self.contents(&inode)?;
        let size = usize::try_from(contents.backend.size()).map_err(|_| Errno::EFBIG)?;
        let mut both = [vec![0; size], vec![0; size]];
        contents.backend.read(View::Stable, 0, &mut both[0]);
        contents.served(0, &mut both[1], Instant::now());
        Ok(both)
    }

    /// The pages of the file at a path that are acknowledged but not applied.
    ///
    /// # Errors
    /// ENOENT; EISDIR for a directory.
    pub fn held(&self, path: &str) -> Result<Vec<u64>, Errno> {
        let inode = self.file_at(path)?;
        let contents = self.contents(&inode)?;
        Ok(contents.backend.held().collect())
    }

    /// The power fails: see `--help`. How many pages were lost.
    pub fn cut(&self) -> usize {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        let mode = self.mode();
        let files = self.names.read().expect("names").files();
        let mut lost = 0;
        for inode in &files {
            // What was due until now did reach the disk.
            if let Ok(mut contents) = self.contents(inode) {
                lost += contents.cut(mode);
            }
        }
        self.log.line(format_args!("Cut: lost({lost})"));
        self.drop_caches(&files);
        lost
    }

    /// Has the kernel forget what it caches of the files. Dirty pages it writes back first;
    /// after a cut those writes fail. The requests come while this waits: no lock is held.
    fn drop_caches(&self, files: &[Arc<Inode>]) {
        for teller in self.tellers.iter().filter_map(OnceLock::get) {
            for node in files.iter().flat_map(|inode| inode.nodes()) {
                // EAGAIN or the like: a page that cannot be dropped stays, as it may.
                let _ = teller.notifier.inval_inode(node, 0, 0);
            }
        }
    }

    /// Goes on in another mode. What the old one holds stays held until an FSYNC.
    pub fn switch(&self, mode: Mode) {
        let mut current = self.mode.lock().expect("mode");
        *current = (mode, current.1 + 1);
        self.log.line(format_args!("Mode: {}", mode.word()));
    }

    /// Returns once nothing is pending that time alone brings about.
    pub fn settle(&self) {
        loop {
            let files = self.names.read().expect("names").files();
            let dues = files
                .iter()
                .filter_map(|inode| self.contents(inode).ok()?.next_due());
            let now = Instant::now();
            match dues.filter(|due| *due > now).max() {
                Some(due) => thread::sleep(due - now),
                None if self.waiting.load(Ordering::SeqCst) > 0 => {
                    thread::sleep(Duration::from_millis(1));
                }
                None => return,
            }
        }
    }
}
