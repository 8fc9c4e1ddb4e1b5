//! The demo: a server that answers with the path that was asked for, after 200 ms, and counts those who wait.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Write};
use std::rc::Rc;
use std::time::Duration;

use greenlet::net::TcpStream;
use greenlet::{sleep, spawn};

use crate::{common, fetch};

pub(crate) fn run(urls: usize) -> io::Result<()> {
    let (listener, waiting) = (common::listen("127.0.0.1:0"), Rc::new(Waiting::default()));
    let addr = listener.local_addr()?;
    let counted = Rc::clone(&waiting);
    spawn(move || {
        for (stream, _) in common::connections(&listener) {
            let waiting = Rc::clone(&waiting);
            spawn(move || answer(stream, &waiting));
        }
    });
    for (url, text) in fetch((0..urls).map(|number| format!("http://{addr}/{number}")).collect()) {
        let text = text.map_err(io::Error::other)?;
        common::check(url.ends_with(&text), format_args!("{url} answers with its path, not with {text}"));
    }
    println!("the server had up to {} requests at once", counted.most.get());
    Ok(())
}

#[derive(Default)]
struct Waiting {
    now: Cell<usize>,
    most: Cell<usize>,
}

fn answer(stream: TcpStream, waiting: &Waiting) -> io::Result<()> {
    let (mut stream, mut line) = (BufReader::new(stream), String::new());
    stream.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while !line.trim_end().is_empty() {
        line.clear();
        stream.read_line(&mut line)?;
    }
    waiting.now.set(waiting.now.get() + 1);
    waiting.most.set(waiting.most.get().max(waiting.now.get()));
    sleep(Duration::from_millis(200));
    waiting.now.set(waiting.now.get() - 1);
    write!(stream.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{path}", path.len())
}
