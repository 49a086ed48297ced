use super::*;
use proptest::prelude::*;

fn includes(list: &str, path: &str) -> bool {
    Globs::parse(list.as_bytes())
        .unwrap_or_else(|| panic!("{list:?} is valid"))
        .includes(path.as_bytes())
}

#[test]
fn one_glob() {
    for (glob, path, expected) in [
        // by file name
        ("*.db", "/a/b/x.db", true),
        ("*.db", "/a/b.db/x", false),
        ("x", "/a/x", true),
        ("x", "/a/ax", false),
        ("?", "/a/b", true),
        ("?", "/a/bc", false),
        // by the last components
        ("b/*.db", "/a/b/x.db", true),
        ("b/*.db", "/a/bb/x.db", false),
        ("a/*.db", "/a/b/x.db", false),
        // the whole path
        ("/a/*", "/a/x", true),
        ("/a/*", "/a/b/x", false),
        ("/a/*", "/b/a/x", false),
        ("/a/**", "/a/b/x", true),
        ("/a/**", "/a", false),
        ("/a/**/x", "/a/x", true),
        ("/a/**/x", "/a/b/c/x", true),
        ("/a/**/x", "/a/bx", false),
        ("/a/b**x", "/a/bc/dx", true),
        ("**", "/any/thing", true),
        ("/**", "/any/thing", true),
        ("***", "/any/thing", true),
        ("**/**/x", "/x", true),
        // everything below
        ("/a/", "/a/b/x", true),
        ("/a/", "/a", false),
        ("/a/", "/ab/x", false),
        ("b/", "/a/b/c/x", true),
        // sets
        ("[a-c]x", "/bx", true),
        ("[a-c]x", "/dx", false),
        ("[!a-c]x", "/dx", true),
        ("[^a-c]x", "/bx", false),
        ("/a[!b]c", "/a/c", false),
        ("[]]", "/]", true),
        ("[!]]", "/]", false),
        ("[a-]", "/-", true),
        ("[,:]", "/:", true),
        // escapes
        ("\\*", "/*", true),
        ("\\*", "/x", false),
        ("a\\,b", "/a,b", true),
        ("\\!x", "/!x", true),
    ] {
        assert_eq!(includes(glob, path), expected, "{glob} on {path}");
    }
}

#[test]
fn the_last_match_decides() {
    let list = "/data/**,!*.log:/data/keep.log";
    assert!(includes(list, "/data/x"));
    assert!(!includes(list, "/data/x.log"));
    assert!(includes(list, "/data/keep.log"));
    assert!(!includes(list, "/other"));
}

#[test]
fn a_list_that_only_excludes_takes_the_rest() {
    assert!(!includes("!*.log", "/x.log"));
    assert!(includes("!*.log", "/x.db"));
    assert!(includes("", "/x"));
    assert!(includes(",:,", "/x"));
    assert!(includes("!,", "/x"));
}

#[test]
fn bad_lists_are_refused() {
    let long = [b'x'; MAX_GLOB + 1];
    for bad in [&b"["[..], b"a,[b", b"[]", b"x\\", &long] {
        assert_eq!(Globs::parse(bad), None, "{}", String::from_utf8_lossy(bad));
    }
    assert!(Globs::parse(&long[1..]).is_some());
}

#[test]
fn no_glob_makes_matching_explode() {
    // Under Miri a part of it takes as long.
    let scale = if cfg!(miri) { 50 } else { 1 };
    let glob = "*a".repeat(1000 / scale) + "/**/" + &"**a".repeat(600 / scale) + "b";
    let path = format!("/{}", "a".repeat(4000 / scale));
    let begin = std::time::Instant::now();
    assert!(!includes(&glob, &path));
    // A backtracking matcher would not end in the lifetime of the machine.
    assert!(begin.elapsed().as_secs() < 30);
}

/// The meaning of a glob, in the plainest form, exponential and all.
fn reference(glob: &[u8], path: &[u8], at_component: bool) -> bool {
    match glob {
        [] => path.is_empty(),
        [b'*', b'*', b'/', rest @ ..] if at_component && reference(rest, path, true) => true,
        [b'*', b'*', rest @ ..] => (0..=path.len()).any(|n| reference(rest, &path[n..], false)),
        [b'*', rest @ ..] => (0..=path.len())
            .take_while(|&n| !path[..n].contains(&b'/'))
            .any(|n| reference(rest, &path[n..], false)),
        [g, rest @ ..] => match path {
            [p, tail @ ..] if g == p || (*g == b'?' && *p != b'/') => {
                reference(rest, tail, *g == b'/')
            }
            _ => false,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn agrees_with_the_reference(glob in "[ab*?/]{0,8}[ab*?]", path in "(/[ab]{1,3}){1,4}") {
        let starts = path.match_indices('/').map(|(at, _)| at + 1);
        let expected = reference(glob.as_bytes(), path.as_bytes(), true)
            || !glob.starts_with('/')
                && starts.into_iter().any(|s| reference(glob.as_bytes(), &path.as_bytes()[s..], true));
        prop_assert_eq!(matches(glob.as_bytes(), path.as_bytes()), expected);
    }

    #[test]
    fn takes_any_bytes(list in prop::collection::vec(any::<u8>(), 0..60),
                       path in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Some(globs) = Globs::parse(&list) {
            globs.includes(&path);
        }
    }
}
