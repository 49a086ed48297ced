//! The engine of `doctor` and `diagnose`: a program is run natively and under settings of the shim,
//! its records are read, and a judgement comes of it. What is run, and what follows from how it went,
//! is theirs.

mod evidence;
mod judgement;
mod runner;

pub use evidence::Evidence;
pub use judgement::{Judgement, Verdict, as_text};
pub use runner::{Runner, Under, records};
