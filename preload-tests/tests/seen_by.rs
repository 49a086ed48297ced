//! `KEEPMYDATA_SEEN_BY`: msync waits until another client of the filesystem is shown what was synced. Natively, and under
//! the shim without it, that client reads old data.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use preload_tests::harness::{Looks, Outcome, Program, Scratch, TearFs, writes_documents};
use preload_tests::markdown::Table;
use preload_tests::or_skip;
use serde_json::Value;

const SECONDS: &str = "2.5";

fn mount(coherence: &str) -> TearFs {
    TearFs::mount_twice(coherence, &[&format!("--coherence-ms={}", Looks::LATE_MS)])
}

fn seen_by(fs: &TearFs) -> String {
    format!("{}={}", fs.dir().display(), fs.second().display())
}

/// What the readers see without the setting, under the shim too, and with it, by [`Looks::WAYS`]. docs/modes.md has this table.
const ROWS: [(&str, [&str; 6], [&str; 6]); 10] = [
    ("coherent", ["now"; 6], ["now"; 6]),
    // The mapping too: the look for the new data has that client ask for attributes, again and again.
    (
        "attribute-cache",
        ["later", "later", "now", "never", "later", "now"],
        ["now"; 6],
    ),
    // The mapping too: the open that looks for the new data drops all pages there.
    (
        "close-to-open",
        ["never", "now", "now", "never", "never", "now"],
        ["now"; 6],
    ),
    // The mapping too: as close-to-open, once that open is late enough.
    (
        "late-open",
        ["never", "later", "now", "never", "never", "now"],
        ["now"; 6],
    ),
    (
        "on-lock",
        ["never", "never", "now", "never", "now", "now"],
        SHOWN,
    ),
    // The guest has the file open before the other client reads it.
    (
        "on-open",
        ["never", "never", "now", "never", "never", "now"],
        SHOWN,
    ),
    (
        "recall",
        ["never", "never", "now", "never", "never", "now"],
        SHOWN,
    ),
    (
        "no-invalidation",
        ["never", "never", "now", "never", "never", "now"],
        SHOWN,
    ),
    ("propagation", ["later"; 6], ["now"; 6]),
    ("stale-writeback", ["now"; 6], ["now"; 6]),
];
/// A mapping that is held keeps its page in use, which is told.
const SHOWN: [&str; 6] = ["now", "now", "now", "never", "now", "now"];

const MAPPING: usize = 3;

fn check(coherence: &str) {
    or_skip!(TearFs::available());
    let row = ROWS.into_iter().find(|row| row.0 == coherence);
    let (_, without, mut with) = row.expect("a row");
    let probe = |fs: &TearFs| {
        let guest = Program::guest("two_clients");
        guest.arg(fs.dir()).arg(fs.second()).arg(SECONDS)
    };
    let looks = Looks::of_quick(|| probe(&mount(coherence)).under_shim(&[]));
    assert_eq!(looks.when(), without, "{coherence}: {looks:?}");
    let fs = mount(coherence);
    let setting = seen_by(&fs);
    let settings = [
        ("KEEPMYDATA_SEEN_BY", setting.as_str()),
        ("KEEPMYDATA_LOG", "info"),
    ];
    let shim = probe(&fs).under_shim(&settings);
    let found = Looks::of(&shim).when();
    if found[MAPPING] == "now" {
        // The kernel had taken the page out of the mapping meanwhile.
        with[MAPPING] = "now";
    }
    assert_eq!(found, with, "{coherence}: {}", shim.stdout);
    // What is not shown is told, and nothing else is.
    let told = shim.records().uncertain().len();
    assert_eq!(told > 0, with.contains(&"never"), "{coherence}: {told}");
}

macro_rules! rows {
    ($($test:ident: $coherence:literal;)*) => {
        $(
            #[test]
            fn $test() {
                check($coherence);
            }
        )*

        #[test]
        fn every_row_has_a_test() {
            assert_eq!(ROWS.map(|row| row.0), [$($coherence),*]);
        }
    };
}

rows! {
    coherent: "coherent";
    attribute_cache: "attribute-cache";
    close_to_open: "close-to-open";
    late_open: "late-open";
    on_lock: "on-lock";
    on_open: "on-open";
    recall: "recall";
    no_invalidation: "no-invalidation";
    propagation: "propagation";
    stale_writeback: "stale-writeback";
}

