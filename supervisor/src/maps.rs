//! What a process has mapped: /proc/PID/maps.

use keepmydata_sys::raw;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

/// What identifies the kernel's inode, and so the page cache: device, number, and, where two inodes may show the same,
/// a digest of the kernel's own handle.
pub type Key = (u64, u64, u64);

/// A shared mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    pub start: usize,
    pub end: usize,
    /// In the file, bytes.
    pub offset: u64,
    pub inode: Inode,
    /// Whether it can be stored to as it is now.
    pub writable: bool,
}

/// A file as the kernel names it there: not always as stat(2) does (btrfs, overlayfs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inode {
    pub major: u32,
    pub minor: u32,
    pub number: u64,
}

impl Area {
    /// Where it ends in the file, bytes.
    pub fn end_offset(&self) -> u64 {
        self.offset + (self.end - self.start) as u64
    }

    /// Whether `part` is a part of it, with what it had of the file.
    pub fn has(&self, part: &Area) -> bool {
        self.inode == part.inode
            && self.start <= part.start
            && part.end <= self.end
            && self.offset + (part.start - self.start) as u64 == part.offset
    }

    /// Whether a part of it is in `[start, end)`.
    pub fn overlaps(&self, start: usize, end: usize) -> bool {
        self.start < end && start < self.end
    }

    /// Where it has what lies at `offset` in the file.
    pub fn at(&self, offset: u64) -> usize {
        self.start + (offset - self.offset) as usize
    }
}

/// `struct procmap_query` of `PROCMAP_QUERY` (include/uapi/linux/fs.h, Linux 6.11).
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    vma_flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    major: u32,
    minor: u32,
    name_size: u32,
    build_id_size: u32,
    name: u64,
    build_id: u64,
}

const QUERY: usize = 0xc068_6611;
const WRITABLE: u64 = 1 << 1;
const SHARED: u64 = 1 << 3;
const OR_NEXT: u64 = 1 << 4;
const FILE_BACKED: u64 = 1 << 5;

const _: () = assert!(size_of::<Query>() == 104);

/// /proc/PID/maps, kept open: it stays this memory's, whatever becomes of the process.
pub struct Maps(Mutex<File>);

impl Maps {
    /// Of the process of thread `tid`.
    pub fn of(tid: i32) -> io::Result<Maps> {
        File::open(format!("/proc/{tid}/maps")).map(|file| Maps(Mutex::new(file)))
    }

    /// The shared file mappings, by address. None where the memory is there no more.
    pub fn shared(&self) -> io::Result<Vec<Area>> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut areas = Vec::new();
        let mut at = 0;
        loop {
            match next_shared(&file, at) {
                Ok(area) => {
                    at = area.end;
                    areas.push(area);
                }
                Err(Errno::NOENT | Errno::SRCH) => return Ok(areas),
                // An older kernel, or a sandbox.
                Err(_) => break,
            }
        }
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        Ok(all_in(&text))
    }

    /// Those of them that are of one file; none where they cannot be had.
    pub fn of_file(&self, inode: Inode) -> Vec<Area> {
        let mut areas = self.shared().unwrap_or_default();
        areas.retain(|area| area.inode == inode);
        areas
    }
}

/// The first shared mapping of a file that ends behind `address`.
///
/// Errors: `ENOENT` where there is none, `ESRCH` where the memory is gone, `ENOTTY` before Linux 6.11.
fn next_shared(maps: &File, address: usize) -> Result<Area, Errno> {
    let mut query = Query {
        size: size_of::<Query>() as u64,
        flags: SHARED | OR_NEXT | FILE_BACKED,
        address: address as u64,
        ..Query::default()
    };
    let at = &raw mut query as usize;
    let arguments = [maps.as_raw_fd() as usize, QUERY, at, 0, 0, 0];
    // SAFETY: the query is live, of the size that it says, and names no other memory.
    unsafe { raw::syscall(libc::SYS_ioctl, arguments)? };
    Ok(Area {
        start: query.start as usize,
        end: query.end as usize,
        offset: query.offset,
        inode: Inode {
            major: query.major,
            minor: query.minor,
            number: query.inode,
        },
        writable: query.vma_flags & WRITABLE != 0,
    })
}

fn all_in(text: &[u8]) -> Vec<Area> {
    text.split(|&b| b == b'\n').filter_map(parse).collect()
}

/// The shared file mappings of thread `tid`'s process, by address. None where it has no memory any more.
pub fn shared(tid: i32) -> io::Result<Vec<Area>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{tid}/maps"))?.read_to_end(&mut text)?;
    Ok(all_in(&text))
}

