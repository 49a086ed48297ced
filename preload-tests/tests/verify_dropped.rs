//! The page cache of a file is dropped, or pages are evicted, between a store and msync: what was stored may be gone, and
//! the page, brought back by a later store, looks whole. It is never acknowledged without a word.

use preload_tests::harness::{Program, TearFs, assert_same, kernel, seconds};
use preload_tests::{or_skip, page_size};

const WHOLE: &str = "msync 0\nfirst half new\nsecond half new\n";
const HALF_LOST: &str = "msync 0\nfirst half old\nsecond half new\n";

/// A daemon that drops the first write of each page; an open drops the page cache.
fn lossy() -> TearFs {
    TearFs::mount(&["--mode", "lossy-first"])
}

fn guest(fs: &TearFs) -> Program {
    Program::guest("halves").arg(fs.path("f"))
}

#[test]
fn natively_half_a_store_is_lost_without_a_word() {
    or_skip!(TearFs::available());
    assert_eq!(guest(&lossy()).natively().stdout, HALF_LOST);
}

#[test]
fn a_page_that_was_dropped_under_a_store_is_uncertain() {
    or_skip!(TearFs::available());
    let run = guest(&lossy()).under_shim(&[("KEEPMYDATA_LOG", "warn")]);
    assert_eq!(run.stdout, HALF_LOST, "{}", run.log_text());
    match kernel::page_tracking() {
        // Also by the child process that drops it.
        Ok(()) => assert!(
            run.records().uncertain().iter().all(|page| *page == 5)
                && !run.records().uncertain().is_empty(),
            "{}",
            run.log_text()
        ),
        // Any page may have been stored to.
        Err(_) => assert!(run.records().uncertain().contains(&5), "{}", run.log_text()),
    }

    assert!(run.log_text().contains("1 page"), "{}", run.log_text());
    assert!(!run.log_text().contains("1 pages"), "{}", run.log_text());

    // And it is told without a word being asked for.
    let run = guest(&lossy()).under_shim(&[("KEEPMYDATA_DEADLINE_MS", "100")]);
    assert_eq!(run.stdout, HALF_LOST, "{run:?}");
    assert!(
        run.stderr
            .contains("msync returned 0 and 1 page of this file is not proved to be safe"),
        "{run:?}"
    );

    let run = guest(&lossy()).under_shim(&[("KEEPMYDATA_UNCERTAIN", "error")]);
    assert!(run.stdout.starts_with("msync EIO\n"), "{run:?}");
}

/// A read of all of the file is to find nothing in the page cache, and leaves no page of it for the shim to look at.
#[test]
fn a_drop_is_noticed_after_all_of_the_file_was_read() {
    or_skip!(TearFs::available());
    let half_lost = format!("msync 0\n{HALF_LOST}");
    let fs = TearFs::mount(&["--mode", "lossy-first", "--direct-io", "none"]);
    assert_eq!(guest(&fs).arg("read").natively().stdout, half_lost);
    let fs = TearFs::mount(&["--mode", "lossy-first", "--direct-io", "none"]);
    let run = guest(&fs).arg("read").under_shim(&[]);
    assert_eq!(run.stdout, half_lost, "{run:?}");
    assert!(run.stderr.contains("not proved to be safe"), "{run:?}");
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let run = guest(&fs).arg("read").under_shim(&[]);
    let output = (run.stdout.as_str(), run.stderr.as_str());
    assert_eq!(output, (format!("msync 0\n{WHOLE}").as_str(), ""));
}

#[test]
fn where_the_page_cache_is_kept_nothing_is_uncertain() {
    or_skip!(TearFs::available());
    for mode in ["honest", "lossy-first"] {
        let fs = TearFs::mount(&["--mode", mode, "--keep-cache"]);
        let run = guest(&fs).under_shim(&[("KEEPMYDATA_LOG", "warn")]);
        assert_eq!(run.stdout, WHOLE, "{mode}: {}", run.log_text());
        assert!(
            run.records().uncertain().is_empty(),
            "{mode}: {}",
            run.log_text()
        );
    }
}

