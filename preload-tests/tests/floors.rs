//! Which module uses which, read from the sources: a way up, or round in a circle, is a mistake.
//!
//! Read are paths that begin with `crate`, `super` or `self`, in `use` and elsewhere, but in comments, in texts and
//! in the modules of tests. A module stands for all below it. What would hide a path is a mistake, too: `crate` or `super`
//! under another name, all that is in them, and files that lie elsewhere than their module.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The library's modules, lowest floor first. Each uses those of lower floors only; those that share a floor
/// do not use each other.
const FLOORS: &[&[&str]] = &[
    &["mem", "unwind", "config"],
    &["process"],
    &["next_fn"],
    &["helper"],
    &["mappings"],
    &["log"],
    &["stats"],
    &["dirty"],
    &["handles", "reads"],
    &["findings", "prealloc"],
    &["enforce"],
    &["track"],
    &["hooks"],
    &["boot"],
];

#[test]
fn no_module_of_the_library_uses_one_above_it() {
    let uses = Package::read(&repository().join("src")).uses(&[]);
    let floor = |module: &str| {
        let at = FLOORS.iter().position(|floor| floor.contains(&module));
        at.unwrap_or_else(|| panic!("{module}: on which of the floors in {}?", file!()))
    };
    let mut upward = BTreeSet::new();
    for (from, to) in &uses {
        if floor(from) <= floor(to) {
            upward.insert((from.as_str(), to.as_str()));
        }
    }
    assert!(upward.is_empty(), "a module uses one above it: {upward:?}");
}

/// The names of the floors are those of modules.
#[test]
fn each_name_of_the_floors_is_a_module() {
    let package = Package::read(&repository().join("src"));
    for name in FLOORS.iter().copied().flatten() {
        assert!(package.has(&names(name)), "{name}: there is no such module");
    }
}

#[test]
fn nothing_hides_a_path() {
    let mut found = BTreeSet::new();
    for (name, package) in packages() {
        for (module, source) in &package.1 {
            found.extend(hidden_in(source).map(|line| (name.clone(), module.join("::"), line)));
        }
    }
    assert!(found.is_empty(), "what is used cannot be seen: {found:#?}");
}

/// A folder's module uses those in its folders: they do not use what is in its own file.
#[test]
fn no_file_uses_one_of_a_folder_above() {
    let mut found = BTreeSet::new();
    for (name, package) in packages() {
        found.extend(package.above().into_iter().map(|pair| (name.clone(), pair)));
    }
    assert!(
        found.is_empty(),
        "a file uses one above its folder: {found:#?}"
    );
}

#[test]
fn no_modules_of_a_package_use_each_other() {
    let mut found = BTreeSet::new();
    for (name, package) in packages() {
        for circle in package.circles() {
            // The library's own, up to there, are those of the test above.
            if name != "src" || circle[0].contains("::") {
                found.insert((name.clone(), circle));
            }
        }
    }
    assert!(found.is_empty(), "modules use each other: {found:#?}");
}

#[test]
fn paths_are_found() {
    let source = r#"
        use crate::log::{self, file::Log};
        use crate::{config, dirty::{Ranges, self}, boot as up};
        // use crate::comment;
        fn f() { crate::stats::boot(); println!("crate::text {}", super::sibling::g()) }
        use super::{super::far, near::N};
        #[cfg(test)]
        mod tests {
            fn f() { if true {} }
            use crate::tests_only;
        }
        use self::super::after;
        use crate::all::*;
    "#;
    let found: Vec<_> = paths_in(source)
        .into_iter()
        .map(|path| path.join("::"))
        .collect();
    let expected = [
        "crate::log::self",
        "crate::log::file::Log",
        "crate::config",
        "crate::dirty::Ranges",
        "crate::dirty::self",
        "crate::boot",
        "crate::stats::boot",
        "super::sibling::g",
        "super::super::far",
        "super::near::N",
        "self::super::after",
        "crate::all",
    ];
    assert_eq!(found, expected);
    let package = Package::of([
        (names("a"), vec![names("crate::b::f")]),
        (names("a::c"), vec![names("super::d::f")]),
        (names("a::d"), vec![names("crate::a::c::g")]),
        (names("b"), vec![]),
        (names("b::e"), vec![names("super::super::a::c")]),
    ]);
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(
        package.uses(&[]),
        BTreeSet::from([pair("a", "b"), pair("b", "a")])
    );
    assert_eq!(package.circles(), [vec!["a", "b"], vec!["a::c", "a::d"]]);
}

