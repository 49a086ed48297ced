//! stress-ng's stressors of mappings and processes, each of which checks itself.

mod programs;

use programs::{Settings, same_output, same_output_with};

/// Each a number of rounds and not of seconds, so that all are seen to end.
fn stress(stressors: &str) {
    same_output(&["stress-ng"], &script(stressors, 60));
}

fn script(stressors: &str, seconds: u32) -> String {
    format!(
        "stress-ng --temp-path . --verify --no-rand-seed --timeout {seconds} --oomable {stressors} \
            >report 2>&1 && status=0 || status=$?
        grep -E 'fail|untrust|killed|oops|unexpected|skip' report || :
        echo \"exit $status\"
        [ $status -eq 0 ] || cat report"
    )
}

#[test]
fn mappings() {
    stress(
        "--mmap 1 --mmap-ops 1 --mmap-bytes 1M --mmap-file --mmapmany 1 --mmapmany-ops 5000 \
         --mmapfixed 1 --mmapfixed-ops 20 --mremap 1 --mremap-ops 20 --mremap-bytes 2M \
         --vm 1 --vm-ops 50 --vm-bytes 4M",
    );
}

#[test]
fn syncs() {
    stress(
        "--msync 1 --msync-ops 100 --msync-bytes 1M --mmap 1 --mmap-ops 4 --mmap-bytes 1M \
         --mmap-file --mmap-async",
    );
}

/// Some 30,000 mappings of one page, synced one by one. Without `KEEPMYDATA_MUNMAP=sync`:
/// each munmap would look at all the others. As each msync does on the test bed, where the time ends first.
#[test]
fn syncs_of_many_mappings() {
    const SETTINGS: [Settings; 2] = [&[], &[("KEEPMYDATA_VERIFY", "on")]];
    let script = script("--msyncmany 1 --msyncmany-ops 1", 10);
    same_output_with(&SETTINGS, &["stress-ng"], &script);
}

#[test]
fn processes() {
    stress(
        "--fork 1 --fork-ops 200 --vfork 1 --vfork-ops 200 --clone 1 --clone-ops 200 \
         --sigfd 1 --sigfd-ops 5000",
    );
}

/// Forks processes that map and touch as much memory as the machine has.
#[test]
#[ignore = "takes a minute a run"]
fn mappings_of_children() {
    stress("--mmapfork 1 --mmapfork-ops 1");
}
