//! Fetches URLs all at once with `ureq`, an HTTP client that blocks and knows nothing of greenlets, on one OS thread.
//!
//!     cargo run --release --features patch --example patched_http -- URL…
//!     cargo run --release --features patch --example patched_http -- --demo [N]     N: 100
//!
//! The demo has a server of its own, which takes 200 ms for each answer.

use std::io::{self, BufRead, BufReader, Write};
use std::{cell::Cell, rc::Rc, time::Duration, time::Instant};

use greenlet::net::TcpStream;
use greenlet::{joinall, patch_all, sleep, spawn};

mod common;

fn main() {
    patch_all();
    let mut args = common::arguments(include_str!("patched_http.rs"));
    if !args.contains("--demo") {
        return fetch(common::all_operands(args));
    }
    let [urls] = common::operands(args);
    let urls = common::number(urls, 100, "URLs");
    common::descriptors(2 * urls);
    let (listener, here, peak) = (common::listen("127.0.0.1:0"), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let addr = listener.local_addr().unwrap_or_else(|err| common::fail(1, err));
    let most = Rc::clone(&peak);
    spawn(move || {
        for (stream, _) in common::connections(&listener) {
            let (here, most) = (Rc::clone(&here), Rc::clone(&most));
            spawn(move || {
                here.set(here.get() + 1);
                most.set(most.get().max(here.get()));
                let _ = answer(stream); // an error is the client's, and printed there
                here.set(here.get() - 1);
            });
        }
    });
    fetch((0..urls).map(|number| format!("http://{addr}/{number}")).collect());
    println!("the server had up to {} requests at once", peak.get());
}

fn fetch(urls: Vec<String>) {
    let (start, count) = (Instant::now(), urls.len());
    let get = |url: String| spawn(move || ureq::get(&url).call()?.body_mut().read_to_string().map(|body| (url, body)));
    for fetched in joinall(urls.into_iter().map(get)) {
        let (url, body) = fetched.unwrap_or_else(|err| common::fail(1, err)).unwrap_or_else(|err| common::fail(1, err));
        println!("{url}: {} bytes", body.len());
    }
    println!("{count} URLs in {:.2?}, by one thread", start.elapsed());
}

fn answer(stream: TcpStream) -> io::Result<()> {
    for line in BufReader::new(&stream).lines().take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())) {
        drop(line);
    }
    sleep(Duration::from_millis(200));
    (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nhello!\n")
}
