//! Record locks (fcntl(2)).

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// How long another may hold it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A lock of a whole file, given up when dropped, and when this process closes any descriptor of the file.
pub struct RecordLock<'a>(&'a File);

/// Takes one; the file is open for writing where it is to be exclusive.
///
/// # Errors
/// EAGAIN where another held it for seconds; ENOLCK, ENOSYS and the like where there are none.
pub fn lock_records(file: &File, exclusive: bool) -> io::Result<RecordLock<'_>> {
    let operation = match exclusive {
        true => FlockOperation::NonBlockingLockExclusive,
        false => FlockOperation::NonBlockingLockShared,
    };
    let until = Instant::now() + PATIENCE;
    loop {
        match fcntl_lock(file, operation) {
            Ok(()) => return Ok(RecordLock(file)),
            Err(Errno::AGAIN | Errno::ACCESS) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Drop for RecordLock<'_> {
    fn drop(&mut self) {
        let _ = fcntl_lock(self.0, FlockOperation::Unlock);
    }
}
