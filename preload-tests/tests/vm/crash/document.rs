//! `docs/crash.md`: written from what the long runs found.

use std::fmt::Write as _;
use std::path::PathBuf;

use preload_tests::markdown;
use preload_tests::vm::Kernel;

use super::{Case, Found, WORKLOADS, Way, cases, results};

/// A table: its title, what it says first, the word for a place where promises are checked, and its
/// columns.
struct Table {
    title: &'static str,
    text: &'static str,
    unit: &'static str,
    columns: &'static [Column],
}

/// The runs of a kernel, natively or under the shim.
struct Column {
    name: &'static str,
    part: &'static str,
    way: Way,
}

const NOT_RUN: &str = "-";

const TABLES: [Table; 2] = [
    Table {
        title: "Power cuts",
        text: "",
        unit: "cuts",
        columns: &[
            Column {
                name: "natively",
                part: "cuts-6.12",
                way: Way::Native,
            },
            Column {
                name: "under the shim",
                part: "cuts-6.12",
                way: Way::Shim,
            },
            Column {
                name: "under the shim, Linux 6.1",
                part: "cuts-6.1",
                way: Way::Shim,
            },
        ],
    },
    Table {
        title: "Every flush point",
        text: include_str!("flush_points.md"),
        unit: "points",
        columns: &[
            Column {
                name: "natively",
                part: "flushes",
                way: Way::Native,
            },
            Column {
                name: "under the shim",
                part: "flushes",
                way: Way::Shim,
            },
        ],
    },
];

pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/crash.md"))
}

/// The whole file.
pub fn render(kernel: &Kernel) -> String {
    let mut programs = markdown::Table::new(["program", "what it does"]);
    for workload in WORKLOADS {
        programs.row([workload.name, workload.what]);
    }
    let mut text = format!(
        include_str!("document.md"),
        kernel = kernel.release(),
        programs = programs.to_string().trim_end()
    );
    for table in &TABLES {
        let of_columns = table.columns.iter().flat_map(|column| {
            let unit = format!("{}: {}", column.name, table.unit);
            [unit, "promises".to_owned(), "broken".to_owned()]
        });
        let heads = ["filesystem", "program"].map(str::to_owned);
        let mut rows = markdown::Table::new(heads.into_iter().chain(of_columns));
        for case in cases(Way::Shim) {
            let found = table.columns.iter().flat_map(|column| {
                let way = column.way;
                let found = results::load(column.part, &Case { way, ..case });
                cells(&found, table.unit)
            });
            let names = [case.filesystem.name, case.workload.name].map(str::to_owned);
            rows.row(names.into_iter().chain(found));
        }
        let _ = write!(text, "\n## {}\n\n{}{rows}", table.title, table.text);
    }
    text
}

/// `20`, `1234`, `56 (in 7 cuts)`
fn cells(found: &Found, unit: &str) -> [String; 3] {
    let Found {
        cuts,
        promises,
        broken,
        losing_cuts,
        ..
    } = found;
    match (cuts, broken) {
        (0, _) => [NOT_RUN; 3].map(str::to_owned),
        (_, 0) => [cuts, promises, broken].map(u64::to_string),
        _ => [
            cuts.to_string(),
            promises.to_string(),
            format!("{broken} (in {losing_cuts} {unit})"),
        ],
    }
}

/// What in a written document is not as the tests demand, a line each.
pub fn contradictions(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for table in &TABLES {
        let title = format!("\n## {}\n", table.title);
        let Some((_, rest)) = text.split_once(&title) else {
            wrong.push(format!("no table {}", table.title));
            continue;
        };
        let part = rest.split("\n## ").next().unwrap_or_default();
        for row in cases(Way::Shim) {
            let name = [row.filesystem.name, row.workload.name];
            let Some(cells) = markdown::rows(part, &name).pop() else {
                wrong.push(format!("{}: no row {name:?}", table.title));
                continue;
            };
            if cells.len() != 2 + 3 * table.columns.len() {
                wrong.push(format!("{}: {name:?}: {} cells", table.title, cells.len()));
                continue;
            }
            for (column, cells) in table.columns.iter().zip(cells[2..].chunks(3)) {
                let way = column.way;
                let case = Case { way, ..row };
                if cells[2] != NOT_RUN && (cells[2] != "0") != case.may_lose() {
                    wrong.push(format!(
                        "{}, {case}, {}: {cells:?}",
                        table.title, column.name
                    ));
                }
            }
        }
    }
    wrong
}
