//! The address table ([`keepmydata_table`]), whose entries refer to tracked files.

use super::file::File;
use core::ptr::NonNull;
pub use keepmydata_table::Marks;

pub type Entry = keepmydata_table::Entry<NonNull<File>>;
pub type Table = keepmydata_table::Table<NonNull<File>>;
