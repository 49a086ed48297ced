//! Where the shim is, and what it can be loaded into.

use super::elf::{self, Elf};
use super::reason;
use crate::failure::Failure;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const NAME: &str = "libkeepmydata.so";

/// The shim.
pub struct Library {
    /// Absolute.
    path: PathBuf,
    /// Its architecture.
    pub elf: Elf,
}

impl Library {
    /// What `KEEPMYDATA_LIB` names, else the library beside this command, in `../lib` or in
    /// `../lib/keepmydata`.
    pub fn find() -> Result<Self, Failure> {
        if let Some(path) = env::var_os("KEEPMYDATA_LIB").filter(|path| !path.is_empty()) {
            return Library::at(Path::new(&path))
                .map_err(|why| Failure::own(format!("KEEPMYDATA_LIB: {}: {why}", path.display())));
        }
        let command = env::current_exe().map_err(|error| Failure::of("/proc/self/exe", &error))?;
        let beside = command.parent().unwrap_or(Path::new("/"));
        let places = ["", "../lib", "../lib/keepmydata"].map(|place| beside.join(place).join(NAME));
        match places.iter().find(|path| path.exists()) {
            Some(path) => {
                Library::at(path).map_err(|why| Failure::own(format!("{}: {why}", path.display())))
            }
            None => Err(Failure::own(format!(
                "{NAME} is not in {}, ../lib or ../lib/keepmydata; KEEPMYDATA_LIB can name it",
                beside.display()
            ))),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(path: &Path) -> Result<Self, String> {
        let path = path.canonicalize().map_err(|error| reason(&error))?;
        let elf = elf::read(&path).map_err(|error| reason(&error))?;
        let elf = elf.ok_or("not a shared library")?;
        Ok(Library { path, elf })
    }

    /// `LD_PRELOAD` as it was before the shim was preloaded.
    pub fn not_preloaded(&self, before: &OsStr) -> OsString {
        let is_separator = |byte: &u8| matches!(byte, b' ' | b':');
        let libraries = before.as_bytes().split(is_separator);
        let others = libraries.filter(|path| *path != self.path.as_os_str().as_bytes());
        OsString::from_vec(others.collect::<Vec<_>>().join(&b':'))
    }

    /// `LD_PRELOAD` with the shim last, so that other preloaded libraries see the calls first.
    pub fn preload(&self, before: Option<&OsStr>) -> Result<OsString, Failure> {
        // ld.so(8): separated by spaces or colons, and there is no escaping for either.
        let separator = |byte: &u8| matches!(byte, b' ' | b':');
        if self.path.as_os_str().as_bytes().iter().any(separator) {
            return Err(Failure::own(format!(
                "{}: ld.so cannot preload a path with a space or a colon",
                self.path.display()
            )));
        }
        let mut preload = before.unwrap_or_default().to_owned();
        let there = preload
            .as_bytes()
            .split(separator)
            .any(|p| p == self.path.as_os_str().as_bytes());
        if !there {
            if !preload.is_empty() {
                preload.push(":");
            }
            preload.push(&self.path);
        }
        Ok(preload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(path: &str) -> Library {
        Library {
            path: path.into(),
            elf: Elf::default(),
        }
    }

    #[test]
    fn the_shim_is_appended_once() {
        let shim = library("/l/libkeepmydata.so");
        let preload = |before: Option<&str>| shim.preload(before.map(OsStr::new)).unwrap();
        assert_eq!(preload(None), "/l/libkeepmydata.so");
        assert_eq!(preload(Some("")), "/l/libkeepmydata.so");
        assert_eq!(
            preload(Some("/a.so:/b.so")),
            "/a.so:/b.so:/l/libkeepmydata.so"
        );
        assert_eq!(
            preload(Some("/a.so /l/libkeepmydata.so")),
            "/a.so /l/libkeepmydata.so"
        );
        assert_eq!(
            preload(Some("/l/libkeepmydata.so.1")),
            "/l/libkeepmydata.so.1:/l/libkeepmydata.so"
        );
    }

    #[test]
    fn all_but_the_shim_stay() {
        let shim = library("/l/libkeepmydata.so");
        let rest = |before: &str| shim.not_preloaded(OsStr::new(before));
        assert_eq!(rest(""), "");
        assert_eq!(rest("/l/libkeepmydata.so"), "");
        assert_eq!(
            rest("/a.so:/l/libkeepmydata.so /l/libkeepmydata.so.1"),
            "/a.so:/l/libkeepmydata.so.1"
        );
    }

    #[test]
    fn what_ld_so_cannot_preload_is_refused() {
        assert!(library("/a b/libkeepmydata.so").preload(None).is_err());
        assert!(library("/a:b/libkeepmydata.so").preload(None).is_err());
    }
}
