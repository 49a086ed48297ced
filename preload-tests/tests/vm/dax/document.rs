//! docs/crash-dax.md.

use std::path::Path;

use preload_tests::markdown::Table;

use super::cuts::Fates;

/// With `KEEPMYDATA_WRITE_DOCS=1` writes what was found: a kernel's release, the number of cuts, and
/// what became of the promises.
pub fn write(found: &[(String, u64, Fates)]) {
    if preload_tests::harness::writes_documents() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/crash-dax.md");
        let text = include_str!("document.md").replace("{table}\n", &table(found));
        std::fs::write(path, text).expect("docs/crash-dax.md");
    }
}

fn table(found: &[(String, u64, Fates)]) -> String {
    let heads = [
        "Linux",
        "filesystem",
        "program",
        "cuts",
        "told durable",
        "lost",
    ];
    let mut table = Table::new(heads);
    for (release, cuts, fates) in found {
        for ((filesystem, writer), fate) in fates {
            let names = [release.as_str(), filesystem, writer].map(str::to_owned);
            let figures = [*cuts, fate.promised, fate.lost].map(|figure| figure.to_string());
            table.row(names.into_iter().chain(figures));
        }
    }
    table.to_string()
}
