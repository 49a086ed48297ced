//! The tests of this package on a kernel without cachestat (Linux 6.5) and PAGEMAP_SCAN (6.7), and under
//! a seccomp profile such as containers have.

use std::fs::File;
use std::time::{Duration, Instant};

use preload_tests::harness::{Scratch, compile_all};
use preload_tests::or_skip;
use preload_tests::vm::{Kernel, Machine};

use super::suite::{self, Case, How, Ran, Report, failures};

/// Software emulation is about as many times slower.
const EMULATED: How<'_> = How {
    under: &[],
    parallel: 2,
    patience: 10,
    seconds: 1,
};

/// Runs `cases` in a machine with `kernel`, on an ext4 of its own.
///
/// # Errors
/// Why there is no such machine (to skip the test).
fn in_machine(
    series: &str,
    cases: &[Case],
    how: How<'_>,
    limit: Duration,
) -> Result<Vec<Ran>, String> {
    let kernel = Kernel::find(series)?;
    let scratch = Scratch::new();
    let image = scratch.path("disk");
    File::create(&image)
        .and_then(|file| file.set_len(8 << 30))
        .expect("image");
    let machine = Machine::new(&kernel)?
        .processors(2)
        .memory_mib(2048)
        .disk(&image);
    let mut running = machine.boot(&format!(
        "mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && chmod 1777 /mnt || exit
        export TMPDIR=/mnt
        {}",
        suite::script(cases, how)
    ));
    let deadline = Instant::now() + limit;
    let mut report = Report::new(cases);
    while let Some(line) = running.line(deadline) {
        report.line(line);
    }
    eprintln!("{}", running.console());
    Ok(report.finish())
}

/// Those that `KEEPMYDATA_TEST_ONLY` names, parts of `BINARY TEST` with commas between them; else all.
fn wanted(cases: Vec<Case>) -> Vec<Case> {
    let Ok(only) = std::env::var("KEEPMYDATA_TEST_ONLY") else {
        return cases;
    };
    let named = |case: &Case| {
        let name = format!("{} {}", case.binary, case.test);
        only.split(',').any(|part| name.contains(part))
    };
    cases.into_iter().filter(named).collect()
}

#[test]
#[ignore = "takes an hour"]
fn whole_suite_on_linux_6_1() {
    compile_all();
    let cases = wanted(suite::all());
    let ran = or_skip!(in_machine(
        "6.1",
        &cases,
        EMULATED,
        Duration::from_secs(3 * 3600)
    ));
    let failed = failures(&ran);
    assert!(failed.is_empty(), "{failed}");
}
