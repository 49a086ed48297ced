//! Findings: what a program does with its mappings that a person should know. Each has a code that
//! never changes its meaning; `docs/findings.md` explains them.

use core::fmt;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

macro_rules! findings {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)*) => {
        /// What was found.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Finding {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Finding {
            /// Every finding, in the order of the codes.
            pub const ALL: &'static [Finding] = &[$(Finding::$name,)*];

            /// The code, as logs print it.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Finding::$name => $code,)*
                }
            }

            /// One sentence on what was found, the heading in `docs/findings.md`.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Finding::$name => concat!($($doc),+).trim_ascii(),)*
                }
            }
        }
    };
}

findings! {
    /// A store raced with msync
    Race = "KMD-L1",
    /// msync left dirty pages of the same mapping outside its range
    OutsideRange = "KMD-L2",
    /// A mapping was unmapped with pages never synced since they were stored
    UnmappedUnsynced = "KMD-L3",
    /// The process exited with pages never synced since they were stored
    ExitUnsynced = "KMD-L4",
    /// The process executed another program with pages never synced since they were stored
    ExecUnsynced = "KMD-L5",
    /// MS_ASYNC was relied upon
    AsyncOnly = "KMD-L6",
    /// msync of a range beyond the end of the file
    BeyondEof = "KMD-L7",
    /// The file was truncated below a page that was stored to and never synced
    TruncatedDirty = "KMD-L8",
    /// A redundant msync: nothing was stored since the last one
    Redundant = "KMD-L9",
    /// msync failed, and the next one succeeded
    SuccessAfterFailure = "KMD-L10",
    /// A store into a hole of the file
    StoreIntoHole = "KMD-L11",
}

/// How many findings there are.
pub const FINDINGS: usize = Finding::ALL.len();

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// How often each was found. Serialized as an object, code to count, without those never found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FindingCounts(pub [u64; FINDINGS]);

impl FindingCounts {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&count| count == 0)
    }

    /// What was found, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Finding, u64)> + '_ {
        let all = Finding::ALL.iter().copied().zip(self.0);
        all.filter(|&(_, count)| count > 0)
    }
}

impl Serialize for FindingCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (finding, count) in self.iter() {
            map.serialize_entry(finding.code(), &count)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for FindingCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = FindingCounts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of codes and counts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut counts = FindingCounts::default();
                while let Some(code) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    match Finding::ALL.iter().position(|f| f.code() == code) {
                        Some(at) => counts.0[at] = map.next_value()?,
                        // Of a later version.
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(counts)
            }
        }
        deserializer.deserialize_map(V)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_count_from_one() {
        for (i, finding) in Finding::ALL.iter().enumerate() {
            assert_eq!(finding.code(), format!("KMD-L{}", i + 1));
            assert_eq!(*finding as usize, i);
        }
    }

    #[test]
    fn a_code_of_a_later_version_is_skipped() {
        let counts: FindingCounts =
            serde_json::from_str(r#"{"KMD-L2":3,"KMD-L999":{"n":[1]}}"#).unwrap();
        assert_eq!(
            counts.iter().collect::<Vec<_>>(),
            [(Finding::OutsideRange, 3)]
        );
    }
}
