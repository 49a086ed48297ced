//! The names that the shim exports are the documented ones, and no name is missing
//! by which a caller reaches the same function of libc.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use object::elf::{FileHeader64, SHN_UNDEF, SHT_DYNSYM, STT_FUNC, STT_GNU_IFUNC};
use object::read::elf::{Dyn, FileHeader, Sym};
use object::{Endianness, elf};
use preload_tests::harness::shim;

/// Every name that the shim exports, and no other.
const DOCUMENTED: [&str; 108] = [
    "_Exit",
    "_Fork",
    "_IO_fclose",
    "_IO_fopen",
    "__close",
    "__dup2",
    "__open",
    "__open64",
    "__open64_2",
    "__open_2",
    "__openat64_2",
    "__openat_2",
    "__pread64",
    "__pread64_chk",
    "__pread_chk",
    "__pwrite64",
    "__read",
    "__read_chk",
    "__write",
    "_exit",
    "close",
    "close_range",
    "closefrom",
    "copy_file_range",
    "creat",
    "creat64",
    "dup2",
    "dup3",
    "execl",
    "execle",
    "execlp",
    "execv",
    "execve",
    "execvp",
    "execvpe",
    "fallocate",
    "fallocate64",
    "fclose",
    "fdatasync",
    "fexecve",
    "fopen",
    "fopen64",
    "freopen",
    "freopen64",
    "fsync",
    "ftruncate",
    "ftruncate64",
    "initgroups",
    "ioctl",
    "madvise",
    "mkostemp",
    "mkostemp64",
    "mkostemps",
    "mkostemps64",
    "mkstemp",
    "mkstemp64",
    "mkstemps",
    "mkstemps64",
    "mlock",
    "mlock2",
    "mlockall",
    "mmap",
    "mmap64",
    "mremap",
    "msync",
    "munmap",
    "open",
    "open64",
    "openat",
    "openat64",
    "posix_spawn",
    "posix_spawnp",
    "prctl",
    "pread",
    "pread64",
    "preadv",
    "preadv2",
    "preadv64",
    "preadv64v2",
    "process_madvise",
    "pwrite",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "pwritev64",
    "pwritev64v2",
    "read",
    "readv",
    "remap_file_pages",
    "sendfile",
    "sendfile64",
    "setegid",
    "seteuid",
    "setgid",
    "setgroups",
    "setns",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setuid",
    "splice",
    "syscall",
    "truncate",
    "truncate64",
    "unshare",
    "write",
    "writev",
];

/// Siblings that are not hooked because only glibc's own libraries may import them:
/// they have no other version than `GLIBC_PRIVATE`, which the test checks. Calls
/// that these libraries make so are of their own files (locales, nscd, the linker's).
const PRIVATE: [&str; 15] = [
    "__close_nocancel",
    "__libc_pread",
    "__libc_preadv",
    "__libc_pwrite",
    "__libc_read",
    "__libc_readv",
    "__madvise",
    "__mmap",
    "__mmap64",
    "__munmap",
    "__open64_nocancel",
    "__open_nocancel",
    "__pread64_nocancel",
    "__read_nocancel",
    "__write_nocancel",
];

/// What has the stem of a hooked name and needs no hook: exit(3) runs the shim's destructor, and dup(2) closes nothing.
const OTHERS: [&str; 2] = ["dup", "exit"];

/// A function that a library defines: its address and the versions of its name.
#[derive(Debug, Default)]
struct Export {
    address: u64,
    versions: Vec<String>,
}

fn exports(library: &Path) -> BTreeMap<String, Export> {
    let data = fs::read(library).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
    let data = data.as_slice();
    let header = FileHeader64::<Endianness>::parse(data).expect("ELF header");
    let endian = header.endian().expect("endianness");
    let sections = header.sections(endian, data).expect("sections");
    let symbols = sections.symbols(endian, data, SHT_DYNSYM).expect("dynsym");
    let versions = sections.versions(endian, data).expect("versions");
    let mut exports = BTreeMap::<String, Export>::new();
    for (index, symbol) in symbols.enumerate() {
        let function = matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC);
        let local = symbol.st_bind() == elf::STB_LOCAL;
        if !function || local || symbol.st_shndx(endian) == SHN_UNDEF {
            continue;
        }
        let name = symbol.name(endian, symbols.strings()).expect("name");
        let export = exports
            .entry(String::from_utf8_lossy(name).into_owned())
            .or_default();
        export.address = symbol.st_value(endian);
        let version = versions.as_ref().and_then(|versions| {
            let index = versions.version_index(endian, index);
            versions.version(index).expect("version")
        });
        if let Some(version) = version {
            let version = String::from_utf8_lossy(version.name()).into_owned();
            export.versions.push(version);
        }
    }
    exports
}

