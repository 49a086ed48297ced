//! [`keepmydata_fuzz::table`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keepmydata_fuzz::table::run(input));