/// The table in docs/modes.md is that of the rows, which the others check.
#[test]
fn the_document_has_the_rows() {
    let mut table = Table::new(["coherence"].into_iter().chain(Looks::WAYS));
    for (coherence, without, with) in ROWS {
        let both = without.iter().zip(with);
        let cells = both.map(|(without, with)| match *without == with {
            true => with.to_owned(),
            false => format!("{without}, {with}"),
        });
        table.row([coherence.to_owned()].into_iter().chain(cells));
    }
    let table = table.to_string();
    for document in ["tests/modes/document.md", "../docs/modes.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let text = fs::read_to_string(&path).expect(document);
        let begin = text.find("| coherence |").expect("a table");
        let end = begin + text[begin..].find("\n\n").expect("its end") + 1;
        if text[begin..end] == table {
            continue;
        }
        assert!(writes_documents(), "{document} has not:\n{table}");
        let text = format!("{}{table}{}", &text[..begin], &text[end..]);
        fs::write(&path, text).expect(document);
    }
}

/// A file of old data, all of which the guest stores to and syncs, twice.
fn store(path: &Path) -> Program {
    let mut file = File::create(path).expect("file");
    file.write_all(&[b'o'; 16384]).expect("old data");
    file.sync_all().expect("fsync");
    Program::guest("seen").arg(path)
}

/// Longer than the deadline: not proved, and told; with UNCERTAIN=error EIO, until a later msync finds it.
#[test]
fn what_is_not_shown_in_time_is_uncertain() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("propagation", &["--coherence-ms=1500"]);
    let setting = seen_by(&fs);
    let run = |name: &str, more: &[(&str, &str)]| {
        let mut settings = vec![
            ("KEEPMYDATA_SEEN_BY", setting.as_str()),
            ("KEEPMYDATA_DEADLINE_MS", "300"),
            ("KEEPMYDATA_LOG", "error"),
        ];
        settings.extend(more);
        store(&fs.path(name)).under_shim(&settings)
    };
    let warned = run("warn", &[]);
    assert_eq!(warned.stdout, "msync 0\nagain 0\n", "{warned:?}");
    let records = warned.records();
    let said: Vec<&Value> = records.of("doubt").collect();
    let said = said[0]["message"].as_str().expect("message");
    assert!(said.contains("did not see them in time"), "{said}");
    let failed = run("fail", &[("KEEPMYDATA_UNCERTAIN", "error")]);
    // The second msync comes two seconds later.
    assert_eq!(failed.stdout, "msync EIO\nagain 0\n", "{failed:?}");
    let records = failed.records();
    let report = records.of("report").next().expect("a report");
    let said = report["message"].as_str().expect("message");
    assert!(said.contains("not seen by the other client"), "{said}");
}

/// What was warned of is looked for by the next msync, though nothing was stored since.
#[test]
fn what_was_not_shown_is_looked_for_again() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("propagation", &["--coherence-ms=60000"]);
    let setting = seen_by(&fs);
    let settings = [
        ("KEEPMYDATA_SEEN_BY", setting.as_str()),
        ("KEEPMYDATA_DEADLINE_MS", "50"),
        ("KEEPMYDATA_LOG", "error"),
    ];
    let run = store(&fs.path("f")).under_shim(&settings);
    assert_eq!(run.stdout, "msync 0\nagain 0\n", "{run:?}");
    let records = run.records();
    let said = records.of("doubt").last().expect("a doubt");
    let said = said["message"].as_str().expect("message");
    let both = "2 msync calls of this process returned 0 without a proof, for 8 pages in all";
    assert!(said.starts_with(both), "{said}");
}

/// Files beside the mount are as they were; one that has no name below the other is not shown there.
#[test]
fn only_what_lies_below_the_mount_is_looked_for() {
    or_skip!(TearFs::available());
    let fs = mount("coherent");
    let beside = fs.control_socket().with_file_name("beside");
    let setting = seen_by(&fs);
    let settings = [
        ("KEEPMYDATA_SEEN_BY", setting.as_str()),
        ("KEEPMYDATA_VERIFY", "on"),
        ("KEEPMYDATA_LOG", "warn"),
    ];
    let run = store(&beside).under_shim(&settings);
    assert_eq!(run.stdout, "msync 0\nagain 0\n", "{run:?}");
    assert_eq!(run.log_text(), "", "{run:?}");
    fs::remove_file(beside).expect("removal");
    let elsewhere = format!("{}=/nowhere", fs.dir().display());
    let settings = [
        ("KEEPMYDATA_SEEN_BY", elsewhere.as_str()),
        ("KEEPMYDATA_DEADLINE_MS", "50"),
        ("KEEPMYDATA_UNCERTAIN", "error"),
    ];
    let run = store(&fs.path("f")).under_shim(&settings);
    assert_eq!(run.stdout, "msync EIO\nagain EIO\n", "{run:?}");
}