/// Stores are tracked up to the end of the file. It grows by a write that the shim does not follow: what is stored
/// there is verified, and in doubt where the page cache was dropped since.
#[test]
fn a_store_where_the_file_has_grown_is_not_overlooked() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let run = |mode: &str, opens: &[&str]| {
        let fs = TearFs::mount(&["--mode", mode]);
        let guest = Program::guest("beyond").arg(fs.path("f")).arg("grows");
        guest.args(opens).under_shim(&[
            ("KEEPMYDATA_LOG", "info"),
            ("KEEPMYDATA_DEADLINE_MS", "500"),
        ])
    };
    let honest = run("honest", &[]);
    assert_eq!(honest.stdout, "msync 0\n", "{honest:?}");
    let records = honest.records();
    assert!(records.uncertain().is_empty(), "{}", honest.log_text());

    // Every write of a page is dropped: no msync may return 0.
    let lying = run("black-hole", &[]);
    assert_eq!(lying.stdout, "msync EIO\n", "{lying:?}");

    let dropped = run("lossy-first", &["open"]);
    let uncertain = dropped.records().uncertain();
    assert!(uncertain.contains(&5), "{}", dropped.log_text());
}

/// An empty file that was mapped has no page that could tell of a drop: whichever call makes it longer is followed. And
/// what a truncation of the program's has dropped says nothing of what the file grows by after that.
#[test]
fn what_a_file_grows_by_is_in_no_doubt() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    for options in [
        &["--mode", "honest"][..],
        &["--mode", "honest", "--keep-cache"],
    ] {
        let fs = TearFs::mount(options);
        for case in [
            &["filled", "write"][..],
            &["filled", "sendfile"],
            &["filled", "splice"],
            &["cut"],
        ] {
            let guest = Program::guest("beyond").arg(fs.path("f")).args(case);
            let native = guest.natively().expect_success("natively");
            let run = guest.under_shim(&[("KEEPMYDATA_UNCERTAIN", "error")]);
            assert_same(&native, &run, &format!("{options:?} {case:?}"));
        }
    }
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    let guest = Program::guest("beyond").arg(fs.path("f")).arg("cut");
    let run = guest.under_shim(&[("KEEPMYDATA_DEADLINE_MS", "200")]);
    assert_eq!(run.stdout, "msync EIO\n", "{run:?}");
}

/// What is to tell of a drop is a page that is read in: where the daemon is gone, mmap returns all the same.
#[test]
fn mmap_returns_where_the_daemon_is_gone() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let run = |settings: Option<&[(&str, &str)]>| {
        let fs = TearFs::mount(&["--mode", "honest"]);
        let guest = Program::guest("beyond").arg(fs.path("f")).arg("orphaned");
        let guest = guest.arg(fs.pid().to_string());
        match settings {
            Some(settings) => guest.under_shim(settings),
            None => guest.natively(),
        }
    };
    let native = run(None).expect_success("natively");
    assert_eq!(native.stdout, "mmap 0\n");
    let shimmed = run(Some(&[("KEEPMYDATA_DEADLINE_MS", "200")]));
    assert_eq!(
        shimmed.expect_success("under the shim").stdout,
        native.stdout
    );
}

/// A second mapping of the file in which nobody touched the pages that were stored to by the first.
#[test]
fn a_page_is_not_gone_because_one_mapping_has_no_entry_for_it() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let guest = Program::guest("statistics").arg(fs.path("f"));
    let run = guest.under_shim(&[("KEEPMYDATA_LOG", "info")]);
    assert!(run.records().uncertain().is_empty(), "{}", run.log_text());
    let records = run.records();
    let verified: Vec<_> = records
        .of("msync")
        .map(|m| &m["verdicts"]["verified"])
        .collect();
    if kernel::page_tracking().is_ok() {
        assert_eq!(verified, [2], "{}", run.log_text());
    }
}

/// The page that the shim keeps in the page cache is the last one, and the one that is read.
#[test]
fn a_fresh_read_reaches_the_daemon_also_for_the_page_that_is_kept() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache", "--direct-io", "none"]);
    let run = guest(&fs).under_shim(&[("KEEPMYDATA_LOG", "warn")]);
    assert_eq!(run.stdout, WHOLE, "{}", run.log_text());
    let log = fs.op_log();
    let (offset, len) = (5 * page_size(), page_size());
    let read = format!("Read enter: ino(2) offset({offset}) len({len}) flags(O_RDONLY) ");
    assert!(log.contains(&read), "{log}");
}

