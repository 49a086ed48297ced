//! Which module uses which, read from the sources: a way up, or round in a circle, is a mistake.
//!
//! Read are paths that begin with `crate` or `super`, in `use` and elsewhere, but in comments, in texts and
//! in the modules of tests. A module stands for all below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The library's modules, lowest floor first. Each uses those of lower floors only; those that share a floor
/// do not use each other.
const FLOORS: &[&[&str]] = &[
    &["defect"],
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
            use crate::tests_only;
        }
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
    ];
    assert_eq!(found, expected);
    let package = Package(BTreeMap::from([
        (names("a"), vec![names("crate::b::f")]),
        (names("a::c"), vec![names("super::d::f")]),
        (names("a::d"), vec![names("crate::a::c::g")]),
        (names("b"), vec![]),
        (names("b::e"), vec![names("super::super::a::c")]),
    ]));
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(
        package.uses(&[]),
        BTreeSet::from([pair("a", "b"), pair("b", "a")])
    );
    assert_eq!(package.circles(), [vec!["a", "b"], vec!["a::c", "a::d"]]);
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

/// Each module that has a file, and the paths that its file mentions.
struct Package(BTreeMap<Names, Vec<Names>>);

impl Package {
    fn read(folder: &Path) -> Package {
        let mut package = Package(BTreeMap::new());
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
            self.0.entry(of).or_default().extend(paths_in(&source));
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

/// The paths in `source` that begin with `crate` or `super`; of a group, each.
fn paths_in(source: &str) -> Vec<Names> {
    // Tests stand at the end of a file.
    let source = source.split("mod tests {").next().unwrap_or_default();
    let code: Vec<String> = source.lines().map(without_text).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    let mut rest = &code[..];
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let begins = !is_name(before) && before != ':';
        if begins && (rest.starts_with("crate::") || rest.starts_with("super::")) {
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
