//! One client's side: a process that does on its mount what it is asked over standard input, one JSON object a line, and
//! answers over standard output. `keepmydata doctor-client`; it may run on another machine.

use super::case::{LENGTH, NEW, Sees, Step, Watched, Way};
use super::turns::{Turn, Turned};
use crate::doctor::filesystem::Filesystem;
use crate::failure::Failure;
use crate::run::reason;
use crate::sys::{self, Aligned, Mapping, lock_records};
use keepmydata_sys::cachestat::{Cached, cachestat};
use rustix::fs::{Advice, AtFlags, StatxAttributes, StatxFlags, fadvise, statx};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::c_int;
use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The subcommand.
pub const NAME: &str = "doctor-client";
/// Of what is spoken; both sides must have the same.
pub const PROTOCOL: u32 = 4;

const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// What has been seen is to stay for so long.
const STAYS: Duration = Duration::from_secs(1);

/// What is asked. Files are names in the directory of the trials.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// What is mounted at this directory, in which the trials are to be.
    Hello { directory: PathBuf },
    /// Makes the directory of the trials.
    Make { name: String },
    /// Goes there.
    Enter { name: String },
    /// Makes a file of a text, and syncs it.
    Put { file: String, text: String },
    /// The text of a file.
    Get { file: String },
    /// Makes a file of this byte, syncs it, and opens and maps it to store.
    Prepare {
        file: String,
        byte: u8,
        length: usize,
        hold: bool,
    },
    /// Reads the old data.
    Prime { file: String, way: Way },
    /// Stores new data through a mapping, and does the step.
    Store { file: String, step: Step },
    /// Looks until it sees new data, for so long at most.
    Watch { file: String, limit_ms: u64 },
    /// A turn of two writers that take turns.
    Turn(Turn),
    /// Looks no longer.
    Stop,
    /// Removes the directory of the trials.
    Remove,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    pub number: u64,
    pub ask: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Answered {
    pub number: u64,
    pub answer: Result<Value, String>,
}

/// Who answers, and for what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    pub protocol: u32,
    /// Without symbolic links.
    pub directory: PathBuf,
    /// `fuse.sshfs`.
    pub kind: String,
    /// One line: type, source, mount point, daemon.
    pub summary: String,
    pub options: String,
    /// The kernel's number of the filesystem, and the machine's boot, in which that means something.
    pub device: u64,
    pub boot: String,
}

/// How a store and its sync went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    pub msync_ns: u64,
}

/// What the doctor runs for each client; not for people.
pub fn command() -> clap::Command {
    clap::Command::new(NAME).hide(true)
}

/// Answers until its input ends.
pub fn serve() -> Result<c_int, Failure> {
    // Whoever asks ends it: what it made is to be removed first.
    sys::note_interruptions();
    let side = Arc::new(Side::default());
    let failed = |error: io::Error| Failure::of("standard input", &error);
    for line in io::stdin().lock().lines() {
        let asked: Asked = serde_json::from_str(&line.map_err(failed)?)
            .map_err(|error| Failure::own(format!("{NAME}: {error}")))?;
        let side = Arc::clone(&side);
        // Readers look for seconds, and others go on meanwhile.
        thread::spawn(move || {
            let answered = Answered {
                number: asked.number,
                answer: side.answer(asked.ask),
            };
            if let Ok(line) = serde_json::to_string(&answered) {
                // Whoever asked is gone.
                let _ = writeln!(io::stdout().lock(), "{line}");
            }
        });
    }
    Ok(0)
}

#[derive(Default)]
struct Side {
    /// Where files are.
    place: Mutex<PathBuf>,
    cases: Mutex<HashMap<String, Arc<Mutex<Open>>>>,
    stopped: AtomicBool,
}

/// What is held of a file.
#[derive(Default)]
pub struct Open {
    way: Option<Way>,
    file: Option<File>,
    mapping: Option<Mapping>,
    writer: Option<(File, Mapping)>,
}

