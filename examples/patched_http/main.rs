//! Fetches URLs all at once with `ureq`, an HTTP client that blocks and knows nothing of greenlets, on one OS thread.
//!
//!     cargo run --release --example patched_http --features patch -- URL…
//!     cargo run --release --example patched_http --features patch -- --demo [N]     N: 100
//!
//! The demo fetches N URLs from a server of its own, which takes 200 ms for each answer.

use std::process::exit;
use std::time::Instant;

use greenlet::{joinall, patch_all, spawn};

#[path = "../common/mod.rs"]
mod common;
mod demo;

fn main() {
    patch_all();
    let mut args = common::arguments(include_str!("main.rs"));
    if args.contains("--demo") {
        let [urls] = common::operands(args);
        let urls = common::number(urls, 100, "URLs");
        common::descriptors(2 * urls);
        return demo::run(urls).unwrap_or_else(|err| common::fail(1, err));
    }
    let urls = common::all_operands(args);
    if urls.is_empty() {
        common::fail(2, "missing argument: URL is needed (see --help)");
    }
    common::descriptors(urls.len());
    let mut failed = 0;
    for (url, text) in fetch(urls) {
        match text {
            Ok(text) => println!("{url}: {} bytes", text.len()),
            Err(err) => {
                eprintln!("{url}: {err}");
                failed += 1;
            }
        }
    }
    exit((failed > 0).into());
}

/// What stands at each of the URLs, in their order, or why that is not to be had.
fn fetch(urls: Vec<String>) -> Vec<(String, Result<String, ureq::Error>)> {
    let (start, count) = (Instant::now(), urls.len());
    let get = |url: String| {
        spawn(move || {
            let text = ureq::get(&url).call().and_then(|mut answer| answer.body_mut().read_to_string());
            (url, text)
        })
    };
    let fetched = joinall(urls.into_iter().map(get)).into_iter();
    let fetched = fetched.map(|end| end.unwrap_or_else(|err| common::fail(1, err))).collect();
    println!("{count} URLs in {:.2?}, by one thread", start.elapsed());
    fetched
}
