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

/// How often that is asked without an answer after something was written.
const ASKED: u8 = 3;

/// The file was opened for a mapping of it, and nobody here can have stored to it. On a helper thread.
pub fn renew_at_first(worker: &Worker, file: &File) {
    if !file.traits.local_block
        && let Some(fd) = worker.borrow_handle(&handle_of(file))
    {
        let _ = sys::fd::modified(fd, true);
    }
}

/// Whether the kernel may drop the page cache of `file` when it learns of a new modification time, and may be asked before
/// it does. Who wants to keep what is cached would lose it, and so would a database that only reads its mapping.
pub fn may_drop(table: &mappings::Guard, file: &File) -> bool {
    let state = table.get(file);
    !file.traits.local_block
        && state.maps_to_store
        && state.new_attributes != NewAttributes::Keep
        && sys::thread::is_single()
        && config::settings().invalidate == Invalidate::File
}

/// All that was stored to the file is proved, and with one thread nothing is stored now; `wrote` says that something was
/// written for certain since this was asked last. Says whether the page cache was dropped for it. On a helper thread.
pub fn renew(worker: &Worker, file: &File, wrote: bool) -> bool {
    let (handle, known) = {
        let table = mappings::lock();
        if !may_drop(&table, file) {
            return false;
        }
        let state = table.get(file);
        (state.handle, state.new_attributes)
    };
    let Some(fd) = worker.borrow_handle(&handle) else {
        return false;
    };
    let (Ok(before), Ok(after)) = (sys::fd::modified(fd, false), sys::fd::modified(fd, true))
    else {
        return false;
    };
    let is_new = before != after;
    // Nothing where nobody can tell.
    let Some(is_dead) = eviction_probe::are_any_dead(worker, file, &(0..0), false) else {
        return false;
    };
    mappings::lock().get_mut(file).new_attributes = match known {
        _ if is_new && is_dead => NewAttributes::Drop,
        NewAttributes::Unknown(asked) if !is_new && asked < ASKED => {
            NewAttributes::Unknown(asked + u8::from(wrote))
        }
        NewAttributes::Unknown(_) => NewAttributes::Keep,
        known => known,
    };
    is_new && is_dead
}

/// The same after a call of the program's that has changed the file past its mappings, and before which what it had stored
/// to them was proved.
pub fn renew_if_proved(worker: &Worker, file: &File, wrote: bool) -> bool {
    let is_proved = !mappings::lock().get(file).debt.owes();
    is_proved && renew(worker, file, wrote)
}
