//! A hundred greenlets use an async library, hyper's client, as it is: their requests overlap.
//!
//!     cargo run --release --example async_client
//!
//! `block_on` runs a future, and the greenlet waits, not the thread. A tokio runtime with a thread of its own has hyper's sockets and timers.

use std::io::{self, BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use greenlet::net::TcpStream;
use greenlet::{block_on, joinall, sleep, spawn};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::runtime;

mod common;

const REQUESTS: usize = 100;
const TAKES: Duration = Duration::from_millis(50);

fn main() -> io::Result<()> {
    common::no_arguments(include_str!("async_client.rs"));
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = runtime.enter(); // once on this thread, for all its greenlets

    let listener = common::listen("127.0.0.1:0");
    let addr = listener.local_addr()?;
    spawn(move || common::connections(&listener).for_each(|(stream, _)| drop(spawn(move || serve(&stream)))));

    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<&[u8]>>();
    let start = Instant::now();
    let bodies = joinall((0..REQUESTS).map(|number| {
        let response = client.get(format!("http://{addr}/{number}").parse().expect("it is a URI"));
        spawn(move || {
            let response = block_on(response).expect("the server answers");
            block_on(response.into_body().collect()).expect("to the end").to_bytes()
        })
    }));
    let took = start.elapsed();
    for (number, body) in bodies.into_iter().enumerate() {
        common::check(body.is_ok_and(|body| body == format!("you asked for /{number}")), "each has its answer");
    }
    let one_by_one = TAKES * REQUESTS as u32;
    println!("{REQUESTS} answers in {took:.0?}; one after the other they would have taken {one_by_one:?}");
    common::check(took < one_by_one / 2, "the requests overlap");
    Ok(())
}

/// As much of HTTP as a client that asks for paths needs.
fn serve(mut stream: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while let Some(request) = lines.next().transpose()? {
        lines.by_ref().map_while(Result::ok).find(String::is_empty); // the end of its head
        sleep(TAKES);
        let body = format!("you asked for {}", request.split(' ').nth(1).unwrap_or("nothing"));
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    }
    Ok(())
}
