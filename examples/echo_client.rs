//! Sends lines from stdin to a TCP server and prints what it answers. Works in pipes: at the end of stdin it says so to
//! the server (a half-close), and goes on printing until the server has said its last word.
//!
//!     cargo run --release --example echo_client -- [ADDR]                   ADDR: 127.0.0.1:7777
//!     echo hello | cargo run --release --example echo_client

use std::io::{self, BufRead, Write};
use std::{net::Shutdown, rc::Rc, time::Duration};

use greenlet::{hub::wait_readable, net::TcpStream, spawn};

mod common;

fn main() {
    let [addr] = common::operands(common::arguments(include_str!("echo_client.rs")));
    let addr = addr.as_deref().unwrap_or("127.0.0.1:7777");
    let stream = TcpStream::connect(addr);
    let stream = stream.unwrap_or_else(|err| common::fail(1, format_args!("cannot connect to {addr}: {err}")));
    // One greenlet writes the stream and one reads it. They are on one thread, so an `Rc` will do.
    let stream = Rc::new(stream);
    let sender = spawn({
        let stream = Rc::clone(&stream);
        move || {
            let sent = send_lines(&stream);
            // Whatever happened: the server shall not wait for more.
            let _ = stream.shutdown(Shutdown::Write);
            sent
        }
    });
    let received = io::copy(&mut &*stream, &mut io::stdout()).and_then(|_| io::stdout().flush());
    received.unwrap_or_else(|err| common::fail(1, format_args!("receiving failed: {err}")));
    match sender.join_timeout(Duration::ZERO) {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(err))) => common::fail(1, format_args!("sending failed: {err}")),
        Ok(Err(err)) => common::fail(1, err),
        Err(_still_sends) => common::fail(1, "the server closed the connection"),
    }
}

fn send_lines(mut stream: &TcpStream) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    loop {
        // Reading stdin blocks the thread, and with it the answers. So it is read only when it has something (or has
        // ended); a file always has. Everything that was read is sent on before the next wait, so none stays behind.
        wait_readable(io::stdin())?;
        let lines = stdin.fill_buf()?;
        if lines.is_empty() {
            return Ok(());
        }
        stream.write_all(lines)?;
        let sent = lines.len();
        stdin.consume(sent);
    }
}