/// After msync has failed the page is dirty, and the open hands it to the same filesystem, which
/// loses it: the second msync finds nothing dirty.
#[test]
fn a_page_that_was_dropped_after_a_failure_is_not_acknowledged() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    let settings = [("KEEPMYDATA_DEADLINE_MS", "200")];
    let run = guest(&fs).arg("retry").under_shim(&settings);
    assert!(run.stdout.starts_with("msync EIO\nmsync EIO\n"), "{run:?}");

    let native = guest(&fs).arg("retry").natively();
    assert!(
        native
            .stdout
            .starts_with("msync 0\nmsync 0\nfirst half old\n"),
        "{native:?}"
    );
}

/// How `unseen` stores what nobody tracks page by page.
const UNSEEN: [&str; 11] = [
    "child",
    "parent",
    "unmapped in a child",
    "moved in a child",
    "empty at first",
    "empty at first, in a child",
    "locked",
    "locked before",
    "locked, the first unmapped",
    "unshare",
    "exec",
];

fn unseen(fs: &TearFs, how: &str, drop: &str) -> Program {
    Program::guest("unseen").arg(fs.path("f")).args([how, drop])
}

/// What the guest stores as `how` says, and then drops, is found out to be lost under the shim where the filesystem keeps
/// nothing, as it is not natively; and an honest one is accused of nothing.
fn is_found_out(
    [lying, honest]: [&TearFs; 2],
    [how, drop]: [&str; 2],
    tracks: &[&str],
    is_error: fn(&str) -> bool,
) {
    let native = unseen(lying, how, drop).natively();
    assert_eq!(native.stdout, "msync 0\nheld old\n", "{how} {drop}");
    for track in tracks {
        let settings = [
            ("KEEPMYDATA_TRACK", *track),
            ("KEEPMYDATA_UNCERTAIN", "error"),
            ("KEEPMYDATA_DEADLINE_MS", "100"),
        ];
        let run = unseen(lying, how, drop).under_shim(&settings);
        assert!(is_error(&run.stdout), "{how} {drop} {track}: {run:?}");
        let run = unseen(honest, how, drop).under_shim(&settings);
        let output = (run.stdout.as_str(), run.stderr.as_str());
        assert_eq!(output, ("msync 0\nheld new\n", ""), "{how} {drop} {track}");
    }
}

/// What a fork child stores, or what is stored to a mapping that was locked, or by a program whose helper was ended, is
/// tracked from the next msync on. Where another process has dropped the page cache before that, all of it is in doubt.
#[test]
fn stores_that_are_not_tracked_are_in_doubt_when_the_page_cache_was_dropped() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    for how in UNSEEN {
        let guest = unseen(&fs, how, "open");
        assert_eq!(guest.natively().stdout, "msync 0\nheld old\n", "{how}");
        for track in ["auto", "cachestat", "whole"] {
            let track = ("KEEPMYDATA_TRACK", track);
            let run = guest.under_shim(&[track, ("KEEPMYDATA_UNCERTAIN", "error")]);
            assert!(
                run.stdout.starts_with("msync EIO\n"),
                "{how} {track:?}: {run:?}"
            );
            let run = guest.under_shim(&[track]);
            assert!(
                run.stderr.contains("not proved to be safe"),
                "{how} {track:?}: {run:?}"
            );
        }
    }
}