#[test]
fn what_hides_a_path_is_found() {
    let source = r#"
use crate::*;
use super::super::*;
use crate as k;
use super::{self as up, near};
use self::super::*;
#[path = "elsewhere.rs"]
mod elsewhere;
use crate::log::*;
mod inside {
    use super::*;
}
#[cfg(test)]
mod tests {
    use super::*;
}
"#;
    let found: Vec<_> = hidden_in(source).collect();
    let expected: Vec<_> = source.lines().skip(1).take(6).collect();
    assert_eq!(found, expected);
}

#[test]
fn ways_up_out_of_a_folder_are_found() {
    let package = Package::of([
        (names("a"), vec![]),
        (names("a::b"), vec![names("super::f")]),
        (
            names("a::b::c"),
            vec![names("super::super::f"), names("super::g")],
        ),
        (
            names("a::d"),
            vec![names("super::f"), names("crate::a::b::f")],
        ),
        (names("e"), vec![names("crate::f")]),
    ]);
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let expected = BTreeSet::from([pair("a::b", "a"), pair("a::b::c", "a")]);
    assert_eq!(package.above(), expected);
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the repository").to_owned()
}

/// All of the workspace, by the folder of their sources.
fn packages() -> Vec<(String, Package)> {
    let root = repository();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    let list = manifest.split_once("members = [").expect("members").1;
    let members = list.split(']').next().expect("members");
    let members = members
        .split(',')
        .map(|member| member.trim().trim_matches('"'));
    let sources = members.filter(|member| !member.is_empty());
    let sources = sources.map(|member| format!("{member}/src"));
    let read = |name: String| {
        let folder = root.join(&name);
        folder.is_dir().then(|| (name, Package::read(&folder)))
    };
    let own = ("src".to_owned(), Package::read(&root.join("src")));
    let packages: Vec<_> = sources.filter_map(read).chain([own]).collect();
    for must in ["src", "cli/src", "preload-tests/src", "crates/promise/src"] {
        assert!(packages.iter().any(|(name, _)| name == must), "{must}");
    }
    packages
}

/// A path, name by name.
type Names = Vec<String>;

fn names(path: &str) -> Names {
    path.split("::")
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Each module that has a file, and the paths that its file mentions; and its file.
#[derive(Default)]
struct Package(BTreeMap<Names, Vec<Names>>, Vec<(Names, String)>);

impl Package {
    fn of<const N: usize>(modules: [(Names, Vec<Names>); N]) -> Package {
        Package(BTreeMap::from(modules), Vec::new())
    }

    fn read(folder: &Path) -> Package {
        let mut package = Package::default();
        package.read_below(folder, &[]);
        let root = package.0.remove(&[][..]);
        assert!(root.is_some(), "{}: no package", folder.display());
        package
    }

    fn read_below(&mut self, folder: &Path, module: &[String]) {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy();
            let below = [module, &[name.to_string()]].concat();
            // What is in bin/ are packages of their own.
            if path.is_dir() && !(module.is_empty() && name == "bin") {
                self.read_below(&path, &below);
            }
            if path.extension().is_none_or(|extension| extension != "rs") || name == "tests" {
                continue;
            }
            let source = fs::read_to_string(&path).expect("a source");
            let of = match &*name {
                "lib" | "main" | "mod" => module.to_vec(),
                _ => below,
            };
            let paths = paths_in(&source);
            self.0.entry(of.clone()).or_default().extend(paths);
            self.1.push((of, source));
        }
    }

    /// Who uses whom among the modules right below `parent`.
    fn uses(&self, parent: &[String]) -> BTreeSet<(String, String)> {
        let mut uses = BTreeSet::new();
        for (module, paths) in &self.0 {
            let Some([from, ..]) = module.strip_prefix(parent) else {
                continue;
            };
            for path in paths {
                let target = resolve(module, path);
                if let Some([to, ..]) = target.strip_prefix(parent)
                    && to != from
                    && self.has(&[parent, std::slice::from_ref(to)].concat())
                {
                    uses.insert((from.clone(), to.clone()));
                }
            }
        }
        uses
    }

    fn has(&self, module: &[String]) -> bool {
        self.0.keys().any(|known| known.starts_with(module))
    }

    /// Files of a folder that use what is in the file of a module above it, but in the root's.
    fn above(&self) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for (module, paths) in &self.0 {
            let has_folder = self.0.keys().any(|other| is_below(other, module));
            let folder = match has_folder {
                true => &module[..],
                false => &module[..module.len() - 1],
            };
            for path in paths {
                let target = resolve(module, path);
                let owner = (0..=target.len()).rev().map(|len| &target[..len]);
                let owner = owner.into_iter().find(|of| self.0.contains_key(*of));
                if let Some(owner) = owner.filter(|owner| !owner.is_empty())
                    && is_below(folder, owner)
                {
                    found.insert((module.join("::"), owner.join("::")));
                }
            }
        }
        found
    }

    /// Modules of one parent that lead to each other, each with the path of all of them, sorted.
    fn circles(&self) -> Vec<Names> {
        let mut parents = BTreeSet::new();
        for module in self.0.keys() {
            parents.extend((0..module.len()).map(|len| module[..len].to_vec()));
        }
        let mut circles = BTreeSet::new();
        for parent in parents {
            let uses = self.uses(&parent);
            for (from, _) in &uses {
                let circle: Names = reached(&uses, from)
                    .into_iter()
                    .filter(|other| reached(&uses, other).contains(from))
                    .map(|name| [&parent[..], &[name]].concat().join("::"))
                    .collect();
                if !circle.is_empty() {
                    circles.insert(circle);
                }
            }
        }
        circles.into_iter().collect()
    }
}

