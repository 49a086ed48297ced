//! The tests of this package on a kernel without cachestat (Linux 6.5) and PAGEMAP_SCAN (6.7), under a
//! seccomp profile such as containers have, and on AArch64 with pages of 4 and of 16 KiB.

mod doctor;
mod results;
mod suite;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use preload_tests::harness::{
    Flags, Program, Scratch, Target, command, compile_all, target_directory,
};
use preload_tests::vm::{Kernel, Machine};
use preload_tests::{or_skip, page_size};

use suite::{Case, End, How, Ran, Report, Shims, failures};

/// A cure against its disease, a guest that no program can tell from one without the shim, and what
/// trackers that see less must not get wrong.
const SAMPLE: [(&str, &str); 5] = [
    ("msync_errors", "errno_is_as_natively_on_ext4"),
    ("spine", "first_page::seed"),
    ("transparency_calls", "mapping_calls_on_fuse"),
    ("untracked", "a_dropped_page_cache_makes_all_uncertain"),
    ("untracked", "a_race_is_no_tear"),
];

/// Their guests.
const SAMPLE_GUESTS: [&str; 6] = [
    "findings/l1",
    "halves",
    "mapcalls",
    "msync_errors",
    "seed",
    "under",
];

/// Software emulation is about ten times slower.
const EMULATED: How<'_> = How {
    under: "",
    parallel: 2,
    patience: 10,
    seconds: 1,
};

fn confined(how: How<'_>) -> (String, How<'_>) {
    let under = Program::guest("under");
    (format!("{} container", under.file().display()), how)
}

/// Runs `cases` and then a script in a machine, on an ext4 of its own.
///
/// # Errors
/// Why there is no such machine (to skip the test).
fn in_machine(
    kernel: &Kernel,
    cases: &[Case],
    shims: &Shims,
    how: How<'_>,
    then: &str,
    limit: Duration,
) -> Result<Report, String> {
    let scratch = Scratch::new();
    let image = scratch.image("disk", 8 << 10);
    let machine = Machine::new(kernel)?
        .processors(2)
        .memory_mib(2048)
        .disk(&image);
    let mut running = machine.boot(&format!(
        "mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && chmod 1777 /mnt || exit
        export TMPDIR=/mnt
        {}{then}",
        suite::script(cases, shims, how)
    ));
    let deadline = Instant::now() + limit;
    let mut report = Report::new(cases);
    while let Some(line) = running.line(deadline) {
        report.line(line);
    }
    Ok(report)
}

