//! What is said between a process and the supervisor above it, if there is one: by calls of msync(2) that the kernel
//! refuses with `EINVAL` (unknown flags), and that a supervisor answers.

use super::{filter, raw};

/// Flags that msync(2) does not have.
pub const FLAGS: i32 = 0x4b4d_4430;

/// What the first argument says: a page-aligned address that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Word {
    /// Is a supervisor there?
    Ask = 0x1000,
    /// This process has the library preloaded, and needs no supervisor.
    Preloaded = 0x2000,
}

impl Word {
    /// What a call of msync(2) with these arguments says; nothing where it is an ordinary one.
    pub fn of(addr: u64, flags: u64) -> Option<Word> {
        let all = [Word::Ask, Word::Preloaded];
        let is_meant = flags as u32 == FLAGS as u32;
        let mut words = all.into_iter().filter(|_| is_meant);
        words.find(|&word| word as u64 == addr)
    }
}

/// Says `word`; whether a supervisor has heard it. Any context.
pub fn say(word: Word) -> bool {
    // Who is in strict mode, which would end it here, has not been executed so.
    filter::is_on() && raw::sys_msync(word as usize, 0, FLAGS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "prctl(2)")]
    fn nobody_answers_without_a_supervisor() {
        assert!(!say(Word::Ask));
        assert!(!say(Word::Preloaded));
    }

    #[test]
    fn words_are_told_from_calls() {
        assert_eq!(Word::of(0x1000, FLAGS as u64), Some(Word::Ask));
        assert_eq!(Word::of(0x2000, FLAGS as u64), Some(Word::Preloaded));
        assert_eq!(Word::of(0x1000, libc::MS_SYNC as u64), None);
        assert_eq!(Word::of(0x3000, FLAGS as u64), None);
    }
}
