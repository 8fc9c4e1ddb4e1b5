//! 200 clients of the `redis` crate, which blocks and knows nothing of greenlets, on one OS thread: each waits for an item
//! of a queue of its own, and redis counts them.
//!
//!     cargo run --release --example patched_redis --features patch -- URL [N]      e.g. redis://127.0.0.1/, N: 200
//!     cargo run --release --example patched_redis --features patch -- --demo [N]
//!
//! The demo starts a `redis-server` of its own, if one is installed.

use std::{error::Error, iter, thread, time::Duration};

use greenlet::{joinall, patch_all, spawn};
use redis::{Client, Commands, Connection, InfoDict, RedisResult};

mod common;
#[path = "common/servers.rs"]
mod servers;

fn main() {
    patch_all();
    let (url, clients) = common::clients(include_str!("patched_redis.rs"), 200);
    let server = if url.is_none() { servers::redis() } else { None };
    let url = url.or_else(|| server.as_ref().map(|server| format!("redis://127.0.0.1:{}/", server.port)));
    let done = url.map_or(Ok(()), |url| run(&url, clients));
    drop(server); // `fail` would leave it behind
    done.unwrap_or_else(|err| common::fail(1, err));
}

fn run(url: &str, clients: usize) -> Result<(), Box<dyn Error>> {
    let client = Client::open(url)?;
    let mut connection = client.get_connection()?;
    let clones = iter::repeat_n(client.clone(), clients).enumerate();
    let pop = |(number, client): (_, Client)| spawn(move || client.get_connection()?.blpop(queue(number), 60.0));
    let popping: Vec<_> = clones.map(pop).collect();
    // A client has no reason to end before, unless it has failed.
    while blocked(&mut connection)? < clients && !popping.iter().any(|popping| popping.is_finished()) {
        thread::sleep(Duration::from_millis(5)); // std's own: it lets the others run
    }
    println!("{} clients wait in redis at once", blocked(&mut connection)?);
    for number in 0..clients {
        connection.rpush::<_, _, ()>(queue(number), number)?;
    }
    for (number, popped) in joinall(popping).into_iter().enumerate() {
        let popped: RedisResult<(String, usize)> = popped?;
        if popped?.1 != number {
            return Err(format!("client {number} got what was sent to another one").into());
        }
    }
    println!("each of the {clients} got what was sent to it, by one thread");
    Ok(())
}

fn queue(number: usize) -> String {
    format!("greenlet:patched_redis:{number}")
}

fn blocked(connection: &mut Connection) -> RedisResult<usize> {
    let info: InfoDict = redis::cmd("INFO").arg("clients").query(connection)?;
    Ok(info.get("blocked_clients").unwrap_or(0))
}
