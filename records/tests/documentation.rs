//! The documentation says what the code does: `docs/log.schema.json`, `docs/log.md`, `docs/settings.md`.

use boon::{Compiler, Schemas};
use keepmydata_records::*;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const SCHEMA: &str = include_str!("../../docs/log.schema.json");
const TEXT: &str = include_str!("../../docs/log.md");
const FINDINGS_TEXT: &str = include_str!("../../docs/findings.md");
const SETTINGS: &str = include_str!("../../docs/settings.md");

/// A record that has every field.
fn full() -> Record<'static> {
    let page = PageRow {
        page: 1085,
        start: 4_444_160,
        end: 4_448_256,
        wrong_bytes: Some(4096),
        verdict: Verdict::Stale,
        content: Some(Content::Old),
        first_diff: Some(4_444_160),
        expected_hex: Some(HexBytes::new(&[0xab; 32])),
        actual_hex: Some(HexBytes::new(&[])),
        expected_hash: Some(HexU64(u64::MAX)),
        actual_hash: Some(HexU64(0)),
        rung: Some(Rung::Redirty),
    };
    Record {
        time_ns: u64::MAX,
        event: event::REPORT.into(),
        code: Finding::Race.code().into(),
        call: Some(1),
        path: "/mnt/f".into(),
        dev: Some(Dev {
            major: 0,
            minor: 51,
        }),
        ino: Some(2),
        fd: Some(-1),
        offset: Some(0),
        length: Some(u64::MAX),
        addr: Some(HexU64(0x7f00_0000_0000)),
        new_addr: Some(HexU64(0)),
        new_length: Some(4096),
        prot: "PROT_READ|PROT_WRITE".into(),
        flags: "MAP_SHARED|0x40000000".into(),
        result: Some(-1),
        errno: Some(Errno(libc::E2BIG)),
        duration_ns: Some(1),
        tracker: "cachestat".into(),
        dirty: vec![ByteRange {
            offset: 4096,
            length: 8192,
        }]
        .into(),
        dirty_pages: Some(2),
        dropped_pages: Some(0),
        cached_pages: Some(0),
        verdict: Some(Verdict::Stale),
        verdicts: Some(Verdicts {
            stale: 1,
            ..Verdicts::default()
        }),
        rung: Some(Rung::Wait),
        stats: Some(full_stats()),
        findings: Some(FindingCounts([u64::MAX; FINDINGS])),
        reason: "not shared".into(),
        message: "text".into(),
        pages: vec![page].into(),
        supervised: true,
        truncated: true,
        ..Record::new(Level::Error, 1, 2)
    }
}

/// Every number, each another.
fn full_stats() -> Stats {
    let numbers = Stats::FIELDS
        .iter()
        .zip(1u64..)
        .map(|((name, _), n)| ((*name).to_owned(), Value::from(n)));
    let stats: Stats = serde_json::from_value(Value::Object(numbers.collect())).expect("numbers");
    assert_eq!(stats.iter().count(), Stats::FIELDS.len());
    stats
}

fn validate(record: &Record<'_>) -> Result<(), String> {
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    compiler
        .add_resource("log.schema.json", schema)
        .expect("a schema");
    let schema = compiler
        .compile("log.schema.json", &mut schemas)
        .expect("a valid schema");
    let line = serde_json::to_value(record).expect("a record is JSON");
    schemas
        .validate(&line, schema)
        .map_err(|error| format!("{error:#}\n{line}"))
}

fn fields(object: &Map<String, Value>) -> BTreeSet<&str> {
    object.keys().map(String::as_str).collect()
}

#[test]
fn the_schema_takes_what_is_written() {
    validate(&full()).unwrap();
    validate(&Record {
        event: event::START.into(),
        ..Record::new(Level::Info, 1, 1)
    })
    .unwrap();
    for (event, _) in event::EVENTS {
        validate(&Record {
            event: (*event).into(),
            ..full()
        })
        .unwrap();
    }
    for &verdict in Verdict::ALL {
        validate(&Record {
            verdict: Some(verdict),
            ..full()
        })
        .unwrap();
    }
    for &rung in Rung::ALL {
        validate(&Record {
            rung: Some(rung),
            ..full()
        })
        .unwrap();
    }
    for &level in Level::ALL {
        validate(&Record { level, ..full() }).unwrap();
    }
    for number in 0..140 {
        validate(&Record {
            errno: Some(Errno(number)),
            ..full()
        })
        .unwrap();
    }
}

#[test]
fn the_schema_refuses_what_is_not() {
    validate(&Record {
        event: "whatever".into(),
        ..full()
    })
    .unwrap_err();
    validate(&Record {
        flags: "ms_sync".into(),
        ..full()
    })
    .unwrap_err();
    validate(&Record {
        tracker: "guess".into(),
        ..full()
    })
    .unwrap_err();
}

