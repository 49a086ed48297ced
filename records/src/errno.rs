//! The names of errors, as `errno(3)` lists them.

use crate::scalar::from_text;
use core::fmt;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// An error number of Linux. Prints and serializes as its name (`EIO`), or as `E` and the number
/// where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

macro_rules! names {
    ($($name:ident)*) => {
        /// Each error number with its name. Of two names for one number (`EWOULDBLOCK`,
        /// `EDEADLOCK`, `ENOTSUP`) the one that the kernel's headers define is listed.
        static NAMES: &[(i32, &str)] = &[$((libc::$name, stringify!($name)),)*];
    };
}

names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT
    ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG
    ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY
    ELOOP ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR
    EXFULL ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK
    EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC
    ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ
    EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT
    EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET
    ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH
    EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM
    EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE
    ERFKILL EHWPOISON
}

impl Errno {
    /// The name, or `None` where Linux defines none for this number.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(n, _)| *n == self.0).map(|(_, s)| *s)
    }

    /// The number that `name` stands for, in the form that `Display` writes.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = NAMES.iter().find(|(_, s)| *s == name).map(|(n, _)| *n);
        known
            .or_else(|| name.strip_prefix('E')?.parse().ok())
            .map(Errno)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "E{}", self.0),
        }
    }
}

impl Serialize for Errno {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Errno {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(
            deserializer,
            "the name of an error, such as EIO",
            Errno::from_name,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "asks libc")]
    fn every_number_that_libc_can_describe_has_a_name() {
        for number in 1..200 {
            let text = std::io::Error::from_raw_os_error(number).to_string();
            let known = !text.starts_with("Unknown error");
            assert_eq!(Errno(number).name().is_some(), known, "{number}: {text}");
        }
    }

    #[test]
    fn names_lead_back_to_their_numbers() {
        for number in [1, libc::EIO, libc::ENOSPC, libc::EHWPOISON, 999, -3, 0] {
            assert_eq!(
                Errno::from_name(&Errno(number).to_string()),
                Some(Errno(number))
            );
        }
        assert_eq!(Errno(999).to_string(), "E999");
        assert_eq!(Errno::from_name("EWHAT"), None);
    }
}
