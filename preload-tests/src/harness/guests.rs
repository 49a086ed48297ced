//! Compiles the guests, once for every set of flags and state of the source.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::Target;
use crate::page_size;

/// How a guest is compiled. It decides which names it imports from libc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flags {
    /// As distributions do: FORTIFY and large-file names (`mmap64`, `__pread64_chk`).
    Hardened,
    /// FORTIFY, names without `64` (`mmap`, `__pread_chk`).
    Fortified,
    /// Neither (`mmap`, `pread`).
    Plain,
    /// As a developer does: the same names, not optimised.
    Debug,
    /// Statically, with glibc: no library can be preloaded.
    Static,
    /// Statically, with musl (musl-gcc).
    StaticMusl,
    /// With musl's loader.
    Musl,
    /// For 32-bit x86, with glibc.
    ThirtyTwo,
}

impl Flags {
    pub const ALL: [Self; 4] = [Self::Hardened, Self::Fortified, Self::Plain, Self::Debug];

    /// Those that no preloaded library reaches.
    pub const UNREACHED: [Self; 3] = [Self::Static, Self::StaticMusl, Self::Musl];

    /// One that they need.
    fn compiler(self) -> Option<&'static str> {
        matches!(self, Self::StaticMusl | Self::Musl).then_some("musl-gcc")
    }

    /// # Errors
    /// The compiler is not installed (to skip the test).
    pub fn available(self) -> Result<(), String> {
        super::installed(self.compiler().unwrap_or("cc"))?;
        if self != Self::ThirtyTwo {
            return Ok(());
        }
        // The compiler is everywhere, the C library is not.
        let mut compiler = Command::new("cc");
        compiler.args(["-m32", "-x", "c", "-o", "/dev/null", "-"]);
        compiler.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut compiler = compiler.spawn().map_err(|error| error.to_string())?;
        let mut input = compiler.stdin.take().expect("a pipe");
        let written = input.write_all(b"int main(void) { return 0; }\n");
        drop(input);
        match written.and_then(|()| compiler.wait()) {
            Ok(status) if status.success() => Ok(()),
            _ => Err("no 32-bit C library (libc6-dev-i386)".to_owned()),
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Hardened => &["-O2", "-D_FORTIFY_SOURCE=2", "-D_FILE_OFFSET_BITS=64"],
            Self::Fortified => &["-O2", "-D_FORTIFY_SOURCE=2"],
            Self::Plain => &["-O1", "-U_FORTIFY_SOURCE"],
            Self::Debug => &["-O0", "-g", "-U_FORTIFY_SOURCE"],
            Self::Static | Self::StaticMusl => &["-O2", "-static"],
            Self::Musl => &["-O2"],
            // The kernel's headers are those of 64 bits.
            Self::ThirtyTwo => &["-O2", "-m32", "-idirafter", "/usr/include/x86_64-linux-gnu"],
        }
    }
}

/// What guests are linked with beyond libc.
const LIBRARIES: [(&str, &str); 3] = [
    ("bench_lmdb", "-llmdb"),
    ("crash_lmdb", "-llmdb"),
    ("pmem", "-l:libpmem.so.1"),
];

/// The directory that cargo builds this profile in (`target/debug`).
pub(super) fn profile_directory() -> PathBuf {
    let test = std::env::current_exe().expect("path of the test");
    let deps = test.parent().expect("directory of the test");
    deps.parent().expect("directory of the profile").to_owned()
}

/// The directory that cargo builds in (`target`).
pub fn target_directory() -> PathBuf {
    let profile = profile_directory();
    profile.parent().expect("directory to build in").to_owned()
}

/// Compiles what tests other than benchmarks can ask for, where it is not there yet: for a machine on
/// which compiling takes long, whose pages have `page_size` bytes. Those of `wanted`, or all; for another target,
/// without those that are linked with libraries.
///
/// # Panics
/// If the compiler is missing or refuses.
pub fn compile_all(target: &Target, page_size: usize, wanted: &[&str]) {
    let into = match target.is_host() {
        true => profile_directory(),
        false => target.directory().join("debug"),
    };
    let is_linked = |name: &str| LIBRARIES.iter().any(|(guest, _)| *guest == name);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    for folder in ["", "findings/"] {
        let sources = fs::read_dir(directory.join(folder)).expect("directory of guests");
        for source in sources.flatten().map(|entry| entry.path()) {
            let stem = source.file_stem().unwrap_or_default().to_string_lossy();
            if source.extension().is_none_or(|extension| extension != "c")
                || stem.starts_with("bench")
            {
                continue;
            }
            let name = format!("{folder}{stem}");
            let is_wanted = wanted.is_empty() || wanted.contains(&name.as_str());
            if !is_wanted || is_linked(&name) && !target.is_host() {
                continue;
            }
            let text = fs::read_to_string(&source).expect("source of a guest");
            let compiler = Compiler {
                command: target.c_compiler(),
                into: &into,
                page_size,
            };
            if text.contains("int main(") {
                for flags in Flags::ALL {
                    compiler.compile(&name, flags, false);
                }
            } else {
                compiler.compile(&name, Flags::Hardened, true);
            }
        }
    }
}

