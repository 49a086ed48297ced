//! Programs: calls on one file, by one to four threads, as text and as a strategy of proptest.

use std::fmt;
use std::str::FromStr;

use proptest::collection::vec;
use proptest::prelude::*;

/// Pages of the largest file.
pub const PAGES: i64 = 64;

/// The calls, with what their arguments are; `stamp` is the byte that is stored, another one in each call. A slot is a
/// place for a mapping, of which each thread has four; what a call means of a slot that is not there is left out.
const CALLS: &[(&str, &[&str])] = &[
    ("map", &["slot", "page", "pages", "prot"]),
    ("fix", &["slot", "off", "pages", "page", "prot"]),
    ("anon", &["slot", "off", "pages"]),
    ("remap", &["slot", "off", "pages", "page"]),
    ("lock", &["slot", "off", "pages", "locks"]),
    ("other", &["evicts"]),
    ("unmap", &["slot", "off", "pages"]),
    ("grow", &["slot", "pages", "maymove"]),
    ("shrink", &["slot", "pages", "maymove"]),
    ("move", &["slot", "off", "pages", "to"]),
    ("twin", &["slot", "off", "pages", "to"]),
    ("prot", &["slot", "off", "pages", "prot"]),
    ("advise", &["slot", "off", "pages", "advice"]),
    ("store", &["slot", "off", "pages", "cell", "how", "stamp"]),
    ("touch", &["slot", "off", "pages"]),
    ("sync", &["slot", "off", "pages", "flags"]),
    ("fsync", &["data"]),
    ("pwrite", &["cell", "cells", "flags", "stamp"]),
    ("trunc", &["halves"]),
    ("punch", &["cell", "cells"]),
    ("zero", &["cell", "cells"]),
    ("copy", &["cell", "cells", "stamp"]),
    ("empty", &[]),
    ("reopen", &[]),
    ("peek", &["osync"]),
    ("count", &["page", "nap"]),
    ("nap", &["us"]),
    ("fork", &["calls"]),
];

/// The stamps of a program: 0 is a hole, 1 is what the file is full of at first.
fn stamps() -> impl Iterator<Item = i64> {
    (2..256).cycle()
}

/// One call. Stamps are no arguments: they are given by the place in the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    kind: usize,
    args: Vec<i64>,
}

impl Call {
    fn new(name: &str, args: &[i64]) -> Self {
        let kind = CALLS.iter().position(|(known, _)| *known == name);
        Self {
            kind: kind.expect("a call"),
            args: args.to_vec(),
        }
    }

    pub fn name(&self) -> &'static str {
        CALLS[self.kind].0
    }

    /// Makes its mapping readable and writable.
    fn make_plain(&mut self) {
        let prot = CALLS[self.kind].1.iter().position(|name| *name == "prot");
        if let Some(prot) = prot {
            self.args[prot] = 3;
        }
    }

    fn is_stamped(&self) -> bool {
        CALLS[self.kind].1.last() == Some(&"stamp")
    }
}

/// What the guest runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Of the file at first.
    pub pages: i64,
    /// The calls of each thread.
    pub threads: Vec<Vec<Call>>,
}

impl Program {
    pub fn is_threaded(&self) -> bool {
        self.threads.len() > 1 || self.uses("count")
    }

    /// Of one thread in one process, with no other program beside it.
    pub fn is_alone(&self) -> bool {
        !self.is_threaded() && !self.uses("fork") && !self.uses("other")
    }

    /// Whether it calls madvise with `MADV_PAGEOUT`.
    pub fn pages_out(&self) -> bool {
        let mut calls = self.threads.iter().flatten();
        calls.any(|call| call.name() == "advise" && call.args.last() == Some(&1))
    }

    pub fn uses(&self, name: &str) -> bool {
        self.threads
            .iter()
            .flatten()
            .any(|call| call.name() == name)
    }

