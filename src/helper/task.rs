//! What a thread of the helper, and the one that starts it, are known by.

use crate::sys::{self, thread};
use core::fmt::Write;
use keepmydata_records::LineBuf;

/// Where a thread is in /proc: `PID/task/TID`, by the numbers of that /proc, which may be of another
/// PID namespace than the process is.
#[derive(Clone, Copy, Default)]
pub struct TaskPath {
    bytes: [u8; 32],
    len: usize,
}

impl TaskPath {
    /// Of the calling thread (proc_thread-self(5)). Where that cannot be read, because the program has moved
    /// to where there is no /proc, by its own numbers: right if the helper found a /proc of its namespace.
    pub fn of_caller() -> TaskPath {
        let mut path = TaskPath::default();
        let link = thread::read_link(c"/proc/thread-self", &mut path.bytes);
        path.len = link.map_or(0, <[u8]>::len);
        if path.len == 0 || path.len == path.bytes.len() {
            let mut text = LineBuf::<32>::new();
            let (pid, tid) = (sys::getpid(), sys::gettid());
            let _ = write!(text, "{pid}/task/{tid}");
            path.len = text.as_bytes().len();
            path.bytes[..path.len].copy_from_slice(text.as_bytes());
        }
        path
    }

    /// As text below /proc.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The part that stands for its process.
    pub fn process(&self) -> &[u8] {
        self.as_bytes().split(|&b| b == b'/').next().unwrap_or(b"")
    }
}