/// The first mount is named as people name it; what has no effect is told of, not passed over.
#[test]
fn the_mounts_are_found_or_it_is_said() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("propagation", &["--coherence-ms=60000"]);
    let beside = fs.control_socket().with_file_name("link");
    std::os::unix::fs::symlink(fs.dir(), &beside).expect("symlink");
    let (first, second) = (fs.dir(), fs.second());
    let (first, second, link) = (first.display(), second.display(), beside.display());
    let run = |mounts: String, more: (&str, &str)| {
        let settings = [
            ("KEEPMYDATA_SEEN_BY", mounts.as_str()),
            ("KEEPMYDATA_UNCERTAIN", "error"),
            ("KEEPMYDATA_DEADLINE_MS", "50"),
            more,
        ];
        let run = store(&fs.path("f")).under_shim(&settings);
        fs::remove_file(fs.path("f")).expect("removal");
        run
    };
    for mounts in [
        format!("{link}={second}"),
        format!(
            "/{first}/../{}={second}",
            fs.dir().file_name().expect("name").display()
        ),
    ] {
        let shown = run(mounts.clone(), ("KEEPMYDATA_LOG", "off"));
        assert_eq!(
            shown.stdout, "msync EIO\nagain EIO\n",
            "{mounts}: {shown:?}"
        );
    }
    for (mounts, more, why) in [
        (
            format!("/none{first}={second}"),
            ("KEEPMYDATA_LOG", "off"),
            "no such directory",
        ),
        (
            format!("{first}={link}"),
            ("KEEPMYDATA_LOG", "off"),
            "they are one client",
        ),
        (
            format!("{first}={second}"),
            ("KEEPMYDATA_VERIFY", "off"),
            "nothing is verified",
        ),
    ] {
        let told = run(mounts, more);
        assert!(told.stderr.contains(why), "{why}: {told:?}");
    }
    fs::remove_file(beside).expect("removal");
}

/// The witness is the file itself, whatever it is called by now.
#[test]
fn a_file_that_has_the_old_name_is_no_witness() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("propagation", &["--coherence-ms=1500"]);
    let mounts = seen_by(&fs);
    let settings = [
        ("KEEPMYDATA_SEEN_BY", mounts.as_str()),
        ("KEEPMYDATA_UNCERTAIN", "error"),
        ("KEEPMYDATA_DEADLINE_MS", "300"),
    ];
    // What has no name is not waited for, and told.
    let named = ("msync EIO\nagain EIO\n", "did not see them");
    let nameless = ("msync EIO\nagain 0\n", "has no name any more");
    for (name, how, (answer, why)) in [
        ("f", &[][..], named),
        ("replaced", &["replaced"][..], nameless),
    ] {
        let guest = Program::guest("renamed")
            .arg(fs.path(name))
            .arg(fs.path("g"))
            .arg(fs.second().join(name))
            .args(how);
        let run = guest.under_shim(&settings);
        assert_eq!(run.stdout, answer, "{run:?}");
        assert!(run.stderr.contains(why), "{why}: {run:?}");
        fs::remove_file(fs.path(name)).expect("removal");
        let _ = fs::remove_file(fs.path("g"));
    }
}

