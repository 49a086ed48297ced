//! The engine of `doctor` and `diagnose`: it runs a program natively and under settings of the shim, and reads its records. What
//! is run, and what follows from the results, is theirs.

mod evidence;
mod judgement;
mod runner;

pub use evidence::Evidence;
pub use judgement::{Judgement, Verdict, as_text};
pub use runner::{Runner, Under, records};
