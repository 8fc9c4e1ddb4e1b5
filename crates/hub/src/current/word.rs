//! The thread-local word itself: a pointer, null at first.
//!
//! Each call of libc's that is patched reads it, also on threads that have no hub, and so do all waits. The compiler takes a read of a `thread_local!` for a call, as it does not know yet
//! whether it compiles for a program or for a shared library: whatever lives in a register is saved around it, though the linker then makes two moves of it. In a shell that is more
//! than all the rest. So on x86-64 Linux the word is read by two moves from the first: the *initial-exec* model, good for programs, and for libraries that
//! are loaded later as long as there is room for eight bytes in what the C library keeps free for those.

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux", not(miri)))]
mod imp {
    use std::arch::{asm, global_asm};

    /// Two versions of this crate in one program have a word each.
    macro_rules! word {
        () => {
            concat!("greenlet_hub_", env!("CARGO_PKG_VERSION"))
        };
    }

    global_asm!(
        concat!(".pushsection \".tbss.", word!(), "\",\"awT\",@nobits"),
        ".p2align 3",
        concat!(".globl \"", word!(), "\""),
        concat!(".hidden \"", word!(), "\""),
        concat!(".type \"", word!(), "\",@object"),
        concat!(".size \"", word!(), "\",8"),
        concat!("\"", word!(), "\":"),
        ".zero 8",
        ".popsection",
    );

    #[inline(always)]
    pub(super) fn get() -> usize {
        let word: usize;
        // SAFETY: it reads this thread's own word, of eight bytes, which is there as long as the thread is; nobody else writes to it.
        unsafe {
            asm!(
                concat!("mov {word}, qword ptr [rip + \"", word!(), "\"@GOTTPOFF]"),
                "mov {word}, qword ptr fs:[{word}]",
                word = out(reg) word,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        word
    }

    #[inline(always)]
    pub(super) fn set(word: usize) {
        // SAFETY: it writes this thread's own word, of eight bytes, which is there as long as the thread is; nobody else reads it.
        unsafe {
            asm!(
                concat!("mov {place}, qword ptr [rip + \"", word!(), "\"@GOTTPOFF]"),
                "mov qword ptr fs:[{place}], {word}",
                place = out(reg) _,
                word = in(reg) word,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", target_os = "linux", not(miri))))]
mod imp {
    use std::cell::Cell;

    thread_local! {
        static WORD: Cell<usize> = const { Cell::new(0) };
    }

    #[inline(always)]
    pub(super) fn get() -> usize {
        WORD.get()
    }

    #[inline(always)]
    pub(super) fn set(word: usize) {
        WORD.set(word);
    }
}

/// What this thread's word points to.
#[inline(always)]
pub(super) fn get<T>() -> *const T {
    std::ptr::with_exposed_provenance(imp::get())
}

/// Lets this thread's word point there.
#[inline(always)]
pub(super) fn set<T>(pointer: *const T) {
    imp::set(pointer.expose_provenance());
}