#[test]
fn schema_and_text_name_exactly_the_fields_of_a_record() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let record = serde_json::to_value(full()).unwrap();
    for (object, definition) in [
        (&record, &schema),
        (&record["pages"][0], &schema["$defs"]["page"]),
        (&record["stats"], &schema["$defs"]["stats"]),
    ] {
        let fields = fields(object.as_object().unwrap());
        let named: BTreeSet<&str> = definition["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(fields, named);
        for field in fields {
            let row = TEXT.lines().find(|line| {
                line.starts_with('|')
                    && line
                        .split('|')
                        .nth(1)
                        .unwrap()
                        .contains(&format!("`{field}`"))
            });
            assert!(row.is_some(), "docs/log.md has no row for {field}");
        }
    }
}

#[test]
fn the_text_lists_the_events_as_they_are() {
    let rows: Vec<&str> = TEXT
        .split_once("### Events")
        .expect("a section of events")
        .1
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let expected: Vec<String> = event::EVENTS
        .iter()
        .map(|(event, meaning)| format!("| `{event}` | {} |", meaning.trim()))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn the_text_lists_the_numbers_as_they_are() {
    let rows: Vec<&str> = TEXT
        .split_once("### Numbers of a summary")
        .expect("a section of numbers")
        .1
        .split("\n#")
        .next()
        .expect("the section")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let expected: Vec<String> = Stats::FIELDS
        .iter()
        .map(|(name, meaning)| format!("| `{name}` | {} |", meaning.trim()))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn each_finding_has_a_section_and_a_place_in_the_table() {
    let (table, sections) = FINDINGS_TEXT.split_once("\n## ").expect("sections");
    let sections = format!("## {sections}");
    let headings: Vec<&str> = sections
        .lines()
        .filter_map(|line| line.strip_prefix("## KMD-"))
        .collect();
    let expected: Vec<String> = Finding::ALL
        .iter()
        .map(|f| format!("{}: {}", &f.code()["KMD-".len()..], f.title()))
        .collect();
    assert_eq!(headings, expected);
    for finding in Finding::ALL {
        let row = format!("| `{}` | {} |", finding.code(), finding.title());
        assert!(table.contains(&row), "docs/findings.md lacks: {row}");
    }
}

#[test]
fn the_settings_are_listed_as_they_are() {
    let expected: Vec<String> = OPTIONS
        .iter()
        .map(|option| {
            let values = match option.values {
                Values::Choice(words) => words
                    .iter()
                    .map(|word| format!("`{word}`"))
                    .collect::<Vec<_>>()
                    .join(" / "),
                Values::Mounts => "none".to_owned(),
                _ if option.default.is_empty() => "all".to_owned(),
                _ => format!("`{}`", option.default),
            };
            format!(
                "| `{}` | `--{}` | {values} | {} |",
                option.env, option.name, option.help
            )
        })
        .collect();
    let rows: Vec<&str> = SETTINGS
        .lines()
        .filter(|line| line.starts_with("| `KEEPMYDATA_"))
        .collect();
    assert_eq!(
        rows,
        expected,
        "the table should be:\n{}",
        expected.join("\n")
    );
}

#[test]
fn the_presets_are_listed_as_they_are() {
    for preset in Preset::ALL {
        let start = format!("| `{preset}` | ");
        let mut rows = SETTINGS.lines().filter(|line| line.starts_with(&start));
        let row = rows.next().unwrap_or_else(|| panic!("no row of {preset}"));
        let said: BTreeSet<&str> = row.split('`').filter(|part| part.contains('=')).collect();
        let set = preset.settings().iter();
        let set: Vec<String> = set.map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(said, set.iter().map(String::as_str).collect(), "{row}");
    }
}

/// The documents at the root and in `docs`, with their paths.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let entries =
        [root.clone(), root.join("docs")].map(|directory| fs::read_dir(directory).unwrap());
    let paths = entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    let texts = paths.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    texts
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// Whether a heading of a document has this name in links.
fn has_heading(text: &str, name: &str) -> bool {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.into_iter().any(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c })
            .eq(name.chars())
    })
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.contains(':') || link.contains('\n') {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.with_file_name(file),
            };
            let there = match heading {
                "" => target.exists(),
                heading => {
                    fs::read_to_string(&target).is_ok_and(|text| has_heading(&text, heading))
                }
            };
            if !there {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// `docs/architecture.md` and `CONTRIBUTING.md` name files and folders that are there.
#[test]
fn the_map_is_of_this_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut missing = Vec::new();
    for name in ["docs/architecture.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root.join(name)).unwrap();
        for word in text.split('`').skip(1).step_by(2) {
            let top = word.split('/').next().unwrap_or_default();
            let is_path = word.contains('/') && !word.contains([' ', '$', '*', 'N']);
            if is_path && root.join(top).is_dir() && !root.join(word).exists() {
                missing.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
