//! Other libraries, in front of the shim and behind it; tools that look at programs;
//! programs that start programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use preload_tests::harness::{
    Flags, LoopFs, Outcome, Program, Scratch, TearFs, assert_same, assert_same_under_shim,
    installed, library,
};
use preload_tests::{or_skip, page_size, skip};

const VERIFY: [(&str, &str); 2] = [("KEEPMYDATA_VERIFY", "on"), ("KEEPMYDATA_LOG", "info")];

fn mapper() -> PathBuf {
    Program::guest_library("mapper")
}

/// The guest that loads a library which maps `file`, that many times.
fn loads(file: &Path, times: u32) -> Program {
    Program::guest("loads")
        .arg(mapper())
        .arg(file)
        .arg(times.to_string())
        .env("MAPPER", file)
}

/// Whether a power cut leaves the four pages that the mapper library stored to, each
/// in its first byte.
fn is_whole(fs: &TearFs, name: &str, byte: u8) -> bool {
    let length = 4 * page_size();
    let bytes = fs.stable_bytes(name, 0, length);
    bytes.len() == length && bytes.iter().step_by(page_size()).all(|b| *b == byte)
}

#[track_caller]
fn assert_whole(fs: &TearFs, name: &str, byte: u8) {
    assert!(is_whole(fs, name, byte), "{name} is torn");
}

#[track_caller]
fn assert_torn(fs: &TearFs, name: &str, byte: u8) {
    assert!(!is_whole(fs, name, byte), "control: {name} is whole");
}

#[test]
fn libraries_loaded_and_unloaded() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = loads(&fs.path("f"), 20);
    assert_same_under_shim(&guest);
}

#[test]
fn syncs_of_loaded_libraries_are_enforced() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let guest = |name: &str| loads(&fs.path(name), 1);
    guest("native").natively().expect_success("natively");
    guest("shim").under_shim(&VERIFY).expect_success("loads");
    for (suffix, byte) in [("", b'f'), (".constructor", b'c'), (".destructor", b'd')] {
        assert_torn(&fs, &format!("native{suffix}"), byte);
        assert_whole(&fs, &format!("shim{suffix}"), byte);
    }
}

/// Constructors run in the reverse order of the list, destructors in its order: one
/// of the two libraries is initialised before the shim, and the other one after.
#[test]
fn constructors_and_destructors_around_the_shim() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("seed")
        .arg(fs.path("f"))
        .env("MAPPER", fs.path("m"));
    assert_same_under_shim(&guest.clone().preload_before(mapper()));
    assert_same_under_shim(&guest.preload_after(mapper()));
}

/// Whatever is synced after the shim's constructor is whole, destructors included.
#[test]
fn syncs_of_constructors_and_destructors_are_enforced() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let guest = |name: &str| {
        Program::guest("seed")
            .arg(fs.path("f"))
            .env("MAPPER", fs.path(name))
    };
    let native = guest("native").preload_before(mapper()).natively();
    assert_eq!(native.code(), Some(1), "control: {native:?}");
    assert_torn(&fs, "native.destructor", b'd');
    guest("before")
        .preload_before(mapper())
        .under_shim(&VERIFY)
        .expect_success("initialised after the shim");
    assert_whole(&fs, "before.constructor", b'c');
    assert_whole(&fs, "before.destructor", b'd');
    guest("after")
        .preload_after(mapper())
        .under_shim(&VERIFY)
        .expect_success("initialised before the shim");
    assert_whole(&fs, "after.destructor", b'd');
}

/// The seed case with another library preloaded in front of the shim and behind it.
fn together_with(prepare: impl Fn(Program, bool) -> Program) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    for in_front in [true, false] {
        let guest = prepare(Program::guest("seed").arg(fs.path("f")), in_front);
        let native = guest.natively().expect_success("natively");
        for settings in [&[][..], &VERIFY] {
            let shimmed = guest.under_shim(settings);
            let what = format!("behind the other library: {in_front}, {settings:?}");
            assert_same(&native, &shimmed, &what);
            assert_eq!(shimmed.stderr, native.stderr, "{what}");
        }
    }
}

fn preload(program: Program, library: &Path, in_front: bool) -> Program {
    match in_front {
        true => program.preload_before(library),
        false => program.preload_after(library),
    }
}

#[test]
fn libeatmydata() {
    let eatmydata = or_skip!(library(&["", "libeatmydata"], "libeatmydata.so"));
    together_with(|guest, in_front| preload(guest, &eatmydata, in_front));
}

