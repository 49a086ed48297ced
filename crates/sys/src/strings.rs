//! Strings that C passes on.

use crate::clib;
use core::ffi::{CStr, c_char};
use core::marker::PhantomData;
use core::sync::atomic::Ordering;
use core::{ptr, slice};

/// A string that the program has passed to a function of the C library's that takes one. It may be null, and where it
/// is not, it is there, unchanged, until the call ends.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Text<'a>(*const c_char, PhantomData<&'a CStr>);

impl<'a> Text<'a> {
    /// The string.
    pub fn get(self) -> Option<&'a CStr> {
        // SAFETY: what the type says.
        (!self.0.is_null()).then(|| unsafe { CStr::from_ptr(self.0) })
    }

    /// Where it is.
    pub fn as_ptr(self) -> *const c_char {
        self.0
    }
}

impl<'a> From<&'a CStr> for Text<'a> {
    fn from(text: &'a CStr) -> Text<'a> {
        Text(text.as_ptr(), PhantomData)
    }
}

/// An array of strings that a null pointer ends, of which all that is true that is of a [`Text`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Strings<'a>(*const Text<'a>);

impl<'a> Strings<'a> {
    fn environment() -> Strings<'a> {
        Strings(clib::environ.load(Ordering::Relaxed).cast_const().cast())
    }

    /// The environment, for a call of the program's that executes `file` in it, and reads it.
    pub fn environment_for(_file: Text<'a>) -> Strings<'a> {
        Strings::environment()
    }

    /// Those of `list` up to the first null pointer; nothing where there is none.
    pub fn of(list: &'a [Text<'a>]) -> Option<Strings<'a>> {
        let ends = list.iter().any(|text| text.as_ptr().is_null());
        ends.then_some(Strings(list.as_ptr()))
    }

    /// Whether there is no array.
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Text<'a>> {
        let mut at = self.0;
        core::iter::from_fn(move || {
            if at.is_null() {
                return None;
            }
            // SAFETY: what the type says; the end is not passed.
            let text = unsafe { at.read() };
            match text.as_ptr().is_null() {
                true => at = ptr::null(),
                false => at = at.wrapping_add(1),
            }
            (!text.as_ptr().is_null()).then_some(text)
        })
    }
}

impl Text<'_> {
    /// None.
    pub const NULL: Text<'static> = Text(ptr::null(), PhantomData);
}

/// The value of `variable`, if `name` is its name.
pub fn value_of<'a>(name: &str, variable: &'a CStr) -> Option<&'a [u8]> {
    let value = variable.to_bytes().strip_prefix(name.as_bytes())?;
    value.strip_prefix(b"=")
}

/// Says that main has not begun: nobody else changes the environment, or the strings in it.
pub struct BeforeMain(());

impl BeforeMain {
    /// # Safety
    /// So it is for as long as the value is there.
    pub unsafe fn new() -> BeforeMain {
        BeforeMain(())
    }

    /// The variables with their values.
    pub fn variables(&self) -> impl Iterator<Item = &CStr> {
        Strings::environment().iter().filter_map(Text::get)
    }

    /// The value of variable `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.variables()
            .find_map(|variable| value_of(name, variable))
    }

    /// Leaves those variables in the environment that `keep` says to.
    pub fn retain(&mut self, mut keep: impl FnMut(&CStr) -> bool) {
        let array = clib::environ.load(Ordering::Relaxed);
        let len = Strings::environment().iter().count();
        if len == 0 {
            return;
        }
        // SAFETY: so long is the array with its end, and nobody else is in it.
        let array = unsafe { slice::from_raw_parts_mut(array.cast::<Text<'_>>(), len + 1) };
        let mut kept = 0;
        for n in 0..len {
            if array[n].get().is_some_and(&mut keep) {
                array[kept] = array[n];
                kept += 1;
            }
        }
        if kept < len {
            array[kept] = Text::NULL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_with_a_null_pointer() {
        let list = [c"one".into(), c"".into(), Text::NULL, c"beyond".into()];
        assert!(Strings::of(&list[..2]).is_none());
        let strings = Strings::of(&list).expect("an end");
        let texts: Vec<_> = strings.iter().map(Text::get).collect();
        assert_eq!(texts, [Some(c"one"), Some(c"")]);
        assert_eq!(Strings(ptr::null()).iter().count(), 0);
    }
}
