//! setuid and its relatives: the helper's threads follow, as the C library's own do.

use crate::helper;
use core::ffi::c_char;
use libc::{c_int, gid_t, size_t, uid_t};

macro_rules! hooks {
    ($(fn $name:ident($($arg:ident: $type:ty),*);)*) => {
        $(
            hook! {
                #[doc = concat!("Hook for [`libc::", stringify!($name), "`].")]
                fn $name($($arg: $type),*) -> c_int, real => {
                    let result = real();
                    if result == 0 {
                        helper::adopt_ids();
                    }
                    result
                }
            }
        )*
    };
}

hooks! {
    fn setuid(user: uid_t);
    fn setgid(group: gid_t);
    fn seteuid(user: uid_t);
    fn setegid(group: gid_t);
    fn setreuid(real: uid_t, effective: uid_t);
    fn setregid(real: gid_t, effective: gid_t);
    fn setresuid(real: uid_t, effective: uid_t, saved: uid_t);
    fn setresgid(real: gid_t, effective: gid_t, saved: gid_t);
    fn setgroups(count: size_t, list: *const gid_t);
    fn initgroups(user: *const c_char, group: gid_t);
}
