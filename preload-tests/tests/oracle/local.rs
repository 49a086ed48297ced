//! Filesystems of the kernel's own on a disk in memory, which can be full, and what is on that disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use preload_tests::harness::{EXT4_WITHOUT_JOURNAL, Scratch, installed, run_on};
use rustix::fs::FallocateFlags;
use serde_json::{Value, json};

/// What becomes of the room once a program's file is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Room {
    Plenty,
    /// The filesystem believes that it has room, and the disk has none: the file's blocks are taken from below it, and
    /// on ext4 all that are free.
    ///
    /// There must be none at all. A loop device takes a write of which only a part found room for a good one, as a
    /// lying disk does; where the write finds no room for its first page, it fails.
    DiskFull,
    /// The filesystem has no room but for a few pages.
    FsFull,
}

/// Bytes that [`Room::FsFull`] leaves.
const LEFT: u64 = 3 * 4096;

/// A mounted filesystem, unmounted when dropped.
pub struct Local {
    server: Option<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
    state: Arc<State>,
    /// Where programs make their files.
    pub dir: PathBuf,
    scratch: Scratch,
}

/// What the questions are answered from.
struct State {
    room: Room,
    /// Where the files lie on the filesystem itself.
    files: PathBuf,
    /// The directory that the image lies in, a tmpfs.
    below: PathBuf,
    point: PathBuf,
    image: File,
    btrfs: bool,
    /// What the filesystem writes of its own finds room: the image has all of its blocks but those of the file.
    whole: bool,
    /// Of the tmpfs, bytes.
    size: u64,
    changing: Mutex<()>,
}

impl Local {
    /// # Errors
    /// Why this machine has no such filesystem.
    pub fn mount(kind: &str, overlay: bool, room: Room) -> Result<Self, String> {
        let mkfs = format!("mkfs.{kind}");
        installed(&mkfs)?;
        let scratch = Scratch::new();
        let (below, point) = (scratch.path("below"), scratch.path("mount"));
        for directory in [&below, &point] {
            fs::create_dir(directory).map_err(|error| error.to_string())?;
        }
        let (megabytes, arguments, options): (u64, &[&str], &str) = match kind {
            "ext4" if room == Room::DiskFull => (64, EXT4_WITHOUT_JOURNAL, "loop"),
            "ext4" => (64, &["-q", "-b", "4096", "-m", "0"], "loop"),
            "xfs" => (300, &["-q", "-K"], "loop"),
            "btrfs" => (
                if room == Room::FsFull { 114 } else { 160 },
                &["-q", "-K", "-m", "single", "-d", "single"],
                // Written in place, and never together with what describes it.
                if room == Room::DiskFull {
                    "loop,nodatacow,max_inline=0"
                } else {
                    "loop,max_inline=0"
                },
            ),
            _ => return Err(format!("no such filesystem: {kind}")),
        };
        let size = format!("size={}m", megabytes + 16);
        run_on("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], &below)?;
        let image = below.join("image");
        File::create(&image)
            .and_then(|file| file.set_len(megabytes << 20))
            .map_err(|error| error.to_string())?;
        if room == Room::DiskFull && kind != "ext4" {
            // They write elsewhere what they change of their own.
            run_on("fallocate", &["-l", &(megabytes << 20).to_string()], &image)?;
        }
        run_on(&mkfs, arguments, &image)?;
        let device = image.to_str().ok_or("path")?;
        run_on("mount", &["-t", kind, "-o", options, device], &point)?;
        let mut dir = point.clone();
        let mut files = point.clone();
        if overlay {
            let [lower, upper, work] = ["lower", "upper", "work"].map(|name| point.join(name));
            dir = scratch.path("overlay");
            for directory in [&lower, &upper, &work, &dir] {
                fs::create_dir(directory).map_err(|error| error.to_string())?;
            }
            let layers = format!(
                "lowerdir={},upperdir={},workdir={}",
                lower.display(),
                upper.display(),
                work.display()
            );
            run_on("mount", &["-t", "overlay", "-o", &layers, "overlay"], &dir)?;
            files = upper;
        }
        let state = Arc::new(State {
            room,
            files,
            image: File::options()
                .read(true)
                .write(true)
                .open(&image)
                .map_err(|error| error.to_string())?,
            below,
            point,
            btrfs: kind == "btrfs",
            whole: kind != "ext4",
            size: (megabytes + 16) << 20,
            changing: Mutex::default(),
        });
        let listener =
            UnixListener::bind(scratch.path("control")).map_err(|error| error.to_string())?;
        let stopping = Arc::new(AtomicBool::new(false));
        let server = std::thread::spawn({
            let (state, stopping) = (Arc::clone(&state), Arc::clone(&stopping));
            move || serve(&listener, &state, &stopping)
        });
        Ok(Self {
            server: Some(server),
            stopping,
            state,
            dir,
            scratch,
        })
    }

    /// Where it can be asked what the disk has: the operations `ends` and `mode` of the test bed.
    pub fn control_socket(&self) -> PathBuf {
        self.scratch.path("control")
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // What waits for the next client is woken by one.
        let _ = UnixStream::connect(self.control_socket());
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
        // With room, all that is still to be written can be.
        self.state.make_room();
    }
}

fn serve(listener: &UnixListener, state: &Arc<State>, stopping: &AtomicBool) {
    for stream in listener.incoming().flatten() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            let mut writer = &stream;
            for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                let answer = match state.answer(&line) {
                    Ok(mut answer) => {
                        answer["ok"] = true.into();
                        answer
                    }
                    Err(error) => json!({"ok": false, "error": error.to_string()}),
                };
                if writeln!(writer, "{answer}").is_err() {
                    return;
                }
            }
        });
    }
}

