//! What the shim calls must not allocate: it may run while an allocator holds its lock.

use keepmydata_records::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; a thread-local `Cell` with a
// constant initial value neither allocates nor runs a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(f: impl FnOnce()) -> usize {
    let before = COUNT.get();
    f();
    COUNT.get() - before
}

#[test]
fn the_counter_counts() {
    assert_ne!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 0);
}

#[test]
fn both_writers() {
    let dirty = [ByteRange {
        offset: 4096,
        length: 8192,
    }; 100];
    let pages = [PageRow {
        page: 1,
        wrong_bytes: Some(3),
        verdict: Verdict::Stale,
        content: Some(Content::Mixed),
        first_diff: Some(4097),
        expected_hex: Some(HexBytes::new(&[0xff; 32])),
        actual_hex: Some(HexBytes::new(&[0; 32])),
        expected_hash: Some(HexU64(u64::MAX)),
        actual_hash: Some(HexU64(0)),
        rung: Some(Rung::Redirty),
        ..PageRow::default()
    }; 100];
    let mut line = LineBuf::<65536>::new();
    let mut small = LineBuf::<2048>::new();
    let mut tiny = LineBuf::<8>::new();
    let count = allocations(|| {
        let mut flags = LineBuf::<{ flags::LONGEST }>::new();
        write!(flags, "{}", flags::mmap(-1)).unwrap();
        let mut prot = LineBuf::<{ flags::LONGEST }>::new();
        write!(prot, "{}", flags::prot(0x1000_0007)).unwrap();
        let record = Record {
            time_ns: u64::MAX,
            event: event::REPORT.into(),
            code: Finding::Race.code().into(),
            call: Some(1),
            path: b"/mnt/\xff\"\\\n\xf0\x9f\x92\xbe".as_slice().into(),
            dev: Some(Dev { major: 8, minor: 1 }),
            ino: Some(1),
            fd: Some(-1),
            offset: Some(0),
            length: Some(u64::MAX),
            addr: Some(HexU64(4096)),
            new_addr: Some(HexU64(8192)),
            new_length: Some(1),
            prot: prot.as_str().into(),
            flags: flags.as_str().into(),
            result: Some(i64::MIN),
            errno: Some(Errno(999)),
            duration_ns: Some(1_500_000),
            tracker: "pagemap".into(),
            dirty: dirty.as_slice().into(),
            dirty_pages: Some(200),
            dropped_pages: Some(1),
            cached_pages: Some(0),
            verdict: Some(Verdict::Uncertain),
            verdicts: Some(Verdicts::default()),
            rung: Some(Rung::Wait),
            stats: Some(Stats {
                mapped_bytes: Some(1),
                msync_ns: Some(u64::MAX),
                ..Stats::default()
            }),
            findings: Some(FindingCounts([1; FINDINGS])),
            reason: "not shared".into(),
            message: "quote \" and\ttab".into(),
            pages: pages.as_slice().into(),
            supervised: true,
            truncated: false,
            ..Record::new(Level::Error, 1, 2)
        };
        assert!(!line.json(&record).is_empty());
        assert!(!line.text(&record).is_empty());
        assert!(!small.json(&record).is_empty());
        assert!(!small.text(&record).is_empty());
        assert!(tiny.json(&record).is_empty());
        assert_ne!(page_hash(&[1; 4096]), 0);
    });
    assert_eq!(count, 0);
}

#[test]
fn parsing_and_globs() {
    let mut line = LineBuf::<1024>::new();
    let mut bad = 0;
    let count = allocations(|| {
        let settings = Settings::parse(
            &|option| match option.name {
                "preset" => Some(b"database"),
                "files" => Some(b"/data/**,!*.log".as_slice()),
                "log-file" => Some(b"/tmp/%p.log"),
                "copy-budget" => Some(b"1G"),
                "verify" => Some(b"\xffperhaps"),
                _ => None,
            },
            &mut |value| {
                bad += 1;
                write!(line, "{value}").unwrap();
            },
        );
        assert!(settings.files.includes(b"/data/x") && !settings.files.includes(b"/data/x.log"));
        assert_eq!(settings.invalidate, Invalidate::Dirty);
        let mut path = [0; 64];
        assert_eq!(
            settings.log_file.path(7, &mut path),
            Some(b"/tmp/7.log".as_slice())
        );
        line.clear();
        write!(line, "{settings}").unwrap();
    });
    assert_eq!((count, bad), (0, 1));
}

#[test]
fn what_was_meant_is_found_without_allocating() {
    let meant = || assert!(variable_meant(b"KEEPMYDATA_VERFIY").is_some());
    assert_eq!(allocations(meant), 0);
}
