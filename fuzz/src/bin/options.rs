//! [`keepmydata_fuzz::options`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keepmydata_fuzz::options::run(input));
