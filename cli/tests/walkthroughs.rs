//! docs/walkthroughs.md: each command in it is run, and prints what the page says.

mod common;

use preload_tests::harness::{LoopFs, Scratch, TearFs, installed, shim};
use preload_tests::or_skip;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../../docs/walkthroughs.md");
/// Where the page works; the test works elsewhere.
const PLACE: &str = "/tmp/try";

/// A command, and what it prints.
struct Step {
    command: String,
    output: Vec<String>,
}

/// The steps of the section with this heading.
fn steps(heading: &str) -> Vec<Step> {
    let (_, section) = PAGE
        .split_once(&format!("\n## {heading}\n"))
        .expect(heading);
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut steps: Vec<Step> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        let (lines, _) = block.split_once("\n```").expect("the end of a block");
        for line in lines.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step {
                    command: command.to_owned(),
                    output: Vec::new(),
                });
                continue;
            }
            let step = steps.last_mut().expect("a command first");
            match line.strip_prefix("> ") {
                Some(more) => step.command += &format!("\n{more}"),
                None => step.output.push(line.to_owned()),
            }
        }
    }
    assert!(!steps.is_empty(), "{heading}");
    steps
}

/// Without figures and units of time, and with single spaces.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for word in line.split_whitespace() {
        let word = word.replace(|c: char| c.is_ascii_digit(), "#");
        let word = match word.as_str() {
            "us" | "ms" | "s" => "time",
            word => word,
        };
        for c in word.chars() {
            let is_figure = matches!(c, '#' | '.');
            let goes_on = shape.ends_with('#') || (c == '#' && shape.ends_with('.'));
            if !(is_figure && goes_on) {
                shape.push(c);
            }
        }
        shape.push(' ');
    }
    shape.trim_end().replace("#time", "# time")
}

/// Whether these lines are what the page shows, where `...` stands for any number of lines.
fn is_as_shown(shown: &[String], printed: &[String]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((line, rest)), _) if line == "..." => {
            (0..=printed.len()).any(|skipped| is_as_shown(rest, &printed[skipped..]))
        }
        (Some(_), None) => false,
        (Some((line, rest)), Some((printed, others))) => {
            shape(line) == shape(printed) && is_as_shown(rest, others)
        }
    }
}

/// What a section mounts is gone at the end, however that comes.
struct Mounts(PathBuf);

impl Drop for Mounts {
    fn drop(&mut self) {
        for name in ["fuse", "myfs"] {
            let mut unmount = Command::new("fusermount3");
            unmount.args(["-u", "-q", "-z"]).arg(self.0.join(name));
            let _ = unmount.stderr(Stdio::null()).status();
        }
    }
}

/// Runs the commands of a section in one shell, in this directory.
fn follow(heading: &str, place: &Path) {
    let steps = steps(heading);
    let programs = Scratch::new();
    let keepmydata = Path::new(env!("CARGO_BIN_EXE_keepmydata"));
    symlink(keepmydata, programs.path("keepmydata")).unwrap();
    symlink(keepmydata.with_file_name("tearfs"), programs.path("tearfs")).unwrap();
    let seed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../preload-tests/guests/seed.c"
    );
    let compiled = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(programs.path("seed"))
        .arg(seed)
        .status();
    assert!(compiled.unwrap().success());

    let place_text = place.display().to_string();
    let mut script = String::new();
    for step in &steps {
        script += &format!("{}\necho '@@@'\n", step.command.replace(PLACE, &place_text));
    }
    let file = programs.path("script");
    fs::write(&file, script).unwrap();
    let _mounts = Mounts(place.to_owned());
    let mut shell = common::keepmydata_environment(Command::new("timeout"));
    let output = shell
        .args(["-k", "5", "150", "sh"])
        .arg(&file)
        .current_dir(place)
        .env("KEEPMYDATA_LIB", shim())
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", programs.dir().display()),
        )
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    let mut parts = printed.split("@@@\n");
    for step in &steps {
        let shown: Vec<String> = step
            .output
            .iter()
            .map(|line| line.replace(PLACE, &place_text))
            .collect();
        let part = parts.next().unwrap_or("nothing: the shell has ended");
        let lines: Vec<String> = part.lines().map(str::to_owned).collect();
        assert!(
            is_as_shown(&shown, &lines),
            "$ {}\n{part}\nis not\n{}\n{complaints}",
            step.command,
            shown.join("\n")
        );
    }
    assert_eq!(complaints, "");
}

#[test]
fn an_ltp_test_on_a_fuse_filesystem() {
    or_skip!(TearFs::available());
    let scratch = Scratch::new();
    follow("My LTP test fails on my FUSE filesystem", scratch.dir());
    let page = scratch.path("report.html");
    assert!(page.exists());
    or_skip!(installed("chromium"));
    let picture = draw(&page, scratch.dir());
    if std::env::var_os("KEEPMYDATA_WRITE_DOCS").is_some() {
        let shown = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/walkthrough.png");
        fs::copy(picture, shown).unwrap();
    }
}

/// The page as the browser shows it, as an image beside it, with the names that the walkthrough has.
fn draw(page: &Path, place: &Path) -> PathBuf {
    let text = fs::read_to_string(page).unwrap();
    fs::write(page, text.replace(&place.display().to_string(), PLACE)).unwrap();
    let picture = place.join("page.png");
    let mut chromium = Command::new("timeout");
    chromium.args(["-k", "5", "100", "chromium", "--headless=new"]);
    chromium.args(["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    chromium.args(["--virtual-time-budget=3000", "--window-size=1280,1130"]);
    chromium.arg(format!("--user-data-dir={}/profile", place.display()));
    chromium.arg(format!("--screenshot={}", picture.display()));
    chromium.arg(format!("file://{}", page.display()));
    let output = chromium.env("HOME", place).output().unwrap();
    assert!(output.status.success(), "{}", common::stderr(&output));
    let image = fs::read(&picture).unwrap();
    assert_eq!(&image[..8], b"\x89PNG\r\n\x1a\n");
    let [width, height] = [16, 20].map(|at| {
        let bytes = image[at..at + 4].try_into().unwrap();
        u32::from_be_bytes(bytes)
    });
    assert_eq!((width, height), (1280, 1130));
    // An empty page takes a tenth of that.
    assert!(image.len() > 60_000, "{} bytes", image.len());
    picture
}

#[test]
fn a_database_on_ext4() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    follow("My database maps its file, on ext4", &fs.dir());
}

#[test]
fn a_new_fuse_filesystem() {
    or_skip!(TearFs::available());
    let scratch = Scratch::new();
    follow("I write a FUSE filesystem", scratch.dir());
}

#[test]
fn figures_may_differ_and_words_may_not() {
    assert_eq!(
        shape("at 12.5 ms in 3 calls"),
        shape("at 9 us  in 17 calls")
    );
    assert_eq!(shape("(304.5 ms)"), shape("(1 ms)"));
    assert_ne!(shape("3 calls"), shape("3 runs"));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(is_as_shown(&lines("a\n...\nd 1"), &lines("a\nb\nc\nd 22")));
    assert!(is_as_shown(&lines("a\n..."), &lines("a")));
    assert!(!is_as_shown(&lines("a\n...\nd"), &lines("a\nb")));
    assert!(!is_as_shown(&lines("a"), &lines("a\nb")));
}
