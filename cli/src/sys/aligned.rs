//! Memory that O_DIRECT reads into.

use rustix::param::page_size;

/// So many bytes, aligned to a page, which suffices for every device. They were written to: into pages that are not there yet
/// btrfs reads through the page cache, whatever the flags.
pub struct Aligned {
    room: Vec<u8>,
    len: usize,
}

impl Aligned {
    /// `len` bytes.
    pub fn new(len: usize) -> Aligned {
        let room = vec![b'?'; len + page_size()];
        Aligned { room, len }
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        let skip = self.room.as_ptr().align_offset(page_size());
        &mut self.room[skip..skip + self.len]
    }
}
