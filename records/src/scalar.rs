//! Values that logs show in a form of their own: paths, devices, hexadecimal numbers and bytes.

use core::fmt;
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;

/// Writes bytes as text: what is no UTF-8 as U+FFFD, control characters escaped.
pub(crate) fn lossy(bytes: &[u8], f: &mut dyn fmt::Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        if !chunk.invalid().is_empty() {
            f.write_char(char::REPLACEMENT_CHARACTER)?;
        }
    }
    Ok(())
}

/// A path, as the bytes that the kernel knows. Logs show it as text, with U+FFFD for what is no
/// UTF-8 (so that such a path does not come back from a log as it was).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathText<'a>(pub Cow<'a, [u8]>);

impl PathText<'_> {
    /// Whether there is no path.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same path, borrowed from this one.
    pub fn borrow(&self) -> PathText<'_> {
        PathText(Cow::Borrowed(&self.0))
    }
}

impl<'a> From<&'a [u8]> for PathText<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        PathText(Cow::Borrowed(bytes))
    }
}

impl<'a> From<&'a str> for PathText<'a> {
    fn from(text: &'a str) -> Self {
        PathText(Cow::Borrowed(text.as_bytes()))
    }
}

/// On one line: control characters are escaped.
impl fmt::Display for PathText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lossy(&self.0, f)
    }
}

impl Serialize for PathText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// JSON escapes control characters itself.
        struct Raw<'a>(&'a [u8]);
        impl fmt::Display for Raw<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for chunk in self.0.utf8_chunks() {
                    f.write_str(chunk.valid())?;
                    if !chunk.invalid().is_empty() {
                        f.write_str("\u{fffd}")?;
                    }
                }
                Ok(())
            }
        }
        serializer.collect_str(&Raw(&self.0))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for PathText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Cow<'de, [u8]>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(v.as_bytes()))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(v.as_bytes().to_vec()))
            }
        }
        deserializer.deserialize_str(V).map(PathText)
    }
}

/// Deserializes from text through a function that reads it.
pub(crate) fn from_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    what: &'static str,
    read: fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct V<T>(&'static str, fn(&str) -> Option<T>);
    impl<T> Visitor<'_> for V<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: de::Error>(self, v: &str) -> Result<T, E> {
            (self.1)(v).ok_or_else(|| E::invalid_value(Unexpected::Str(v), &self))
        }
    }
    deserializer.deserialize_str(V(what, read))
}

/// A number shown as `0x1f`: an address or a hash. As text because JSON's numbers are not exact
/// beyond 2^53 everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexU64(pub u64);

impl fmt::Display for HexU64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for HexU64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HexU64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a hexadecimal number with 0x", |text| {
            u64::from_str_radix(text.strip_prefix("0x")?, 16)
                .ok()
                .map(HexU64)
        })
    }
}

/// A device as `major:minor`, as in `/proc/self/maps` but decimal, as lsblk(8) shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dev {
    /// The class of device.
    pub major: u32,
    /// The device in its class.
    pub minor: u32,
}

impl fmt::Display for Dev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl Serialize for Dev {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dev {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a device as major:minor", |text| {
            let (major, minor) = text.split_once(':')?;
            Some(Dev {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        })
    }
}

/// Up to 32 bytes of a file, shown in hexadecimal, two digits a byte.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct HexBytes {
    len: u8,
    bytes: [u8; Self::MAX],
}

impl HexBytes {
    /// The most bytes that are kept.
    pub const MAX: usize = 32;

    /// The first [`Self::MAX`] of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let len = bytes.len().min(Self::MAX);
        let mut kept = [0; Self::MAX];
        kept[..len].copy_from_slice(&bytes[..len]);
        HexBytes {
            len: len as u8,
            bytes: kept,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(
            deserializer,
            "up to 64 hexadecimal digits, two a byte",
            |text| {
                let digits = text.as_bytes();
                if digits.len() % 2 != 0 || digits.len() > 2 * HexBytes::MAX {
                    return None;
                }
                let digit = |d: u8| char::from(d).to_digit(16).map(|d| d as u8);
                let mut bytes = [0; HexBytes::MAX];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
                    *byte = digit(pair[0])? << 4 | digit(pair[1])?;
                }
                Some(HexBytes {
                    len: (digits.len() / 2) as u8,
                    bytes,
                })
            },
        )
    }
}