impl Side {
    fn answer(&self, ask: Ask) -> Result<Value, String> {
        let done = |result: io::Result<()>| result.map(|()| Value::Null);
        let answer = match ask {
            Ask::Hello { directory } => self.hello(&directory).map(|about| to_json(&about)),
            Ask::Make { name } => done(fs::create_dir(self.path(&name))),
            Ask::Enter { name } => done(self.enter(&name)),
            Ask::Put { file, text } => done(self.put(&file, text.as_bytes())),
            Ask::Get { file } => fs::read_to_string(self.path(&file)).map(Value::String),
            Ask::Prepare {
                file,
                byte,
                length,
                hold,
            } => done(self.prepare(&file, &vec![byte; length], hold)),
            Ask::Prime { file, way } => self.prime(&file, way).map(|sees| to_json(&sees)),
            Ask::Store { file, step } => self.store(&file, step).map(|stored| to_json(&stored)),
            Ask::Watch { file, limit_ms } => self.watch(&file, limit_ms).map(|seen| to_json(&seen)),
            Ask::Turn(turn) => {
                let turned = turn.take(&self.path(&turn.file));
                turned.map(|turned: Turned| to_json(&turned))
            }
            Ask::Stop => {
                self.stopped.store(true, Ordering::Relaxed);
                Ok(Value::Null)
            }
            Ask::Remove => done(self.remove()),
        };
        answer.map_err(|error| reason(&error))
    }

    fn path(&self, file: &str) -> PathBuf {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.join(file)
    }