    /// The programs with one call or one thread less.
    pub fn shorter(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for thread in 0..self.threads.len() {
            if self.threads.len() > 1 {
                let mut less = self.clone();
                less.threads.remove(thread);
                all.push(less);
            }
            for call in 0..self.threads[thread].len() {
                let mut less = self.clone();
                less.threads[thread].remove(call);
                all.push(less);
            }
        }
        all
    }

    /// As calls of C, one a line.
    pub fn as_calls(&self) -> String {
        let mut text = format!("the file has {} pages of 0x01\n", self.pages);
        let mut stamps = stamps();
        for (number, thread) in self.threads.iter().enumerate() {
            for call in thread {
                let stamp = call.is_stamped().then(|| stamps.next()).flatten();
                let line = describe(call, stamp.unwrap_or(0));
                text += &match self.threads.len() {
                    1 => format!("  {line}\n"),
                    _ => format!("  thread {number}: {line}\n"),
                };
            }
        }
        text
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.pages)?;
        let mut stamps = stamps();
        for (number, thread) in self.threads.iter().enumerate() {
            f.write_str(if number > 0 { " |" } else { "" })?;
            for (at, call) in thread.iter().enumerate() {
                write!(f, "{}{}", if at > 0 { "; " } else { " " }, call.name())?;
                for arg in &call.args {
                    write!(f, " {arg}")?;
                }
                if call.is_stamped() {
                    write!(f, " {}", stamps.next().expect("endless"))?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for Program {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pages, threads) = text.split_once(':').ok_or("no number of pages")?;
        let call = |text: &str| {
            let mut words = text.split_whitespace();
            let name = words.next().ok_or("no call")?;
            let kind = CALLS.iter().position(|(known, _)| *known == name);
            let kind = kind.ok_or(format!("no such call: {name}"))?;
            let args = words.map(|word| word.parse().map_err(|_| format!("no number: {word}")));
            let mut args = args.collect::<Result<Vec<i64>, _>>()?;
            if args.len() != CALLS[kind].1.len() {
                return Err(format!("{name} takes {:?}", CALLS[kind].1));
            }
            let call = Call {
                kind,
                args: Vec::new(),
            };
            if call.is_stamped() {
                args.pop();
            }
            Ok(Call { args, ..call })
        };
        let calls = |text: &str| {
            let calls = text
                .split(';')
                .map(str::trim)
                .filter(|call| !call.is_empty());
            calls.map(call).collect::<Result<Vec<_>, String>>()
        };
        Ok(Self {
            pages: pages.trim().parse().map_err(|_| "no number of pages")?,
            threads: threads.split('|').map(calls).collect::<Result<_, _>>()?,
        })
    }
}

fn prot_name(prot: i64) -> &'static str {
    [
        "PROT_NONE",
        "PROT_READ",
        "PROT_WRITE",
        "PROT_READ|PROT_WRITE",
    ][prot as usize & 3]
}

/// The call as C. Pages are written as `p`.
fn describe(call: &Call, stamp: i64) -> String {
    let a = |n: usize| call.args.get(n).copied().unwrap_or(0);
    let slot = || format!("s{}", a(0));
    let part = || {
        format!(
            "s{} + {}p, {}p",
            a(0),
            a(1),
            if a(2) >= PAGES {
                "rest ".into()
            } else {
                a(2).to_string()
            }
        )
    };
    match call.name() {
        "map" => format!(
            "{} = mmap(NULL, {}p, {}, MAP_SHARED, fd, {}p)",
            slot(),
            a(2),
            prot_name(a(3)),
            a(1)
        ),
        "fix" => format!(
            "mmap({}, {}, MAP_SHARED|MAP_FIXED, fd, {}p)",
            part(),
            prot_name(a(4)),
            a(3)
        ),
        "anon" => format!(
            "mmap({}, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0)",
            part()
        ),
        "remap" => format!("remap_file_pages({}, 0, {}, 0)", part(), a(3)),
        "lock" => format!(
            "{}({})",
            if a(3) != 0 { "mlock" } else { "munlock" },
            part()
        ),
        "other" => match a(0) {
            0 => "another program opens the file".into(),
            _ => "another program opens and syncs the file, and posix_fadvise(DONTNEED)".into(),
        },
        "unmap" => format!("munmap({})", part()),
        "grow" | "shrink" => {
            let sign = if call.name() == "grow" { '+' } else { '-' };
            let flags = if a(2) != 0 { "MREMAP_MAYMOVE" } else { "0" };
            format!("s{0} = mremap(s{0}, all, {sign}{1}p, {flags})", a(0), a(1))
        }
        "move" => format!(
            "s{} = mremap({}, the same, MREMAP_MAYMOVE|MREMAP_FIXED, elsewhere)",
            a(3),
            part()
        ),
        "twin" => format!(
            "s{} = mremap({} as 0, the same, MREMAP_MAYMOVE|MREMAP_FIXED, elsewhere)",
            a(3),
            part()
        ),
        "prot" => format!("mprotect({}, {})", part(), prot_name(a(3))),
        "advise" => {
            let advice = [
                "DONTNEED",
                "PAGEOUT",
                "REMOVE",
                "COLD",
                "WILLNEED",
                "POPULATE_WRITE",
            ];
            format!(
                "madvise({}, MADV_{})",
                part(),
                advice[a(3).clamp(0, 5) as usize]
            )
        }
        "store" => {
            let what = ["first byte", "last byte", "all"][a(4).clamp(0, 2) as usize];
            format!(
                "store 0x{stamp:02x} to {}: {what} of cell {} of each page",
                part(),
                a(3)
            )
        }
        "touch" => format!("load from each page of {}", part()),
        "sync" => {
            let flags = match a(3) {
                4 => "MS_SYNC",
                1 => "MS_ASYNC",
                6 => "MS_SYNC|MS_INVALIDATE",
                _ => "other flags",
            };
            format!("msync({}, {flags})", part())
        }
        "fsync" => if a(0) != 0 {
            "fdatasync(fd)"
        } else {
            "fsync(fd)"
        }
        .into(),
        "pwrite" => {
            let flags = ["", "O_DIRECT ", "O_APPEND ", "O_DIRECT RWF_APPEND "][a(2) as usize & 3];
            format!(
                "{flags}pwrite(fd, 0x{stamp:02x}, {} * 512, {} * 512)",
                a(1),
                a(0)
            )
        }
        "trunc" => format!("ftruncate(fd, {} * 256)", a(0)),
        "punch" | "zero" => {
            let mode = if call.name() == "punch" {
                "PUNCH_HOLE"
            } else {
                "ZERO_RANGE"
            };
            format!(
                "fallocate(fd, {mode}|KEEP_SIZE, {} * 512, {} * 512)",
                a(0),
                a(1)
            )
        }
        "copy" => format!(
            "copy_file_range(other, 0, fd, {} * 512, {} * 512) of 0x{stamp:02x}",
            a(0),
            a(1)
        ),
        "empty" => "close(open(file, O_RDWR|O_TRUNC))".into(),
        "reopen" => "close(fd); fd = open(file, O_RDWR)".into(),
        "peek" => format!(
            "f = open(file, O_RDONLY{}); pread(f, all); close(f)",
            if a(0) != 0 { "|O_SYNC" } else { "" }
        ),
        "count" => format!(
            "another thread counts in page {} (pause {} us), through a mapping of its own",
            a(0),
            a(1)
        ),
        "nap" => format!("usleep({})", a(0)),
        "fork" => format!(
            "in a forked child, and wait for it: the next {} calls",
            a(0)
        ),
        other => other.into(),
    }
}

fn slot() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0i64), 3 => Just(1i64), 1 => Just(2i64)]
}

