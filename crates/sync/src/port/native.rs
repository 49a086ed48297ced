//! Those of the shim.

pub use keepmydata_sys::lock::{Guard, Mutex, Word, rest, wait, wake_all, wake_one};

/// A cell whose user vouches for exclusion, with the interface of loom's.
#[derive(Default)]
pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(core::cell::UnsafeCell::new(value))
    }

    /// Has `f` look at what is inside; nobody may change it meanwhile.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Has `f` change what is inside; nobody else may use it meanwhile.
    #[inline]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