/// Behind the shim, it eats the program's msync and not what the shim does about it.
#[test]
fn libeatmydata_behind_the_shim_eats_nothing() {
    or_skip!(TearFs::available());
    let eatmydata = or_skip!(library(&["", "libeatmydata"], "libeatmydata.so"));
    let fs = TearFs::mount(&["--mode", "volatile"]);
    let guest = |name: &str| loads(&fs.path(name), 1).preload_after(&eatmydata);
    guest("native").natively().expect_success("natively");
    assert_torn(&fs, "native", b'f');
    guest("shim").under_shim(&VERIFY).expect_success("loads");
    assert_whole(&fs, "shim", b'f');
}

#[test]
fn libfaketime() {
    let faketime = or_skip!(library(&["faketime", ""], "libfaketime.so.1"));
    together_with(|guest, in_front| {
        preload(guest, &faketime, in_front).env("FAKETIME", "@2020-01-01 00:00:00")
    });
}

/// Time that stands still is the program's, not the shim's: its deadline is real.
#[test]
fn libfaketime_does_not_stop_the_deadline() {
    or_skip!(TearFs::available());
    let faketime = or_skip!(library(&["faketime", ""], "libfaketime.so.1"));
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    let run = Program::guest("seed")
        .arg(fs.path("f"))
        .preload_before(&faketime)
        .env("FAKETIME", "2020-01-01 00:00:00")
        .timeout(Duration::from_secs(30))
        .under_shim(&[
            ("KEEPMYDATA_DEADLINE_MS", "300"),
            ("KEEPMYDATA_LOG", "error"),
        ]);
    assert_eq!(run.code(), Some(3), "{run:?}");
    assert_eq!(run.stdout, "msync EIO\n");
}

#[test]
fn libfiu() {
    let run = or_skip!(library(&["fiu"], "fiu_run_preload.so"));
    let posix = or_skip!(library(&["fiu"], "fiu_posix_preload.so"));
    together_with(|guest, in_front| preload(preload(guest, &run, in_front), &posix, in_front));
}

/// A guest compiled with a sanitizer, whose library has to come first in
/// LD_PRELOAD: `libasan.so:libkeepmydata.so`.
fn sanitized(option: &str, runtime: &str, name: &str, arguments: &[&str], rounds: u32) {
    let scratch = Scratch::new();
    let fs = or_skip!(LoopFs::mount("ext4"));
    let executable = scratch.path(name);
    let source = format!("{}/guests/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let built = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-g", "-pthread", option, "-o"])
        .arg(&executable)
        .arg(source)
        .output()
        .expect("cc");
    if !built.status.success() {
        skip!("cc {option}: {}", String::from_utf8_lossy(&built.stderr));
    }
    let library = Command::new("cc")
        .arg(format!("-print-file-name={runtime}"))
        .output()
        .expect("cc");
    let library = PathBuf::from(String::from_utf8_lossy(&library.stdout).trim());
    let guest = Program::new(&executable)
        .arg(fs.path("f"))
        .args(arguments)
        .preload_before(library);
    let native = guest.natively();
    if native.code() != Some(0) {
        skip!("{option} does not run here: {native:?}");
    }
    // What goes wrong depends on where things lie in memory.
    for _ in 0..rounds {
        for settings in [&[][..], &VERIFY] {
            let shimmed = guest.under_shim(settings);
            assert_same(&native, &shimmed, &format!("{option} {settings:?}"));
            assert_eq!(shimmed.stderr, native.stderr, "{option} {settings:?}");
        }
    }
}

#[test]
fn address_sanitizer() {
    sanitized("-fsanitize=address", "libasan.so", "seed", &[], 5);
}

#[test]
fn thread_sanitizer() {
    sanitized("-fsanitize=thread", "libtsan.so", "seed", &[], 5);
}

/// Sixteen threads at a time, which map, store, sync and end.
#[test]
fn thread_sanitizer_with_many_threads() {
    let arguments = ["threads", "32"];
    sanitized(
        "-fsanitize=thread",
        "libtsan.so",
        "resources",
        &arguments,
        1,
    );
}