/// The libc that this process runs on.
fn libc() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    let path = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.ends_with("/libc.so.6"))
        .expect("libc.so.6 among the mappings");
    PathBuf::from(path)
}

/// What is left of a name without what glibc puts around it: `read` for
/// `__libc_read` and `__read_chk`, `preadv` for `preadv64v2`.
fn stem(name: &str) -> &str {
    let name = ["__libc_", "__GI_", "_IO_", "__", "_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let name = ["_nocancel", "_chk", "_cancel", "_time64"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    ["64v2", "64", "2"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

#[test]
fn exported_names_are_the_documented_ones() {
    let exported = exports(shim());
    let is_exported = |name: &&str| exported.contains_key(*name);
    let unknown = exported
        .keys()
        .filter(|name| !DOCUMENTED.contains(&name.as_str()));
    let unknown: Vec<_> = unknown.collect();
    let missing: Vec<_> = DOCUMENTED
        .iter()
        .filter(|name| !is_exported(name))
        .collect();
    assert!(
        unknown.is_empty() && missing.is_empty() && DOCUMENTED.is_sorted(),
        "exported and not in DOCUMENTED: {unknown:?}, in DOCUMENTED and not exported: {missing:?}, or not in order"
    );
}

#[test]
fn exported_names_exist_in_libc() {
    let libc = exports(&libc());
    for name in exports(shim()).keys() {
        let found = libc
            .get(name)
            .unwrap_or_else(|| panic!("libc has no {name}"));
        assert!(
            found.versions.iter().any(|v| v != "GLIBC_PRIVATE"),
            "{name} of libc is private"
        );
    }
}

/// Each costs every program a part of a millisecond: the unwinder alone as much as all the rest.
#[test]
fn nothing_but_the_c_library_is_loaded_with_it() {
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let data = fs::read(shim()).expect("the shim");
    let header = FileHeader64::<Endianness>::parse(&*data).expect("ELF header");
    let endian = header.endian().expect("endianness");
    let sections = header.sections(endian, &*data).expect("sections");
    let (entries, strings) = sections
        .dynamic(endian, &*data)
        .expect("dynamic section")
        .expect("a dynamic section");
    let strings = sections.strings(endian, &*data, strings).expect("names");
    let needed: Vec<_> = entries
        .iter()
        .filter(|entry| entry.tag32(endian) == Some(elf::DT_NEEDED))
        .map(|entry| entry.string(endian, strings).expect("a name"))
        .map(String::from_utf8_lossy)
        .collect();
    let of_the_c_library = ["libc.so.6", "ld-linux-x86-64.so.2"];
    assert_eq!(needed, of_the_c_library);
}

/// A sibling has the same stem, or is the same code under another name.
#[test]
fn no_sibling_is_missing() {
    let libc = exports(&libc());
    let hooked = exports(shim());
    let stems: Vec<&str> = hooked.keys().map(|name| stem(name)).collect();
    let addresses: Vec<u64> = hooked
        .keys()
        .filter_map(|name| libc.get(name))
        .map(|export| export.address)
        .collect();
    let mut missing = Vec::new();
    let mut seen = 0;
    for (name, export) in &libc {
        if !stems.contains(&stem(name)) && !addresses.contains(&export.address) {
            continue;
        }
        seen += 1;
        let public: Vec<&String> = export
            .versions
            .iter()
            .filter(|version| *version != "GLIBC_PRIVATE")
            .collect();
        let excused = OTHERS.contains(&name.as_str())
            || PRIVATE.contains(&name.as_str()) && public.is_empty();
        if !hooked.contains_key(name) && !excused {
            missing.push(format!("{name} {:?}", export.versions));
        }
    }
    assert!(
        seen >= hooked.len(),
        "{seen} siblings: the search finds nothing"
    );
    assert!(missing.is_empty(), "neither hooked nor listed: {missing:?}");
}

#[test]
fn stems() {
    for (name, expected) in [
        ("__pread64_chk", "pread"),
        ("__libc_read", "read"),
        ("preadv64v2", "preadv"),
        ("preadv2", "preadv"),
        ("__mmap", "mmap"),
        ("mmap64", "mmap"),
        ("__read_nocancel", "read"),
        ("fread", "fread"),
    ] {
        assert_eq!(stem(name), expected, "{name}");
    }
}
