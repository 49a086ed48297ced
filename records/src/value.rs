//! The kinds of value that an option can have, and how each is read.

use crate::Globs;
use core::fmt;

/// What an option accepts; used for messages, `--help` and the table of docs/settings.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these words; the default is the first.
    Choice(&'static [&'static str]),
    /// A whole number of milliseconds.
    Millis,
    /// A number of bytes, with an optional suffix K, M or G (powers of 1024).
    Bytes,
    /// Comma- or colon-separated globs, see [`Globs`].
    Globs,
    /// Two mounts of one filesystem, see [`SeenBy`].
    Mounts,
    /// A path, in which `%p` stands for the process id and `%%` for a percent sign.
    Path,
}

impl Values {
    /// Whether an option of this kind takes `text`.
    pub fn accept(&self, text: &[u8]) -> bool {
        match self {
            Values::Choice(words) => words.iter().any(|word| word.as_bytes() == text),
            Values::Millis => Millis::parse(text).is_some(),
            Values::Bytes => Bytes::parse(text).is_some(),
            Values::Globs => Globs::parse(text).is_some(),
            Values::Mounts => SeenBy::parse(text).is_some(),
            Values::Path => LogFile::parse(text).is_some(),
        }
    }
}

/// What is allowed, as the end of a sentence: `one of auto, on, off`.
impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Values::Choice(words) => {
                f.write_str("one of ")?;
                for (i, word) in words.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    f.write_str(word)?;
                }
                Ok(())
            }
            Values::Millis => f.write_str("a whole number of milliseconds"),
            Values::Bytes => f.write_str("a number of bytes, with K, M or G as suffix"),
            Values::Globs => {
                f.write_str("globs separated by commas or colons, each [ closed by a ]")
            }
            Values::Mounts => f.write_str("two absolute directories, as /mnt/a=/mnt/b"),
            Values::Path => f.write_str("a path of less than 4096 bytes"),
        }
    }
}

/// A type that an option can have. Reading allocates nothing.
pub trait Value<'a>: Sized {
    /// What `parse` accepts.
    const VALUES: Values;
    /// The value that `text` stands for, or `None` where it stands for none.
    fn parse(text: &'a [u8]) -> Option<Self>;
}

/// A duration in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl<'a> Value<'a> for Millis {
    const VALUES: Values = Values::Millis;
    fn parse(text: &'a [u8]) -> Option<Self> {
        number(text).map(Millis)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl<'a> Value<'a> for Bytes {
    const VALUES: Values = Values::Bytes;
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (digits, shift) = match text.split_last()? {
            (b'k' | b'K', digits) => (digits, 10),
            (b'm' | b'M', digits) => (digits, 20),
            (b'g' | b'G', digits) => (digits, 30),
            _ => (text, 0),
        };
        number(digits)?.checked_mul(1 << shift).map(Bytes)
    }
}

/// As an option's value is written: with the largest suffix that keeps it whole.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, suffix) in [(30, "G"), (20, "M"), (10, "K")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{suffix}", self.0 >> shift);
            }
        }
        self.0.fmt(f)
    }
}

/// Where log records go: standard error, or a path with `%p` for the process id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFile<'a>(Option<&'a [u8]>);

impl<'a> Value<'a> for LogFile<'a> {
    const VALUES: Values = Values::Path;
    fn parse(text: &'a [u8]) -> Option<Self> {
        match text {
            b"" | b"stderr" => Some(LogFile(None)),
            // PATH_MAX counts the final NUL.
            _ if text.len() < libc::PATH_MAX as usize && !text.contains(&0) => {
                Some(LogFile(Some(text)))
            }
            _ => None,
        }
    }
}

