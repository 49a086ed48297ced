//! What was meant by a name that is unknown.

use keepmydata_records::OPTIONS;
use std::env;
use strsim::osa_distance;

/// Warns of variables that are named almost like a setting: the shim does not know them.
pub fn warn_of_variables() {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if let Some(meant) = variable_meant(&name) {
            eprintln!("keepmydata: warning: {name}: no such setting; did you mean {meant}?");
        }
    }
}

fn variable_meant(name: &str) -> Option<&'static str> {
    const PREFIX: &str = "KEEPMYDATA_";
    const SHIM: &str = "KEEPMYDATA_LIB";
    let known = || OPTIONS.iter().map(|option| option.env).chain([SHIM]);
    if !name.starts_with(PREFIX) || known().any(|known| known == name) {
        return None;
    }
    let end = |name: &'static str| &name[PREFIX.len()..];
    let wrong = &name[PREFIX.len()..];
    let end_meant = meant(wrong, known().map(end))?;
    known().find(|known| end(known) == end_meant)
}

/// The known name that is closest, where that is close enough to be meant.
pub fn meant<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known
        .into_iter()
        .map(|name| (osa_distance(wrong, name), name))
        .min()?;
    (near.0 <= 2 && near.0 < wrong.chars().count().div_ceil(2)).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::{meant, variable_meant};

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["demo", "doctor", "report", "ltp"];
        for (wrong, right) in [
            ("dotcor", Some("doctor")),
            ("reports", Some("report")),
            ("dmeo", Some("demo")),
            ("ls", None),
            ("rm", None),
            ("python3", None),
            ("", None),
        ] {
            assert_eq!(meant(wrong, known), right, "{wrong}");
        }
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        for (wrong, right) in [
            ("KEEPMYDATA_VERFIY", Some("KEEPMYDATA_VERIFY")),
            ("KEEPMYDATA_DEADLINE-MS", Some("KEEPMYDATA_DEADLINE_MS")),
            ("KEEPMYDATA_LIBS", Some("KEEPMYDATA_LIB")),
            ("KEEPMYDATA_VERIFY", None),
            ("KEEPMYDATA_LIB", None),
            ("KEEPMYDATA_DEBUG_LIB", None),
            ("KEEPMYDATA_HANDSHAKE", None),
            ("VERFIY", None),
            ("PATH", None),
        ] {
            assert_eq!(variable_meant(wrong), right, "{wrong}");
        }
    }
}
