//! A program that links the crate and does not call `patch_all`: it makes the system calls of `inert_plain`.

mod inert {
    pub(crate) mod calls;
}

fn main() -> std::io::Result<()> {
    // Never, but who compiles this does not know that.
    if std::env::args_os().len() > 1000 {
        greenlet_patch::patch_all();
    }
    inert::calls::make()
}
