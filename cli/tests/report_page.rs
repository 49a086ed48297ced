//! The page of `keepmydata report --html`, in a real browser.

mod browser;
mod common;
mod reporting;

use browser::Browser;
use preload_tests::harness::TearFs;
use preload_tests::or_skip;
use reporting::{generate, page_of, recorded};
use serde_json::json;
use std::io::Write;

/// Counts pixels of a canvas that are of a colour of the style.
const PIXELS: &str = "((id, name) => {
    const wanted = colours[name].match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
    const canvas = document.getElementById(id);
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let found = 0;
    for (let at = 0; at < pixels.length; at += 4)
        if (wanted.every((part, k) => Math.abs(part - pixels[at + k]) < 3)) found++;
    return found;
})";

fn pixels(browser: &mut Browser, canvas: &str, colour: &str) -> u64 {
    let found = browser.value(&format!("{PIXELS}('{canvas}', '{colour}')"));
    found.as_u64().expect("a count")
}

#[test]
fn a_tear_from_afar_down_to_its_bytes() {
    or_skip!(TearFs::available());
    let mut browser = or_skip!(Browser::start());
    let run = recorded("black-hole");
    let ops = run.scratch.path("ops");
    let page = page_of(&run, &["--daemon", ops.to_str().unwrap()]);
    browser.open(&page);

    // The whole: what is said, and what is drawn.
    let verdict = browser.value("document.getElementById('verdict').textContent");
    assert!(
        verdict
            .as_str()
            .unwrap()
            .starts_with("Data is at risk: 1 time"),
        "{verdict}"
    );
    assert!(pixels(&mut browser, "timeline", "torn") > 100);
    assert!(
        pixels(&mut browser, "timeline", "dirty") > 0,
        "the daemon's writes"
    );
    assert!(pixels(&mut browser, "map", "healing") > 100);
    assert_eq!(
        browser.value("lanes.some((lane) => isDaemon(lane.lane))"),
        json!(true)
    );

    // The table of the tear has a header for each column and row, and the bytes.
    let table = browser.value("document.querySelector('#tears table').innerText");
    let table = table.as_str().unwrap();
    for text in [
        "page 1084",
        "[4440064,4444160)",
        "stale",
        "reads back old",
        "1304 bytes",
        "from 4442856",
        "41424344 45464748",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF",
        "6f6f6f6f",
    ] {
        assert!(table.contains(text), "{text}: {table}");
    }
    let headers = "[...document.querySelectorAll('#tears table')].every((table) => table.caption !== null && [...table.querySelectorAll('tr')].every((row) => row.querySelector('th[scope]') !== null))";
    assert_eq!(browser.value(headers), json!(true));

    // Down to the bytes of a page.
    browser.value("document.querySelector('#tears th button').click()");
    browser.drawn();
    let range = browser.value("[map.from, map.to]");
    assert!(
        range[1].as_f64().unwrap() - range[0].as_f64().unwrap() <= 24.0,
        "{range}"
    );
    assert!(range[0].as_f64().unwrap() <= 4_442_856.0 && range[1].as_f64().unwrap() > 4_442_870.0);
    assert!(pixels(&mut browser, "map", "torn") > 10_000);
    assert!(
        pixels(&mut browser, "map", "verified") > 1_000,
        "the bytes before the first difference"
    );

    // Dark: other colours, the same page.
    let light = browser.value("getComputedStyle(document.body).backgroundColor");
    browser.dark(true);
    let dark = browser.value("getComputedStyle(document.body).backgroundColor");
    assert_ne!(light, dark);
    assert!(pixels(&mut browser, "map", "torn") > 10_000);
    assert!(pixels(&mut browser, "map", "card") > 1_000);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn filters_zoom_and_keys_with_100000_records() {
    let mut browser = or_skip!(Browser::start());
    let run = generate(100_000);
    let page = page_of(&run, &[]);
    let took = browser.open(&page);
    println!(
        "100,000 records: {} bytes, open in {took:?}",
        page.metadata().unwrap().len()
    );
    browser.drawn();
    let count = "document.getElementById('count').textContent";
    assert_eq!(browser.value(count), "100 000 of 100 000 records");
    let elements = browser
        .value("document.querySelectorAll('*').length")
        .as_u64()
        .unwrap();
    assert!(elements < 4000, "{elements} elements");
    let drawing = browser.value(
        "{ const begun = performance.now(); drawTimeline(); drawMap(); performance.now() - begun }",
    );
    println!("drawing: {drawing} ms");
    assert!(drawing.as_f64().unwrap() < 2000.0, "{drawing} ms");

    // By file and by process.
    browser.choose("filter-file", "1");
    let of_file = browser.value("list.indices.length").as_u64().unwrap();
    assert!(of_file > 0 && of_file < 100_000, "{of_file}");
    assert_eq!(
        browser.value("[...list.indices].every((i) => data.f[i] === 1)"),
        json!(true)
    );
    let pid = browser.value("document.getElementById('filter-process').options[1].value");
    browser.choose("filter-process", pid.as_str().unwrap());
    let of_both = browser.value("list.indices.length").as_u64().unwrap();
    assert!(of_both > 0 && of_both < of_file, "{of_both}");
    assert_eq!(browser.value("lanes.length"), json!(1));

    // By time, typed.
    browser.value("{ const [from, to] = ['from', 'to'].map((name) => document.getElementById(`filter-${name}`)); from.value = '10'; to.value = '20'; to.dispatchEvent(new Event('change')); }");
    browser.wait_for("list.indices.length > 0 && [...list.indices].every((i) => begin[i] <= 20e9 && end[i] >= 10e9)");
    browser.value("document.getElementById('filter-reset').click()");
    browser.wait_for(&format!("{count} === '100 000 of 100 000 records'"));

    // With keys: zoom, move, lanes, records, and the list.
    let width = "state.view.to - state.view.from";
    let whole = browser.value(width).as_f64().unwrap();
    browser.press("timeline", "+");
    browser.press("timeline", "+");
    let zoomed = browser.value(width).as_f64().unwrap();
    assert!((zoomed / whole - 0.25).abs() < 0.01, "{whole} {zoomed}");
    let left = browser.value("state.view.from").as_f64().unwrap();
    browser.press("timeline", "ArrowRight");
    assert!(browser.value("state.view.from").as_f64().unwrap() > left);
    browser.press("timeline", "ArrowDown");
    assert_eq!(browser.value("timeline.chosen"), json!(1));
    browser.press("timeline", ".");
    let chosen = browser.value("state.selected");
    assert!(chosen.as_i64().unwrap() >= 0);
    let said = browser.value("document.getElementById('say').textContent");
    assert!(said.as_str().unwrap().contains(" s, "), "{said}");
    browser.press("timeline", "Enter");
    assert!(browser.value(width).as_f64().unwrap() < zoomed / 10.0);
    browser.press("timeline", "0");
    assert_eq!(browser.value(width).as_f64(), Some(whole));
    browser.wait_for(&format!("{count} === '100 000 of 100 000 records'"));
    browser.value("list.frame.scrollTop = list.frame.scrollHeight; drawList()");
    let last = browser.value(
        "[...document.querySelectorAll('#records-body [data-record]')].at(-1).dataset.record",
    );
    assert_eq!(last, "99999");
    assert!(
        browser
            .value("document.querySelectorAll('#records-body tr').length")
            .as_u64()
            .unwrap()
            < 100
    );
    browser.value("[...document.querySelectorAll('#records-body [data-record]')].at(-1).click()");
    browser.drawn();
    browser.press_there("ArrowUp");
    assert_eq!(browser.value("state.selected"), json!(99_998));
    let details = browser.value("document.getElementById('details').textContent");
    assert!(details.as_str().unwrap().contains("event"), "{details}");
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn names_from_logs_are_text() {
    let mut browser = or_skip!(Browser::start());
    let mut run = generate(0);
    let hostile = "/mnt/</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>&amp;\u{2028}\u{202e}";
    for event in ["msync", hostile] {
        let record = json!({
            "time_ns": 1, "level": "error", "pid": 1, "tid": 1, "event": event, "path": hostile,
            "message": hostile, "reason": hostile, "flags": hostile, "tracker": hostile, "call": 1,
        });
        writeln!(run.log, "{record}").unwrap();
    }
    let report = json!({
        "time_ns": u64::MAX, "level": "error", "pid": 1, "tid": 1, "event": "report", "path": hostile,
        "message": hostile, "duration_ns": u64::MAX, "offset": u64::MAX, "length": u64::MAX,
        "dirty": [[u64::MAX, u64::MAX]],
        "pages": [{"page": u64::MAX, "start": u64::MAX, "end": 0, "verdict": "stale", "first_diff": 0}],
    });
    writeln!(run.log, "{report}").unwrap();
    let page = page_of(&run, &[]);
    browser.open(&page);
    browser.dark(true);
    browser.value("showTear(data.tears[0]); select(0)");
    browser.drawn();
    browser.value("showPage(data.tears[0], data.tears[0].pages[0]); select(1)");
    browser.drawn();
    assert_eq!(browser.value("window.pwned === undefined"), json!(true));
    assert_eq!(
        browser.value("document.querySelectorAll('img, script').length"),
        json!(2),
        "the data and the script"
    );
    let shown = browser.value("document.getElementById('filter-file').options[1].textContent");
    assert_eq!(shown, hostile);
    assert_eq!(browser.complaints, [""; 0]);
}
