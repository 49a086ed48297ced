//! The script that a machine runs: every case mounts its disk, judges what the last life left there,
//! and stores on, all of them at once.

use std::fmt::Write as _;

use super::cases::Case;

/// What a case is to do in one life of the machine.
pub struct Part<'a> {
    pub case: &'a Case,
    /// Seed of the life before, and the promises that were heard in it.
    pub check: Option<(u64, &'a [String])>,
    /// Seed of what to store; the last life only checks.
    pub store: Option<u64>,
}

/// Of `/dev/vda` and so on.
fn disk(number: usize) -> String {
    let letter = |n: usize| char::from(b'a' + u8::try_from(n).expect("a letter"));
    match number / 26 {
        0 => format!("/dev/vd{}", letter(number)),
        n => format!("/dev/vd{}{}", letter(n - 1), letter(number % 26)),
    }
}

pub fn script(parts: &[Part]) -> String {
    let mut script = String::new();
    for (tag, part) in parts.iter().enumerate() {
        let directory = format!("/mnt/{tag}");
        let _ = writeln!(
            script,
            "case_{tag}() {{\n\
             busybox mount {} {} {directory} || {{ echo @{tag} unmounted; return; }}",
            part.case.filesystem.mount,
            disk(tag)
        );
        if let Some((seed, promises)) = part.check {
            let _ = writeln!(
                script,
                "{} <<'PROMISES'",
                part.case.check(tag, &directory, seed)
            );
            for promise in promises {
                let _ = writeln!(script, "{promise}");
            }
            script.push_str("PROMISES\n");
        }
        if let Some(seed) = part.store {
            let _ = writeln!(
                script,
                "{}\necho @{tag} ended $?",
                part.case.store(tag, &directory, seed)
            );
        }
        script.push_str("}\n");
    }
    let _ = writeln!(script, "mkdir -p /mnt/{{0..{}}}", parts.len() - 1);
    for tag in 0..parts.len() {
        let _ = writeln!(script, "case_{tag} &");
    }
    script.push_str("wait\n");
    script
}
