//! The test bed between the kernel and the backend: power cuts, two page caches of one file,
//! the writeback cache, slow answers.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use preload_tests::harness::{TearFs, wait_until};
use preload_tests::or_skip;

#[test]
fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "volatile"]);
    let mut file = File::create_new(fs.path("f")).expect("create");
    file.write_all(b"synced").expect("write");
    file.sync_data().expect("fdatasync");
    file.write_all(b" and not").expect("write");
    assert_eq!(
        std::fs::read(fs.path("f")).expect("read"),
        b"synced and not"
    );
    assert_eq!(fs.stable_bytes("f", 0, 14), b"synced\0\0\0\0\0\0\0\0");
    fs.cut();
    let after = std::fs::read(fs.path("f")).expect("read");
    assert_eq!(
        after, b"synced\0\0\0\0\0\0\0\0",
        "sizes are metadata and stable at once"
    );

    // The descriptor is from before the cut: nothing of it may be acknowledged any more.
    let dead = |result: std::io::Result<()>| {
        assert_eq!(
            result.expect_err("written after death").raw_os_error(),
            Some(libc::EIO)
        );
    };
    dead(file.write_all(b"zombie"));
    dead(file.sync_all());
    let mut file = File::options()
        .write(true)
        .open(fs.path("f"))
        .expect("open");
    file.write_all(b"risen").expect("write");
    file.sync_all().expect("fsync");
    fs.cut();
    assert_eq!(
        std::fs::read(fs.path("f")).expect("read")[..7],
        *b"risend\0"
    );
}

#[test]
fn a_power_cut_drops_the_caches_of_a_running_program() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "volatile", "--direct-io", "none", "--keep-cache"]);
    std::fs::write(fs.path("f"), "lost").expect("write");
    let mut reader = File::open(fs.path("f")).expect("open");
    let mut seen = [0; 4];
    reader.read_exact(&mut seen).expect("read");
    assert_eq!(&seen, b"lost");
    fs.cut();
    reader.seek(SeekFrom::Start(0)).expect("seek");
    reader.read_exact(&mut seen).expect("read");
    assert_eq!(&seen, b"\0\0\0\0");
}

#[test]
fn the_twins_are_one_file_with_two_page_caches() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "twin-inode"]);
    let open = || {
        File::options()
            .read(true)
            .write(true)
            .open(fs.path("f"))
            .expect("open")
    };
    std::fs::write(fs.path("f"), "old").expect("write");
    let (first, second) = (open(), open());
    let ids = [&first, &second].map(|file| file.metadata().expect("fstat"));
    assert_eq!(ids[0].ino(), ids[1].ino(), "one number");
    assert_eq!(
        std::fs::metadata(fs.path("f")).expect("stat").ino(),
        ids[0].ino()
    );

    let read = |file: &File| {
        let mut bytes = [0; 3];
        file.read_exact_at(&mut bytes, 0).expect("read");
        bytes
    };
    assert_eq!([read(&first), read(&second)], [*b"old", *b"old"]);
    first.write_all_at(b"new", 0).expect("write");
    first.sync_all().expect("fsync");
    assert_eq!(
        [read(&first), read(&second)],
        [*b"new", *b"old"],
        "two page caches"
    );
    assert_eq!(fs.final_bytes("f", 0, 3), b"new");
}

#[test]
fn the_writeback_cache_makes_ordinary_writes_page_writeback() {
    or_skip!(TearFs::available());
    for (flags, survives) in [(&[][..], true), (&["--writeback-cache"], false)] {
        let fs = TearFs::mount(&[&["--mode", "black-hole"], flags].concat());
        let file = File::create(fs.path("f")).expect("create");
        file.write_all_at(b"x", 0).expect("write");
        file.sync_all().expect("fsync");
        assert_eq!(fs.final_bytes("f", 0, 1) == b"x", survives, "{flags:?}");
    }
}

#[test]
fn a_slow_answer_holds_up_nobody_else() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--fsync-delay-ms", "3000"]);
    let file = File::create(fs.path("slow")).expect("create");
    let started = Instant::now();
    let syncing = std::thread::spawn(move || file.sync_all());
    // More requests under way than the daemon has threads.
    let others: Vec<_> = (0..8)
        .map(|number| {
            let path = fs.path(&format!("slow{number}"));
            std::thread::spawn(move || File::create(path)?.sync_all())
        })
        .collect();
    wait_until("all FSYNCs under way", Duration::from_secs(20), || {
        fs.op_log().matches("Fsync enter").count() == 9
    });
    std::fs::write(fs.path("other"), "x").expect("write");
    assert_eq!(std::fs::read(fs.path("other")).expect("read"), b"x");
    assert!(
        !syncing.is_finished(),
        "the write waited for the FSYNC ({:?})",
        started.elapsed()
    );
    syncing.join().expect("thread").expect("fsync");
    for other in others {
        other.join().expect("thread").expect("fsync");
    }
    assert!(started.elapsed() >= Duration::from_secs(3));
}
