//! `docs/clients.md`: written from what the other tests found.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use super::cuts::MODES;
use super::mounts::NAMES;
use super::results::load;
use super::table::{CLIENTS, Loses, Promise};

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

fn heading(text: &mut String, columns: &[&str]) {
    let _ = writeln!(text, "| {} |", columns.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(columns.len()));
}

fn filesystems(text: &mut String) {
    text.push_str("\n## Filesystems\n\n");
    heading(text, &[&["client"], NAMES.as_slice()].concat());
    let mut notes = Vec::new();
    for client in CLIENTS {
        let _ = write!(text, "| {} |", client.name);
        for filesystem in NAMES {
            let found = load("on", filesystem);
            let words = found[client.name].as_str().unwrap_or("-");
            let word = words.split(": ").next().unwrap_or_default();
            let _ = write!(text, " {word} |");
            if word == "fails alike" {
                notes.push(format!("- {}, {filesystem}: {words}", client.name));
            }
        }
        text.push('\n');
    }
    let _ = write!(text, "\n{}\n", notes.join("\n"));
}

fn cuts(text: &mut String) {
    text.push_str("\n## Power cuts\n\n");
    heading(
        text,
        &[
            "client",
            "cut",
            "natively",
            "under the shim: first-page",
            "one-page",
            "volatile",
        ],
    );
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
        let _ = writeln!(
            text,
            "| {} | {when} | {native} | {} |",
            client.name,
            shimmed.join(" | ")
        );
    }
}

/// The mode in which the loss without the shim is shown.
pub fn native_mode(loses: Loses) -> &'static str {
    match loses {
        Loses::FirstPage => "first-page",
        Loses::OnePage | Loses::Never => "one-page",
    }
}

fn calls(text: &mut String) {
    text.push_str("\n## Calls, and what the shim costs\n\n");
    heading(
        text,
        &[
            "client",
            "calls for 40 records",
            "findings",
            "ext4: native",
            "times",
            "honest test bed: native",
            "times",
        ],
    );
    for client in CLIENTS {
        let found = load("figures", client.name);
        let cost = |filesystem: &str| {
            let of = |what: &str| found[filesystem][what].as_f64();
            match (of("seconds"), of("ratio")) {
                (Some(seconds), Some(ratio)) => {
                    format!("{:.0} ms | {ratio:.1}", seconds * 1000.0)
                }
                _ => "- | -".to_owned(),
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
        let _ = writeln!(
            text,
            "| {} | {} | {findings} | {} | {} |",
            client.name,
            // The names of flags are joined by what ends a cell.
            found["calls"].as_str().unwrap_or("-").replace('|', "+"),
            cost("ext4"),
            cost("honest")
        );
    }
}

/// What in a written document is not as the tests demand, a line each.
pub fn contradictions(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let rows = |name: &str| -> Vec<Vec<&str>> {
        text.lines()
            .filter(|line| line.starts_with(&format!("| {name} |")))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect()
    };
    for client in CLIENTS {
        let [filesystems, cuts, calls] = rows(client.name).try_into().unwrap_or_default();
        let (filesystems, cuts, calls): (Vec<&str>, Vec<&str>, Vec<&str>) =
            (filesystems, cuts, calls);
        let widths = (filesystems.len(), cuts.len(), calls.len());
        if widths != (NAMES.len() + 1, 6, 7) {
            wrong.push(format!("{}: rows of {widths:?} cells", client.name));
            continue;
        }
        for (filesystem, word) in NAMES.iter().zip(&filesystems[1..]) {
            if !["same", "cured", "fails alike", "-"].contains(word) {
                wrong.push(format!("{} on {filesystem}: {word}", client.name));
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
