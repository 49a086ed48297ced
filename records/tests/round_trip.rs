//! What is written as JSON reads back as it was.

use keepmydata_records::*;
use proptest::option::of;
use proptest::prelude::*;
use std::borrow::Cow;

fn text() -> impl Strategy<Value = Cow<'static, str>> {
    prop_oneof![Just(String::new()), any::<String>()].prop_map(Cow::Owned)
}

fn choice<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(all)
}

fn hex() -> impl Strategy<Value = HexBytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| HexBytes::new(&bytes))
}

prop_compose! {
    fn page_row()(
        (page, start, end, wrong_bytes, first_diff) in any::<(u64, u64, u64, Option<u64>, Option<u64>)>(),
        verdict in choice(Verdict::ALL),
        content in of(choice(Content::ALL)),
        (expected_hex, actual_hex) in (of(hex()), of(hex())),
        (expected_hash, actual_hash) in any::<(Option<u64>, Option<u64>)>(),
        rung in of(choice(Rung::ALL)),
    ) -> PageRow {
        PageRow {
            page, start, end, wrong_bytes, verdict, content, first_diff, expected_hex, actual_hex,
            expected_hash: expected_hash.map(HexU64), actual_hash: actual_hash.map(HexU64), rung,
        }
    }
}

prop_compose! {
    fn record()(
        (time_ns, pid, tid, call) in any::<(u64, u32, u32, Option<u64>)>(),
        level in choice(Level::ALL),
        (event, code, prot, flags, tracker, reason, message) in
            (text(), text(), text(), text(), text(), text(), text()),
        findings in of(any::<[u64; FINDINGS]>().prop_map(FindingCounts)),
        stats in of(any::<(Option<u64>, Option<u64>)>().prop_map(|(mapped_bytes, drop_ns)| Stats {
            mapped_bytes, drop_ns, ..Stats::default()
        })),
        path in any::<String>(),
        (dev, ino, fd, offset, length, addr, new_addr, new_length) in
            any::<(Option<(u32, u32)>, Option<u64>, Option<i32>, Option<u64>, Option<u64>,
                   Option<u64>, Option<u64>, Option<u64>)>(),
        (result, errno, duration_ns, dirty_pages, dropped_pages, cached_pages, supervised, truncated) in
            any::<(Option<i64>, Option<i32>, Option<u64>, Option<u64>, Option<u64>, Option<u64>,
                   bool, bool)>(),
        (verdict, rung) in (of(choice(Verdict::ALL)), of(choice(Rung::ALL))),
        verdicts in any::<Option<(u64, u64, u64, u64)>>(),
        dirty in any::<Vec<(u64, u64)>>(),
        pages in prop::collection::vec(page_row(), 0..5),
    ) -> Record<'static> {
        Record {
            time_ns, level, pid, tid, event, code, call,
            path: PathText(path.into_bytes().into()),
            dev: dev.map(|(major, minor)| Dev { major, minor }),
            ino, fd, offset, length,
            addr: addr.map(HexU64), new_addr: new_addr.map(HexU64), new_length,
            prot, flags, result, errno: errno.map(Errno), duration_ns, tracker,
            dirty: dirty.into_iter().map(ByteRange::from).collect::<Vec<_>>().into(),
            dirty_pages, dropped_pages, cached_pages, verdict,
            verdicts: verdicts.map(|(verified, newer, stale, uncertain)| {
                Verdicts { verified, newer, stale, uncertain }
            }),
            rung, stats, findings, reason, message, pages: pages.into(), supervised, truncated,
        }
    }
}

proptest! {
    #[test]
    fn json(record in record()) {
        let mut line = String::new();
        write_json(&record, &mut line).unwrap();
        prop_assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
        let back: Record = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(back, record);
    }

    #[test]
    fn a_shortened_line_is_still_json(record in record()) {
        // All numbers, at their longest, fit: they are never left out.
        let mut buf = LineBuf::<4096>::new();
        let back: Record = serde_json::from_slice(buf.json(&record)).unwrap();
        prop_assert_eq!(back.time_ns, record.time_ns);
    }

    #[test]
    fn text_has_one_line_and_one_a_page(record in record()) {
        let mut text = String::new();
        write_text(&record, &mut text).unwrap();
        prop_assert_eq!(text.lines().count(), 1 + record.pages.len());
    }
}

#[test]
fn a_line_is_read_without_copying_its_text() {
    let line =
        r#"{"time_ns":1,"level":"info","pid":1,"tid":2,"event":"msync","path":"/f","later":[1]}"#;
    let record: Record = serde_json::from_str(line).unwrap();
    assert!(matches!(record.event, Cow::Borrowed("msync")));
    assert!(matches!(record.path.0, Cow::Borrowed(b"/f")));
}