/// What the program takes away itself, or drops by opening or truncating the file, is no other's doing, also where a
/// second thread could have stored meanwhile and stores are not tracked: of that which stays, what it held last is known.
/// Nor is what the shim drops, which opens the file anew where direct reads are refused.
#[test]
fn what_the_program_takes_away_itself_is_in_no_doubt() {
    or_skip!(TearFs::available());
    let kept = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let plain = TearFs::mount(&["--mode", "honest"]);
    let refusing = TearFs::mount(&["--mode", "honest", "--refuse-direct-reads"]);
    let direct = TearFs::mount(&["--mode", "honest", "--direct-io", "all"]);
    let untracked = [("auto", true), ("cachestat", false), ("whole", false)];
    let tracked = [("auto", false)];
    let variants = [
        ("KEEP_CACHE", &kept, &untracked[..]),
        ("plain", &plain, &untracked[..]),
        ("no direct reads", &refusing, &tracked[..]),
        ("direct_io", &direct, &tracked[..]),
    ];
    let (mut wrong, mut files) = (Vec::new(), 0);
    for call in [
        "remove", "zero", "direct", "shorter", "longer", "open", "map",
    ] {
        for (variant, fs, settings) in variants {
            for (track, locked) in settings.iter().copied() {
                // The kernel refuses it.
                if locked && call == "remove" {
                    continue;
                }
                files += 1;
                let file = fs.path(&format!("f{files}"));
                let guest = Program::guest("takes").arg(file).arg(call);
                let guest = if locked { guest.arg("locked") } else { guest };
                let run = guest.under_shim(&[
                    ("KEEPMYDATA_TRACK", track),
                    ("KEEPMYDATA_UNCERTAIN", "error"),
                ]);
                if (run.stdout.as_str(), run.stderr.as_str()) != ("msync 0\n", "") {
                    wrong.push(format!("{call}, {variant}, {track}: {run:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where it was not dropped, or not by somebody else, there is nothing to doubt.
#[test]
fn stores_that_are_not_tracked_are_proved_where_the_page_cache_is_kept() {
    or_skip!(TearFs::available());
    let kept = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let dropped = TearFs::mount(&["--mode", "honest"]);
    let lying = TearFs::mount(&["--mode", "black-hole"]);
    let settings = [
        ("KEEPMYDATA_UNCERTAIN", "error"),
        ("KEEPMYDATA_DEADLINE_MS", "100"),
    ];
    for how in UNSEEN {
        for (fs, drop) in [(&kept, "evict"), (&dropped, "myself"), (&dropped, "none")] {
            let run = unseen(fs, how, drop).under_shim(&settings);
            let output = (run.stdout.as_str(), run.stderr.as_str());
            assert_eq!(output, ("msync 0\nheld new\n", ""), "{how}, {drop}");
        }
        for drop in ["myself", "none"] {
            let run = unseen(&lying, how, drop).under_shim(&settings);
            assert!(
                run.stdout.starts_with("msync EIO\n"),
                "{how}, {drop}: {run:?}"
            );
        }
    }
}

/// The C library opens files for fopen and freopen by itself: what is owed is proved before it does.
#[test]
fn a_stream_that_is_opened_on_the_file_drops_nothing_unproved() {
    or_skip!(TearFs::available());
    let honest = TearFs::mount(&["--mode", "honest"]);
    let lying = TearFs::mount(&["--mode", "black-hole"]);
    let settings = [
        ("KEEPMYDATA_UNCERTAIN", "error"),
        ("KEEPMYDATA_DEADLINE_MS", "100"),
    ];
    for drop in ["fopen", "freopen", "freopen itself"] {
        is_found_out(
            [&lying, &honest],
            ["stored", drop],
            &["auto", "cachestat", "whole"],
            |out| out.starts_with("msync EIO\n"),
        );
    }
    // The program itself has taken out what it has stored.
    let run = unseen(&honest, "stored", "fopen w").under_shim(&settings);
    let output = (run.stdout.as_str(), run.stderr.as_str());
    assert_eq!(output, ("msync 0\nheld old\n", ""));
}

/// With FOPEN_DIRECT_IO every mmap drops the page cache, and remap_file_pages is one.
#[test]
fn a_mapping_of_any_kind_drops_nothing_unproved() {
    or_skip!(TearFs::available());
    let mount = |mode| TearFs::mount(&["--mode", mode, "--direct-io", "all"]);
    let (honest, lying) = (mount("honest"), mount("black-hole"));
    for drop in ["private", "remap"] {
        is_found_out(
            [&lying, &honest],
            ["stored", drop],
            &["auto", "cachestat", "whole"],
            |out| out.starts_with("msync EIO\n"),
        );
    }
}

/// However much of the file is in the page cache, a fork child's stores are proved before an open of its own drops it.
#[test]
fn a_fork_child_with_much_in_the_page_cache_proves_it_before_it_opens_the_file() {
    or_skip!(TearFs::available());
    let settings = [("KEEPMYDATA_DEADLINE_MS", "100")];
    let how = "much in a child";
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    let native = unseen(&fs, how, "myself").natively();
    assert_eq!(native.stdout, "msync 0\nheld old\n", "{native:?}");
    let run = unseen(&fs, how, "myself").under_shim(&settings);
    assert!(run.stdout.starts_with("msync EIO\n"), "{run:?}");
    let fs = TearFs::mount(&["--mode", "honest"]);
    let run = unseen(&fs, how, "myself").under_shim(&settings);
    assert_eq!(run.stdout, "msync 0\nheld new\n", "{run:?}");
    assert_eq!(run.stderr, "", "{run:?}");
}

/// The page that tells of a drop stays in the page cache for as long as the file is mapped, whichever mapping it is.
#[test]
fn a_drop_is_noticed_when_the_first_mapping_is_gone() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    for track in ["auto", "cachestat", "whole"] {
        let guest = unseen(&fs, "the first unmapped", "open");
        assert_eq!(guest.natively().stdout, "msync 0\nheld old\n");
        let settings = [
            ("KEEPMYDATA_TRACK", track),
            ("KEEPMYDATA_UNCERTAIN", "error"),
        ];
        let run = guest.under_shim(&settings);
        assert!(run.stdout.starts_with("msync EIO\n"), "{track}: {run:?}");
    }
}

/// One doubt is one error: from then on msync is about what the page holds. What was stored before may be missing, and
/// a line says so.
#[test]
fn a_doubt_is_an_error_once() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let settings = [("KEEPMYDATA_UNCERTAIN", "error")];
    let fs = TearFs::mount(&["--mode", "honest"]);
    let run = guest(&fs).arg("twice").under_shim(&settings);
    assert!(run.stdout.starts_with("msync EIO\nmsync 0\n"), "{run:?}");
    let run = guest(&lossy()).arg("twice").under_shim(&settings);
    assert!(run.stdout.starts_with("msync EIO\nmsync 0\n"), "{run:?}");
    assert!(
        run.stderr.contains("An earlier msync failed for 1 page"),
        "{run:?}"
    );
}

/// A vfork child runs on its parent's memory, and nothing is compared for it. Then it is told so, and the parent's msync
/// proves what the child has stored.
#[test]
fn what_a_vfork_child_syncs_itself_is_in_doubt() {
    or_skip!(TearFs::available());
    let settings = [("KEEPMYDATA_DEADLINE_MS", "100")];
    let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    let guest = unseen(&fs, "vfork", "none");
    assert_eq!(guest.natively().stdout, "msync 0\nheld old\nmsync 0\n");
    let run = guest.under_shim(&settings);
    assert_eq!(run.stdout, "msync 0\nheld old\nmsync EIO\n", "{run:?}");
    assert!(
        run.stderr
            .contains("what it stored is not proved to be safe"),
        "{run:?}"
    );
    let run = guest.under_shim(&[("KEEPMYDATA_UNCERTAIN", "error"), settings[0]]);
    assert_eq!(run.stdout, "msync EIO\nheld old\nmsync EIO\n", "{run:?}");
    assert!(
        run.stderr.contains("msync of a vfork child failed"),
        "{run:?}"
    );

    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let run = unseen(&fs, "vfork", "none").under_shim(&settings);
    assert_eq!(run.stdout, "msync 0\nheld new\nmsync 0\n", "{run:?}");
}

/// It may also take its parent's mappings away.
#[test]
fn what_a_vfork_child_unmaps_is_still_owed() {
    or_skip!(TearFs::available());
    let lying = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    let honest = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    is_found_out(
        [&lying, &honest],
        ["unmapped by a vfork child", "none"],
        &["auto", "cachestat", "whole"],
        |out| out == "msync EIO\nheld old\n",
    );

    // Where it was the last mapping the pages may have left the page cache until the file is mapped again.
    let how = "unmapped by a vfork child, all";
    let settings = [("KEEPMYDATA_DEADLINE_MS", "100")];
    let run = unseen(&lying, how, "none").under_shim(&settings);
    assert!(run.stdout.starts_with("msync EIO\n"), "{run:?}");
    let run = unseen(&honest, how, "none").under_shim(&settings);
    assert_eq!(run.stdout, "msync 0\nheld new\n", "{run:?}");
    assert!(run.stderr.contains("not proved to be safe"), "{run:?}");
}

/// What a vfork child maps is mapped in its parent.
#[test]
fn what_is_stored_where_a_vfork_child_has_mapped_the_file_is_verified() {
    or_skip!(TearFs::available());
    let lying = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    let honest = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    is_found_out(
        [&lying, &honest],
        ["mapped by a vfork child", "none"],
        &["auto", "cachestat", "whole"],
        |out| out == "msync EIO\nheld old\n",
    );

    // Where it is the file's first mapping, stores before the first msync may be in doubt.
    let first = "mapped by a vfork child, first";
    let settings = [("KEEPMYDATA_DEADLINE_MS", "100")];
    let run = unseen(&lying, first, "none").under_shim(&settings);
    assert_eq!(run.stdout, "msync EIO\nheld old\n", "{run:?}");
    let run = unseen(&honest, first, "none").under_shim(&settings);
    assert_eq!(run.stdout, "msync 0\nheld new\n", "{run:?}");
}

/// process_madvise(2) of the program's own pages is no other than madvise(2).
#[test]
fn what_a_program_has_paged_out_of_its_own_is_proved_before() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let lying = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    let honest = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    is_found_out(
        [&lying, &honest],
        ["paged out by itself", "none"],
        &["auto"],
        |out| out == "msync EIO\nheld old\n",
    );
}

/// What was stored through a mapping that is gone is in the page table of the one that is left: it is not evicted.
#[test]
fn what_was_stored_through_a_mapping_that_is_gone_stays_in_the_page_cache() {
    or_skip!(TearFs::available());
    let lying = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    let honest = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    for how in ["two mappings", "two mappings, one of them for writing"] {
        is_found_out(
            [&lying, &honest],
            [how, "evict"],
            &["auto", "cachestat", "whole"],
            |out| out == "msync EIO\nheld old\n",
        );
    }
}

/// remap_file_pages maps another part of the file, as mmap with MAP_FIXED does.
#[test]
fn what_is_stored_where_remap_file_pages_has_been_is_verified() {
    or_skip!(TearFs::available());
    let lying = TearFs::mount(&["--mode", "black-hole"]);
    let honest = TearFs::mount(&["--mode", "honest"]);
    for how in ["remapped", "remapped after a store"] {
        is_found_out(
            [&lying, &honest],
            [how, "none"],
            &["auto", "whole"],
            |out| out == "msync EIO\nheld old\n",
        );
    }
}

/// The page cache is dropped by the shim's own open, after it has copied what may be dirty, and then the flush fails: the
/// copies are all that there is, and the next msync returns the error.
#[test]
fn a_flush_that_fails_after_a_drop_is_told_by_the_next_msync() {
    or_skip!(TearFs::available());
    for how in ["unshare", "exec"] {
        let fs = TearFs::mount(&["--mode", "eio-once"]);
        let run = unseen(&fs, how, "myself").under_shim(&[("KEEPMYDATA_DEADLINE_MS", "100")]);
        assert!(run.stdout.starts_with("msync EIO\n"), "{how}: {run:?}");
    }
}

/// Two threads unmap the two mappings of what one has stored: each finds that the other one still has it.
#[test]
fn mappings_that_go_at_the_same_time_do_not_leave_the_proof_to_each_other() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_unlogged(&["--mode", "one-page", "--keep-cache"]);
    let rounds = (2000 * seconds(1)).to_string();
    let guest = Program::guest("leavers").arg(fs.path("f")).arg(rounds);
    assert_ne!(guest.natively().stdout, "0 torn\n");
    let run = guest.under_shim(&[]);
    let output = (run.stdout.as_str(), run.stderr.as_str());
    assert_eq!(output, ("0 torn\n", ""));
}

/// What a program has stored is proved before it becomes another one, which knows nothing of it.
#[test]
fn what_was_stored_before_an_exec_is_proved_or_said() {
    or_skip!(TearFs::available());
    const SAID: &str = "4 pages that it has stored to are not proved to be safe";
    let guest = |mode, how: &str| {
        let fs = TearFs::mount(&["--mode", mode, "--keep-cache"]);
        (Program::guest("becomes").arg(fs.path("f")).arg(how), fs)
    };
    let deadline = [("KEEPMYDATA_DEADLINE_MS", "100")];
    let (native, _fs) = guest("one-page", "execv");
    assert_eq!(native.natively().stdout, "msync 0\nheld nooo\n");
    for how in ["execv", "execlp", "sync"] {
        let (lying, _fs) = guest("black-hole", how);
        let run = lying.under_shim(&deadline);
        assert_eq!(run.stdout, "msync 0\nheld oooo\n", "{run:?}");
        assert!(run.stderr.contains(SAID), "{how}: {run:?}");
    }
    for (mode, how) in [
        ("one-page", "execv"),
        ("honest", "execv"),
        ("honest", "sync"),
    ] {
        let (guest, _fs) = guest(mode, how);
        let run = guest.under_shim(&[]);
        let output = (run.stdout.as_str(), run.stderr.as_str());
        assert_eq!(output, ("msync 0\nheld nnnn\n", ""), "{mode} {how}");
    }
    // A fork child owes nothing of its parent's, and leaves it to that.
    let (child, _fs) = guest("one-page", "child");
    let run = child.under_shim(&[]);
    assert!(run.stdout.ends_with("msync 0\n"), "{run:?}");
    assert_eq!(run.stderr, "", "{run:?}");
}

/// Direct I/O stores to pages that it holds, without a mark; those that it got at its beginning another thread's msync takes.
#[test]
fn a_direct_read_into_a_mapping_that_an_msync_overtakes_is_proved() {
    or_skip!(TearFs::available());
    let source = TearFs::mount(&["--mode", "honest", "--read-delay-ms", "400"]);
    std::fs::write(source.path("s"), vec![b'n'; 2 * page_size()]).expect("source");
    let run = |mode, how: &str, natively| {
        let fs = TearFs::mount(&["--mode", mode, "--keep-cache"]);
        let guest = Program::guest("pinned").arg(fs.path("f"));
        let guest = guest.arg(source.path("s")).arg(how);
        match natively {
            true => guest.natively(),
            false => guest.under_shim(&[("KEEPMYDATA_DEADLINE_MS", "100")]),
        }
    };
    assert_eq!(
        run("black-hole", "pread", true).stdout,
        "msync 0\nmsync 0\nheld oooo\n"
    );
    for how in ["pread", "read", "preadv"] {
        let honest = run("honest", how, false);
        let output = (honest.stdout.as_str(), honest.stderr.as_str());
        assert_eq!(output, ("msync 0\nmsync 0\nheld onno\n", ""), "{how}");
        let lying = run("black-hole", how, false);
        assert_eq!(lying.stdout, "msync 0\nmsync EIO\nheld oooo\n", "{lying:?}");
    }
}

/// A fork child that maps a file, and has not opened it, drops nothing: neither what its parent has stored and not synced,
/// nor what it has stored itself.
#[test]
fn a_fork_child_that_maps_a_file_drops_nothing() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    for how in ["maps", "allocates"] {
        let run = |mode| {
            let fs = TearFs::mount(&["--mode", mode]);
            let guest = Program::guest("heirs").arg(fs.path("f")).arg(how);
            guest.under_shim(&[
                ("KEEPMYDATA_UNCERTAIN", "error"),
                ("KEEPMYDATA_PREALLOC", "on"),
                ("KEEPMYDATA_DEADLINE_MS", "100"),
            ])
        };
        let honest = run("honest");
        let output = (honest.stdout.as_str(), honest.stderr.as_str());
        assert_eq!(output, ("msync 0\n", ""), "{how}");
        let lying = run("black-hole");
        assert_eq!(lying.stdout, "msync EIO\n", "{how}: {lying:?}");
    }
}

/// Another process writes past the page cache into a page that was stored to, in a part of a large sparse file that nobody
/// has touched before. The page cache knows nothing of that afterwards: no page of that part is cached, none leaves a trace
/// of being evicted, and the page that stands for an eviction probe is mapped as before. Nothing but a mark in the page
/// table, of each page that may be stored to, tells it from a page that nobody has touched.
#[test]
fn what_another_process_takes_leaves_no_trace_but_in_the_marks() {
    or_skip!(TearFs::available());
    or_skip!(kernel::cachestat());
    or_skip!(kernel::page_tracking());
    const TRACES: &str = "cached 0, evicted 0\nfirst page mapped 1\n";
    let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    let guest = |name: &str, how: &str| {
        let guest = Program::guest("traces").arg(fs.path(name));
        guest.args(["1024", how])
    };
    let run = guest("native", "write").natively();
    assert_eq!(run.stdout, format!("{TRACES}msync 0\n"));
    let run = guest("default", "write").under_shim(&[]);
    assert_eq!(run.stdout, format!("{TRACES}msync 0\n"), "{run:?}");
    assert!(
        run.stderr.contains("1 page of this file is not proved"),
        "{run:?}"
    );
    let run = guest("error", "write").under_shim(&[("KEEPMYDATA_UNCERTAIN", "error")]);
    assert_eq!(run.stdout, format!("{TRACES}msync EIO\n"), "{run:?}");
    // What is reclaimed is no better off.
    let run = guest("native-out", "page-out").natively();
    assert!(run.stdout.ends_with("msync 0\n"), "{run:?}");
    let run = guest("out", "page-out").under_shim(&[("KEEPMYDATA_DEADLINE_MS", "100")]);
    assert!(run.stdout.ends_with("msync EIO\n"), "{run:?}");
}