fn off() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(0i64), 2 => 0i64..4, 1 => 0i64..16]
}

/// Pages of a part; [`PAGES`] is all that follow.
fn many() -> impl Strategy<Value = i64> {
    prop_oneof![2 => 1i64..4, 1 => 1i64..12, 3 => Just(PAGES)]
}

fn prot() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(3i64), 2 => Just(2i64), 1 => Just(1i64), 1 => Just(0i64)]
}

fn cells() -> impl Strategy<Value = i64> {
    prop_oneof![2 => (0i64..10).prop_map(|page| 8 * page), 1 => 0i64..80]
}

fn length() -> impl Strategy<Value = i64> {
    prop_oneof![2 => (1i64..5).prop_map(|pages| 8 * pages), 1 => 1i64..24]
}

fn any_call() -> BoxedStrategy<Call> {
    let make = |name: &'static str| move |args: Vec<i64>| Call::new(name, &args);
    prop_oneof![
        5 => (slot(), off(), prop_oneof![2 => 1i64..8, 2 => Just(16i64), 1 => Just(40i64)], prot())
            .prop_map(|(a, b, c, d)| vec![a, b, c, d]).prop_map(make("map")),
        2 => (slot(), off(), many(), off(), prot())
            .prop_map(|(a, b, c, d, e)| vec![a, b, c, d, e]).prop_map(make("fix")),
        1 => (slot(), off(), 1i64..4).prop_map(|(a, b, c)| vec![a, b, c]).prop_map(make("anon")),
        1 => (slot(), off(), many(), off()).prop_map(|(a, b, c, d)| vec![a, b, c, d]).prop_map(make("remap")),
        1 => (slot(), off(), many(), 0i64..2).prop_map(|(a, b, c, d)| vec![a, b, c, d]).prop_map(make("lock")),
        1 => (0i64..2).prop_map(|a| vec![a]).prop_map(make("other")),
        3 => (slot(), off(), many()).prop_map(|(a, b, c)| vec![a, b, c]).prop_map(make("unmap")),
        2 => (slot(), 1i64..12, 0i64..2).prop_map(|(a, b, c)| vec![a, b, c]).prop_map(make("grow")),
        2 => (slot(), 1i64..12, 0i64..2).prop_map(|(a, b, c)| vec![a, b, c]).prop_map(make("shrink")),
        3 => (slot(), off(), many(), 0i64..3).prop_map(|(a, b, c, d)| vec![a, b, c, d]).prop_map(make("move")),
        1 => (slot(), off(), many(), 0i64..3).prop_map(|(a, b, c, d)| vec![a, b, c, d]).prop_map(make("twin")),
        3 => (slot(), off(), many(), prot()).prop_map(|(a, b, c, d)| vec![a, b, c, d]).prop_map(make("prot")),
        5 => (slot(), off(), many(), prop_oneof![3 => Just(0i64), 3 => Just(1i64), 2 => Just(2i64), 1 => 3i64..6])
            .prop_map(|(a, b, c, d)| vec![a, b, c, d]).prop_map(make("advise")),
        16 => (slot(), off(), many(), 0i64..8, prop_oneof![3 => Just(0i64), 1 => Just(1i64), 1 => Just(2i64)])
            .prop_map(|(a, b, c, d, e)| vec![a, b, c, d, e]).prop_map(make("store")),
        2 => (slot(), off(), many()).prop_map(|(a, b, c)| vec![a, b, c]).prop_map(make("touch")),
        10 => (slot(), off(), many(), prop_oneof![9 => Just(4i64), 1 => Just(6i64), 1 => Just(1i64)])
            .prop_map(|(a, b, c, d)| vec![a, b, c, d]).prop_map(make("sync")),
        2 => (0i64..2).prop_map(|a| vec![a]).prop_map(make("fsync")),
        3 => (cells(), length(), prop_oneof![4 => Just(0i64), 2 => Just(1i64), 1 => 2i64..4])
            .prop_map(|(a, b, c)| vec![a, b, c]).prop_map(make("pwrite")),
        3 => prop_oneof![(0i64..24).prop_map(|page| 16 * page), 0i64..400].prop_map(|a| vec![a]).prop_map(make("trunc")),
        1 => (cells(), length()).prop_map(|(a, b)| vec![a, b]).prop_map(make("punch")),
        1 => (cells(), length()).prop_map(|(a, b)| vec![a, b]).prop_map(make("zero")),
        1 => (cells(), length()).prop_map(|(a, b)| vec![a, b]).prop_map(make("copy")),
        1 => Just(Vec::new()).prop_map(make("empty")),
        2 => Just(Vec::new()).prop_map(make("reopen")),
        3 => (0i64..2).prop_map(|a| vec![a]).prop_map(make("peek")),
        1 => (0i64..8, prop_oneof![Just(0i64), Just(50i64)]).prop_map(|(a, b)| vec![a, b]).prop_map(make("count")),
        1 => (0i64..3000).prop_map(|a| vec![a]).prop_map(make("nap")),
        2 => (1i64..6).prop_map(|a| vec![a]).prop_map(make("fork")),
    ]
    .boxed()
}

