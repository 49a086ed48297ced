//! `vm.max_map_count`, raised while the benchmark runs: 100,000 mappings are above the default.

use std::fs;
use std::process::{Child, Command, Stdio};

const PATH: &str = "/proc/sys/vm/max_map_count";
const WANTED: u64 = 400_000;

/// Writes `$1` back when standard input ends: however the benchmark ends, the pipe ends with it. In a
/// session of its own, so that Ctrl-C does not reach it.
const RESTORER: &str = "cat >/dev/null; echo \"$1\" >\"$2\"";

/// The old limit returns when this is dropped, or the benchmark killed.
pub struct Raised {
    restorer: Option<Child>,
}

impl Raised {
    /// Where it cannot be raised, it stays: the case that needs it says so.
    pub fn new() -> Raised {
        let before = fs::read_to_string(PATH)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .filter(|&before| before < WANTED);
        let restorer = before.and_then(|before| {
            Command::new("setsid")
                .args(["sh", "-c", RESTORER, "sh", &before.to_string(), PATH])
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        });
        if restorer.is_some() {
            let _ = fs::write(PATH, WANTED.to_string());
        }
        Raised { restorer }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Some(mut restorer) = self.restorer.take() {
            drop(restorer.stdin.take());
            let _ = restorer.wait();
        }
    }
}