/// ThreadSanitizer does find a race in such a program, under the shim too.
#[test]
fn thread_sanitizer_finds_races() {
    let scratch = Scratch::new();
    let fs = or_skip!(LoopFs::mount("ext4"));
    let executable = scratch.path("race");
    let source = scratch.path("race.c");
    std::fs::write(
        &source,
        r#"
        #include "guest.h"
        #include <pthread.h>
        static char *base;
        static void *store(void *unused)
        {
            for (int i = 0; i < 1000; i++)
                base[0]++;
            return unused;
        }
        int main(int argc, char **argv)
        {
            pthread_t threads[2];
            (void)argc;
            base = map_shared(open_sized(argv[1], PAGE), PAGE);
            for (int i = 0; i < 2; i++)
                pthread_create(&threads[i], NULL, store, NULL);
            for (int i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
            return msync(base, PAGE, MS_SYNC);
        }
        "#,
    )
    .expect("source");
    let built = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-pthread", "-fsanitize=thread", "-I"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/guests"))
        .arg("-o")
        .arg(&executable)
        .arg(&source)
        .output()
        .expect("cc");
    if !built.status.success() {
        skip!("cc: {}", String::from_utf8_lossy(&built.stderr));
    }
    let runtime = Command::new("cc")
        .arg("-print-file-name=libtsan.so")
        .output()
        .expect("cc");
    let runtime = PathBuf::from(String::from_utf8_lossy(&runtime.stdout).trim());
    let guest = Program::new(&executable)
        .arg(fs.path("f"))
        .preload_before(runtime);
    for run in [guest.natively(), guest.under_shim(&VERIFY)] {
        assert_eq!(run.code(), Some(66), "{run:?}");
        assert!(run.stderr.contains("data race"), "{run:?}");
    }
}

/// What the guest itself printed, where the tool prints to the same place.
fn pages(run: &Outcome) -> Vec<&str> {
    run.stdout.lines().filter(|l| l.starts_with('P')).collect()
}

#[track_caller]
fn whole_under_tool(tool: &[&str]) -> Outcome {
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let guest = Program::guest("seed")
        .arg(fs.path("f"))
        .traced_by(tool)
        .timeout(Duration::from_secs(100));
    let native = guest.natively();
    assert_eq!(native.code(), Some(1), "control, torn natively: {native:?}");
    let shimmed = guest.under_shim(&VERIFY);
    assert_eq!(shimmed.code(), Some(0), "{tool:?}: {shimmed:?}");
    let expected: Vec<String> = (0..4)
        .map(|page| {
            let start = (1084 + page) * page_size();
            format!("P{page} [{start},{}) new", start + page_size())
        })
        .collect();
    assert_eq!(pages(&shimmed), expected, "{shimmed:?}");
    assert!(shimmed.log_text().contains("msync"), "{shimmed:?}");
    shimmed
}

#[test]
fn gdb() {
    or_skip!(TearFs::available());
    or_skip!(installed("gdb"));
    let run = whole_under_tool(&[
        "gdb",
        "-nx",
        "-q",
        "-batch",
        "-return-child-result",
        "-ex",
        "set debuginfod enabled off",
        "-ex",
        "set breakpoint pending on",
        "-ex",
        "break msync",
        "-ex",
        "run",
        "-ex",
        "info threads",
        "-ex",
        "backtrace",
        "-ex",
        "delete",
        "-ex",
        "continue",
        "--args",
    ]);
    assert!(run.stdout.contains("in main ()"), "{run:?}");
}

#[test]
fn strace() {
    or_skip!(TearFs::available());
    or_skip!(installed("strace"));
    let scratch = Scratch::new();
    let log = scratch.path("log");
    whole_under_tool(&["strace", "-f", "-o", log.to_str().expect("UTF-8")]);
}

/// Runs to the end, and memcheck finds nothing to complain about.
#[test]
fn valgrind() {
    or_skip!(TearFs::available());
    or_skip!(installed("valgrind"));
    let scratch = Scratch::new();
    let log = format!("--log-file={}", scratch.path("log.%p").display());
    whole_under_tool(&[
        "valgrind",
        "-q",
        "--trace-children=yes",
        "--error-exitcode=9",
        &log,
    ]);
    for file in std::fs::read_dir(scratch.dir()).expect("logs").flatten() {
        let text = std::fs::read_to_string(file.path()).expect("log of valgrind");
        // Of system calls that valgrind does not know the shim is told so, and does without.
        let complaints: Vec<&str> = text
            .lines()
            .filter(|line| {
                ["Invalid", "uninitialised", "Mismatched"]
                    .iter()
                    .any(|w| line.contains(w))
            })
            .collect();
        assert!(complaints.is_empty(), "{text}");
    }
}