/// The same file by whatever name: through a bind mount, of all or of a part of it, and below a directory that alone is
/// named.
#[test]
fn a_file_is_found_by_any_mount_of_it() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("unshare"));
    let script = r#"mount --bind "$1" "$2" && exec "$3" "$2/$4""#;
    // What is bound, the directories that are named, the file below what is bound, and whether it must be shown.
    for (bound, named, file, is_shown) in [
        ("", "", "f", true),
        ("d", "", "f", true),
        ("", "d", "d/f", true),
        ("d", "d", "f", true),
        ("", "d", "f", false),
        ("d", "e", "f", false),
    ] {
        let fs = TearFs::mount_twice("propagation", &["--coherence-ms=60000"]);
        let bind = fs.control_socket().with_file_name("bind");
        fs::create_dir(&bind).expect("a directory");
        for directory in ["d", "e"] {
            fs::create_dir(fs.path(directory)).expect("a directory");
        }
        let path = fs.path(bound).join(file);
        fs::write(path, [b'o'; 16384]).expect("old data");
        let mounts = [fs.dir(), fs.second()].map(|mount| mount.join(named).display().to_string());
        let mounts = mounts.join("=");
        let settings = [
            ("KEEPMYDATA_SEEN_BY", mounts.as_str()),
            ("KEEPMYDATA_UNCERTAIN", "error"),
            ("KEEPMYDATA_DEADLINE_MS", "50"),
            ("KEEPMYDATA_LOG", "off"),
        ];
        let run = Program::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(fs.path(bound))
            .arg(bind)
            .arg(Program::guest("seen").file())
            .arg(file)
            .under_shim(&settings);
        let answer = if is_shown { "EIO" } else { "0" };
        let expected = format!("msync {answer}\nagain {answer}\n");
        assert_eq!(
            run.stdout, expected,
            "{bound:?} {named:?} {file:?}: {run:?}"
        );
    }
}

/// What the other client cannot be asked about is told, and why.
#[test]
fn it_is_said_why_the_other_client_cannot_be_asked() {
    or_skip!(TearFs::available());
    let fs = mount("coherent");
    let elsewhere = format!(
        "{}={}",
        fs.dir().display(),
        fs.second().join("none").display()
    );
    let settings = [
        ("KEEPMYDATA_SEEN_BY", elsewhere.as_str()),
        ("KEEPMYDATA_DEADLINE_MS", "50"),
        ("KEEPMYDATA_UNCERTAIN", "error"),
        ("KEEPMYDATA_LOG", "error"),
    ];
    let run = store(&fs.path("f")).under_shim(&settings);
    assert_eq!(run.stdout, "msync EIO\nagain EIO\n", "{run:?}");
    let records = run.records();
    let said: Vec<&Value> = records.of("report").collect();
    assert_eq!(said.len(), 2, "{said:?}");
    for report in said {
        let message = report["message"].as_str().expect("message");
        assert!(message.contains("has no such file (ENOENT)"), "{message}");
    }
    // Nobody can open what has no name: there is nothing to wait for.
    let mounts = seen_by(&fs);
    // It is told, and no reason to fail.
    let settings = [
        ("KEEPMYDATA_SEEN_BY", mounts.as_str()),
        ("KEEPMYDATA_UNCERTAIN", "error"),
        ("KEEPMYDATA_DEADLINE_MS", "30000"),
        ("KEEPMYDATA_LOG", "error"),
    ];
    let run = store(&fs.path("g")).arg("unlinked").under_shim(&settings);
    assert_eq!(run.stdout, "msync 0\nagain 0\n", "{run:?}");
    let records = run.records();
    let doubt = records.of("doubt").next().expect("a doubt");
    let message = doubt["message"].as_str().expect("message");
    assert!(message.contains("has no name any more"), "{message}");
}

/// A file that has lost the name by which it was opened has another: below the other mount too, if it is found.
#[test]
fn another_name_of_the_file_will_do() {
    let scratch = Scratch::new();
    let (first, second) = (scratch.path("first"), scratch.path("second"));
    fs::create_dir_all(first.join("d")).expect("directories");
    // One client, by another name: the test bed has no hard links.
    std::os::unix::fs::symlink(&first, &second).expect("symlink");
    let mounts = format!("{}={}", first.display(), second.display());
    for (to, answer, why) in [
        ("g", "msync 0\nagain 0\n", ""),
        (
            "d/g",
            "msync EIO\nagain EIO\n",
            "its other name is not known",
        ),
    ] {
        let program = store(&first.join("f")).arg("unlinked").arg(first.join(to));
        let run = program.under_shim(&[
            ("KEEPMYDATA_SEEN_BY", mounts.as_str()),
            ("KEEPMYDATA_UNCERTAIN", "error"),
            ("KEEPMYDATA_VERIFY", "on"),
            ("KEEPMYDATA_DEADLINE_MS", "1000"),
        ]);
        assert_eq!(run.stdout, answer, "{to}: {run:?}");
        assert!(run.stderr.contains(why), "{to}: {run:?}");
    }
}

