//! The log of a disk's writes and flushes ([`Machine::logged_disk`](super::Machine::logged_disk)), and
//! what the disk may hold if its power goes at some point of it.
//!
//! The format is that of Linux's device-mapper target `log-writes`
//! (Documentation/admin-guide/device-mapper/log-writes.rst): a sector that describes the log, then for
//! each request a sector that describes it, and its data. QEMU writes an entry when the request is done,
//! before it tells the machine so.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const SECTOR: u64 = 512;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// What the disk was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Data from byte `from` of the log to byte `to` of the disk.
    Write { from: u64, to: u64, length: u64 },
    /// All writes before are to outlast a power cut.
    Flush,
    /// May be ignored.
    Discard,
}

/// A log, opened for replay.
pub struct WriteLog {
    file: File,
    /// Each with the length that the log had when it was complete.
    requests: Vec<(Request, u64)>,
}

impl WriteLog {
    /// Reads the entries in the first `until` bytes, the length that the log had at some moment.
    ///
    /// # Errors
    /// Where it is no such log.
    pub fn open(path: &Path, until: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let number = |at: u64| -> io::Result<u64> {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at)?;
            Ok(u64::from_le_bytes(bytes))
        };
        // Behind the magic: version, number of entries (QEMU's may lag behind), size of sectors.
        if number(0)? != MAGIC || number(24)? & u64::from(u32::MAX) != SECTOR {
            return Err(io::Error::other("no log of writes in sectors of 512 bytes"));
        }
        let mut requests = Vec::new();
        let mut at = SECTOR;
        while at + SECTOR <= until {
            let (sector, sectors, flags) = (number(at)?, number(at + 8)?, number(at + 16)?);
            let from = at + SECTOR;
            let request = match (flags, sectors) {
                // Not yet written when the machine ended.
                (0, 0) => break,
                (FLUSH, 0) => Request::Flush,
                (DISCARD, _) => Request::Discard,
                (0, _) => Request::Write {
                    from,
                    to: sector * SECTOR,
                    length: sectors * SECTOR,
                },
                _ => return Err(io::Error::other(format!("a request with flags {flags}"))),
            };
            at = match request {
                Request::Write { length, .. } => from + length,
                Request::Flush | Request::Discard => from,
            };
            if at > until {
                break;
            }
            requests.push((request, at));
        }
        Ok(Self { file, requests })
    }

    /// How many requests there are. Point `n` of the log is behind the first `n` of them.
    pub fn points(&self) -> usize {
        self.requests.len()
    }

    /// The points right behind a flush.
    pub fn flushes(&self) -> impl Iterator<Item = usize> {
        let numbered = self.requests.iter().enumerate();
        numbered
            .filter(|(_, (request, _))| *request == Request::Flush)
            .map(|(number, _)| number + 1)
    }

    /// The length of the log at this point, in bytes.
    pub fn length_at(&self, point: usize) -> u64 {
        match point.checked_sub(1) {
            Some(last) => self.requests[last].1,
            None => SECTOR,
        }
    }

    /// The last point not behind `point` that a flush has made durable.
    pub fn durable(&self, point: usize) -> usize {
        self.flushes()
            .take_while(|flush| *flush <= point)
            .last()
            .unwrap_or(0)
    }

    /// Makes the writes between two points that `choose` wants, told by their number, on `image`.
    ///
    /// # Errors
    /// Of reading the log or writing the image.
    pub fn replay(
        &self,
        from: usize,
        to: usize,
        image: &File,
        mut choose: impl FnMut(usize) -> bool,
    ) -> io::Result<()> {
        for number in from..to {
            if let (Request::Write { from, to, length }, _) = self.requests[number]
                && choose(number)
            {
                let mut data = vec![0; usize::try_from(length).expect("a request's length")];
                self.file.read_exact_at(&mut data, from)?;
                image.write_all_at(&data, to)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Scratch;

    fn sector(numbers: [u64; 4]) -> Vec<u8> {
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.resize(512, 0);
        bytes
    }

    fn write(to: u64, byte: u8) -> Vec<u8> {
        [sector([to, 1, 0, 0]), vec![byte; 512]].concat()
    }

    #[test]
    fn replays_to_a_point_and_keeps_what_a_flush_made_durable() {
        let scratch = Scratch::new();
        let parts = [
            sector([MAGIC, 1, 3, SECTOR]),
            write(0, 1),
            write(1, 2),
            sector([0, 0, FLUSH, 0]),
            write(0, 3),
            sector([0, 0, FLUSH, 0]),
            write(1, 4),
        ];
        std::fs::write(scratch.path("log"), parts.concat()).expect("log");
        let until = 512 * 10 + 1; // in the middle of the last
        let log = WriteLog::open(&scratch.path("log"), until).expect("a log");
        assert_eq!(log.points(), 5);
        assert_eq!(log.flushes().collect::<Vec<_>>(), [3, 5]);
        assert_eq!(log.durable(4), 3);
        assert_eq!(log.durable(2), 0);
        assert_eq!(log.length_at(3), 512 * 6);
        let image = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(scratch.path("image"))
            .expect("image");
        let first_bytes = || {
            let bytes = std::fs::read(scratch.path("image")).expect("image");
            bytes.into_iter().step_by(512).collect::<Vec<_>>()
        };
        log.replay(0, 3, &image, |_| true).expect("replay");
        assert_eq!(first_bytes(), [1, 2]);
        log.replay(3, 5, &image, |_| false).expect("replay");
        assert_eq!(first_bytes(), [1, 2]);
        log.replay(3, 5, &image, |number| number == 3)
            .expect("replay");
        assert_eq!(first_bytes(), [3, 2]);
    }

    #[test]
    fn refuses_what_is_no_log() {
        let scratch = Scratch::new();
        std::fs::write(scratch.path("log"), vec![0; 4096]).expect("file");
        assert!(WriteLog::open(&scratch.path("log"), 4096).is_err());
    }
}
