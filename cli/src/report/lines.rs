//! Lines of a log of any length, in bounded memory; also of one that still grows.

use std::io::{self, Read};

/// The longest line that is looked at. The shim writes at most 16 KiB.
pub const LONGEST: usize = 1 << 20;

const CHUNK: usize = 1 << 16;

/// Hands out lines. After the end (`None`) it can be asked again: what was appended meanwhile
/// continues the line that was incomplete.
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// What was handed out already.
    start: usize,
    /// What was searched for a newline already.
    searched: usize,
    number: u64,
    /// The beginning of the current line was thrown away.
    skipping: bool,
}

/// A line without its newline.
pub enum Line<'a> {
    Whole(&'a [u8]),
    /// Longer than [`LONGEST`].
    TooLong,
}

impl<R: Read> Lines<R> {
    pub fn new(input: R) -> Self {
        Lines {
            input,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            number: 0,
            skipping: false,
        }
    }

    /// The number of the line handed out last; the first is 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let (from, to) = (self.start, self.searched + at);
                self.start = to + 1;
                self.searched = self.start;
                self.number += 1;
                if std::mem::take(&mut self.skipping) {
                    return Ok(Some(Line::TooLong));
                }
                return Ok(Some(Line::Whole(&self.buffer[from..to])));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            if self.buffer.len() > LONGEST {
                self.skipping = true;
                self.buffer.clear();
            }
            self.searched = self.buffer.len();
            self.buffer.resize(self.searched + CHUNK, 0);
            let read = self.input.read(&mut self.buffer[self.searched..]);
            let filled = *read.as_ref().unwrap_or(&0);
            self.buffer.truncate(self.searched + filled);
            match read {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }

    /// After the end: what follows the last newline.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<R: Read>(lines: &mut Lines<R>) -> Vec<Option<String>> {
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(match line {
                Line::Whole(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
                Line::TooLong => None,
            });
        }
        found
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn lines_and_what_follows_the_last() {
        let mut lines = Lines::new(&b"a\n\nbc\nde"[..]);
        assert_eq!(all(&mut lines), some(&["a", "", "bc"]));
        assert_eq!((lines.number(), lines.rest()), (3, &b"de"[..]));
    }

    #[test]
    fn a_log_that_grows_continues_where_it_was() {
        struct Grows(Vec<&'static [u8]>);
        impl Read for Grows {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let part = self.0.remove(0);
                buffer[..part.len()].copy_from_slice(part);
                Ok(part.len())
            }
        }
        let mut lines = Lines::new(Grows(vec![b"on", b"", b"e\nt", b"", b"wo\n", b""]));
        assert_eq!(all(&mut lines), []);
        assert_eq!(all(&mut lines), some(&["one"]));
        assert_eq!(all(&mut lines), some(&["two"]));
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let long = io::repeat(b'x').take(8 * LONGEST as u64);
        let mut lines = Lines::new(long.chain(&b"\nshort\n"[..]));
        assert_eq!(all(&mut lines), [None, Some("short".to_owned())]);
        assert!(lines.buffer.capacity() < 3 * LONGEST);
        let mut endless = Lines::new(io::repeat(b'x').take(3 * LONGEST as u64));
        assert_eq!(all(&mut endless), []);
    }
}
