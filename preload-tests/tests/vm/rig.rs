//! The virtual machine itself.

use std::time::{Duration, Instant};

use preload_tests::harness::Scratch;
use preload_tests::or_skip;
use preload_tests::vm::{Kernel, Machine};

const LIMIT: Duration = Duration::from_secs(120);

/// Each kernel boots, and runs a program of the host's on a disk of the machine's. What the job says
/// reaches the host before its power is cut, and what it synced is on the disk when the other boots.
#[test]
fn runs_jobs_on_each_kernel_and_survives_a_power_cut_only_in_part() {
    let old = or_skip!(Kernel::find("6.1"));
    let new = or_skip!(Kernel::find("6.12"));
    let scratch = Scratch::new();
    let image = scratch.image("disk", 64);
    let machine = |kernel| Machine::new(kernel).map(|machine| machine.disk(&image));
    let mut running = or_skip!(machine(&old)).boot(
        "uname -r
        mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && stat -f -c %T /mnt
        echo kept >/mnt/kept && sync /mnt/kept && echo lost >/mnt/lost
        echo now; sleep 1000",
    );
    let late = Instant::now() + LIMIT;
    for expected in [old.release(), "ext2/ext3", "now"] {
        let line = running.line(late);
        assert_eq!(line.as_deref(), Some(expected), "{}", running.console());
    }
    running.cut_power();
    let job = "uname -r\nmount /dev/vda /mnt && cd /mnt && cat kept && test ! -s lost && exit 7";
    let (status, printed) = or_skip!(machine(&new)).boot(job).finish(LIMIT);
    assert_eq!((status, printed), (7, format!("{}\nkept\n", new.release())));
}
