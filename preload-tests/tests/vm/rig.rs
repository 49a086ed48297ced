//! The virtual machine itself.

use std::time::{Duration, Instant};

use preload_tests::harness::Scratch;
use preload_tests::or_skip;
use preload_tests::vm::{Kernel, Machine};

const LIMIT: Duration = Duration::from_secs(120);

/// Boots each kernel, and runs a program of the host's on a disk of the machine's.
#[test]
fn runs_a_job_on_each_kernel() {
    for series in ["6.1", "6.12"] {
        let kernel = or_skip!(Kernel::find(series));
        let scratch = Scratch::new();
        let image = scratch.image("disk", 64);
        let machine = or_skip!(Machine::new(&kernel)).disk(&image);
        let begin = Instant::now();
        let job = "uname -r\nmkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && stat -f -c %T /mnt\nexit 7\n";
        let (status, printed) = machine.boot(job).finish(LIMIT);
        eprintln!("{series}: {:?}", begin.elapsed());
        let expected = format!("{}\next2/ext3\n", kernel.release());
        assert_eq!((status, printed), (7, expected));
    }
}

/// What the job says reaches the host before its power is cut, and what it synced is on the disk.
#[test]
fn survives_a_power_cut_only_in_part() {
    let kernel = or_skip!(Kernel::find("6.1"));
    let scratch = Scratch::new();
    let image = scratch.image("disk", 64);
    let machine = or_skip!(Machine::new(&kernel)).disk(&image);
    let mut running = machine.boot(
        "mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt
        echo kept >/mnt/kept && sync /mnt/kept && echo lost >/mnt/lost
        echo now; sleep 1000",
    );
    let line = running.line(Instant::now() + LIMIT);
    assert_eq!(line.as_deref(), Some("now"), "{}", running.console());
    running.cut_power();
    let job = "mount /dev/vda /mnt && cd /mnt && cat kept && test ! -s lost";
    assert_eq!(machine.boot(job).finish(LIMIT), (0, "kept\n".to_owned()));
}
