//! What an exit code says, as LTP means it and as doio means it.

use super::plan::{End, Record};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    /// It cannot run here (TCONF).
    Skipped,
    Warned,
    Failed,
    /// It could not do what it wanted to (TBROK).
    Broken,
    /// Ended by a signal.
    Killed,
    /// Ended by us after the time limit.
    TimedOut,
    /// Never started, or ended together with its runner.
    Lost,
}

impl Outcome {
    pub fn is_failure(self) -> bool {
        !matches!(self, Outcome::Passed | Outcome::Skipped | Outcome::Warned)
    }

    pub fn word(self) -> &'static str {
        match self {
            Outcome::Passed => "pass",
            Outcome::Skipped => "skip",
            Outcome::Warned => "warn",
            Outcome::Failed => "FAIL",
            Outcome::Broken => "BROKEN",
            Outcome::Killed => "KILLED",
            Outcome::TimedOut => "TIMEOUT",
            Outcome::Lost => "LOST",
        }
    }

    /// What the end of a test means.
    pub fn of(record: Option<&Record>, command: &str) -> Self {
        match record.map(|record| record.end) {
            None | Some(End::Interrupted) => Outcome::Lost,
            Some(End::Timeout) => Outcome::TimedOut,
            Some(End::Signal(_)) => Outcome::Killed,
            Some(End::Exit(code)) => Outcome::of_code(code, command),
        }
    }

    /// LTP's codes are sums: 1 TFAIL, 2 TBROK, 4 TWARN, 32 TCONF. doio's are others, 4 for a data
    /// compare error among them, and it has no warnings.
    fn of_code(code: i32, command: &str) -> Self {
        let is_doio = command
            .split(|c: char| c.is_whitespace() || ";|&/".contains(c))
            .any(|word| matches!(word, "rwtest" | "doio"));
        match code {
            0 => Outcome::Passed,
            126 | 127 => Outcome::Broken,
            128.. => Outcome::Killed,
            _ if is_doio || code & 1 != 0 => Outcome::Failed,
            _ if code & 2 != 0 => Outcome::Broken,
            4 => Outcome::Warned,
            32 | 36 => Outcome::Skipped,
            _ => Outcome::Failed,
        }
    }
}

/// How many lines of its output say what, for LTP's own vocabulary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub broken: u64,
    pub skipped: u64,
    pub warned: u64,
}

impl Counts {
    pub fn of(output: &str) -> Self {
        let mut counts = Counts::default();
        for line in output.lines() {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric());
            for word in words {
                match word {
                    "TPASS" => counts.passed += 1,
                    "TFAIL" => counts.failed += 1,
                    "TBROK" => counts.broken += 1,
                    "TCONF" => counts.skipped += 1,
                    "TWARN" => counts.warned += 1,
                    _ => continue,
                }
                // What follows is the message.
                break;
            }
        }
        counts
    }
}

/// Native and shim side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    Same,
    /// Fails natively, not under the shim.
    Cured,
    /// Fails under the shim, not natively.
    Worse,
    /// Another outcome, both good or both bad.
    Other,
}

impl Difference {
    pub fn between(native: Outcome, shim: Outcome) -> Self {
        match (native.is_failure(), shim.is_failure()) {
            _ if native == shim => Difference::Same,
            (true, false) => Difference::Cured,
            (false, true) => Difference::Worse,
            _ => Difference::Other,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Difference::Same => "",
            Difference::Cured => "cured",
            Difference::Worse => "WORSE",
            Difference::Other => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_ltp_and_of_doio() {
        let code = |code| Outcome::of_code(code, "mmap01 -m 60000");
        assert_eq!(code(0), Outcome::Passed);
        assert_eq!(code(1), Outcome::Failed);
        assert_eq!(code(33), Outcome::Failed);
        assert_eq!(code(2), Outcome::Broken);
        assert_eq!(code(6), Outcome::Broken);
        assert_eq!(code(4), Outcome::Warned);
        assert_eq!(code(32), Outcome::Skipped);
        assert_eq!(code(8), Outcome::Failed);
        assert_eq!(code(127), Outcome::Broken);
        assert_eq!(code(139), Outcome::Killed);
        for command in [
            "export LTPROOT; rwtest -N rwtest04 -c",
            "iogen -i 9s a|doio -av",
            "$LTPROOT/testcases/bin/doio",
        ] {
            assert_eq!(Outcome::of_code(4, command), Outcome::Failed, "{command}");
            assert_eq!(Outcome::of_code(2, command), Outcome::Failed, "{command}");
            assert_eq!(Outcome::of_code(0, command), Outcome::Passed, "{command}");
        }
    }

    #[test]
    fn only_words_of_ltp_are_counted() {
        let counts = Counts::of(
            "mmap01.c:9: TPASS: fine\nrwtest04    1  TFAIL  :  doio reported errors (r=4)\n\
             NOTPASSED\nSummary:\npassed   1\nx: TCONF: no TPASS here\n",
        );
        assert_eq!((counts.passed, counts.failed, counts.skipped), (1, 1, 1));
        assert_eq!((counts.broken, counts.warned), (0, 0));
    }

    #[test]
    fn differences() {
        use Outcome::{Broken, Failed, Passed, Skipped};
        assert_eq!(Difference::between(Failed, Failed), Difference::Same);
        assert_eq!(Difference::between(Failed, Passed), Difference::Cured);
        assert_eq!(Difference::between(Passed, Broken), Difference::Worse);
        assert_eq!(Difference::between(Passed, Skipped), Difference::Other);
        assert_eq!(Difference::between(Failed, Broken), Difference::Other);
    }
}
