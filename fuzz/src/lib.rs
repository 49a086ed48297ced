//! What a fuzzer may try on the option parser ([`options`]) and on the address table ([`table`]),
//! and what must hold whatever it tries.
//!
//! The table is over memory that can be made to run out. `scripts/fuzz` runs
//! these under libFuzzer; the tests replay the corpus, and Miri runs the tests.

mod memory;
pub mod options;
pub mod table;