impl<'a> LogFile<'a> {
    /// The path as configured, `%p` unexpanded; `None` means standard error.
    pub fn template(&self) -> Option<&'a [u8]> {
        self.0
    }

    /// Writes the path for process `pid` into `buf` and returns it, without a final NUL.
    /// `None` where the log goes to standard error, or where the path does not fit into `buf`.
    pub fn path<'b>(&self, pid: u32, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut rest = self.0?;
        let mut len = 0;
        let mut put = |bytes: &[u8]| -> Option<()> {
            buf.get_mut(len..len + bytes.len())?.copy_from_slice(bytes);
            len += bytes.len();
            Some(())
        };
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            match (byte, tail.first()) {
                (b'%', Some(b'p')) => {
                    rest = &tail[1..];
                    put(decimal(pid, &mut [0; 10]))?;
                }
                (b'%', Some(b'%')) => {
                    rest = &tail[1..];
                    put(b"%")?;
                }
                _ => put(&[byte])?,
            }
        }
        Some(&buf[..len])
    }
}

impl fmt::Display for LogFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("stderr"),
            Some(path) => crate::scalar::lossy(path, f),
        }
    }
}

/// A mount, and another one of the same filesystem, whose client must be shown what is synced below the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenBy<'a>(Option<(&'a [u8], &'a [u8])>);

impl<'a> Value<'a> for SeenBy<'a> {
    const VALUES: Values = Values::Mounts;
    fn parse(text: &'a [u8]) -> Option<Self> {
        if text.is_empty() {
            return Some(SeenBy(None));
        }
        let fits = |path: &[u8]| path.len() > 1 && path.len() < libc::PATH_MAX as usize;
        let at = text.windows(2).position(|pair| pair == b"=/")?;
        let (own, other) = (without_slash(&text[..at]), without_slash(&text[at + 1..]));
        let good = own.starts_with(b"/") && fits(own) && fits(other) && !text.contains(&0);
        (good && own != other).then_some(SeenBy(Some((own, other))))
    }
}

fn without_slash(path: &[u8]) -> &[u8] {
    match path {
        [rest @ .., b'/'] if !rest.is_empty() => without_slash(rest),
        path => path,
    }
}

impl<'a> SeenBy<'a> {
    /// The first mount; nothing where there is none.
    pub fn own(&self) -> Option<&'a [u8]> {
        self.0.map(|(own, _)| own)
    }

    /// The same, with another name of the first mount.
    pub fn with_own(&self, own: &'a [u8]) -> Self {
        SeenBy(self.0.map(|(_, other)| (own, other)))
    }

    /// The other mount; nothing where there is none.
    pub fn other(&self) -> Option<&'a [u8]> {
        self.0.map(|(_, other)| other)
    }

    /// Whether a file of this path lies below the first mount.
    pub fn concerns(&self, path: &[u8]) -> bool {
        self.below(path).is_some()
    }

    /// What follows the first mount in `path`, with its slash.
    fn below<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rest = path.strip_prefix(self.0?.0)?;
        rest.starts_with(b"/").then_some(rest)
    }

    /// Writes where a file of this path lies below the other mount into `buf`, and returns it with a final NUL. Nothing
    /// where it does not lie below the first mount, or does not fit.
    pub fn elsewhere<'b>(&self, path: &[u8], buf: &'b mut [u8]) -> Option<&'b core::ffi::CStr> {
        self.at_other(self.below(path)?, buf)
    }

    /// The same of a path below either mount, which begins with a slash.
    pub fn at_other<'b>(&self, rest: &[u8], buf: &'b mut [u8]) -> Option<&'b core::ffi::CStr> {
        let other = self.other()?;
        let len = other.len() + rest.len();
        buf.get_mut(..other.len())?.copy_from_slice(other);
        buf.get_mut(other.len()..len)?.copy_from_slice(rest);
        *buf.get_mut(len)? = 0;
        core::ffi::CStr::from_bytes_with_nul(&buf[..=len]).ok()
    }
}

impl fmt::Display for SeenBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((own, other)) = self.0 else {
            return Ok(());
        };
        crate::scalar::lossy(own, f)?;
        f.write_str("=")?;
        crate::scalar::lossy(other, f)
    }
}