/// Any call; or, as often as that, one of those that are wanted.
fn calls(only: Only) -> BoxedStrategy<Call> {
    match only {
        None => any_call(),
        Some(names) => {
            let is_wanted = move |call: &Call| names.contains(&call.name());
            prop_oneof![any_call(), any_call().prop_filter("wanted", is_wanted)].boxed()
        }
    }
}

fn thread(most: usize, only: Only) -> impl Strategy<Value = Vec<Call>> {
    let first = (
        0i64..2,
        prop_oneof![4 => Just(16i64), 1 => 1i64..16],
        prot(),
    )
        .prop_map(|(page, pages, prot)| Call::new("map", &[0, page, pages, prot | 2]));
    // Calls that a program does without, by a mask of its own: fewer kinds meet more often.
    let mask = any::<u32>().no_shrink();
    let (all, plain) = (any::<bool>().no_shrink(), any::<bool>().no_shrink());
    (first, vec(calls(only), 1..most), (mask, all, plain)).prop_map(
        move |(first, calls, (mask, all, plain))| {
            let kept = |call: &Call| {
                let by_chance = || all || mask >> call.kind & 1 == 0;
                match call.name() {
                    "sync" | "map" => true,
                    // A filesystem that keeps nothing is found out by them, whatever counts.
                    "store" => only.is_none_or(|names| !names.contains(&"count")),
                    name => only.map_or_else(by_chance, |names| names.contains(&name)),
                }
            };
            let mut thread = vec![first];
            thread.extend(calls.into_iter().filter(kept));
            thread.push(Call::new("sync", &[0, 0, PAGES, 4]));
            // Half of the programs do without odd protections, which would otherwise be found in place of all else.
            for call in thread.iter_mut().filter(|_| plain) {
                call.make_plain();
            }
            thread
        },
    )
}

/// The calls that a program has besides map, sync and, where none of them is count, store; `None` is any.
pub type Only = Option<&'static [&'static str]>;

/// Random programs.
pub fn any_program(only: Only) -> impl Strategy<Value = Program> {
    let pages = prop_oneof![4 => 4i64..20, 1 => 1i64..48];
    let threads = prop_oneof![
        6 => vec(thread(28, only), 1),
        2 => vec(thread(14, only), 2),
        1 => vec(thread(10, only), 3..5),
    ];
    (pages, threads).prop_map(|(pages, threads)| Program { pages, threads })
}

#[test]
fn programs_are_read_as_they_are_written() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..200 {
        let program = any_program(None)
            .new_tree(&mut runner)
            .expect("a program")
            .current();
        assert_eq!(program.to_string().parse(), Ok(program));
    }
    assert!("4: fly 1".parse::<Program>().is_err());
    assert!("4: nap 1 2".parse::<Program>().is_err());
}
