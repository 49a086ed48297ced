# A crate without dependencies: built, run, changed, built again.
export CARGO_HOME=$RUN/cargo CARGO_NET_OFFLINE=true CARGO_TERM_QUIET=true
unset CARGO_TARGET_DIR RUSTFLAGS RUSTC_WRAPPER
mkdir -p tiny/src && cd tiny
printf '[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' >Cargo.toml
cat >src/main.rs <<'RS'
use std::collections::BTreeMap;
fn main() {
    let squares: BTreeMap<u64, u64> = (1..10).map(|n| (n, n * n)).collect();
    println!("{squares:?}");
    std::process::exit(3);
}
#[test]
fn adds() { assert_eq!(1 + 1, 2); }
RS
code cargo build
code target/debug/tiny
sed -i 's/1\.\.10/1..5/' src/main.rs
code cargo run
code cargo test 2>&1 | grep -E 'passed|exit' | sed 's/finished in .*//'
code cargo build --release
code target/release/tiny
echo 'fn main() { nothing() }' >src/main.rs
code cargo build 2>errors
grep -c '^error' errors
