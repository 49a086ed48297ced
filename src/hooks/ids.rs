//! setuid and its relatives: the helper's threads follow, as the C library's own do.

use crate::{helper, next_fn};
use core::ffi::c_char;
use libc::{c_int, gid_t, size_t, uid_t};

macro_rules! hooks {
    ($(fn $name:ident($($arg:ident: $type:ty),*);)*) => {
        $(
            #[doc = concat!("Hook for [`libc::", stringify!($name), "`].")]
            ///
            /// # Safety
            /// As the C function.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($($arg: $type),*) -> c_int {
                // SAFETY: the caller's contract.
                let result = unsafe { next_fn::$name($($arg),*) };
                if result == 0 {
                    helper::adopt_ids();
                }
                result
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
