//! What a person asks of a long run, by the environment.

use std::env;
use std::time::SystemTime;

use super::cases::{Case, Way, cases};

/// `KEEPMYDATA_CRASH_ONLY=WORDS`: only the cases whose name (`xfs lmdb shim`) has all these words.
///
/// # Panics
/// If there is no such case at all, here or elsewhere.
pub fn only(some: impl Iterator<Item = Case>) -> Vec<Case> {
    let words = env::var("KEEPMYDATA_CRASH_ONLY").unwrap_or_default();
    let wanted = |case: &Case| {
        let name = case.to_string();
        let mut words = words.split_whitespace();
        words.all(|word| name.split(' ').any(|part| part == word))
    };
    assert!(
        cases(Way::Shim)
            .chain(cases(Way::Native))
            .any(|case| wanted(&case)),
        "KEEPMYDATA_CRASH_ONLY={words}: must be words as in `xfs lmdb shim` or `btrfs part native`"
    );
    some.filter(wanted).collect()
}

/// `KEEPMYDATA_CRASH_CUTS=N`
pub fn cuts(normal: u64) -> u64 {
    number("KEEPMYDATA_CRASH_CUTS").unwrap_or(normal)
}

/// `KEEPMYDATA_CRASH_SEED=N`, else another one each time.
pub fn seed() -> u64 {
    number("KEEPMYDATA_CRASH_SEED").unwrap_or_else(|| {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("time since 1970");
        u64::from(now.subsec_nanos())
    })
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={value}: must be a number")))
}
