//! What a record can be about. A record's `event` is one of these words; a reader must accept
//! words that it does not know.

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: &str = $word;)*

        /// Every event with its meaning, in the order of `docs/log.md`.
        pub static EVENTS: &[(&str, &str)] = &[$(($word, concat!($($doc),+)),)*];
    };
}

events! {
    /// The shim is active in this process: version, settings and trackers.
    START = "start";
    /// A setting has a value that cannot be used; the default is used.
    BAD_VALUE = "bad-value";

    /// msync(2) was called: what was done in all, and what it returned.
    MSYNC = "msync";
    /// mmap(2) of a file that is now tracked.
    MMAP = "mmap";
    /// munmap(2) of a tracked mapping.
    MUNMAP = "munmap";
    /// mremap(2) of a tracked mapping.
    MREMAP = "mremap";
    /// The holes of a new mapping were allocated, or could not be.
    PREALLOC = "prealloc";
    /// read(2) or one of its family, of a tracked file.
    READ = "read";

    /// A call was passed through; `reason` says why.
    BYPASS = "bypass";
    /// A step of msync: the dirty ranges were found.
    DIRTY = "dirty";
    /// A step of msync: the dirty pages were copied aside.
    COPY = "copy";
    /// A step of msync: a mapping of the file was flushed by the real msync; left out where fdatasync does the same.
    FLUSH = "flush";
    /// A step of msync: fdatasync(2) through the shim's own handle.
    FDATASYNC = "fdatasync";
    /// A step of msync: fsync(2) through the shim's own handle.
    FSYNC = "fsync";
    /// A step of msync: the dirty ranges were read back and compared.
    VERIFY = "verify";
    /// A step of msync: wrong pages were healed.
    HEAL = "heal";
    /// A step of msync: clean pages were dropped from the page cache.
    DROP = "drop";
    /// A store raced with msync: the pages are dirty again, and the promise does not cover them.
    RACE = "race";
    /// Verified data was read back once more, some time after msync returned.
    REVERIFY = "reverify";

    /// Data is not safe, or may not be: the page table says where. With `addr` 0x0 found before a call that may drop pages, such as an open.
    REPORT = "report";
    /// An msync returned 0 without a proof: the first one of a file, and at the end of the process their number. At any level but `off`.
    DOUBT = "doubt";
    /// What the program does that may lose data; with a `code`, see findings.md.
    FINDING = "finding";
    /// At the end of the process: the numbers of a file, or without a path of the process.
    SUMMARY = "summary";
}

#[cfg(test)]
mod tests {
    use super::EVENTS;

    #[test]
    fn no_word_is_used_twice() {
        for (i, (word, _)) in EVENTS.iter().enumerate() {
            assert!(EVENTS[..i].iter().all(|(other, _)| other != word), "{word}");
        }
    }
}
