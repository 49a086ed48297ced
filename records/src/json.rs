//! Records as JSON lines, for programs.

use crate::Record;
use core::fmt;
use std::io;

/// Writes `record` as one line of JSON, the final newline included.
///
/// Does not allocate. Fails only where `out` does; part of the line is then already written. See
/// [`crate::LineBuf::json`] for a line that always is whole.
pub fn write_json(record: &Record<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    let mut adapter = Adapter {
        out,
        result: Ok(()),
    };
    // A record holds nothing that JSON cannot express, and the adapter takes everything.
    let serialized = serde_json::to_writer(&mut adapter, record).map_err(|_| fmt::Error);
    adapter.result.and(serialized)?;
    out.write_char('\n')
}

/// Presents a `fmt::Write` as an `io::Write` that never fails: `serde_json` would box the error,
/// and this must not allocate.
struct Adapter<'w, W> {
    out: &'w mut W,
    result: fmt::Result,
}

impl<W: fmt::Write> io::Write for Adapter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.result.is_ok() {
            // serde_json writes whole characters: it splits text only at ASCII escapes.
            self.result = match core::str::from_utf8(bytes) {
                Ok(text) => self.out.write_str(text),
                Err(_) => Err(fmt::Error),
            };
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
