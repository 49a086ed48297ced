//! Power cuts: what msync acknowledged is there afterwards.

use std::time::{Duration, Instant};

use preload_tests::harness::{Program, TearFs, patience, seconds, wait_until};
use preload_tests::or_skip;

/// The byte that the guest stores at a position of the file.
fn stored(position: u64) -> u8 {
    u8::try_from(1 + position % 250).expect("less than 251")
}

fn powercut(fs: &TearFs, what: &str) -> Program {
    Program::guest("powercut")
        .arg(fs.path("f"))
        .arg(fs.control_socket())
        .arg(what)
}

/// Of the ranges that the guest printed, how many bytes are in the backend, and how
/// many they are in all.
fn survivors(fs: &TearFs, stdout: &str) -> (usize, usize) {
    let (mut there, mut all) = (0, 0);
    for line in stdout.lines() {
        let numbers = line.split_once(' ').unwrap_or_default();
        let (Ok(offset), Ok(length)) = (numbers.0.parse::<u64>(), numbers.1.parse()) else {
            continue; // "msync 0"
        };
        let bytes = fs.final_bytes("f", offset, length);
        assert_eq!(bytes.len(), length, "the file has become shorter");
        all += length;
        there += (offset..)
            .zip(bytes)
            .filter(|&(at, byte)| byte == stored(at))
            .count();
    }
    assert!(all > 0, "nothing stored: {stdout}");
    (there, all)
}

#[test]
fn acknowledged_bytes_survive_a_power_cut() {
    or_skip!(TearFs::available());
    for mode in ["volatile", "first-page"] {
        let fs = TearFs::mount(&["--mode", mode]);
        let run = powercut(&fs, "sync")
            .under_shim(&[])
            .expect_success("powercut sync");
        assert!(run.stdout.contains("msync 0"), "{run:?}");
        let (there, all) = survivors(&fs, &run.stdout);
        assert_eq!(there, all, "{mode}: acknowledged bytes are lost");
    }
}

#[test]
fn control_without_msync_loses_them() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "volatile"]);
    let run = powercut(&fs, "nosync")
        .natively()
        .expect_success("powercut nosync");
    let (there, all) = survivors(&fs, &run.stdout);
    assert_eq!(there, 0, "of {all}: the cut cuts nothing");
}

#[test]
fn control_without_the_shim_loses_them_on_first_page() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let run = powercut(&fs, "sync")
        .natively()
        .expect_success("powercut sync");
    let (there, all) = survivors(&fs, &run.stdout);
    assert!(there < all, "msync alone kept all {all} bytes");
}

/// Runs the guest that stores ever further, cuts the power some time after the first
/// acknowledgement, and returns what `survivors` says of all acknowledged before.
fn cut_while_running(mode: &str, after: Duration, shimmed: bool) -> (usize, usize) {
    let fs = TearFs::mount(&["--mode", mode]);
    let guest = Program::guest("ledger")
        .arg(fs.path("f"))
        .arg(after.as_micros().to_string());
    let running = if shimmed {
        guest.start_under_shim(&[])
    } else {
        guest.start_natively()
    };
    wait_until("the first acknowledgement", Duration::from_secs(30), || {
        running.stdout().contains('\n')
    });
    let moment = Instant::now() + after;
    wait_until("the moment of the cut", after * 2, || {
        Instant::now() >= moment
    });
    let acknowledged = running.stdout();
    fs.cut();
    running.kill();
    survivors(&fs, &acknowledged)
}

#[test]
fn acknowledged_bytes_survive_power_cuts_at_any_moment() {
    or_skip!(TearFs::available());
    for mode in ["volatile", "first-page"] {
        for round in 0..seconds(10) * 10 {
            // Spread over 0 to 50 ms without pattern.
            let after = Duration::from_micros(round * 7919 % 50_000 + 500);
            let (there, all) = cut_while_running(mode, after, true);
            assert_eq!(there, all, "{mode}, cut after {after:?}");
        }
    }
}

#[test]
fn control_without_the_shim_loses_bytes_at_some_moment() {
    or_skip!(TearFs::available());
    let lost = (0..10).any(|round| {
        let after = patience(Duration::from_millis(5 * round + 1));
        let (there, all) = cut_while_running("one-page", after, false);
        there < all
    });
    assert!(lost, "no cut loses anything");
}
