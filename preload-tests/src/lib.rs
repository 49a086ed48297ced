pub mod harness;
pub mod markdown;
pub mod tearfs;
pub mod vm;

/// The size of this machine's pages. Guests are compiled for it; nothing assumes 4096.
pub fn page_size() -> usize {
    rustix::param::page_size()
}
