//! What was meant by a name that is unknown.

use crate::OPTIONS;
use core::array;

/// Bytes of a name, at the most.
const MOST: usize = 40;

const PREFIX: &str = "KEEPMYDATA_";

/// The variable that was meant by one that is named almost like it; nothing where `name` is known, or somebody else's.
pub fn variable_meant(name: &[u8]) -> Option<&'static str> {
    const COMMANDS: &str = "KEEPMYDATA_LIB";
    let known = || OPTIONS.iter().map(|option| option.env).chain([COMMANDS]);
    let end = |name: &'static str| &name[PREFIX.len()..];
    let wrong = name.strip_prefix(PREFIX.as_bytes())?;
    let end_meant = meant(wrong, known().map(end)).filter(|meant| meant.as_bytes() != wrong)?;
    known().find(|known| end(known) == end_meant)
}

/// The known name that is closest, where that is close enough to be meant.
pub fn meant<'a>(wrong: &[u8], known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known
        .into_iter()
        .filter_map(|name| Some((distance(wrong, name.as_bytes())?, name)))
        .min()?;
    (near.0 <= 2 && near.0 < wrong.len().div_ceil(2)).then_some(near.1)
}

/// How many bytes must be put in, left out, exchanged or swapped with the next one to make one name of the other
/// (optimal string alignment); nothing where one is too long.
fn distance(a: &[u8], b: &[u8]) -> Option<usize> {
    if a.len().max(b.len()) > MOST {
        return None;
    }
    // Of a byte, the one before it, and the one before that.
    let mut rows = [[0; MOST + 1]; 3];
    rows[0] = array::from_fn(|at| at);
    for i in 1..=a.len() {
        let (older, old, new) = ((i + 1) % 3, (i + 2) % 3, i % 3);
        rows[new][0] = i;
        for j in 1..=b.len() {
            let exchanged = rows[old][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = exchanged.min(rows[old][j] + 1).min(rows[new][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[older][j - 2] + 1);
            }
            rows[new][j] = least;
        }
    }
    Some(rows[a.len() % 3][b.len()])
}

#[cfg(test)]
mod tests {
    use super::{distance, meant, variable_meant};

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("VERFIY", "VERIFY", 1),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), Some(expected));
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), Some(expected));
        }
        assert_eq!(distance(&[b'x'; 41], b"x"), None);
    }

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
            assert_eq!(meant(wrong.as_bytes(), known), right, "{wrong}");
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
            ("KEEPMYDATA_LOG", None),
            ("KEEPMYDATA_DEBUG_LIB", None),
            ("KEEPMYDATA_HANDSHAKE", None),
            ("KEEPMYDATA_DEFECT", None),
            ("VERFIY", None),
            ("PATH", None),
        ] {
            assert_eq!(variable_meant(wrong.as_bytes()), right, "{wrong}");
        }
    }
}
