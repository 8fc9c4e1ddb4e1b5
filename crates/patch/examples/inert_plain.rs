//! The same program without the crate.

mod inert {
    pub(crate) mod calls;
}

fn main() -> std::io::Result<()> {
    let _ = std::env::args_os().len() > 1000;
    inert::calls::make()
}
