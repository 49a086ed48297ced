//! What the kernel says is mapped: /proc/self/maps, for the calls whose result does not tell.
//!
//! mremap(2) with `MREMAP_FIXED` moves several mappings at once (Linux 6.17), leaves what lies at the
//! target of a gap, and may fail half-way. Only the kernel knows then.

use crate::helper::Worker;
use crate::mappings::table::{Entry, Marks};
use crate::sys::lines;
use core::ops::Range;
use rustix::fd::AsFd;
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
    lines::for_each(maps.as_fd(), |line| {
        if let Some(vma) = parse(line)
            && ranges
                .iter()
                .any(|r| vma.start < r.end && r.start < vma.end)
        {
            each(vma);
        }
    })
}

fn parse(line: &[u8]) -> Option<Vma> {
    let mut fields = lines::fields(line);
    let (start, end) = lines::span(fields.next()?)?;
    let shared = fields.next()?.get(3) == Some(&b's');
    let offset = lines::number(fields.next()?, 16)?;
    let ino = lines::number(fields.nth(1)?, 10)?;
    Some(Vma {
        start,
        end,
        shared,
        offset,
        ino,
    })
}

impl Vma {
    /// The entry for the part of this mapping in `range`, if it is of the file of `known`.
    pub fn entry<'a>(&self, known: &Entry<'a>, range: &Range<usize>) -> Option<Entry<'a>> {
        let ino = known.file.key.ino;
        let whole = Entry {
            start: self.start,
            end: self.end,
            offset: self.offset,
            marks: Marks::default(),
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
