//! `vm.max_map_count`, raised while the benchmark runs: 100,000 mappings are above the default.

use std::fs;

const PATH: &str = "/proc/sys/vm/max_map_count";
const WANTED: u64 = 400_000;

/// The old limit returns when this is dropped. An interrupted run leaves the higher one, until the
/// next boot.
pub struct Raised {
    before: Option<u64>,
}

impl Raised {
    pub fn new() -> Raised {
        let before = fs::read_to_string(PATH)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .filter(|&before| before < WANTED)
            .filter(|_| fs::write(PATH, WANTED.to_string()).is_ok());
        Raised { before }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            let _ = fs::write(PATH, before.to_string());
        }
    }
}
