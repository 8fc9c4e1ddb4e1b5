//! The functions of glibc for which there is no system call, found behind our own.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A function of the C library that a shell of ours stands before.
pub(crate) struct Real {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Real {
    pub(crate) const fn new(name: &'static CStr) -> Real {
        Real { name, found: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Its address; aborts where the C library has no such function, since there is nothing that the caller's shell could do.
    #[inline]
    pub(crate) fn get(&self) -> *mut c_void {
        let found = self.found.load(Ordering::Relaxed);
        if found.is_null() { self.find() } else { found }
    }

    #[cold]
    fn find(&self) -> *mut c_void {
        // Before version 2.37 the C library finds the *oldest* function of a name here, which for conditions is that of 2002, with a structure of its own; on x86-64 they
        // are all that has changed since. What has no such version is asked for by its name alone.
        // SAFETY: the name ends with a NUL byte, and so does the version.
        let mut found = unsafe { libc::dlvsym(libc::RTLD_NEXT, self.name.as_ptr(), c"GLIBC_2.3.2".as_ptr()) };
        if found.is_null() {
            // SAFETY: the name ends with a NUL byte.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        }
        if found.is_null() {
            super::report::fatal(format_args!("the C library has no {}", self.name.to_string_lossy()));
        }
        self.found.store(found, Ordering::Relaxed);
        found
    }
}

/// Declares a function of the C library that is called past our shell: `real! { fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int; }`.
macro_rules! real {
    ($(#[$($attribute:tt)*])* fn $($rest:tt)*) => {
        $crate::glibc::real::real!(@"C" $(#[$($attribute)*])* fn $($rest)*);
    };
    (@$abi:literal $($(#[$attribute:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty;)*) => {
        $(
            $(#[$attribute])*
            ///
            /// # Safety
            ///
            /// That of the C library's function of the same name.
            #[inline]
            pub(crate) unsafe fn $name($($arg: $type),*) -> $result {
                static REAL: $crate::glibc::real::Real =
                    $crate::glibc::real::Real::new(match ::std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => panic!("a name has no NUL byte"),
                    });
                type Function = unsafe extern $abi fn($($type),*) -> $result;
                // SAFETY: the C library's function of that name has this type.
                let function = unsafe { ::std::mem::transmute::<*mut ::std::ffi::c_void, Function>(REAL.get()) };
                // SAFETY: the caller's promise.
                unsafe { function($($arg),*) }
            }
        )*
    };
}
pub(crate) use real;

/// The same for one that unwinds if what it calls does.
macro_rules! real_unwinding {
    ($($(#[$attribute:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty;)*) => {
        $crate::glibc::real::real!(@"C-unwind" $($(#[$attribute])* fn $name($($arg: $type),*) -> $result;)*);
    };
}
pub(crate) use real_unwinding;
