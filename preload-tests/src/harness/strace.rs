//! What the kernel sees of a guest, through strace(1).

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::{Outcome, Program, installed};

/// Whether strace is there.
///
/// # Errors
/// Why not (to skip the test).
pub fn has_strace() -> Result<(), String> {
    installed("strace")
}

/// System calls of what strace wrote with `-f`, in order of completion (`resumed` parts joined).
///
/// # Panics
/// If a line is none of strace's.
pub fn completed(log: &str) -> Vec<String> {
    let mut begun = HashMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let (thread, call) = line.trim_start().split_once(' ').expect("pid and call");
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, start);
        } else if let Some((_, end)) = call
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"))
        {
            let start = begun.remove(thread).unwrap_or_default();
            calls.push(format!("{start}{end}"));
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

/// All by which the shim does something to data or page cache, or reads data back. Not what maps: duplicates of its own are to
/// look through, or to ask whether a mapping is shared, which is known where stores are tracked.
const DOES: &str = "trace=msync,fdatasync,fsync,sync_file_range,fadvise64,madvise,mlock,pread64";

/// What `guest`, run under the shim, and the shim did to the file at `path` in order: system calls without
/// what differs from run to run (addresses, numbers of descriptors). What only asks does not count, nor what is read of another
/// file, nor memory of the shim's own that a fork child is not to see.
///
/// # Panics
/// If strace does not run, or the guest fails.
pub fn done_to(
    guest: &Program,
    path: &Path,
    log: &Path,
    settings: &[(&str, &str)],
) -> (Vec<String>, Outcome) {
    let to = log.to_str().expect("path in UTF-8");
    let tracer = ["strace", "-f", "-qq", "-y", "-s", "0", "-e", DOES, "-o", to];
    let traced = guest.clone().where_only_threads().traced_by(tracer);
    let outcome = traced
        .under_shim(settings)
        .expect_success("guest under strace");
    let of_file = format!("<{}>", path.display());
    let counts = |call: &String| {
        let is_elsewhere = call.starts_with("pread64(") && !call.contains(&of_file);
        // msync(2) with MS_ASYNC does nothing; strace tells of calls that it does not know, too.
        let asks = [
            "MS_ASYNC",
            "MADV_WIPEONFORK",
            "syscall_",
            "cachestat(",
            "+++",
        ];
        !is_elsewhere && !asks.iter().any(|what| call.contains(what))
    };
    let text = fs::read_to_string(log).expect("log of strace");
    let calls = completed(&text).into_iter().filter(counts);
    let mut calls: Vec<_> = calls.map(|call| without_numbers(&call)).collect();
    calls.dedup_by(|one, other| one == other && one.contains(DROPS));
    (calls, outcome)
}

/// Whose length is that of what the kernel happened to have mapped: it maps no neighbours of a page whose stores are
/// tracked, be it for findings alone.
const DROPS: &str = "MADV_DONTNEED";

/// Addresses become `@`, and a descriptor is what it is open on.
fn without_numbers(call: &str) -> String {
    let (name, rest) = call.split_once('(').unwrap_or((call, ""));
    let rest = match rest.split_once('<') {
        Some((fd, rest)) if fd.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => rest,
    };
    let rest = match rest.split_once(DROPS) {
        Some((_, rest)) => format!("{DROPS}{rest}"),
        None => rest.to_owned(),
    };
    let mut parts = rest.split("0x");
    let mut text = format!("{name}({}", parts.next().unwrap_or_default());
    for part in parts {
        text.push('@');
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_lose_what_differs_between_runs() {
        let log = "7 pread64(3</f>,  <unfinished ...>\n8 msync(0x7f00, 4096, MS_SYNC) = 0\n\
                   7 <... pread64 resumed>\"\"..., 4096, 0) = 4096\n";
        let calls = completed(log);
        let calls: Vec<_> = calls.iter().map(|call| without_numbers(call)).collect();
        let expected = [
            "msync(@, 4096, MS_SYNC) = 0",
            "pread64(/f>, \"\"..., 4096, 0) = 4096",
        ];
        assert_eq!(calls, expected);
    }
}