fn is_below(module: &[String], other: &[String]) -> bool {
    module.len() > other.len() && module.starts_with(other)
}

/// All that `from` leads to.
fn reached(uses: &BTreeSet<(String, String)>, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        for (_, to) in uses.iter().filter(|(user, _)| user == at) {
            if found.insert(to.clone()) {
                next.push(to);
            }
        }
    }
    found
}

/// What `path` in the file of `module` leads to.
fn resolve(module: &[String], path: &[String]) -> Names {
    let mut at = module.to_vec();
    for name in path {
        match &**name {
            "crate" => at.clear(),
            "super" => drop(at.pop()),
            "self" => {}
            _ => at.push(name.clone()),
        }
    }
    at
}

/// The lines of `source` but those of its modules of tests, which end, as rustfmt has it, where they begin.
fn without_tests(source: &str) -> impl Iterator<Item = &str> {
    let mut end = None;
    source.lines().filter(move |line| {
        if let Some(indent) = line.strip_suffix("mod tests {") {
            end = Some(format!("{indent}}}"));
        }
        let is_test = end.is_some();
        if end.as_deref() == Some(*line) {
            end = None;
        }
        !is_test
    })
}

/// The lines of `source` after which paths do not say what they lead to. In a module within a file `super` is the file.
fn hidden_in(source: &str) -> impl Iterator<Item = String> {
    without_tests(source)
        .filter(|line| {
            let code = without_text(line);
            let words = code.replace(['{', '}', ';', ','], " ").replace("::", " ");
            let mut words = words.split_whitespace().peekable();
            let is_use = words.next_if_eq(&"use").is_some();
            while words
                .next_if(|word| matches!(*word, "crate" | "super" | "self"))
                .is_some()
            {}
            let next = words.next();
            code.starts_with("#[path")
                || is_use && code.starts_with("use") && matches!(next, Some("*" | "as"))
        })
        .map(str::to_owned)
}

/// The paths in `source` that begin with `crate`, `super` or `self`; of a group, each.
fn paths_in(source: &str) -> Vec<Names> {
    let code: Vec<String> = without_tests(source).map(without_text).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    let mut rest = &code[..];
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let begins = !is_name(before) && before != ':';
        let starts = ["crate::", "super::", "self::"];
        if begins && starts.iter().any(|start| rest.starts_with(start)) {
            let end = path(rest, &[], &mut found);
            before = ' ';
            rest = &rest[end..];
        } else {
            before = first;
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `line` without its comment and without what stands between quotes.
fn without_text(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => drop(chars.next()),
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            _ if !quoted => code.push(c),
            _ => {}
        }
    }
    code
}

/// Reads the path at the beginning of `text`, below `above`; returns where it ends.
fn path(text: &str, above: &[String], found: &mut Vec<Names>) -> usize {
    let mut names = above.to_vec();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if let Some(group) = rest.strip_prefix('{') {
            return at + 1 + members(group, &names, found);
        }
        if rest.starts_with('*') {
            at += 1;
            break;
        }
        let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        names.push(rest[..len].to_owned());
        at += len;
        match text[at..].starts_with("::") {
            true => at += 2,
            false => break,
        }
    }
    found.push(names);
    at
}

/// The members of a group up to its end, and where that is.
fn members(text: &str, above: &[String], found: &mut Vec<Names>) -> usize {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c == '}' {
            return at + 1;
        }
        if is_name(c) {
            at += path(&text[at..], above, found);
            // `as` and what follows it.
            at += text[at..].find([',', '}']).unwrap_or(0);
        } else {
            at += c.len_utf8();
        }
    }
    at
}
