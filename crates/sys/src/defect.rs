//! `defect!(NAME => wrong; right)`: `right`; but in a build with the feature `defects`, which is for tests of the tests,
//! `wrong` where `KEEPMYDATA_DEFECT` names it. `defect!(NAME => wrong)` alone is nothing elsewhere.
//!
//! Each takes out one mend of a zero that was no proof; `preload-tests/tests/oracle/defects.rs` says what each does, and
//! that it is found again.

/// Nothing but `right`: see the module.
#[cfg(not(feature = "defects"))]
#[macro_export]
macro_rules! defect {
    ($name:ident => $wrong:expr; $right:expr) => {
        $right
    };
    ($name:ident => $wrong:expr) => {};
}

/// See the module.
#[cfg(feature = "defects")]
#[macro_export]
macro_rules! defect {
    ($name:ident => $wrong:expr; $right:expr) => {
        match $crate::defect::is_planted(stringify!($name)) {
            true => $wrong,
            false => $right,
        }
    };
    ($name:ident => $wrong:expr) => {
        if $crate::defect::is_planted(stringify!($name)) {
            $wrong
        }
    };
}

#[cfg(feature = "defects")]
static PLANTED: std::sync::OnceLock<&'static [u8]> = std::sync::OnceLock::new();

/// Has this process run with the defect of that name from here on. While booting.
#[cfg(feature = "defects")]
pub fn plant(name: &'static [u8]) {
    let _ = PLANTED.set(name);
}

/// Whether this process runs with that defect.
#[cfg(feature = "defects")]
pub fn is_planted(name: &str) -> bool {
    PLANTED.get() == Some(&name.as_bytes())
}
