//! A chat: what one says, everybody reads. The room is an `Rc<RefCell<…>>`, as all its greenlets share one thread.
//!
//!     cargo run --release --example chat_server -- [--listen ADDR]          ADDR: 127.0.0.1:7777
//!     cargo run --release --example chat_server -- --demo [N]               N clients: 20
//!
//! Join with `nc 127.0.0.1 7777` in some terminals. One who does not read stops nobody: every client has an outbox and a
//! greenlet that writes it, and leaves the room when the outbox is full.
