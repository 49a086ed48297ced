//! Replays the corpus: what fuzzers found worth keeping. Miri runs this too.

use std::fs;
use std::path::Path;

fn replay(name: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut inputs: Vec<_> = fs::read_dir(&corpus)
        .expect("corpus")
        .map(|entry| entry.expect("entry").path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{}: nothing there", corpus.display());
    // Under Miri each input takes a second.
    let most = if cfg!(miri) { 40 } else { usize::MAX };
    for input in inputs.iter().take(most) {
        println!("{}", input.display());
        run(&fs::read(input).expect("input"));
    }
}

#[test]
fn options() {
    replay("options", keepmydata_fuzz::options::run);
}

#[test]
fn table() {
    replay("table", keepmydata_fuzz::table::run);
}
