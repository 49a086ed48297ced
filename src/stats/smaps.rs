//! /proc/self/smaps (proc_pid_smaps(5)): what the kernel counts for each mapping.

use crate::helper::Worker;
use crate::sys::lines;
use rustix::fd::AsFd;
use rustix::io::Errno;

/// Of one mapping, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub start: usize,
    pub end: usize,
    pub resident: u64,
    pub dirty: u64,
}

/// Tells `each` of every shared mapping, in order.
pub fn for_each(worker: &Worker, mut each: impl FnMut(Counts)) -> Result<(), Errno> {
    let smaps = worker.open_smaps()?;
    let mut current: Option<Counts> = None;
    lines::for_each(smaps.as_fd(), |text| match line(text) {
        Line::Mapping(next) => {
            current.take().into_iter().for_each(&mut each);
            current = next;
        }
        Line::Count(what, bytes) => {
            if let Some(counts) = &mut current {
                counts.add(what, bytes);
            }
        }
    })?;
    current.into_iter().for_each(each);
    Ok(())
}

impl Counts {
    fn add(&mut self, what: &[u8], bytes: u64) {
        match what {
            b"Rss" => self.resident += bytes,
            b"Shared_Dirty" | b"Private_Dirty" => self.dirty += bytes,
            _ => {}
        }
    }
}

enum Line<'a> {
    /// The first line of a mapping; nothing for one that is not shared.
    Mapping(Option<Counts>),
    /// One of the lines below it.
    Count(&'a [u8], u64),
}

fn line(line: &[u8]) -> Line<'_> {
    let mut fields = lines::fields(line);
    let first = fields.next().unwrap_or(b"");
    let second = fields.next().unwrap_or(b"");
    match first.strip_suffix(b":") {
        Some(what) => Line::Count(what, lines::number(second, 10).unwrap_or(0) * 1024),
        None => Line::Mapping(mapping(first, second)),
    }
}

fn mapping(span: &[u8], permissions: &[u8]) -> Option<Counts> {
    let (start, end) = lines::span(span)?;
    (permissions.get(3) == Some(&b's')).then_some(Counts {
        start,
        end,
        ..Counts::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let head = line(b"7f0a1000-7f0a3000 rw-s 0001e000 fe:00 10019189      /tmp/a b:");
        let Line::Mapping(Some(mut counts)) = head else {
            panic!("a shared mapping");
        };
        for text in ["Rss:      8 kB", "Private_Dirty: 4 kB", "VmFlags: rd wr sh"] {
            if let Line::Count(what, bytes) = line(text.as_bytes()) {
                counts.add(what, bytes);
            }
        }
        let expected = Counts {
            start: 0x7f0a_1000,
            end: 0x7f0a_3000,
            resident: 8192,
            dirty: 4096,
        };
        assert_eq!(counts, expected);
        let private = line(b"7f0a1000-7f0a3000 rw-p 00000000 00:00 0");
        assert!(matches!(private, Line::Mapping(None)));
    }
}