#[test]
fn exec_chains_keep_it() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let seed = Program::guest("seed");
    let guest = Program::new("sh")
        .args([
            "-c",
            "exec env nice sh -c 'exec \"$0\" \"$1\"' \"$0\" \"$1\"",
        ])
        .arg(seed.file())
        .arg(fs.path("f"));
    let native = guest.natively();
    assert_eq!(native.code(), Some(1), "control: {native:?}");
    let shimmed = guest.under_shim(&[]);
    assert_eq!(shimmed.code(), Some(0), "{shimmed:?}");
}

#[test]
fn empty_environment_drops_it() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let seed = Program::guest("seed");
    let guest = Program::new("env")
        .arg("-i")
        .arg(seed.file())
        .arg(fs.path("f"));
    let native = guest.natively();
    assert_eq!(native.code(), Some(1), "control: {native:?}");
    assert_same(&native, &guest.under_shim(&[]), "runs plain");
}

/// A variable that is named almost like a setting is told of once, and not again by what the program starts; one that
/// nobody could mean is left alone.
#[test]
fn a_misspelt_variable_is_told_of_once() {
    let shell = Program::new("/bin/sh").args(["-c", "sh -c 'env | grep ^KEEPMYDATA_[VE]; true'"]);
    let shell = shell.env("KEEPMYDATA_VERFIY", "on");
    let shell = shell.env("KEEPMYDATA_ELSE", "x");
    let native = shell.natively().expect_success("natively");
    assert!(native.stdout.contains("KEEPMYDATA_VERFIY=on\n"));
    let run = shell.under_shim(&[]).expect_success("under the shim");
    assert_eq!(run.stdout, "KEEPMYDATA_ELSE=x\n");
    assert_eq!(
        run.stderr,
        "keepmydata: warning: KEEPMYDATA_VERFIY: no such setting; did you mean KEEPMYDATA_VERIFY?\n"
    );
}

/// musl's loader would not start such a program with the library.
#[test]
fn programs_of_another_c_library_are_started_without_the_library() {
    or_skip!(Flags::Musl.available());
    is_started_without_the_library(Flags::Musl, |preloaded| {
        assert_eq!(preloaded.code(), Some(127));
    });
}

/// ld.so would say that it cannot load the library into such a program.
#[test]
fn programs_of_32_bits_are_started_without_the_library() {
    or_skip!(Flags::ThirtyTwo.available());
    is_started_without_the_library(Flags::ThirtyTwo, |preloaded| {
        let said = &preloaded.stderr;
        assert!(said.contains("wrong ELF class"), "{said}");
    });
}

/// However a preloaded program starts one that is compiled so, natively it would have the `disease` of loading the library.
fn is_started_without_the_library(flags: Flags, disease: impl FnOnce(&Outcome)) {
    or_skip!(installed("python3"));
    let guest = Program::guest_with("many", flags);
    let file = guest.file().to_str().expect("UTF-8").to_owned();
    let library = preload_tests::harness::shim();
    let library = library.to_str().expect("UTF-8");
    let started = |how: &str| {
        let start = format!(
            "import os, sys\nfile, args = sys.argv[1], [sys.argv[1], 'f', 'what']\n\
             clean = dict(os.environ)\n{how}"
        );
        Program::new("python3").args(["-c", &start]).arg(&file)
    };
    let preloaded = Program::new("env")
        .args(["-i", &format!("LD_PRELOAD={library}")])
        .arg(&file);
    disease(&preloaded.natively());
    for how in [
        "os.execve(file, args, clean)",
        "os.execv(file, args)",
        "os.execvp(file, args)",
        "os.execvpe(file, args, clean)",
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(file, args, clean), 0)[1]))",
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(os.posix_spawnp(file, args, clean), 0)[1]))",
        "import subprocess; sys.exit(subprocess.run(args).returncode)",
        "os.execv('/bin/sh', ['sh', '-c', '\"$0\" f what; exit $?', file])",
    ] {
        let guest = started(how);
        let native = guest.natively();
        assert_eq!(native.code(), Some(64), "{how}: {native:?}");
        let shimmed = guest.under_shim(&[]);
        assert_same(&native, &shimmed, how);
        assert_eq!(shimmed.stderr, native.stderr, "{how}");
    }
}