/// Compiles `guests/NAME.c` (NAME may have a folder) and returns the executable, or with `shared` the
/// library. Safe in parallel processes: what is there is complete.
///
/// # Panics
/// If the compiler is missing or refuses.
pub(super) fn compile(name: &str, flags: Flags, shared: bool) -> PathBuf {
    let into = profile_directory();
    let compiler = Compiler {
        command: Target::host().c_compiler(),
        into: &into,
        page_size: page_size(),
    };
    compiler.compile(name, flags, shared)
}

struct Compiler<'a> {
    command: &'static str,
    /// A directory of cargo's, of a profile.
    into: &'a Path,
    /// Where the guests run.
    page_size: usize,
}

impl Compiler<'_> {
    fn compile(&self, name: &str, flags: Flags, shared: bool) -> PathBuf {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
        let source = directory.join(format!("{name}.c"));
        let mut hasher = DefaultHasher::new();
        (flags, shared, self.page_size).hash(&mut hasher);
        let headers =
            ["guest.h", "bench.h", "control.h", "crash.h"].map(|header| directory.join(header));
        for file in headers.iter().chain([&source]) {
            fs::read(file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
                .hash(&mut hasher);
        }
        let built = self.into.join("guests");
        let suffix = if shared { ".so" } else { "" };
        let executable = built.join(format!("{name}-{:016x}{suffix}", hasher.finish()));
        if executable.exists() {
            return executable;
        }
        let folder = executable.parent().expect("directory for guests");
        fs::create_dir_all(folder).expect("directory for guests");
        // Of several processes, and of several threads of one.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let unfinished = executable.with_extension(format!("{}-{number}", std::process::id()));
        let compiler = flags.compiler().unwrap_or(self.command);
        let mut command = Command::new(compiler);
        command.args(flags.arguments()).args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
            "-o",
        ]);
        command.arg(&unfinished).arg(&source);
        command.arg(format!("-DPAGE={}", self.page_size));
        let libraries = LIBRARIES.iter().filter(|(guest, _)| *guest == name);
        command.args(libraries.map(|(_, library)| library));
        if shared {
            command.args(["-shared", "-fPIC"]);
        }
        let status = command.status().expect("the compiler must be installed");
        assert!(
            status.success(),
            "{compiler} {}: {status}",
            source.display()
        );
        fs::rename(&unfinished, &executable).expect("rename of the guest");
        executable
    }
}

/// Where Debian has libraries of Go.
const GO_PATH: &str = "/usr/share/gocode";

/// Whether a library of Go is there, as a program imports it.
///
/// # Errors
/// It is not (to skip the test).
pub fn go_library(name: &str) -> Result<(), String> {
    match Path::new(GO_PATH).join("src").join(name).exists() {
        true => Ok(()),
        false => Err(format!("{name} is not in {GO_PATH}")),
    }
}

/// Compiles `guests/go/NAME.go`, without a C library, and returns the executable.
///
/// # Errors
/// Go is not installed (to skip the test).
///
/// # Panics
/// If the compiler refuses.
pub fn go_guest(name: &str) -> Result<PathBuf, String> {
    super::installed("go")?;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/go");
    let source = directory.join(format!("{name}.go"));
    let text = fs::read(&source).expect("source of a guest");
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let built = profile_directory().join("guests");
    let executable = built.join(format!("go-{name}-{:016x}", hasher.finish()));
    if executable.exists() {
        return Ok(executable);
    }
    fs::create_dir_all(&built).expect("directory for guests");
    let unfinished = executable.with_extension(std::process::id().to_string());
    let status = Command::new("go")
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "off")
        .env("GOPATH", GO_PATH)
        .env("GOCACHE", built.join("go-cache"))
        .args(["build", "-o"])
        .args([&unfinished, &source])
        .status()
        .expect("go must be installed");
    assert!(status.success(), "go build {}: {status}", source.display());
    fs::rename(&unfinished, &executable).expect("rename of the guest");
    Ok(executable)
}
