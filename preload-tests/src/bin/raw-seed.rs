//! The seed case of `guests/seed.c` in Rust, by raw system calls: rustix' linux_raw, which no preloaded library sees.
//!
//! Usage: `raw-seed FILE`. Prints `P0 torn` if a byte is wrong. Exit: 0 whole, 1 torn, 2 a step of the setup failed, 3 msync
//! failed.

use std::process::ExitCode;

use rustix::fs::{CWD, Mode, OFlags, fsync, ftruncate, openat};
use rustix::io::{pread, pwrite};
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

const PAGE: usize = 4096;
const SIZE: usize = 3125 * PAGE;
/// Pages with old data.
const FIRST: usize = 1084 * PAGE;
const STORE_AT: usize = FIRST + PAGE - 1304;
const STORE_LEN: usize = 1304 + 2 * PAGE + 431;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: raw-seed FILE");
        return ExitCode::from(2);
    };
    match run(&path) {
        Ok(code) => ExitCode::from(code),
        Err(errno) => {
            eprintln!("raw-seed: {errno}");
            ExitCode::from(2)
        }
    }
}

fn run(path: &std::ffi::OsStr) -> rustix::io::Result<u8> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
    let file = openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?;
    ftruncate(&file, SIZE as u64)?;
    let old = vec![b'o'; 3 * PAGE];
    assert_eq!(pwrite(&file, &old, FIRST as u64)?, old.len());
    fsync(&file)?;
    let reader = openat(CWD, path, OFlags::RDONLY, Mode::empty())?;
    let mut window = vec![0; 32 * PAGE];
    pread(&reader, &mut window, (FIRST - 11 * PAGE) as u64)?;
    drop(reader);

    let store: Vec<u8> = (0..STORE_LEN).map(|n| b'A' + (n % 26) as u8).collect();
    let both = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, of which only bytes inside it are touched, and none once it is unmapped.
    let synced = unsafe {
        let base = mmap(std::ptr::null_mut(), SIZE, both, MapFlags::SHARED, &file, 0)?;
        let at = base.cast::<u8>().add(STORE_AT);
        at.copy_from_nonoverlapping(store.as_ptr(), STORE_LEN);
        let synced = msync(base, SIZE, MsyncFlags::SYNC);
        munmap(base, SIZE)?;
        synced
    };
    if let Err(errno) = synced {
        println!("msync {errno}");
        return Ok(3);
    }
    let reader = openat(CWD, path, OFlags::RDONLY, Mode::empty())?;
    let mut after = vec![0; STORE_LEN];
    let read = pread(&reader, &mut after, STORE_AT as u64)?;
    if read != STORE_LEN || after != store {
        println!("P0 torn");
        return Ok(1);
    }
    Ok(0)
}