/// What other calls had proved before is still to be shown, and what mappings that are gone and fork children had stored.
#[test]
fn what_was_proved_before_the_msync_is_waited_for() {
    or_skip!(TearFs::available());
    for (late, answer) in [("60000", "msync EIO\n"), ("200", "msync 0\n")] {
        let late = format!("--coherence-ms={late}");
        let fs = TearFs::mount_twice("propagation", &[&late]);
        let mounts = seen_by(&fs);
        for call in [
            "none", "grow", "shrink", "regrow", "punch", "open", "madvise", "pageout", "child",
            "twin", "remap", "reopen", "part", "over", "half", "written",
        ] {
            let mut settings = vec![
                ("KEEPMYDATA_SEEN_BY", mounts.as_str()),
                ("KEEPMYDATA_UNCERTAIN", "error"),
                ("KEEPMYDATA_LOG", "off"),
            ];
            if answer != "msync 0\n" {
                settings.push(("KEEPMYDATA_DEADLINE_MS", "50"));
            }
            let path = fs.path(call);
            fs::write(&path, [b'o'; 16384]).expect("old data");
            let guest = Program::guest("settled").arg(&path).arg(call);
            let run = guest.under_shim(&settings);
            assert_eq!(run.stdout, answer, "{call}: {run:?}");
        }
    }
}

/// The calls of the guest `altered`.
const ALTERED: [&str; 16] = [
    "punch",
    "zero",
    "remove",
    "regrow",
    "shrink",
    "cut",
    "empty",
    "grow",
    "beyond",
    "written",
    "elsewhere",
    "direct",
    "child",
    "aside",
    "appended",
    "stored",
];

const SHOWN_ALL: &str = "msync 0\nheld 0\nanew 0\nsize same\n";

fn altered(fs: &TearFs, name: &str, how: &[&str], settings: &[(&str, &str)]) -> Outcome {
    let guest = Program::guest("altered").arg(fs.path(name));
    let guest = guest.arg(fs.second().join(name)).args(how);
    guest.under_shim(settings)
}

/// What the program takes out of the file, puts past the page cache, cuts off, or changes where it maps nothing is shown, too;
/// without the setting it is not. It is through whatever mapping is synced, also one that can only be read.
#[test]
fn what_is_not_in_the_page_cache_is_shown() {
    or_skip!(TearFs::available());
    let (mut runs, mut wrong) = (0, Vec::new());
    for coherence in ["no-invalidation", "attribute-cache"] {
        let fs = TearFs::mount_twice(coherence, &["--coherence-ms=60000"]);
        let mounts = seen_by(&fs);
        for call in ALTERED {
            let without = altered(&fs, &format!("{call}-without"), &[call], &[]);
            assert_ne!(without.stdout, SHOWN_ALL, "{coherence} {call}: {without:?}");
            for how in [&[call][..], &[call, "anew"], &[call, "reading"]] {
                for (invalidate, budget) in [
                    ("file", "64M"),
                    ("file", "8K"),
                    ("dirty", "64M"),
                    ("dirty", "8K"),
                ] {
                    // A file of which there is more than the budget is not looked at as a whole. What a child does to it is not
                    // known then, once the kernel has written and dropped it.
                    let is_known = match call {
                        "child" | "stored" => budget == "64M",
                        _ => true,
                    };
                    if !is_known {
                        continue;
                    }
                    let name = format!("{}-{invalidate}-{budget}", how.join("-"));
                    let with = altered(
                        &fs,
                        &name,
                        how,
                        &[
                            ("KEEPMYDATA_SEEN_BY", mounts.as_str()),
                            ("KEEPMYDATA_UNCERTAIN", "error"),
                            ("KEEPMYDATA_INVALIDATE", invalidate),
                            ("KEEPMYDATA_COPY_BUDGET", budget),
                        ],
                    );
                    runs += 1;
                    if with.stdout != SHOWN_ALL {
                        wrong.push(format!("{coherence} {name}: {with:?}"));
                    }
                }
            }
        }
    }
    let (first, count) = (wrong.first(), wrong.len());
    assert_eq!(count, 0, "of {runs}, the first: {first:?}");
}

