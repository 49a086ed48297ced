//! What the ELF headers of a program say about whether a library can be preloaded into it.

use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, FileKind, elf};
use std::fs::File;
use std::io;
use std::path::Path;

/// The facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elf {
    pub is_64: bool,
    pub big_endian: bool,
    /// `EM_X86_64`...
    pub machine: u16,
    /// The dynamic loader that the program asks for (PT_INTERP).
    pub loader: Option<String>,
    /// Whether it is linked with any shared library.
    pub has_libraries: bool,
    /// Whether it was built by Go.
    pub is_go: bool,
}

impl Elf {
    /// Whether one process can hold both.
    pub fn is_of_same_kind(&self, other: &Elf) -> bool {
        let kind = |elf: &Elf| (elf.is_64, elf.big_endian, elf.machine);
        kind(self) == kind(other)
    }

    /// `64-bit x86-64`.
    pub fn kind(&self) -> String {
        let machine = match self.machine {
            elf::EM_386 => "x86",
            elf::EM_X86_64 => "x86-64",
            elf::EM_ARM => "ARM",
            elf::EM_AARCH64 => "AArch64",
            elf::EM_RISCV => "RISC-V",
            elf::EM_PPC64 => "PowerPC",
            elf::EM_S390 => "s390",
            elf::EM_LOONGARCH => "LoongArch",
            other => &format!("machine {other}"),
        };
        format!("{}-bit {machine}", if self.is_64 { 64 } else { 32 })
    }
}

/// Those of this command, whose architecture is the supervisor's.
pub fn of_this_command() -> Option<Elf> {
    read(Path::new("/proc/self/exe")).ok().flatten()
}

/// Reads the headers of `path`; `None` where it is no ELF file.
///
/// # Errors
/// Of open and read; `InvalidData` where the file begins as ELF and is broken.
pub fn read(path: &Path) -> io::Result<Option<Elf>> {
    let file = ReadCache::new(File::open(path)?);
    match FileKind::parse(&file) {
        Ok(FileKind::Elf64) => inspect::<elf::FileHeader64<Endianness>>(&file).map(Some),
        Ok(FileKind::Elf32) => inspect::<elf::FileHeader32<Endianness>>(&file).map(Some),
        _ if file.read_bytes_at(0, 4) == Ok(&elf::ELFMAG) => {
            return Err(io::ErrorKind::InvalidData.into());
        }
        _ => Ok(None),
    }
    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

fn inspect<'d, H: FileHeader<Endian = Endianness>>(data: impl ReadRef<'d>) -> object::Result<Elf> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let mut found = Elf {
        is_64: header.is_class_64(),
        big_endian: header.is_big_endian(),
        machine: header.e_machine(endian),
        ..Elf::default()
    };
    for segment in header.program_headers(endian, data)? {
        if let Some(loader) = segment.interpreter(endian, data)? {
            found.loader = Some(String::from_utf8_lossy(loader).into_owned());
        }
        if let Some(entries) = segment.dynamic(endian, data)? {
            found.has_libraries |= entries
                .iter()
                .any(|entry| entry.tag32(endian) == Some(elf::DT_NEEDED));
        }
    }
    // Sections are not needed for running, so that broken ones are no fault of the program's.
    if let Ok(sections) = header.sections(endian, data) {
        found.is_go = [&b".go.buildinfo"[..], b".note.go.buildid"]
            .iter()
            .any(|name| sections.section_by_name(endian, name).is_some());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_a_dynamic_program() {
        let elf = read(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert!(elf.loader.is_some() && elf.has_libraries && !elf.is_go);
        assert!(elf.is_of_same_kind(&elf));
        assert!(!elf.is_of_same_kind(&Elf {
            machine: elf::EM_386,
            is_64: false,
            ..elf.clone()
        }));
    }

    #[test]
    fn a_text_is_none_and_a_stump_is_broken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(read(&path).unwrap(), None);
        std::fs::write(&path, b"\x7fELF\x02\x01\x01\0and no more").unwrap();
        assert!(read(&path).is_err());
        std::fs::write(&path, b"\x7fELF").unwrap();
        assert!(read(&path).is_err());
    }
}
