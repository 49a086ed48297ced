//! The cost of calls that do not concern the shim, in nanoseconds, side by side with other ways to watch a program:
//! `cargo bench -p preload-tests --bench cost`. Nothing is asserted (`gate_cost` counts instructions).

use preload_tests::harness::Program;

const CALLS: [&str; 5] = ["read", "pread", "readv", "mmap", "msync"];
const COUNT: &str = "200000";
/// Under strace, where a call takes 50 us.
const FEW: &str = "5000";

fn main() {
    // Where /tmp is a tmpfs there would be nothing to track.
    let tracked = std::env::current_dir()
        .expect("current directory")
        .join(format!(".cost-{}", std::process::id()));
    // A verified file, so that every read is looked at.
    let watched = [("KEEPMYDATA_VERIFY", "on")];
    println!("ns per call; mmap: with munmap, of anonymous memory; reads: 1 byte of /dev/zero");
    println!(
        "{:8}{:>10}{:>16}{:>10}{:>18}{:>12}",
        "", "native", "C pass-through", "shim", "reads watched", "strace"
    );
    for call in CALLS {
        let guest = |count| Program::guest("passthrough").args([call, count, "/dev/zero"]);
        let preload = Program::guest_library("naive_preload");
        let strace = ["strace", "-qq", "-o", "/dev/null"];
        let columns = [
            best(|| guest(COUNT).natively().stdout),
            best(|| guest(COUNT).preload_before(&preload).natively().stdout),
            best(|| guest(COUNT).under_shim(&[]).stdout),
            best(|| guest(COUNT).arg(&tracked).under_shim(&watched).stdout),
            best(|| guest(FEW).traced_by(strace).natively().stdout),
        ];
        let [native, naive, shim, with_one, strace] = columns;
        println!("{call:8}{native:>10}{naive:>16}{shim:>10}{with_one:>18}{strace:>12}");
    }
    let _ = std::fs::remove_file(&tracked);
}

/// The lowest of three runs: what disturbs a run only adds to it.
fn best(run: impl Fn() -> String) -> String {
    (0..3)
        .filter_map(|_| run().trim().parse::<f64>().ok())
        .min_by(f64::total_cmp)
        .map_or("-".to_owned(), |ns| format!("{ns:.0}"))
}