    fn open(&self, file: &str) -> Arc<Mutex<Open>> {
        let mut cases = self.cases.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cases.entry(file.to_owned()).or_default())
    }

    fn hello(&self, directory: &std::path::Path) -> io::Result<About> {
        let directory = directory.canonicalize()?;
        let metadata = fs::metadata(&directory)?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let filesystem = Filesystem::look(&directory)?;
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = directory.clone();
        Ok(About {
            protocol: PROTOCOL,
            directory,
            kind: filesystem.kind().to_owned(),
            summary: filesystem.summary(),
            options: filesystem.options().to_owned(),
            device: metadata.dev(),
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
        })
    }

    fn enter(&self, name: &str) -> io::Result<()> {
        let place = self.path(name);
        if !fs::metadata(&place)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        Ok(())
    }

    fn put(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(self.path(file))?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()
    }

    fn prepare(&self, file: &str, bytes: &[u8], hold: bool) -> io::Result<()> {
        self.put(file, bytes)?;
        if hold {
            let writer = self.writer(file)?;
            let open = self.open(file);
            open.lock().unwrap_or_else(PoisonError::into_inner).writer = Some(writer);
        }
        Ok(())
    }

    fn writer(&self, file: &str) -> io::Result<(File, Mapping)> {
        let path = self.path(file);
        let file = File::options().read(true).write(true).open(path)?;
        let mapping = Mapping::new(&file, LENGTH)?;
        Ok((file, mapping))
    }

    fn prime(&self, file: &str, way: Way) -> io::Result<Sees> {
        let path = self.path(file);
        let open = self.open(file);
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.way = Some(way);
        if !matches!(way, Way::Fresh | Way::Direct) {
            open.file = Some(File::open(&path)?);
        }
        if way == Way::Mapping {
            let file = open.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
            open.mapping = Some(Mapping::readable(file, LENGTH)?);
        }
        Ok(open.look(&path, way)?.0)
    }

    fn store(&self, file: &str, step: Step) -> io::Result<Stored> {
        let open = self.open(file);
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let (writer, mapping) = match open.writer.take() {
            Some(held) => held,
            None => self.writer(file)?,
        };
        mapping.store(0, &[NEW; LENGTH]);
        let started = Instant::now();
        mapping.sync()?;
        let msync_ns = started.elapsed().as_nanos() as u64;
        if step >= Step::Fsync {
            writer.sync_all()?;
        }
        match step {
            Step::Msync | Step::Fsync => open.file = Some(writer),
            // What close(2) says is another trial's business.
            Step::Close | Step::Unmap => drop(writer),
        }
        match step {
            Step::Unmap => drop(mapping),
            _ => open.mapping = Some(mapping),
        }
        Ok(Stored { msync_ns })
    }

    fn watch(&self, file: &str, limit_ms: u64) -> io::Result<Watched> {
        let began = Instant::now();
        let path = self.path(file);
        let open = self.open(file);
        let open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let way = open.way.ok_or(io::ErrorKind::NotFound)?;
        let ms = |at: Instant| at.duration_since(began).as_millis() as u64;
        let mut pause = Duration::from_millis(1);
        let (mut first, mut mixed) = (true, false);
        loop {
            let at = Instant::now();
            let (sees, evicted) = open.look(&path, way)?;
            let evicted = evicted && !first && sees == Sees::New;
            mixed |= sees == Sees::Mixed;
            let found = match sees {
                // That says nothing of what the other client does.
                _ if evicted => None,
                Sees::New if first => Some(0),
                Sees::New => Some(ms(at).max(1)),
                _ => None,
            };
            let is_over = ms(Instant::now()) >= limit_ms;
            if found.is_some() || evicted || is_over || self.stopped.load(Ordering::Relaxed) {
                let old_again_ms = match found {
                    Some(_) => self.old_again(|| Ok(open.look(&path, way)?.0))?,
                    None => None,
                };
                return Ok(Watched {
                    new_after_ms: found,
                    looked_ms: ms(Instant::now()),
                    mixed,
                    evicted,
                    old_again_ms,
                });
            }
            first = false;
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Replicas that are behind, or a cache, may bring it back.
    fn old_again(&self, look: impl Fn() -> io::Result<Sees>) -> io::Result<Option<u64>> {
        let began = Instant::now();
        while began.elapsed() < STAYS && !self.stopped.load(Ordering::Relaxed) {
            thread::sleep(LONGEST_PAUSE);
            if look()? != Sees::New {
                return Ok(Some(began.elapsed().as_millis() as u64));
            }
        }
        Ok(None)
    }

    fn remove(&self) -> io::Result<()> {
        self.cases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        fs::remove_dir_all(self.path(""))
    }
}

impl Open {
    /// One look, and whether the kernel had evicted pages that it had cached before.
    fn look(&self, path: &std::path::Path, way: Way) -> io::Result<(Sees, bool)> {
        let held = || {
            self.file
                .as_ref()
                .ok_or(io::Error::from(io::ErrorKind::NotFound))
        };
        let after_all = |file: &File, read: &dyn Fn() -> io::Result<Sees>| {
            let evicted = has_evicted(file);
            Ok((read()?, evicted))
        };
        match way {
            Way::Held => after_all(held()?, &|| read(held()?)),
            Way::Fresh => {
                let file = File::open(path)?;
                after_all(&file, &|| read(&file))
            }
            Way::Direct => {
                let flags = libc::O_DIRECT;
                let file = File::options().read(true).custom_flags(flags).open(path)?;
                Ok((read(&file)?, false))
            }
            Way::Mapping => {
                let mapping = self.mapping.as_ref().ok_or(io::ErrorKind::NotFound)?;
                let load = || {
                    let mut bytes = vec![0; LENGTH];
                    mapping.load(0, &mut bytes);
                    Ok(Sees::of(&bytes))
                };
                after_all(held()?, &load)
            }
            Way::Lock => {
                let file = held()?;
                let _lock = lock_records(file, false)?;
                after_all(file, &|| read(file))
            }
            Way::Drop => {
                let file = held()?;
                fadvise(file, 0, None, Advice::DontNeed)?;
                Ok((read(file)?, false))
            }
        }
    }
}

/// Whether pages were evicted for want of memory, which leaves a trace; what a filesystem drops leaves none. Where that cannot be
/// told (before Linux 6.5, on DAX), none were.
fn has_evicted(file: &File) -> bool {
    let quietly = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let dax = statx(file, c"", quietly, StatxFlags::TYPE).map_or(true, |found| {
        found.stx_attributes.contains(StatxAttributes::DAX)
    });
    let counted = Cached::new(file.as_fd(), dax).map(|file| cachestat(file, 0, 0));
    counted.is_some_and(|counted| counted.is_ok_and(|stat| stat.evicted > 0))
}

fn read(file: &File) -> io::Result<Sees> {
    let mut room = Aligned::new(LENGTH);
    let bytes = room.bytes();
    file.read_exact_at(bytes, 0)?;
    Ok(Sees::of(bytes))
}

fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