/// Whether thread `tid`'s process has a part of `area` locked in memory (`lo` of smaps); yes where that cannot be told.
pub fn is_locked(tid: i32, area: &Area) -> bool {
    let Ok(text) = std::fs::read(format!("/proc/{tid}/smaps")) else {
        return true;
    };
    let mut is_in = false;
    for line in text.split(|&b| b == b'\n') {
        if let Some(flags) = line.strip_prefix(b"VmFlags:") {
            if is_in && flags.split(|&b| b == b' ').any(|flag| flag == b"lo") {
                return true;
            }
        } else if let Some(dash) = line.iter().position(|&b| b == b'-') {
            let hex = |bytes| usize::from_str_radix(std::str::from_utf8(bytes).ok()?, 16).ok();
            let rest = line[dash + 1..].split(|&b| b == b' ').next();
            if let (Some(start), Some(end)) = (hex(&line[..dash]), rest.and_then(hex)) {
                is_in = area.overlaps(start, end);
            }
        }
    }
    false
}

/// How the calling process's own mapping at `address` is named.
pub fn own(address: usize) -> io::Result<Option<Inode>> {
    let maps = File::open("/proc/self/maps")?;
    let areas = match next_shared(&maps, address) {
        Ok(area) => vec![area],
        Err(_) => {
            let mut text = Vec::new();
            (&maps).read_to_end(&mut text)?;
            all_in(&text)
        }
    };
    let mut areas = areas.iter();
    let found = areas.find(|area| (area.start..area.end).contains(&address));
    Ok(found.map(|area| area.inode))
}

/// `7f00-7f01 rw-s 00001000 08:01 131 /path`; nothing where it is private, or no file.
fn parse(line: &[u8]) -> Option<Area> {
    // A path may hold any bytes, and nothing before it does.
    let mut words = line.splitn(6, |&b| b == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let (range, rights, offset) = (word()?, word()?, word()?);
    if rights.as_bytes().get(3) != Some(&b's') {
        return None;
    }
    let (device, number) = (word()?, word()?);
    let (start, end) = range.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let number = number.parse().ok().filter(|&number| number != 0)?;
    Some(Area {
        start: hex(start)? as usize,
        end: hex(end)? as usize,
        offset: hex(offset)?,
        inode: Inode {
            major: hex(major)? as u32,
            minor: hex(minor)? as u32,
            number,
        },
        writable: rights.as_bytes()[1] == b'w',
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_mappings_of_files_are_found() {
        let area = parse(b"7f0000001000-7f0000003000 rw-s 00004000 fd:1f 131  /a b (deleted)");
        let area = area.expect("an area");
        assert_eq!((area.start, area.end), (0x7f00_0000_1000, 0x7f00_0000_3000));
        assert_eq!((area.offset, area.end_offset()), (0x4000, 0x6000));
        assert_eq!((area.inode.major, area.inode.minor), (0xfd, 0x1f));
        assert_eq!(area.inode.number, 131);
        assert!(area.writable);
        assert_eq!(area.at(0x5000), 0x7f00_0000_2000);
        for line in [
            &b"7f00-7f01 rw-p 00001000 08:01 131 /path"[..],
            b"7f00-7f01 rw-s 00000000 00:00 0 ",
            b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]",
            b"",
        ] {
            assert_eq!(parse(line), None);
        }
    }

    #[test]
    fn the_kernel_tells_of_them_as_the_text_does() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1 << 20).expect("a size");
        let protections = [libc::PROT_READ, libc::PROT_WRITE, libc::PROT_NONE];
        for (n, protection) in protections.into_iter().enumerate() {
            // SAFETY: new mappings, which stay.
            unsafe {
                let (shared, fd) = (libc::MAP_SHARED, file.as_raw_fd());
                let at = libc::mmap(
                    std::ptr::null_mut(),
                    8192,
                    protection,
                    shared,
                    fd,
                    4096 << n,
                );
                assert_ne!(at, libc::MAP_FAILED);
            }
        }
        let maps = Maps::of(std::process::id() as i32).expect("maps");
        // Other tests map and unmap meanwhile.
        let is_same = || {
            let areas = maps.shared().expect("areas");
            assert!(areas.len() >= protections.len());
            areas == shared(std::process::id() as i32).expect("areas")
        };
        assert!((0..100).any(|_| is_same()));
    }

    #[test]
    fn a_mapping_of_its_own_is_named_as_in_the_file() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(4096).expect("a size");
        // SAFETY: a new mapping, which stays.
        let at = unsafe {
            let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
            let fd = file.as_raw_fd();
            libc::mmap(std::ptr::null_mut(), 4096, read, shared, fd, 0)
        };
        let inode = own(at as usize).expect("maps").expect("a mapping");
        let stat = rustix::fs::fstat(&file).expect("fstat");
        assert_eq!(inode.number, stat.st_ino);
    }
}
