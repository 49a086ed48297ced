//! What the guest says of a program that it ran.

/// What a byte came to be stored by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A store through a mapping.
    Store,
    /// The same behind the end of the file, in its last page, or by a write(2) or fallocate(2) that has failed: nobody has
    /// a claim on it.
    Beyond,
    /// write(2) and the like.
    Written,
    /// Truncated, punched, or grown: a zero.
    Removed,
}

/// Bytes of the file changed. Times are ticks of the guest's clock, which orders all that its threads and children do.
#[derive(Clone, Debug)]
pub struct Change {
    pub process: u32,
    pub begin: u64,
    pub end: u64,
    pub how: How,
    pub value: u8,
    pub from: u64,
    pub to: u64,
}

#[derive(Clone, Debug)]
pub struct Called {
    pub process: u32,
    pub thread: u32,
    pub at: i64,
    pub begin: u64,
    pub end: u64,
    pub name: String,
    pub result: i64,
    pub errno: String,
    /// For msync: a part of the range is not mapped. For fork: the child's wait status.
    pub note: i64,
}

/// A sync returned 0, and what the filesystem held then.
#[derive(Clone, Debug)]
pub struct Zero {
    pub process: u32,
    pub thread: u32,
    pub at: i64,
    pub begin: u64,
    /// When the filesystem had been asked.
    pub looked: u64,
    /// fsync(2) or fdatasync(2), not msync(2).
    pub of_file: bool,
    /// The pages of the file that were mapped in the range, a bit each; none for fsync.
    pub pages: u64,
    /// What the counting thread had reached before the call.
    pub floor: u64,
    /// Bytes of standard error before the call and after it.
    pub said: [u64; 2],
    pub words: [Option<u64>; 2],
    /// The first and the last byte of each cell: what survives a power cut, and what a reader is served.
    pub held: [Vec<u8>; 2],
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Events {
    pub changes: Vec<Change>,
    pub calls: Vec<Called>,
    pub zeros: Vec<Zero>,
    /// When the program read the file back at its end, and what it got.
    pub read_back: Option<(u64, Vec<u8>)>,
    /// Bytes of standard error at the end.
    pub said: u64,
}

impl Events {
    /// # Panics
    /// If a line is not understood.
    pub fn parse(lines: &[String]) -> Self {
        let mut events = Self::default();
        for line in lines {
            events
                .add(line)
                .unwrap_or_else(|| panic!("not understood: {line}"));
        }
        events
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |n: usize| words.get(n)?.parse::<u64>().ok();
        let signed = |n: usize| words.get(n)?.parse::<i64>().ok();
        match *words.first()? {
            "W" => self.changes.push(Change {
                process: number(1)? as u32,
                begin: number(4)?,
                end: number(5)?,
                how: match words[6] {
                    "s" => How::Store,
                    "x" => How::Beyond,
                    "p" => How::Written,
                    "r" => How::Removed,
                    _ => return None,
                },
                value: number(7)? as u8,
                from: number(8)?,
                to: number(9)?,
            }),
            "C" => self.calls.push(Called {
                process: number(1)? as u32,
                thread: number(2)? as u32,
                at: signed(3)?,
                begin: number(4)?,
                end: number(5)?,
                name: (*words.get(6)?).to_owned(),
                result: signed(7)?,
                errno: (*words.get(8)?).to_owned(),
                note: signed(9)?,
            }),
            "Z" => self.zeros.push(Zero {
                process: number(1)? as u32,
                thread: number(2)? as u32,
                at: signed(3)?,
                begin: number(4)?,
                looked: number(6)?,
                of_file: words[7] == "f",
                pages: number(8)?,
                floor: number(9)?,
                said: [number(10)?, number(11)?],
                words: [number(12), number(13)],
                held: [bytes(words.get(14)?)?, bytes(words.get(15)?)?],
            }),
            "R" => self.read_back = Some((number(1)?, bytes(words.get(2)?)?)),
            "done" => self.said = number(1)?,
            _ => return None,
        }
        Some(())
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if hex == "-" {
        return Some(Vec::new());
    }
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
