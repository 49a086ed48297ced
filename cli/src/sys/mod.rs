//! What the standard library and rustix have no safe function for.

mod aligned;
mod handle;
mod mapping;
mod process;
mod record_lock;
mod tracking;

pub use aligned::Aligned;
pub use handle::inode_handle;
pub use mapping::Mapping;
pub use process::*;
pub use record_lock::lock_records;
pub use tracking::{NO_PAGE_CACHE, cachestat, is_dax, pagemap_scan_exists, write_protect_async};
