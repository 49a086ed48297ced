//! Flags of the mapping calls, printed by name.
//!
//! Each function gives something to print: `write!(buf, "{}", flags::msync(bits))`. Bits without a
//! name are printed in hexadecimal, no bits at all as `0`. Nothing allocates.

use core::fmt;

/// No set of flags is longer than this when printed, in bytes.
pub const LONGEST: usize = 256;

/// Bits to be printed by name.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    bits: u64,
    /// Bits that form a number rather than flags, and the names of its values.
    field: (u64, &'static [(u64, &'static str)]),
    single: &'static [(u64, &'static str)],
}

macro_rules! named {
    ($($name:ident)*) => { &[$((libc::$name as u64, stringify!($name)),)*] };
}

const MSYNC: &[(u64, &str)] = named!(MS_ASYNC MS_INVALIDATE MS_SYNC);
const PROT: &[(u64, &str)] = named!(PROT_READ PROT_WRITE PROT_EXEC PROT_GROWSDOWN PROT_GROWSUP);
const MREMAP: &[(u64, &str)] = named!(MREMAP_MAYMOVE MREMAP_FIXED MREMAP_DONTUNMAP);
const MAP_TYPES: &[(u64, &str)] = named!(MAP_SHARED MAP_PRIVATE MAP_SHARED_VALIDATE);
const MAP: &[(u64, &str)] = named!(
    MAP_FIXED MAP_ANONYMOUS MAP_GROWSDOWN MAP_DENYWRITE MAP_EXECUTABLE MAP_LOCKED MAP_NORESERVE
    MAP_POPULATE MAP_NONBLOCK MAP_STACK MAP_HUGETLB MAP_SYNC MAP_FIXED_NOREPLACE
);

const fn flags(bits: u64, single: &'static [(u64, &'static str)]) -> Flags {
    Flags {
        bits,
        field: (0, &[]),
        single,
    }
}

/// The flags of msync(2).
pub const fn msync(bits: i32) -> Flags {
    flags(bits as u32 as u64, MSYNC)
}

/// The protection of mmap(2); 0 is `PROT_NONE`.
pub const fn prot(bits: i32) -> Flags {
    Flags {
        bits: bits as u32 as u64,
        field: (u64::MAX, &[(0, "PROT_NONE")]),
        single: PROT,
    }
}

/// The flags of mmap(2).
pub const fn mmap(bits: i32) -> Flags {
    Flags {
        bits: bits as u32 as u64,
        field: (libc::MAP_TYPE as u64, MAP_TYPES),
        single: MAP,
    }
}

/// The flags of mremap(2).
pub const fn mremap(bits: i32) -> Flags {
    flags(bits as u32 as u64, MREMAP)
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.bits;
        let mut any = false;
        let mut put = |name: &str| {
            f.write_str(if core::mem::replace(&mut any, true) {
                "|"
            } else {
                ""
            })?;
            f.write_str(name)
        };
        let (mask, values) = self.field;
        if let Some((value, name)) = values.iter().find(|(v, _)| *v == rest & mask) {
            put(name)?;
            rest &= !value;
        }
        for (bit, name) in self.single {
            if rest & bit == *bit {
                put(name)?;
                rest &= !bit;
            }
        }
        match (rest, any) {
            (0, true) => Ok(()),
            (0, false) => f.write_str("0"),
            (rest, true) => write!(f, "|{rest:#x}"),
            (rest, false) => write!(f, "{rest:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_by_name() {
        assert_eq!(msync(libc::MS_SYNC).to_string(), "MS_SYNC");
        assert_eq!(
            msync(libc::MS_SYNC | libc::MS_ASYNC | 0x40).to_string(),
            "MS_ASYNC|MS_SYNC|0x40"
        );
        assert_eq!(msync(0).to_string(), "0");
        assert_eq!(msync(i32::MIN).to_string(), "0x80000000");
        assert_eq!(prot(0).to_string(), "PROT_NONE");
        assert_eq!(prot(3).to_string(), "PROT_READ|PROT_WRITE");
        assert_eq!(mremap(1).to_string(), "MREMAP_MAYMOVE");
    }

    #[test]
    fn nothing_is_longer_than_the_longest() {
        let all = [
            msync(-1),
            prot(-1),
            mremap(-1),
            mmap(-1),
            mmap(!libc::MAP_TYPE | 3),
        ];
        assert!(all.iter().all(|f| f.to_string().len() <= LONGEST));
    }

    #[test]
    fn the_type_of_a_mapping_is_a_number_not_flags() {
        assert_eq!(mmap(libc::MAP_SHARED).to_string(), "MAP_SHARED");
        assert_eq!(
            mmap(libc::MAP_SHARED_VALIDATE).to_string(),
            "MAP_SHARED_VALIDATE"
        );
        assert_eq!(
            mmap(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED).to_string(),
            "MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS"
        );
        assert_eq!(mmap(libc::MAP_FIXED).to_string(), "MAP_FIXED");
        assert_eq!(mmap(0xf).to_string(), "0xf");
    }
}
