//! Greenlets that stand or fall together: the first failure kills the others, and is what comes out.
//!
//!     cargo run --release --example task_group
//!
//! Three parts of a page are fetched at a time. The second time one of them fails; the others are ended where they wait, clean up,
//! and have all ended when `task_group` returns.

use std::cell::Cell;
use std::time::{Duration, Instant};

use greenlet::{sleep, task_group};

mod common;

#[derive(Debug, PartialEq)]
struct NotFound(&'static str);

fn main() {
    common::no_arguments(include_str!("task_group.rs"));
    let open = Cell::new(0);
    let start = Instant::now();
    let page = fetch_all([("head", 10), ("text", 20), ("image", 30)], &open);
    println!("{page:?} in {:.0?}", start.elapsed());
    common::check(page.as_deref() == Ok("<head><text><image>"), "all parts are there");

    let start = Instant::now();
    let page = fetch_all([("head", 10), ("broken text", 20), ("image", 60_000)], &open);
    println!("{page:?} in {:.0?}", start.elapsed());
    common::check(page == Err(NotFound("broken text")), "the failure comes out");
    common::check(start.elapsed() < Duration::from_secs(30), "nobody waited for the image");
    common::check(open.get() == 0, "every connection is closed");
}

fn fetch_all(parts: [(&'static str, u64); 3], open: &Cell<u32>) -> Result<String, NotFound> {
    task_group(|group| {
        let fetches = parts.map(|(name, millis)| group.spawn(move || fetch(name, Duration::from_millis(millis), open)));
        // If one fails, this is unwound out of its `join`: whatever comes after has all of them.
        Ok(fetches.map(|fetch| fetch.join().expect("it has not failed")).concat())
    })
}

fn fetch(name: &'static str, takes: Duration, open: &Cell<u32>) -> Result<String, NotFound> {
    open.set(open.get() + 1);
    let _connection = Connection(name, open);
    sleep(takes);
    if name.starts_with("broken") { Err(NotFound(name)) } else { Ok(format!("<{name}>")) }
}

struct Connection<'a>(&'static str, &'a Cell<u32>);

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        println!("    the connection for {} is closed", self.0);
        self.1.set(self.1.get() - 1);
    }
}
