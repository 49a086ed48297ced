//! Which files are looked at: the globs of `KEEPMYDATA_FILES`.
//!
//! A list is kept as the bytes that were given and is walked for each question, so that it needs
//! no memory of its own. One glob is matched as a nondeterministic automaton whose states are
//! positions in the glob: each byte of the path is looked at once, whatever the glob.

use core::fmt;

/// The longest glob, in bytes; no path is longer.
const MAX_GLOB: usize = 4095;

/// A list of globs, separated by commas or colons.
///
/// - `*` and `?` match any bytes, or one, but no slash; `**` matches any bytes; `a/**/b` also
///   matches `a/b`.
/// - `[a-z]` matches one byte of the set, `[!a-z]` or `[^a-z]` one byte that is neither in the set
///   nor a slash; `]` first in the set is itself.
/// - `\` takes the next byte as it is; also a comma, a colon, or a `!` at the start.
/// - A glob that starts with `/` must match the whole path. Any other may begin at any component:
///   `*.db` matches by file name, `data/*.db` by file name and directory.
/// - A glob that ends in `/` matches everything below what it matches.
/// - `!glob` excludes.
///
/// The *last* glob that matches decides. Where none does, the path is left out if the list
/// includes anything, and taken if it only excludes or is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Globs<'a> {
    list: &'a [u8],
}

impl<'a> Globs<'a> {
    /// The list in `text`, or `None` where a set is not closed, a `\` ends the list, or a glob is
    /// longer than a path can be. Does not allocate.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let globs = Globs { list: text };
        globs
            .iter()
            .all(|(_, glob)| glob.len() <= MAX_GLOB && Tokens(glob, 0).all(|t| t.kind.is_valid()))
            .then_some(globs)
    }

    /// Whether the list says nothing, and so takes every file.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether the file at `path` (absolute, as the kernel names it) is to be looked at.
    ///
    /// Does not allocate; takes time proportional to the path's length times the list's, and
    /// about 1 KiB of stack. May be called in a signal handler.
    pub fn includes(&self, path: &[u8]) -> bool {
        let mut taken = None;
        let mut only_excludes = true;
        for (exclude, glob) in self.iter() {
            only_excludes &= exclude;
            if matches(glob, path) {
                taken = Some(!exclude);
            }
        }
        taken.unwrap_or(only_excludes)
    }

    /// The globs, each with whether it excludes.
    fn iter(&self) -> impl Iterator<Item = (bool, &'a [u8])> {
        let mut rest = self.list;
        core::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let end = Tokens(rest, 0)
                    .find(|t| matches!(t.kind, Kind::Separator))
                    .map_or(rest.len(), |t| t.start);
                let glob = &rest[..end];
                rest = rest.get(end + 1..).unwrap_or_default();
                match glob.strip_prefix(b"!") {
                    Some(glob) if !glob.is_empty() => return Some((true, glob)),
                    None if !glob.is_empty() => return Some((false, glob)),
                    _ => {}
                }
            }
        })
    }
}

impl fmt::Display for Globs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::scalar::lossy(self.list, f)
    }
}

/// One element of a glob.
struct Token<'a> {
    start: usize,
    end: usize,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Byte(u8),
    /// `?`
    Any,
    /// `[...]`, without the brackets.
    Set(&'a [u8]),
    /// `*`
    Star,
    /// `**`; `skips_slash` where it is a whole component before a slash, which it then may take
    /// with it.
    DoubleStar {
        skips_slash: bool,
    },
    Separator,
    Invalid,
}

impl Kind<'_> {
    fn is_valid(&self) -> bool {
        !matches!(self, Kind::Invalid)
    }
}