impl State {
    fn answer(&self, line: &str) -> io::Result<Value> {
        let request: Value = serde_json::from_str(line)?;
        match request["op"].as_str() {
            Some("ends") => self.ends(&request),
            Some("mode") => {
                match request["mode"].as_str() {
                    Some("honest") => self.make_room(),
                    _ => self.take_room(request["path"].as_str().unwrap_or_default())?,
                }
                Ok(json!({}))
            }
            _ => Err(io::Error::other("not understood")),
        }
    }

    fn ends(&self, request: &Value) -> io::Result<Value> {
        let path = request["path"].as_str().unwrap_or_default();
        let block = request["block"].as_u64().unwrap_or(512) as usize;
        let file = File::open(self.files.join(path.trim_start_matches('/')))?;
        let bytes = self.on_disk(&file)?;
        let mut hex = String::new();
        for from in (0..bytes.len()).step_by(block) {
            hex += &format!("{:02x}", bytes[from]);
            if let Some(last) = bytes.get(from + block - 1) {
                hex += &format!("{last:02x}");
            }
        }
        let mut answer = json!({"stable": hex, "served": hex});
        if let Some(at) = request["word"].as_u64() {
            let word = bytes.get(at as usize..).and_then(|rest| rest.first_chunk());
            let word = word.map(|bytes| u64::from_ne_bytes(*bytes));
            answer["stable_word"] = json!(word);
            answer["served_word"] = json!(word);
        }
        Ok(answer)
    }

    /// The file's bytes as they are on the disk. What has no place there yet is zeros.
    fn on_disk(&self, file: &File) -> io::Result<Vec<u8>> {
        let mut extents = extents(file)?;
        for _ in 0..20 {
            let mut bytes = vec![0; file.metadata()?.len() as usize];
            for extent in extents.iter().filter(|extent| extent.is_written()) {
                let from = (extent.logical as usize).min(bytes.len());
                let to = ((extent.logical + extent.length) as usize).min(bytes.len());
                let into = &mut bytes[from..to];
                match extent.has_place() {
                    true => self.read_image(extent.physical, into)?,
                    // Kept where it cannot be found: nothing can be said against it.
                    false => file.read_exact_at(into, extent.logical)?,
                }
            }
            // Was it moved meanwhile?
            let now = self::extents(file)?;
            if now == extents {
                return Ok(bytes);
            }
            extents = now;
        }
        Err(io::Error::other("the file moves about"))
    }

    fn read_image(&self, physical: u64, into: &mut [u8]) -> io::Result<()> {
        self.image.read_exact_at(into, self.on_device(physical)?)
    }

    fn make_room(&self) {
        let _held = self.changing.lock();
        let _ = match self.room {
            Room::Plenty => return,
            Room::DiskFull => self.resize_below(self.size),
            Room::FsFull => File::options()
                .write(true)
                .open(self.point.join("ballast"))
                .and_then(|file| file.set_len(0)),
        };
        // Before the next program, what the last one left.
        if let Ok(point) = File::open(&self.point) {
            let _ = rustix::fs::syncfs(&point);
        }
    }

    /// The file is on the disk; from now on there is no room.
    fn take_room(&self, path: &str) -> io::Result<()> {
        let _held = self.changing.lock();
        match self.room {
            Room::Plenty => Ok(()),
            Room::DiskFull => {
                let file = File::open(self.files.join(path.trim_start_matches('/')))?;
                for extent in extents(&file)?.iter().filter(|extent| extent.has_place()) {
                    let at = self.on_device(extent.physical)?;
                    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    rustix::fs::fallocate(&self.image, flags, at, extent.length)?;
                }
                if !self.whole {
                    trim(&self.point)?;
                }
                let stat = rustix::fs::statvfs(&self.below)?;
                self.resize_below((stat.f_blocks - stat.f_bfree) * stat.f_frsize)
            }
            Room::FsFull => {
                let path = self.point.join("ballast");
                let ballast = File::options()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .open(path)?;
                let stat = rustix::fs::statvfs(&self.point)?;
                let mut most = (stat.f_bavail * stat.f_frsize).saturating_sub(LEFT);
                // What the filesystem needs for it may be more than it says.
                while most > 0
                    && rustix::fs::fallocate(&ballast, FallocateFlags::empty(), 0, most).is_err()
                {
                    most = most.saturating_sub(64 << 10);
                }
                Ok(())
            }
        }
    }

