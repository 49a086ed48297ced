//! What kind of program a file is, as far as a library must know that is to be loaded into it.

use super::raw;
use core::ffi::c_char;
use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::io::pread;

/// The start of a file that is looked at: most programs have their program headers there.
const START: usize = 1024;
/// Bytes of a `#!` line, and of a loader's path.
const NAME: usize = 256;
/// `#!` lines that lead to another; the kernel follows as many.
const SCRIPTS: usize = 5;

#[cfg(target_arch = "x86_64")]
const OWN_MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const OWN_MACHINE: u16 = 183;

/// Whether the program at `path`, any pointer, has a dynamic loader that this library is nothing for: of another
/// architecture, or another C library's. Through `#!` lines. Where nobody can say, it has not. Any context.
///
/// A descriptor is open meanwhile.
#[inline(never)]
pub fn has_foreign_loader(path: *const c_char) -> bool {
    let mut name;
    let mut path = path;
    for _ in 0..SCRIPTS {
        let Some(file) = open(path) else {
            return false;
        };
        let mut start = [0u8; START];
        let Ok(len) = pread(&file, &mut start, 0) else {
            return false;
        };
        let start = &start[..len];
        let Some(line) = start.strip_prefix(b"#!") else {
            return is_foreign(&file, start);
        };
        let line = line.split(|&byte| byte == b'\n').next();
        let words = line
            .unwrap_or_default()
            .split(|b| matches!(b, b' ' | b'\t'));
        let Some(word) = words.into_iter().find(|word| !word.is_empty()) else {
            return false;
        };
        name = [0; NAME];
        match name[..NAME - 1].get_mut(..word.len()) {
            Some(room) => room.copy_from_slice(word),
            None => return false,
        }
        path = name.as_ptr().cast();
    }
    false
}

/// A FIFO is not waited for.
fn open(path: *const c_char) -> Option<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    let words = [
        libc::AT_FDCWD as usize,
        path as usize,
        flags as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads the path, and says EFAULT where it cannot.
    let fd = unsafe { raw::syscall(libc::SYS_openat, words) }.ok()?;
    // SAFETY: just opened.
    Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The number of `N` bytes at `at`.
fn bytes<const N: usize>(of: &[u8], at: usize) -> Option<[u8; N]> {
    of.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// By the headers in elf.h; nothing is asked of a file in the other byte order.
fn is_foreign(file: impl AsFd, start: &[u8]) -> bool {
    loader(file, start).unwrap_or(false)
}

fn loader(file: impl AsFd, start: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let is_64 = match start.strip_prefix(b"\x7fELF")? {
        [1, 1, ..] => false,
        [2, 1, ..] => true,
        _ => return None,
    };
    let machine = u16::from_le_bytes(bytes(start, 18)?);
    let (table, size, count) = match is_64 {
        true => (u64::from_le_bytes(bytes(start, 32)?), 54, 56),
        false => (u32::from_le_bytes(bytes(start, 28)?).into(), 42, 44),
    };
    let size: usize = u16::from_le_bytes(bytes(start, size)?).into();
    let count: usize = u16::from_le_bytes(bytes(start, count)?).into();
    let table = usize::try_from(table).ok()?;
    let headers = (0..count).filter_map(|n| start.get(n.checked_mul(size)?.checked_add(table)?..));
    let mut loaders =
        headers.filter(|header| bytes(header, 0).map(u32::from_le_bytes) == Some(PT_INTERP));
    let header = loaders.next()?;
    if !is_64 || machine != OWN_MACHINE {
        return Some(true);
    }
    let mut name = [0u8; NAME];
    let len = pread(file, &mut name, u64::from_le_bytes(bytes(header, 8)?)).ok()?;
    let path = name[..len].split(|&byte| byte == 0).next()?;
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    Some(name.starts_with(b"ld-musl") || name.windows(6).any(|part| part == b"uClibc"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    #[test]
    #[cfg_attr(miri, ignore = "system calls")]
    fn this_program_and_what_is_none() {
        let this = std::env::current_exe().unwrap();
        let this = CString::new(this.to_str().unwrap()).unwrap();
        assert!(!has_foreign_loader(this.as_ptr()));
        assert!(!has_foreign_loader(c"/etc/passwd".as_ptr()));
        assert!(!has_foreign_loader(c"/nowhere".as_ptr()));
        assert!(!has_foreign_loader(core::ptr::null()));
    }

    #[test]
    #[cfg_attr(miri, ignore = "system calls")]
    fn headers_of_others() {
        let dir = std::env::temp_dir().join(format!("foreign-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let is = |name: &str, content: &[u8]| {
            let path = dir.join(name);
            std::fs::write(&path, content).unwrap();
            let path = CString::new(path.to_str().unwrap()).unwrap();
            has_foreign_loader(path.as_ptr())
        };
        let elf = |class: u8, machine: u16, loader: &[u8]| {
            let mut file = vec![0u8; 300];
            file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1]);
            file[18..20].copy_from_slice(&machine.to_le_bytes());
            let (table, size) = if class == 2 { (32, 54) } else { (28, 42) };
            file[table] = 100;
            file[size] = 56;
            file[size + 2] = 2;
            file[156] = 3;
            file[164..166].copy_from_slice(&256u16.to_le_bytes());
            file[256..256 + loader.len()].copy_from_slice(loader);
            file
        };
        let musl = elf(2, OWN_MACHINE, b"/lib/ld-musl-x86_64.so.1");
        assert!(is("musl", &musl));
        assert!(!is(
            "glibc",
            &elf(2, OWN_MACHINE, b"/lib64/ld-linux-x86-64.so.2")
        ));
        assert!(is(
            "other",
            &elf(2, 243, b"/lib/ld-linux-riscv64-lp64d.so.1")
        ));
        assert!(is("short", &elf(1, 3, b"/lib/ld-linux.so.2")));
        let mut still = musl.clone();
        still[156] = 0;
        assert!(!is("static", &still));
        for len in 0..musl.len() {
            is("stump", &musl[..len]);
        }
        let line = format!("#! {} -x\nrest", dir.join("musl").display());
        assert!(is("script", line.as_bytes()));
        let line = format!("#!{}\n", dir.join("circle").display());
        assert!(!is("circle", line.as_bytes()));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