/// Runs `cases` on this kernel.
fn here(cases: &[Case], how: How<'_>) -> Report {
    let scratch = Scratch::new();
    let mut bash = Command::new("bash")
        .args(["-c", &suite::script(cases, &Shims::here(), how)])
        .env("TMPDIR", scratch.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash");
    let mut report = Report::new(cases);
    let lines = BufReader::new(bash.stdout.take().expect("piped stdout")).lines();
    for line in lines {
        report.line(line.expect("a line of the script"));
    }
    bash.wait().expect("bash");
    report
}

/// None of them uses a shim that is not optimised.
fn is_of_sample(case: &Case) -> bool {
    SAMPLE.contains(&(case.binary.as_str(), case.test.as_str()))
}

fn sample() -> Vec<Case> {
    let binaries = SAMPLE.map(|(binary, _)| binary);
    let cases = suite::tests_of(&binaries).into_iter();
    let cases: Vec<Case> = cases.filter(is_of_sample).collect();
    assert_eq!(cases.len(), SAMPLE.len(), "tests were renamed: {cases:?}");
    cases
}

/// Nothing of the sample may be skipped.
fn expect_passed(ran: &[Ran]) {
    for ran in ran {
        assert_eq!(
            ran.end,
            End::Passed,
            "{} {}",
            ran.case.binary,
            ran.case.test
        );
    }
}

#[test]
fn the_promise_is_kept_on_linux_6_1() {
    let kernel = or_skip!(Kernel::find("6.1"));
    let cases = sample();
    let shims = Shims::here();
    let report = or_skip!(in_machine(
        &kernel,
        &cases,
        &shims,
        EMULATED,
        &doctor::script(&target_directory().join("debug"), &shims.lib),
        Duration::from_secs(500)
    ));
    assert_eq!(report.trackers(), "whole");
    doctor::judge(report.others(), kernel.release());
    expect_passed(&report.finish());
}

/// A static program is torn natively, and supervised whole, or told of, where the kernel has no marks to give.
#[test]
fn a_static_program_is_supervised_on_linux_6_1() {
    let seed = Program::guest_with("seed", Flags::Static);
    let (seed, directory) = (seed.file().display(), target_directory().join("debug"));
    let (keepmydata, directory) = (command().display(), directory.display());
    let kernel = or_skip!(Kernel::find("6.1"));
    let mut job = String::new();
    for mode in ["one-page", "black-hole"] {
        job += &format!(
                "mkdir /run/{mode} && '{directory}/tearfs' --mode {mode} --keep-cache /run/{mode} >/run/ready.{mode} &
                until grep -q ready /run/ready.{mode} 2>/run/null; do sleep 0.1; done
                {seed} /run/{mode}/n >/run/null; echo {mode} natively $?
                {keepmydata} --log=info --log-file=/run/log.{mode} -- {seed} /run/{mode}/s >/run/null; echo {mode} supervised $?
                grep -o 'tracker [a-z]*' /run/log.{mode}; umount /run/{mode}; wait\n"
            );
    }
    let machine = or_skip!(Machine::new(&kernel)).processors(2);
    let (_, printed) = machine.boot(&job).finish(Duration::from_secs(200));
    let expected = [
        "one-page natively 1",
        "one-page supervised 0",
        "tracker whole",
        "black-hole natively 1",
        "black-hole supervised 3",
        "tracker whole",
    ];
    let printed: Vec<&str> = printed.lines().collect();
    assert_eq!(printed, expected);
}

#[test]
fn the_promise_is_kept_in_a_container() {
    let (under, how) = confined(How {
        patience: 2,
        ..EMULATED
    });
    let report = here(
        &sample(),
        How {
            under: &under,
            ..how
        },
    );
    assert!(
        !report.trackers().contains("pagemap"),
        "{}",
        report.trackers()
    );
    expect_passed(&report.finish());
}

/// Those that `KEEPMYDATA_TEST_ONLY` names, parts of `BINARY TEST` with commas between them; else all.
fn wanted() -> Vec<Case> {
    let cases = suite::tests_of(&[]);
    let Ok(only) = std::env::var("KEEPMYDATA_TEST_ONLY") else {
        return cases;
    };
    let named = |case: &Case| {
        let name = format!("{} {}", case.binary, case.test);
        only.split(',').any(|part| name.contains(part))
    };
    cases.into_iter().filter(named).collect()
}

/// Runs what is wanted, keeps what came out for the document, and fails where a test failed.
fn whole_suite(name: &str, run: impl FnOnce(&[Case]) -> Result<Report, String>) {
    let cases = wanted();
    let report = or_skip!(run(&cases));
    let (kernel, trackers) = (report.kernel(), report.trackers());
    let ran = report.finish();
    results::save(name, &kernel, &trackers, &ran);
    let failed = failures(&ran);
    assert!(failed.is_empty(), "{failed}");
}

const HOURS: Duration = Duration::from_secs(4 * 3600);

#[test]
#[ignore = "takes an hour"]
fn whole_suite_on_linux_6_1() {
    compile_all(&Target::host(), page_size(), &[]);
    whole_suite(results::OLDER, |cases| {
        let kernel = Kernel::find("6.1")?;
        in_machine(&kernel, cases, &Shims::here(), EMULATED, "", HOURS)
    });
}

#[test]
#[ignore = "takes many minutes"]
fn whole_suite_in_a_container() {
    compile_all(&Target::host(), page_size(), &[]);
    let (under, how) = confined(How {
        patience: 2,
        ..EMULATED
    });
    whole_suite(results::CONTAINER, |cases| {
        Ok(here(
            cases,
            How {
                under: &under,
                ..how
            },
        ))
    });
}

#[test]
#[ignore = "takes an hour"]
fn whole_suite_on_linux_6_1_in_a_container() {
    compile_all(&Target::host(), page_size(), &[]);
    let (under, how) = confined(EMULATED);
    whole_suite(results::BOTH, |cases| {
        let how = How {
            under: &under,
            ..how
        };
        let kernel = Kernel::find("6.1")?;
        in_machine(&kernel, cases, &Shims::here(), how, "", HOURS)
    });
}

/// Runs `cases`, built for AArch64 as their `guests` are (all, if there are none), in a machine of that processor with pages of `kib` KiB.
///
/// # Errors
/// Why there is none, or nothing that builds for it.
fn on_aarch64(
    kib: usize,
    cases: &[Case],
    guests: &[&str],
    limit: Duration,
) -> Result<Report, String> {
    let (kernel, target) = (Kernel::aarch64(kib)?, Target::aarch64()?);
    compile_all(&target, kib << 10, guests);
    let cases = suite::built_for(&target, cases);
    let shims = Shims::built_for(&target, &cases);
    let report = in_machine(&kernel, &cases, &shims, EMULATED, "", limit)?;
    assert_eq!(report.page_size(), (kib << 10).to_string());
    Ok(report)
}

#[test]
fn the_promise_is_kept_on_aarch64() {
    let report = or_skip!(on_aarch64(
        16,
        &sample(),
        &SAMPLE_GUESTS,
        Duration::from_secs(500)
    ));
    expect_passed(&report.finish());
}

#[test]
#[ignore = "takes hours"]
fn whole_suite_on_aarch64() {
    whole_suite(results::AARCH64, |cases| on_aarch64(4, cases, &[], HOURS));
}

#[test]
#[ignore = "takes hours"]
fn whole_suite_on_aarch64_with_pages_of_16_kib() {
    whole_suite(results::AARCH64_16K, |cases| {
        on_aarch64(16, cases, &[], HOURS)
    });
}

/// Every test program has its row.
#[test]
fn document_says_what_was_found() {
    let text = std::fs::read_to_string(results::path()).expect("docs/platforms.md");
    let wrong = results::contradictions(&text);
    assert!(wrong.is_empty(), "docs/platforms.md:\n{}", wrong.join("\n"));
}