    /// What lies on the tmpfs stays.
    fn resize_below(&self, bytes: u64) -> io::Result<()> {
        let data = std::ffi::CString::new(format!("size={bytes}"))?;
        let flags = rustix::mount::MountFlags::empty();
        Ok(rustix::mount::mount_remount(&self.below, flags, &*data)?)
    }

    fn on_device(&self, physical: u64) -> io::Result<u64> {
        match self.btrfs {
            true => btrfs_physical(&self.point, physical),
            false => Ok(physical),
        }
    }
}

// include/uapi/linux/fs.h
const FITRIM: u64 = 0xc018_5879;

/// Has the filesystem give back its free blocks, which become holes of the image.
fn trim(point: &Path) -> io::Result<()> {
    let directory = File::open(point)?;
    let mut range = [0, u64::MAX, 0];
    // SAFETY: `struct fstrim_range` is three u64.
    match unsafe { libc::ioctl(directory.as_raw_fd(), FITRIM, range.as_mut_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    flags: u32,
}

// include/uapi/linux/fiemap.h
const FS_IOC_FIEMAP: u64 = 0xc020_660b;
const UNKNOWN: u32 = 0x2;
const DELALLOC: u32 = 0x4;
const ENCODED: u32 = 0x8;
const INLINE: u32 = 0x200;
const UNWRITTEN: u32 = 0x800;
const MOST: usize = 512;

impl Extent {
    fn is_written(&self) -> bool {
        self.flags & (UNKNOWN | DELALLOC | UNWRITTEN) == 0
    }

    fn has_place(&self) -> bool {
        self.flags & (UNKNOWN | DELALLOC | ENCODED | INLINE) == 0
    }
}

/// `struct fiemap` with room for extents.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [[u64; 7]; MOST],
}

/// Where the file lies, without having anything written.
fn extents(file: &File) -> io::Result<Vec<Extent>> {
    let mut map = Box::new(Fiemap {
        start: 0,
        length: u64::MAX,
        flags: 0,
        mapped: 0,
        count: MOST as u32,
        reserved: 0,
        extents: [[0; 7]; MOST],
    });
    // SAFETY: the structure has room for as many extents as it says.
    if unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut *map) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let found = map.extents[..map.mapped as usize].iter();
    Ok(found
        .map(|words| Extent {
            logical: words[0],
            physical: words[1],
            length: words[2],
            flags: words[5] as u32,
        })
        .collect())
}

// include/uapi/linux/btrfs.h and btrfs_tree.h
const BTRFS_IOC_TREE_SEARCH: u64 = 0xd000_9411;
const CHUNK_TREE: u64 = 3;
const FIRST_CHUNK_TREE_OBJECTID: u64 = 256;
const CHUNK_ITEM: u32 = 228;

/// Where on its only device btrfs has this address of its own.
fn btrfs_physical(point: &Path, logical: u64) -> io::Result<u64> {
    let chunks = btrfs_chunks(point)?;
    let chunk = chunks
        .range(..=logical)
        .next_back()
        .filter(|(start, (length, _))| logical - **start < *length);
    let (start, (_, physical)) = chunk.ok_or(io::Error::other("no such chunk"))?;
    Ok(physical + (logical - start))
}

/// By their logical address: length, and where on the device.
fn btrfs_chunks(point: &Path) -> io::Result<BTreeMap<u64, (u64, u64)>> {
    // `struct btrfs_ioctl_search_args`: a key of 13 words, and room for what is found.
    let mut args = [0u64; 512];
    let key = [
        CHUNK_TREE,
        FIRST_CHUNK_TREE_OBJECTID,
        FIRST_CHUNK_TREE_OBJECTID,
        0,
        u64::MAX,
        0,
        u64::MAX,
    ];
    args[..7].copy_from_slice(&key);
    // Two u32 a word: the lowest and highest type, how many.
    args[7] = u64::from(CHUNK_ITEM) << 32 | u64::from(CHUNK_ITEM);
    args[8] = 64;
    let directory = File::open(point)?;
    // SAFETY: the structure is of that size, 4096 bytes.
    if unsafe {
        libc::ioctl(
            directory.as_raw_fd(),
            BTRFS_IOC_TREE_SEARCH,
            args.as_mut_ptr(),
        )
    } != 0
    {
        return Err(io::Error::last_os_error());
    }
    let found = args[8] as u32;
    let bytes: Vec<u8> = args[13..]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    let word = |at: usize| {
        bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |word| u64::from_ne_bytes(*word))
    };
    let mut chunks = BTreeMap::new();
    let mut at = 0;
    for _ in 0..found {
        // A header (transid, objectid, offset, type and length), and the chunk: length first, its stripe after 48 bytes.
        let (logical, length_of_item) = (word(at + 16), (word(at + 24) >> 32) as usize);
        let chunk = at + 32;
        chunks.insert(logical, (word(chunk), word(chunk + 56)));
        at = chunk + length_of_item;
    }
    Ok(chunks)
}
