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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};
    use std::os::fd::AsFd;

    #[test]
    #[cfg_attr(miri, ignore = "a real file")]
    fn lines_come_whole_whatever_the_buffer() {
        let mut file = tempfile::tempfile().expect("temporary file");
        let lines: Vec<String> = (0..500).map(|n| "x".repeat(n * 7 % 200)).collect();
        file.write_all((lines.join("\n") + "\n").as_bytes())
            .and_then(|()| file.rewind())
            .expect("lines");
        let mut read = Vec::new();
        for_each(file.as_fd(), |line| {
            read.push(String::from_utf8_lossy(line).into_owned())
        })
        .expect("read");
        assert_eq!(read, lines);
    }

    #[test]
    fn numbers_and_spans_are_read() {
        assert_eq!(number(b"1e", 16), Some(30));
        assert_eq!(number(b"18446744073709551615", 10), Some(u64::MAX));
        assert_eq!(number(b"18446744073709551616", 10), None);
        assert_eq!(number(b"1e", 10), None);
        assert_eq!(span(b"7f00-7f10"), Some((0x7f00, 0x7f10)));
        assert_eq!(span(b"7f00"), None);
        assert!(fields(b"  a bc  d ").eq([&b"a"[..], b"bc", b"d"]));
    }
}
