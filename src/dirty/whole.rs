//! `whole`: every cached page of every mapping counts as dirty.

use super::{Found, Query};
use crate::mappings;
use rustix::io::Errno;

/// Adds them.
pub fn dirty(query: &Query<'_>, into: &mut Found<'_>) -> Result<(), Errno> {
    let cached = query.cached(query.size()?);
    mappings::lock().for_each_of(query.file, 0, |entry| {
        if entry.writable {
            into.assume(&entry, &cached);
        }
        true
    });
    Ok(())
}