fn decimal(mut n: u32, buf: &mut [u8; 10]) -> &[u8] {
    let mut at = buf.len();
    loop {
        at -= 1;
        buf[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &buf[at..];
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    // `str::parse` would also take a plus sign.
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(text).ok()?.parse().ok()
}

impl<'a> Value<'a> for Globs<'a> {
    const VALUES: Values = Values::Globs;
    fn parse(text: &'a [u8]) -> Option<Self> {
        Globs::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_suffixes_and_print_them_back() {
        for (text, value, back) in [
            ("0", 0, "0"),
            ("1000", 1000, "1000"),
            ("4k", 4096, "4K"),
            ("64M", 64 << 20, "64M"),
            ("3G", 3 << 30, "3G"),
            ("1536K", 1536 << 10, "1536K"),
        ] {
            assert_eq!(Bytes::parse(text.as_bytes()), Some(Bytes(value)), "{text}");
            assert_eq!(Bytes(value).to_string(), back);
        }
        for bad in [
            "",
            "K",
            "-1",
            "+1",
            "1 K",
            "1KB",
            "0x10",
            "1.5M",
            "17179869184G",
            "99999999999999999999",
        ] {
            assert_eq!(Bytes::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn millis_are_plain_digits() {
        assert_eq!(Millis::parse(b"2000"), Some(Millis(2000)));
        for bad in [&b""[..], b"2s", b"-1", b"1.5", b"18446744073709551616"] {
            assert_eq!(Millis::parse(bad), None);
        }
    }

    #[test]
    fn two_mounts_tell_where_a_file_is_elsewhere() {
        let at = |text: &'static str, path: &str| {
            let mut buf = [0; 32];
            let seen_by = SeenBy::parse(text.as_bytes()).expect(text);
            let found = seen_by.elsewhere(path.as_bytes(), &mut buf);
            found.map(|found| found.to_str().expect("UTF-8").to_owned())
        };
        assert_eq!(
            at("/mnt/a=/mnt/b", "/mnt/a/d/f").as_deref(),
            Some("/mnt/b/d/f")
        );
        assert_eq!(at("/mnt/a//=/b/", "/mnt/a/f").as_deref(), Some("/b/f"));
        assert_eq!(at("/x=y=/b", "/x=y/f").as_deref(), Some("/b/f"));
        for other in ["/mnt/ab/f", "/mnt/a", "/f", ""] {
            assert_eq!(at("/mnt/a=/mnt/b", other), None, "{other}");
        }
        assert_eq!(
            at("/mnt/a=/mnt/b", "/mnt/a/a-name-that-does-not-fit-in"),
            None
        );
        assert_eq!(at("", "/mnt/a/f"), None);
        for bad in [
            "/mnt/a", "/mnt/a=", "=/mnt/b", "a=/b", "/a=b", "/a=/a/", "/=/b", "/a=/", "/a\0=/b",
        ] {
            assert_eq!(SeenBy::parse(bad.as_bytes()), None, "{bad}");
        }
        let shown = SeenBy::parse(b"/mnt/a/=/mnt/b").map(|mounts| mounts.to_string());
        assert_eq!(shown.as_deref(), Some("/mnt/a=/mnt/b"));
    }

    #[test]
    fn log_file_expands_the_pid() {
        let path = |template: &'static str, pid| {
            let mut buf = [0; 64];
            LogFile::parse(template.as_bytes())
                .unwrap()
                .path(pid, &mut buf)
                .map(|p| String::from_utf8(p.to_vec()).unwrap())
        };
        assert_eq!(path("/tmp/a.%p.log", 1234).unwrap(), "/tmp/a.1234.log");
        assert_eq!(path("%p%p", 0).unwrap(), "00");
        assert_eq!(
            path("/tmp/100%%-%p", u32::MAX).unwrap(),
            "/tmp/100%-4294967295"
        );
        assert_eq!(path("/tmp/%q%", 1).unwrap(), "/tmp/%q%");
        assert_eq!(path("stderr", 1), None);
        let long = LogFile::parse(b"/tmp/abcdef").unwrap();
        assert_eq!(long.path(1, &mut [0; 10]), None);
        assert_eq!(
            long.path(1, &mut [0; 11]).unwrap(),
            b"/tmp/abcdef".as_slice()
        );
    }
}
