//! What the kernel knows of a file's attributes, renewed where nothing is owed.
//!
//! With FUSE_AUTO_INVAL_DATA, which libfuse asks for unless it is told not to, the kernel drops a file's page cache when it
//! learns of a new modification time (`fuse_change_attributes` in fs/fuse/inode.c), and each flush makes one. It learns of it
//! at the next fstat(2) or read(2), by whomever: what was stored before that cannot be told from what was stored after. So
//! the shim asks first: when it has opened a file that nobody here has stored to, and when all that was stored is proved.
//! What it is told then is what they are told.

use super::eviction_probe;
use crate::config;
use crate::helper::Worker;
use crate::mappings::{
    self,
    file::{File, NewAttributes},
    handle_of,
};
use crate::sys;
use keepmydata_records::Invalidate;

/// How often that is asked without an answer.
const ASKED: u8 = 3;

/// The file was opened for a mapping of it, and nobody here can have stored to it. On a helper thread.
pub fn renew_at_first(worker: &Worker, file: &File) {
    if !file.traits.local_block
        && let Some(fd) = worker.borrow_handle(&handle_of(file))
    {
        let _ = sys::fd::modified(fd, true);
    }
}

/// All that was stored to the file is proved, and with one thread nothing is stored now. On a helper thread.
pub fn renew(worker: &Worker, file: &File) {
    // Who wants to keep what is cached would lose it.
    if file.traits.local_block
        || !sys::thread::is_single()
        || config::settings().invalidate != Invalidate::File
    {
        return;
    }
    let (handle, known) = {
        let table = mappings::lock();
        let state = table.get(file);
        (state.handle, state.new_attributes)
    };
    if known == NewAttributes::Keep {
        return;
    }
    let Some(fd) = worker.borrow_handle(&handle) else {
        return;
    };
    let (Ok(before), Ok(after)) = (sys::fd::modified(fd, false), sys::fd::modified(fd, true))
    else {
        return;
    };
    let mut table = mappings::lock();
    let is_dropped = eviction_probe::is_dropped(worker, &mut table, file);
    table.get_mut(file).new_attributes = match known {
        _ if before != after && is_dropped => NewAttributes::Drop,
        NewAttributes::Unknown(asked) if before == after && asked < ASKED => {
            NewAttributes::Unknown(asked + 1)
        }
        NewAttributes::Unknown(_) => NewAttributes::Keep,
        known => known,
    };
}
