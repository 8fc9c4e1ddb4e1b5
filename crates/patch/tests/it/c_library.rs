//! A C library of the tests' own, built when it is first asked for.

use std::ffi::{CString, c_void};
use std::path::Path;
use std::process::Command;
use std::{env, fs, process};

/// The library of one C file, loaded into this process for good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library(usize);

/// Builds and loads a file of `tests/c`; `None`, and a line that says why, where there is no compiler of its language.
pub(crate) fn load(name: &str) -> Option<Library> {
    let stem = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name);
    let is_cpp = stem.with_extension("cpp").exists();
    let (variable, usual, extension) = if is_cpp { ("CXX", "c++", "cpp") } else { ("CC", "cc", "c") };
    let compiler = env::var_os(variable).unwrap_or_else(|| usual.into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        println!("skipped: there is no compiler ({})", compiler.display());
        return None;
    }
    let source = stem.with_extension(extension);
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lib{name}-{}.so", process::id()));
    let built = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-O1", "-fexceptions", "-Wall", "-Werror", "-pthread", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.unwrap().success());
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: a path that ends with a NUL byte; the library has no initialisers.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    fs::remove_file(&library).unwrap();
    assert!(!handle.is_null());
    Some(Library(handle.expose_provenance()))
}

impl Library {
    /// The address of a function.
    pub(crate) fn find(self, name: &str) -> *mut c_void {
        let handle = std::ptr::with_exposed_provenance_mut(self.0);
        let symbol = CString::new(name).unwrap();
        // SAFETY: a library that is loaded, and a name that ends with a NUL byte.
        let found = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
        assert!(!found.is_null(), "the test's library has no {name}");
        found
    }
}

/// Declares a structure of functions of the library: `functions! { "locks": Locks { c_mutex_lock(usize) -> i32; } }`.
macro_rules! functions {
    ($file:literal: $type:ident { $($name:ident($($argument:ty),*) -> $result:ty;)* }) => {
        #[derive(Clone, Copy)]
        struct $type {
            $($name: unsafe extern "C-unwind" fn($($argument),*) -> $result,)*
        }

        impl $type {
            /// `None` where there is no C compiler.
            fn load() -> Option<$type> {
                static LIBRARY: std::sync::OnceLock<Option<$crate::c_library::Library>> = std::sync::OnceLock::new();
                let library = (*LIBRARY.get_or_init(|| $crate::c_library::load($file)))?;
                Some($type {
                    $(
                        // SAFETY: the C file declares it with these types.
                        $name: unsafe {
                            std::mem::transmute::<*mut std::ffi::c_void, unsafe extern "C-unwind" fn($($argument),*) -> $result>(
                                library.find(stringify!($name)),
                            )
                        },
                    )*
                })
            }
        }
    };
}
pub(crate) use functions;
