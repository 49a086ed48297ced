//! The entry of the command; everything else is in the library.

// The runtime of Rust would ignore SIGPIPE and open closed standard descriptors before `main`, and
// the program that is run would inherit both.
#![no_main]

use std::ffi::{c_char, c_int};

#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    // glibc hands the arguments to the standard library before `main`.
    keepmydata_cli::keepmydata(std::env::args_os())
}