/// The elements of a glob (or, separators included, of a list) from a position on.
struct Tokens<'a>(&'a [u8], usize);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let Tokens(glob, start) = *self;
        let first = *glob.get(start)?;
        let rest = &glob[start + 1..];
        let (len, kind) = match first {
            b'*' if rest.first() == Some(&b'*') => {
                let whole = start == 0 || glob[start - 1] == b'/';
                let skips_slash = whole && rest.get(1) == Some(&b'/');
                (2, Kind::DoubleStar { skips_slash })
            }
            b'*' => (1, Kind::Star),
            b'?' => (1, Kind::Any),
            b'[' => match set_end(rest) {
                Some(len) => (len + 2, Kind::Set(&rest[..len])),
                None => (1, Kind::Invalid),
            },
            b'\\' => match rest.first() {
                Some(&byte) => (2, Kind::Byte(byte)),
                None => (1, Kind::Invalid),
            },
            b',' | b':' => (1, Kind::Separator),
            byte => (1, Kind::Byte(byte)),
        };
        self.1 = start + len;
        Some(Token {
            start,
            end: self.1,
            kind,
        })
    }
}

/// Where the set that begins `text` is closed.
fn set_end(text: &[u8]) -> Option<usize> {
    let negated = matches!(text.first(), Some(b'!' | b'^')) as usize;
    let from = negated + 1; // a `]` in first place is a member
    text.iter()
        .skip(from)
        .position(|&b| b == b']')
        .map(|at| at + from)
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let (negated, mut members) = match set {
        [b'!' | b'^', members @ ..] => (true, members),
        members => (false, members),
    };
    let mut found = false;
    loop {
        match members {
            [low, b'-', high, rest @ ..] => {
                found |= (*low..=*high).contains(&byte);
                members = rest;
            }
            [member, rest @ ..] => {
                found |= *member == byte;
                members = rest;
            }
            [] => return found != negated && byte != b'/',
        }
    }
}

/// A set of positions in a glob, the one past its end included.
struct States([u64; MAX_GLOB / 64 + 1]);

impl States {
    fn new() -> Self {
        States([0; MAX_GLOB / 64 + 1])
    }
    fn has(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }
    fn add(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }
}

/// Whether `glob` (one, without `!`) matches `path`.
fn matches(glob: &[u8], path: &[u8]) -> bool {
    if glob.len() > MAX_GLOB {
        return false;
    }
    let anchored = glob.starts_with(b"/");
    let below = glob.ends_with(b"/");
    let mut now = States::new();
    now.add(0);
    for &byte in path {
        let mut next = States::new();
        step(glob, &mut now, |from, token| match token.kind {
            Kind::Byte(wanted) if wanted == byte => next.add(token.end),
            Kind::Any if byte != b'/' => next.add(token.end),
            Kind::Set(set) if in_set(set, byte) => next.add(token.end),
            Kind::Star if byte != b'/' => next.add(from),
            // The second position is the one that loops: the first was entered from outside.
            Kind::DoubleStar { .. } => next.add(token.start + 1),
            _ => {}
        });
        if below && now.has(glob.len()) {
            return true;
        }
        if !anchored && byte == b'/' {
            next.add(0);
        }
        now = next;
    }
    step(glob, &mut now, |_, _| {});
    now.has(glob.len()) && !below
}

/// Adds to `states` what can be reached without a byte, and shows each active element to `each`.
fn step(glob: &[u8], states: &mut States, mut each: impl FnMut(usize, &Token<'_>)) {
    // Elements lead only forward, so that one pass in order reaches all.
    for token in Tokens(glob, 0) {
        match token.kind {
            Kind::Star if states.has(token.start) => states.add(token.end),
            Kind::DoubleStar { skips_slash } => {
                if states.has(token.start) {
                    states.add(token.start + 1);
                    if skips_slash {
                        states.add(token.end + 1);
                    }
                }
                if states.has(token.start + 1) {
                    states.add(token.end);
                    each(token.start + 1, &token);
                }
                continue;
            }
            _ => {}
        }
        if states.has(token.start) {
            each(token.start, &token);
        }
    }
}

#[cfg(test)]
mod tests;
