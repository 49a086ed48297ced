//! A buffer of fixed size that a line of the log is built in.

use crate::{Record, write_json, write_text};
use core::fmt::{self, Write};

/// Text of at most `N` bytes, on the stack or in a static. What does not fit is cut off at a
/// character, and writing fails from then on.
///
/// Nothing here allocates or blocks.
#[derive(Clone)]
pub struct LineBuf<const N: usize> {
    bytes: [u8; N],
    len: usize,
    truncated: bool,
}

impl<const N: usize> LineBuf<N> {
    /// An empty buffer.
    pub const fn new() -> Self {
        LineBuf {
            bytes: [0; N],
            len: 0,
            truncated: false,
        }
    }

    /// Makes it empty again.
    pub fn clear(&mut self) {
        self.len = 0;
        self.truncated = false;
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// What was written.
    pub fn as_str(&self) -> &str {
        // Only whole characters are ever written.
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Replaces the contents with `record` as a line of JSON and returns it, final newline
    /// included. Where the line is too long, dirty ranges, pages and text are left out and the
    /// record is marked as truncated: what is returned is valid JSON always, for any record with
    /// `N` of at least 1024, and empty where not even the fields without text fit.
    pub fn json(&mut self, record: &Record<'_>) -> &[u8] {
        self.fit(record, write_json)
    }

    /// The same as text.
    pub fn text(&mut self, record: &Record<'_>) -> &[u8] {
        self.fit(record, write_text)
    }

    fn fit(
        &mut self,
        record: &Record<'_>,
        write: fn(&Record<'_>, &mut Self) -> fmt::Result,
    ) -> &[u8] {
        self.clear();
        if write(record, self).is_ok() {
            return self.as_bytes();
        }
        // Lists first: a text is what a person reads.
        let mut items = record.dirty.len().max(record.pages.len());
        let mut text = N;
        while items > 0 || text > 0 {
            match items {
                0 => text /= 2,
                _ => items /= 2,
            }
            self.clear();
            if write(&record.shortened(items, text), self).is_ok() {
                return self.as_bytes();
            }
        }
        self.len = 0;
        &[]
    }
}

impl<const N: usize> Default for LineBuf<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Fails once something did not fit, so that formatting stops.
impl<const N: usize> Write for LineBuf<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.truncated {
            return Err(fmt::Error);
        }
        let fits = text.floor_char_boundary(N - self.len);
        self.bytes[self.len..self.len + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        self.truncated = fits < text.len();
        if self.truncated {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::*;

    #[test]
    fn text_is_cut_at_a_character() {
        let mut line = LineBuf::<4>::new();
        assert!(write!(line, "ab\u{e9}\u{e9}").is_err());
        assert_eq!(line.as_str(), "ab\u{e9}");
        assert!(line.truncated);
        assert!(write!(line, "").is_err());
        line.clear();
        assert_eq!((line.as_str(), line.truncated), ("", false));
    }

    #[test]
    fn a_long_record_is_shortened_not_broken() {
        const MANY: usize = if cfg!(miri) { 100 } else { 1000 };
        let dirty = vec![
            ByteRange {
                offset: 1 << 40,
                length: 4096
            };
            MANY
        ];
        let pages = vec![
            PageRow {
                expected_hash: Some(HexU64(1)),
                ..PageRow::default()
            };
            MANY
        ];
        let path = "/\u{1f4be}".repeat(400);
        let record = Record {
            event: event::REPORT.into(),
            path: path.as_str().into(),
            dirty: dirty.into(),
            pages: pages.into(),
            ..Record::new(Level::Error, 1, 2)
        };
        let mut line = LineBuf::<4096>::new();
        let back: Record = serde_json::from_slice(line.json(&record)).unwrap();
        assert!(back.truncated);
        assert_eq!(back.path, record.path);
        assert!(!back.pages.is_empty() && back.pages.len() < MANY);
        assert!(line.text(&record).ends_with(b"\n"));

        let mut line = LineBuf::<1024>::new();
        let back: Record = serde_json::from_slice(line.json(&record)).unwrap();
        assert!(back.truncated && back.path.0.len() < path.len() && !back.path.is_empty());

        assert!(LineBuf::<16>::new().json(&record).is_empty());
    }
}
