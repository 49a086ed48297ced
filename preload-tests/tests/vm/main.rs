//! What only a whole machine shows: power cuts, persistent memory, an older kernel.

mod crash;
mod dax;
mod flush_points;
mod judge;
mod platforms;
mod power_cuts;
mod rig;

use crash::document;
use preload_tests::or_skip;
use preload_tests::vm::Kernel;

/// Checks the committed document; with `KEEPMYDATA_WRITE_DOCS=1` writes it first from what the
/// long runs found, so that it must run after them.
#[test]
fn document_says_what_is_expected() {
    if preload_tests::harness::writes_documents() {
        let kernel = or_skip!(Kernel::find("6.12"));
        std::fs::write(document::path(), document::render(&kernel)).expect("docs/crash.md");
    }
    let text = std::fs::read_to_string(document::path()).expect("docs/crash.md");
    let wrong = document::contradictions(&text);
    assert!(wrong.is_empty(), "docs/crash.md:\n{}", wrong.join("\n"));
}
