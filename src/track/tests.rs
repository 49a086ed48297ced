//! The address table against the kernel: random mapping calls, checked with /proc/self/maps.

use crate::mappings::lock;
use crate::mappings::table::Entry;
use crate::{boot, next_fn};
use core::ffi::c_void;
use proptest::prelude::*;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, OnceLock};

const PAGE: usize = 4096;
/// Far below where the kernel puts mappings of its own choice, so that nobody else's come between.
const BASE: usize = 0x10_0000_0000;
const PAGES: usize = 96;
const FILE_PAGES: usize = 64;

#[derive(Clone, Debug)]
enum Call {
    Map {
        file: usize,
        at: usize,
        len: usize,
        offset: usize,
        writable: bool,
    },
    MapPrivate {
        file: usize,
        at: usize,
        len: usize,
    },
    MapAnonymous {
        at: usize,
        len: usize,
    },
    MapFails {
        at: usize,
        len: usize,
    },
    Unmap {
        at: usize,
        len: usize,
    },
    UnmapMisaligned {
        at: usize,
        len: usize,
    },
    Protect {
        at: usize,
        len: usize,
        prot: i32,
    },
    Resize {
        at: usize,
        old: usize,
        new: usize,
    },
    Move {
        at: usize,
        old: usize,
        new: usize,
        to: usize,
        keep: bool,
    },
    Duplicate {
        at: usize,
        len: usize,
        to: usize,
    },
}

fn call() -> impl Strategy<Value = Call> {
    let at = 0..PAGES - 16;
    let len = 1..16usize;
    prop_oneof![
        4 => (0..3usize, at.clone(), len.clone(), 0..FILE_PAGES - 16, any::<bool>()).prop_map(
            |(file, at, len, offset, writable)| Call::Map { file, at, len, offset, writable }
        ),
        1 => (0..3usize, at.clone(), len.clone())
            .prop_map(|(file, at, len)| Call::MapPrivate { file, at, len }),
        1 => (at.clone(), len.clone()).prop_map(|(at, len)| Call::MapAnonymous { at, len }),
        1 => (at.clone(), len.clone()).prop_map(|(at, len)| Call::MapFails { at, len }),
        3 => (at.clone(), len.clone()).prop_map(|(at, len)| Call::Unmap { at, len }),
        1 => (at.clone(), len.clone()).prop_map(|(at, len)| Call::UnmapMisaligned { at, len }),
        1 => (at.clone(), len.clone(), 0..4i32)
            .prop_map(|(at, len, prot)| Call::Protect { at, len, prot }),
        2 => (at.clone(), len.clone(), len.clone())
            .prop_map(|(at, old, new)| Call::Resize { at, old, new }),
        2 => (at.clone(), len.clone(), len.clone(), at.clone(), any::<bool>())
            .prop_map(|(at, old, new, to, keep)| Call::Move { at, old, new, to, keep }),
        1 => (at.clone(), len, at).prop_map(|(at, len, to)| Call::Duplicate { at, len, to }),
    ]
}

fn place(at: usize) -> usize {
    BASE + at * PAGE
}

fn map(at: usize, len: usize, flags: i32, fd: i32, offset: usize, prot: i32) {
    let (addr, len) = (place(at) as *mut c_void, len * PAGE - 7);
    let (flags, offset) = (flags | libc::MAP_FIXED, (offset * PAGE) as i64);
    // SAFETY: within the region, which is this test's own, and which nobody touches.
    unsafe { super::mmap(addr, len, prot, flags, fd, offset, next_fn::mmap) };
}

fn unmap(addr: usize, len: usize) {
    // SAFETY: as above.
    super::munmap(addr, len, || unsafe {
        next_fn::munmap(addr as *mut c_void, len)
    });
}

fn remap(old: usize, old_len: usize, new_len: usize, flags: i32, new: usize) {
    let (from, to) = (old as *mut c_void, new as *mut c_void);
    // SAFETY: as above.
    let real = || unsafe { next_fn::mremap(from, old_len, new_len, flags, to) };
    super::mremap(old, old_len, new_len, flags, new, real);
}

