//! The address table ([`keepmydata_table`]), whose entries refer to tracked files.

use super::file::{File, FileRef};
pub use keepmydata_table::Marks;

/// A mapping of a file that somebody holds, or, under the table lock, that is in the table.
pub type Entry<'a> = keepmydata_table::Entry<&'a File>;
/// Whose entries refer to files.
pub type Table = keepmydata_table::Table<FileRef>;
