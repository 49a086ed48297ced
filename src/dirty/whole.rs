//! `whole`: every cached page of every mapping counts as dirty.

use super::{Found, Query, Tracker};
use crate::mappings;
use rustix::io::Errno;

/// Works on any kernel, at the price of verifying and dropping everything.
pub struct Whole;

impl Tracker for Whole {
    fn name(&self) -> &'static str {
        "whole"
    }

    fn dirty(&self, query: &Query<'_>, into: &mut Found<'_>) -> Result<(), Errno> {
        let cached = query.cached(query.size()?);
        mappings::lock().for_each_of(query.file, 0, |entry| {
            if entry.writable {
                into.guess(&entry, &cached);
            }
            true
        });
        Ok(())
    }
}