fn run(call: &Call, files: &[File]) {
    let rw = libc::PROT_READ | libc::PROT_WRITE;
    match *call {
        Call::Map {
            file,
            at,
            len,
            offset,
            writable,
        } => {
            let prot = if writable { rw } else { libc::PROT_READ };
            map(
                at,
                len,
                libc::MAP_SHARED,
                files[file].as_raw_fd(),
                offset,
                prot,
            );
        }
        Call::MapPrivate { file, at, len } => {
            map(at, len, libc::MAP_PRIVATE, files[file].as_raw_fd(), 0, rw);
        }
        Call::MapAnonymous { at, len } => {
            map(at, len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0, rw);
        }
        Call::MapFails { at, len } => map(at, len, libc::MAP_SHARED, 9999, 0, rw),
        Call::Unmap { at, len } => {
            unmap(place(at), len * PAGE - 1);
        }
        Call::UnmapMisaligned { at, len } => {
            unmap(place(at) + 1, len * PAGE);
        }
        Call::Protect { at, len, prot } => {
            // SAFETY: in the region, which nobody touches.
            unsafe { libc::mprotect(place(at) as *mut c_void, len * PAGE, prot) };
        }
        Call::Resize { at, old, new } => {
            remap(place(at), old * PAGE, new * PAGE, 0, 0);
        }
        Call::Move {
            at,
            old,
            new,
            to,
            keep,
        } => {
            let mut flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            let mut new = new;
            if keep {
                (flags, new) = (flags | libc::MREMAP_DONTUNMAP, old);
            }
            remap(place(at), old * PAGE, new * PAGE, flags, place(to));
        }
        Call::Duplicate { at, len, to } => {
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            remap(place(at), 0, len * PAGE, flags, place(to));
        }
    }
}

/// (start, end, offset, inode), neighbours joined as far as one continues the other.
type Mapped = Vec<(usize, usize, u64, u64)>;

fn join(list: &mut Mapped, next: (usize, usize, u64, u64)) {
    if let Some(last) = list.last_mut()
        && last.1 == next.0
        && last.3 == next.3
        && last.2 + (last.1 - last.0) as u64 == next.2
    {
        last.1 = next.1;
    } else {
        list.push(next);
    }
}

fn kernel_view(inodes: &[u64]) -> Mapped {
    let mut list = Mapped::new();
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = fields[0].split_once('-').unwrap();
        let start = usize::from_str_radix(start, 16).unwrap();
        let end = usize::from_str_radix(end, 16).unwrap();
        let offset = u64::from_str_radix(fields[2], 16).unwrap();
        let inode: u64 = fields[4].parse().unwrap();
        let inside = start >= BASE && end <= BASE + PAGES * PAGE;
        if inside && fields[1].ends_with('s') && inodes.contains(&inode) {
            join(&mut list, (start, end, offset, inode));
        }
    }
    list
}

fn table_view() -> Mapped {
    let mut list = Mapped::new();
    lock().for_each(BASE, BASE + PAGES * PAGE, |entry: Entry<'_>| {
        let inode = entry.file.key.ino;
        join(&mut list, (entry.start, entry.end, entry.offset, inode));
        true
    });
    list
}

#[test]
fn the_table_is_what_the_kernel_says() {
    static ONE_AT_A_TIME: OnceLock<Mutex<()>> = OnceLock::new();
    let _one = ONE_AT_A_TIME.get_or_init(Mutex::default).lock().unwrap();
    boot::boot();
    // Not on /tmp, which may be tmpfs.
    let dir = tempfile::Builder::new()
        .tempdir_in(env!("CARGO_MANIFEST_DIR"))
        .unwrap();
    let files: Vec<File> = (0..3)
        .map(|i| {
            let path = dir.path().join(format!("f{i}"));
            let file = File::options()
                .create_new(true)
                .read(true)
                .write(true)
                .open(path)
                .unwrap();
            file.set_len((FILE_PAGES * PAGE) as u64).unwrap();
            file
        })
        .collect();
    let inodes: Vec<u64> = files.iter().map(|f| f.metadata().unwrap().ino()).collect();

    let config = ProptestConfig {
        cases: 80,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let steps = core::cell::Cell::new(0);
    proptest!(config, |(calls in prop::collection::vec(call(), 100..200))| {
        unmap(BASE, PAGES * PAGE);
        for (i, call) in calls.iter().enumerate() {
            run(call, &files);
            steps.set(steps.get() + 1);
            let (table, kernel) = (table_view(), kernel_view(&inodes));
            prop_assert_eq!(table, kernel, "after step {}: {:?}", i, call);
        }
    });
    println!("{} steps", steps.get());
    assert!(steps.get() >= 10_000);
    unmap(BASE, PAGES * PAGE);
    assert_eq!(lock().all_files().count(), 0, "a file is still held");
}
