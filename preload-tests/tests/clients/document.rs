//! `docs/clients.md`: written from what the other tests found.

use std::fmt::Write as _;
use std::path::PathBuf;

use preload_tests::markdown::{Table, rows};
use serde_json::Value;

use super::cuts::MODES;
use super::mounts::NAMES;
use super::results::load;
use super::table::{CLIENTS, Loses, Promise};

/// What may be found on a filesystem that is not "same", a column each.
const EXCEPTIONS: [&str; 3] = ["cured", "fails alike", "not run"];

pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/clients.md"))
}

/// The whole file.
pub fn render() -> String {
    let mut text = include_str!("document.md").to_owned();
    filesystems(&mut text);
    cuts(&mut text);
    calls(&mut text);
    text
}

fn filesystems(text: &mut String) {
    let mut table = Table::new(["client"].iter().chain(&EXCEPTIONS));
    let mut notes = Vec::new();
    for client in CLIENTS {
        let mut cells = EXCEPTIONS.map(|_| Vec::new());
        for filesystem in NAMES {
            let found = load("on", filesystem);
            let words = found[client.name].as_str().unwrap_or("not run");
            let word = words.split(": ").next().unwrap_or_default();
            if let Some(column) = EXCEPTIONS.iter().position(|exception| *exception == word) {
                cells[column].push(filesystem);
            }
            if word == "fails alike" {
                notes.push(format!("- {}, {filesystem}: {words}", client.name));
            }
        }
        let cells = cells.map(|filesystems| filesystems.join(", "));
        table.row([client.name.to_owned()].into_iter().chain(cells));
    }
    let notes = notes.join("\n");
    let _ = write!(text, "\n## Filesystems\n\n{table}\n{notes}\n");
}

fn cuts(text: &mut String) {
    let mut table = Table::new([
        "client",
        "cut",
        "natively",
        "under the shim: first-page",
        "one-page",
        "volatile",
    ]);
    for client in CLIENTS {
        let when = match client.promise {
            Promise::Always => "at any moment",
            Promise::UntilNextStore => "between stores",
            Promise::Nothing => "nothing is promised",
            Promise::NoFiles => "leaves no files",
        };
        let found = load("cuts", client.name);
        let lost = |value: &Value| match (value["lost"].as_u64(), value["of"].as_u64()) {
            (Some(lost), Some(of)) => format!("{lost} of {of} lose"),
            _ => "-".to_owned(),
        };
        let mut native = lost(&found["native"]);
        if native != "-" {
            let _ = write!(native, " ({})", native_mode(client.loses));
        }
        let shimmed = MODES.map(|mode| lost(&found[mode]));
        let cells = [client.name.to_owned(), when.to_owned(), native];
        table.row(cells.into_iter().chain(shimmed));
    }
    let _ = write!(text, "\n## Power cuts\n\n{table}");
}

/// The mode in which the loss without the shim is shown.
pub fn native_mode(loses: Loses) -> &'static str {
    match loses {
        Loses::FirstPage => "first-page",
        Loses::OnePage | Loses::Never => "one-page",
    }
}

fn calls(text: &mut String) {
    let mut table = Table::new([
        "client",
        "calls for 40 records",
        "findings",
        "ext4: native",
        "times",
        "honest test bed: native",
        "times",
    ]);
    for client in CLIENTS {
        let found = load("figures", client.name);
        let cost = |filesystem: &str| {
            let of = |what: &str| found[filesystem][what].as_f64();
            match (of("seconds"), of("ratio")) {
                (Some(seconds), Some(ratio)) => {
                    [format!("{:.0} ms", seconds * 1000.0), format!("{ratio:.1}")]
                }
                _ => ["-", "-"].map(str::to_owned),
            }
        };
        let findings = load("findings", client.name);
        let findings = findings.as_array().map_or_else(
            || "-".to_owned(),
            |codes| {
                let codes: Vec<_> = codes.iter().filter_map(Value::as_str).collect();
                codes.join(", ")
            },
        );
        // The names of flags are joined by what ends a cell.
        let calls = found["calls"].as_str().unwrap_or("-").replace('|', "+");
        let cells = [client.name.to_owned(), calls, findings];
        table.row(cells.into_iter().chain(cost("ext4")).chain(cost("honest")));
    }
    let _ = write!(text, "\n## Calls, and what the shim costs\n\n{table}");
}

/// What in a written document is not as the tests demand, a line each.
pub fn contradictions(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for client in CLIENTS {
        let [filesystems, cuts, calls] = rows(text, &[client.name]).try_into().unwrap_or_default();
        let (filesystems, cuts, calls): (Vec<&str>, Vec<&str>, Vec<&str>) =
            (filesystems, cuts, calls);
        let widths = (filesystems.len(), cuts.len(), calls.len());
        if widths != (1 + EXCEPTIONS.len(), 6, 7) {
            wrong.push(format!("{}: rows of {widths:?} cells", client.name));
            continue;
        }
        let named = filesystems[1..].iter().flat_map(|cell| cell.split(", "));
        for filesystem in named.filter(|name| !name.is_empty()) {
            if !NAMES.contains(&filesystem) {
                wrong.push(format!("{} on {filesystem}", client.name));
            }
        }
        let cut = matches!(client.promise, Promise::Always | Promise::UntilNextStore);
        let native_loses = !cuts[2].starts_with("0 of");
        if cut && native_loses != (client.loses != Loses::Never) {
            wrong.push(format!("{} natively: {}", client.name, cuts[2]));
        }
        for found in &cuts[3..] {
            if cut && !found.starts_with("0 of ") {
                wrong.push(format!("{} under the shim: {found}", client.name));
            }
        }
    }
    wrong
}
