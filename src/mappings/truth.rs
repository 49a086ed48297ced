//! What the kernel says is mapped: /proc/self/maps, for the calls whose result does not tell.
//!
//! mremap(2) with `MREMAP_FIXED` moves several mappings at once (Linux 6.17), leaves what lies at the
//! target of a gap, and may fail half-way. Only the kernel knows then.

use super::table::Entry;
use crate::custodian::Worker;
use core::ops::Range;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// One line of /proc/self/maps (proc_pid_maps(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vma {
    pub start: usize,
    pub end: usize,
    pub shared: bool,
    pub offset: u64,
    pub ino: u64,
}

/// Tells `each` of every mapping that overlaps one of `ranges`, in order.
pub fn for_each_vma(
    worker: &Worker,
    ranges: &[Range<usize>],
    mut each: impl FnMut(Vma),
) -> Result<(), Errno> {
    let maps = worker.open_maps(OFlags::RDONLY)?;
    let mut buffer = [0u8; 8192];
    let mut have = 0;
    loop {
        let read = rustix::io::read(&maps, &mut buffer[have..])?;
        have += read;
        let mut at = 0;
        while let Some(len) = buffer[at..have].iter().position(|&b| b == b'\n') {
            if let Some(vma) = parse(&buffer[at..at + len])
                && ranges
                    .iter()
                    .any(|r| vma.start < r.end && r.start < vma.end)
            {
                each(vma);
            }
            at += len + 1;
        }
        buffer.copy_within(at..have, 0);
        have -= at;
        if read == 0 || have == buffer.len() {
            return Ok(());
        }
    }
}

fn parse(line: &[u8]) -> Option<Vma> {
    let mut fields = line.split(|&b| b == b' ').filter(|f| !f.is_empty());
    let mut span = fields.next()?.split(|&b| b == b'-');
    let start = number(span.next()?, 16)? as usize;
    let end = number(span.next()?, 16)? as usize;
    let shared = fields.next()?.get(3) == Some(&b's');
    let offset = number(fields.next()?, 16)?;
    let ino = number(fields.nth(1)?, 10)?;
    Some(Vma {
        start,
        end,
        shared,
        offset,
        ino,
    })
}

fn number(digits: &[u8], base: u32) -> Option<u64> {
    digits.iter().try_fold(0u64, |n, &d| {
        let d = (d as char).to_digit(base)?;
        n.checked_mul(u64::from(base))?.checked_add(u64::from(d))
    })
}

impl Vma {
    /// The entry for the part of this mapping in `range`, if it is of the file of `known`.
    pub fn entry(&self, known: &Entry, range: &Range<usize>) -> Option<Entry> {
        // SAFETY: the file of a taken entry is held.
        let ino = unsafe { known.file.as_ref() }.key.ino;
        let whole = Entry {
            start: self.start,
            end: self.end,
            offset: self.offset,
            registered: 0,
            ..*known
        };
        (self.shared && self.ino == ino).then(|| whole.clip(range.start, range.end))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line = b"7f0a1000-7f0a3000 rw-s 0001e000 fe:00 10019189      /tmp/a b";
        let vma = parse(line).unwrap();
        assert_eq!((vma.start, vma.end), (0x7f0a_1000, 0x7f0a_3000));
        assert_eq!(
            (vma.shared, vma.offset, vma.ino),
            (true, 0x1e000, 10_019_189)
        );
        assert_eq!(
            parse(b"7ffd000-7ffe000 ---p 00000000 00:00 0").unwrap().ino,
            0
        );
        assert_eq!(parse(b"garbage"), None);
        assert_eq!(parse(b""), None);
    }
}