/// The same where the client does not show it in time: that is told.
#[test]
fn what_is_altered_and_not_shown_is_told() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("propagation", &["--coherence-ms=1500"]);
    let mounts = seen_by(&fs);
    for call in ["direct", "written"] {
        let settings = [
            ("KEEPMYDATA_SEEN_BY", mounts.as_str()),
            ("KEEPMYDATA_UNCERTAIN", "error"),
            ("KEEPMYDATA_DEADLINE_MS", "50"),
        ];
        let run = altered(&fs, call, &[call], &settings);
        assert!(run.stdout.starts_with("msync EIO\n"), "{call}: {run:?}");
        assert!(
            run.stderr.contains("not seen by the other client"),
            "{call}: {run:?}"
        );
    }
}

/// Each msync waits, whoever proves its pages: another thread's msync, or what comes before another call of theirs.
#[test]
fn threads_that_map_anew_are_all_waited_for() {
    or_skip!(TearFs::available());
    let fs = mount("no-invalidation");
    let mounts = seen_by(&fs);
    let guest = Program::guest("shown");
    let guest = guest.arg(fs.path("f")).arg(fs.second().join("f"));
    let run = guest.arg("200").under_shim(&[
        ("KEEPMYDATA_SEEN_BY", mounts.as_str()),
        ("KEEPMYDATA_UNCERTAIN", "error"),
    ]);
    assert_eq!(run.stdout, "looks 1600\nold 0\n", "{run:?}");
}

/// 64 pages that were stored together are a read of the other client's, and not 64.
#[test]
fn what_lies_together_is_read_at_once() {
    or_skip!(TearFs::available());
    let fs = mount("no-invalidation");
    let mounts = seen_by(&fs);
    fs::write(fs.path("f"), [b'o'; 64 * 4096]).expect("file");
    let run = Program::guest("seen").arg(fs.path("f"));
    let run = run.under_shim(&[
        ("KEEPMYDATA_SEEN_BY", &mounts),
        ("KEEPMYDATA_UNCERTAIN", "error"),
    ]);
    assert_eq!(run.stdout, "msync 0\nagain 0\n", "{run:?}");
    let reads = fs.op_log().matches(" Read enter: ").count();
    assert!((2..20).contains(&reads), "{reads}");
}

/// What the look by the other client takes from this one's page cache is no doubt, as with CephFS; nor is anything left that a
/// later open there would take. Without the setting each such open leaves one.
#[test]
fn what_the_look_takes_away_is_no_doubt() {
    or_skip!(TearFs::available());
    let fs = mount("recall");
    let mounts = seen_by(&fs);
    let run = |settings: &[(&str, &str)]| {
        fs::write(fs.path("f"), [0; 32768]).expect("file");
        let guest = Program::guest("acked").arg(fs.path("f")).arg("2");
        let guest = guest.arg(fs.second().join("f"));
        let run = guest.under_shim(&[&[("KEEPMYDATA_UNCERTAIN", "error")], settings].concat());
        let looks = Looks::of(&run);
        ["zeros", "failed", "old"].map(|name| looks.number(name).expect("a number"))
    };
    let [zeros, failed, old] = run(&[]);
    assert!(
        zeros > 0.0 && failed > 0.0 && old > 0.0,
        "{zeros} {failed} {old}"
    );
    let [zeros, failed, old] = run(&[("KEEPMYDATA_SEEN_BY", &mounts)]);
    assert!(zeros > 0.0, "{zeros}");
    assert_eq!([failed, old], [0.0, 0.0], "{zeros}");
}

/// Nor is it a doubt what another thread takes out of its own pages, or writes past the page cache.
#[test]
fn threads_that_change_pages_of_their_own_are_no_doubt() {
    or_skip!(TearFs::available());
    for coherence in ["coherent", "no-invalidation"] {
        let fs = TearFs::mount_twice(coherence, &["--keep-cache"]);
        let mounts = seen_by(&fs);
        let guest = Program::guest("shown");
        let guest = guest.arg(fs.path("f")).arg(fs.second().join("f"));
        let run = guest.arg("100").arg("direct").under_shim(&[
            ("KEEPMYDATA_SEEN_BY", mounts.as_str()),
            ("KEEPMYDATA_UNCERTAIN", "error"),
        ]);
        assert_eq!(run.stdout, "looks 800\nold 0\n", "{coherence}: {run:?}");
    }
}
