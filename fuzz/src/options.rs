//! The option parser: lines of `KEEPMYDATA_NAME=value`, and lines of anything else, which are paths
//! to be matched with the globs.

use keepmydata_records::{Globs, OPTIONS, Settings};
use std::cell::RefCell;

/// # Panics
/// If the parser breaks a promise.
pub fn run(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
    let given = |name: &str| lines.iter().find_map(|line| value_of(name, line));
    let bad = RefCell::new(Vec::new());
    let settings = Settings::parse(&|option| given(option.env), &mut |value| {
        let text = value.to_string();
        assert!(!text.contains('\n'), "more than a line: {text}");
        bad.borrow_mut().push(value.option.env);
    });
    let bad = bad.into_inner();
    let default = Settings::default();
    let shown = |settings: &Settings<'_>| settings.to_string();
    assert!(!shown(&settings).contains('\n'));
    for option in OPTIONS {
        // What is refused is as if it had not been given, and nothing else is changed by it.
        let value = given(option.env).filter(|value| !value.is_empty());
        assert!(value.is_some() || !bad.contains(&option.env));
        let accepted = value.is_some_and(|value| option.values.accept(value));
        assert_eq!(value.is_some() && !accepted, bad.contains(&option.env));
    }
    let without = Settings::parse(
        &|option| given(option.env).filter(|_| !bad.contains(&option.env)),
        &mut |value| panic!("{value} is refused only now"),
    );
    assert_eq!(settings, without);
    if bad.len() == OPTIONS.len() {
        assert_eq!(settings, default);
    }

    let mut path = [0; 256];
    if let Some(path) = settings.log_file.path(u32::MAX, &mut path) {
        assert!(!path.contains(&0), "a NUL byte in {path:?}");
    }
    for path in &lines {
        globs(
            &settings.files,
            given("KEEPMYDATA_FILES").unwrap_or(b""),
            path,
        );
    }
}

fn value_of<'a>(name: &str, line: &'a [u8]) -> Option<&'a [u8]> {
    line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// The last glob that matches decides.
fn globs(globs: &Globs<'_>, text: &[u8], path: &[u8]) {
    let included = globs.includes(path);
    if globs.is_empty() {
        assert!(included, "nothing is said, and a file is left out");
    }
    for (last, all) in [(&b",**"[..], true), (b",!**", false)] {
        let list = [text, last].concat();
        // A list that was refused, or that ends in the middle of a set, is not this one.
        let more = Globs::parse(&list).filter(|_| Globs::parse(text) == Some(*globs));
        if let Some(more) = more {
            assert_eq!(more.includes(path), all, "{list:?} with {path:?}");
        }
    }
}
