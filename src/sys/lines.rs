//! Files of /proc that are lines of text.

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// Tells `each` of every line, without its newline. One longer than 8 KiB ends it.
pub fn for_each(file: BorrowedFd<'_>, mut each: impl FnMut(&[u8])) -> Result<(), Errno> {
    let mut buffer = [0u8; 8192];
    let mut have = 0;
    loop {
        let read = rustix::io::read(file, &mut buffer[have..])?;
        have += read;
        let mut at = 0;
        while let Some(len) = buffer[at..have].iter().position(|&b| b == b'\n') {
            each(&buffer[at..at + len]);
            at += len + 1;
        }
        buffer.copy_within(at..have, 0);
        have -= at;
        if read == 0 || have == buffer.len() {
            return Ok(());
        }
    }
}

/// The fields of a line, apart by spaces.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&b| b == b' ').filter(|field| !field.is_empty())
}

/// `start-end`, hexadecimal.
pub fn span(text: &[u8]) -> Option<(usize, usize)> {
    let mut ends = text.split(|&b| b == b'-');
    let start = number(ends.next()?, 16)? as usize;
    Some((start, number(ends.next()?, 16)? as usize))
}

/// A number in `base`; nothing where it is none, or does not fit.
pub fn number(digits: &[u8], base: u32) -> Option<u64> {
    digits.iter().try_fold(0u64, |n, &d| {
        let d = (d as char).to_digit(base)?;
        n.checked_mul(u64::from(base))?.checked_add(u64::from(d))
    })
}
