//! Words and sentences that several reports share.

/// What takes pages away before they can be compared, and what decides it.
pub const WHAT_DROPS_PAGES: &str = "On FUSE each open by any process drops the pages of all, and so does a change of \
    attributes with AUTO_INVAL_DATA. What decides it: kernel_cache (FOPEN_KEEP_CACHE) of the daemon, AUTO_INVAL_DATA \
    (auto_cache) off, or one process alone.";

/// `1 page`, `2 pages`.
pub fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// `is` or `are`, `was` or `were`: what follows so many.
pub fn verb(number: u64, one: &'static str, several: &'static str) -> &'static str {
    match number {
        1 => one,
        _ => several,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_several() {
        assert_eq!(count(0, "page"), "0 pages");
        assert_eq!(count(1, "page"), "1 page");
        assert_eq!(count(21, "page"), "21 pages");
        assert_eq!(verb(1, "was", "were"), "was");
        assert_eq!(verb(0, "was", "were"), "were");
    }
}
